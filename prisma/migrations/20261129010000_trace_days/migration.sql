-- Days of runs that lie before their trace: more than a day before the one its id names, because some clock was wrong
-- or an old run was handed in later. Readers of a trace begin a day before its own and find the rest here. Few rows:
-- clients whose clocks are right make none. Written ahead of the runs as run_days is, so it may promise too much.
create table trace_days (
  workspace_id uuid not null,
  trace_id     uuid not null,
  day          date not null,
  primary key (workspace_id, trace_id, day)
);
select protect_tenant_table('trace_days');
