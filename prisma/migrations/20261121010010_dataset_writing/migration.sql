-- Examples on their way into a version, for writes that are too large to hold in memory: they are copied here in
-- batches while the upload goes on, each in a transaction of its own, and moved by the one transaction that makes the
-- version. So neither the dataset's lock nor the feed's horizon waits for a slow upload. Unlogged: what a crash
-- leaves is nothing anybody was promised. Leftovers of cut off uploads are removed by their age, which is in stage_id.
create unlogged table example_stage (
  workspace_id  uuid not null,
  stage_id      uuid not null,
  -- Line or row number in what was uploaded, from 1.
  position      bigint not null,
  id            uuid not null,
  name          text not null,
  inputs        json not null,
  outputs       json,
  metadata      jsonb not null,
  splits        text[] not null,
  source_run_id uuid,
  attachments   jsonb,
  inputs_hash   bytea not null,
  content_hash  bytea not null,
  created_at    timestamptz(6) not null,
  primary key (workspace_id, stage_id, position)
);
alter table example_stage
  alter column inputs set storage external,
  alter column outputs set storage external;

-- What an import did, for whoever looks at its rejects later.
create table dataset_imports (
  workspace_id uuid not null,
  id           uuid not null,
  dataset_id   uuid not null,
  format       text not null,
  -- all_or_nothing | quarantine
  mode         text not null,
  -- The version it made; null where it made none.
  version      integer,
  imported     bigint not null,
  rejected     bigint not null,
  actor        text,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, id)
);
create index dataset_imports_by_dataset on dataset_imports (workspace_id, dataset_id, created_at desc, id desc);

-- Written one at a time and read by name: held to the workspace by the database too. Examples, their owners, stages
-- and rejects are written in bulk by COPY, which row-level security refuses.
select protect_tenant_table('datasets');
select protect_tenant_table('dataset_versions');
select protect_tenant_table('dataset_tags');
select protect_tenant_table('dataset_shares');
select protect_tenant_table('dataset_imports');
