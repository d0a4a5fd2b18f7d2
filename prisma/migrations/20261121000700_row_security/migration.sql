-- Row-level security on what belongs to one workspace and is not written in bulk: a statement that forgets its
-- workspace_id then finds nothing instead of everything. The program names the workspace in the setting
-- app.workspace_id, for one transaction at a time (src/platform/scoped-client.ts); '*' stands for all, for the few
-- things that are done for everybody (src/platform/db-scope.ts). With neither, statements on these tables fail.
--
-- Forced, so that it also holds for the owner of the tables, as whom most installations log in.
--
-- Every later table with a workspace_id is protected by a line of its own, `select protect_tenant_table('name')`, or
-- is on the list of test/conformance/row-security.test.ts with the reason why not.

create function protect_tenant_table(target regclass) returns void
language plpgsql as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  -- Subqueries, so that the setting is read once per statement and not once per row.
  execute format(
    'create policy one_workspace on %s
     using (workspace_id = (select nullif(current_setting(''app.workspace_id''), ''*'')::uuid)
       or (select current_setting(''app.workspace_id'') = ''*''))',
    target);
end
$$;

select protect_tenant_table('workspace_members');
select protect_tenant_table('projects');
select protect_tenant_table('feedback_configs');
select protect_tenant_table('run_shares');
select protect_tenant_table('feedback_tokens');
-- Work of the whole installation has no workspace and is seen by everybody's hands only.
select protect_tenant_table('jobs');

-- Keys of the whole organisation belong to no workspace and are administered from all of its workspaces.
alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy one_workspace on api_keys
  using (workspace_id = (select nullif(current_setting('app.workspace_id'), '*')::uuid)
    or (select current_setting('app.workspace_id') = '*')
    or (workspace_id is null and organization_id = (
      select w.organization_id from workspaces w
      where w.id = (select nullif(current_setting('app.workspace_id'), '*')::uuid))));
