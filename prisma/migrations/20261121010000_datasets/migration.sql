-- Datasets: examples under integer versions. A version is made in the transaction that writes examples, under
-- the row lock of its dataset, so two writers can never make the same one. An example is a chain of rows, each
-- valid from a version until another; a reader pinned to a version reads rows that never change.

create table datasets (
  workspace_id   uuid not null,
  id             uuid not null,
  name           text not null,
  description    text,
  -- kv | llm | chat
  data_type      text not null,
  metadata       jsonb not null default '{}',
  -- JSON schemas that inputs and outputs must satisfy, as the client sent them.
  inputs_schema  json,
  outputs_schema json,
  transformations json,
  externally_managed boolean not null default false,
  -- The experiment others are compared with unless told otherwise.
  baseline_experiment_id uuid,
  -- Newest version; 0 before the first example was written.
  version        integer not null default 0,
  -- Examples of the newest version.
  example_count  bigint not null default 0,
  created_at     timestamptz(6) not null,
  updated_at     timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index datasets_by_creation on datasets (workspace_id, created_at desc, id desc);

create table dataset_versions (
  workspace_id uuid not null,
  dataset_id   uuid not null,
  version      integer not null,
  -- Whole milliseconds and strictly growing: clients cut times to milliseconds and read as of them.
  created_at   timestamptz(3) not null,
  added        bigint not null,
  modified     bigint not null,
  removed      bigint not null,
  -- A key's or user's id, or the job that wrote.
  actor        text,
  note         text,
  primary key (workspace_id, dataset_id, version),
  unique (workspace_id, dataset_id, created_at)
);

-- Names that move from version to version. `latest` is no row: it is always the newest version.
create table dataset_tags (
  workspace_id uuid not null,
  dataset_id   uuid not null,
  tag          text not null,
  version      integer not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, dataset_id, tag)
);

create table examples (
  workspace_id  uuid not null,
  dataset_id    uuid not null,
  id            uuid not null,
  -- Valid from this version on ...
  since_version integer not null,
  -- ... until just before this one; null for the current row.
  until_version integer,
  name          text not null,
  inputs        json not null,
  -- The reference output; null where none was ever given.
  outputs       json,
  -- Without splits, which the wire protocol shows as metadata.dataset_split.
  metadata      jsonb not null,
  splits        text[] not null,
  -- The run it was made from.
  source_run_id uuid,
  -- [{name, id, mimeType, size}] in order of upload; bytes in attachment_chunks under that id.
  attachments   jsonb,
  -- SHA-256 of the canonical JSON of inputs alone: exact duplicates.
  inputs_hash   bytea not null,
  -- SHA-256 of the canonical JSON of [inputs, outputs, metadata, attachments]: what an evaluation depends on.
  content_hash  bytea not null,
  -- When the example was first made, and when this row's version was.
  created_at    timestamptz(6) not null,
  modified_at   timestamptz(3) not null,
  primary key (workspace_id, dataset_id, id, since_version)
);
alter table examples
  alter column inputs set storage external,
  alter column outputs set storage external;
-- The newest version, newest first; at most one current row of an example.
create unique index examples_current on examples (workspace_id, dataset_id, id) where until_version is null;
create index examples_by_creation on examples (workspace_id, dataset_id, created_at desc, id desc) where until_version is null;
-- Exact duplicates, and lineage from a run to its examples.
create index examples_by_inputs on examples (workspace_id, dataset_id, inputs_hash) where until_version is null;
create index examples_by_source on examples (workspace_id, source_run_id) where source_run_id is not null;
-- Metadata containment within the newest version.
create index examples_by_metadata on examples using gin (metadata jsonb_path_ops) where until_version is null;

-- Which dataset an example id belongs to. An id whose dataset is gone is free again.
create table example_owners (
  workspace_id uuid not null,
  example_id   uuid not null,
  dataset_id   uuid not null,
  primary key (workspace_id, example_id)
);
create index example_owners_by_dataset on example_owners (workspace_id, dataset_id);

-- Rows of an import that did not fit, kept for a person to look at. Removed with their dataset or after 30 days.
create table import_rejects (
  workspace_id uuid not null,
  import_id    uuid not null,
  -- Line or row number in the file, from 1.
  row          bigint not null,
  dataset_id   uuid not null,
  -- The row as it came, cut at 8 KiB.
  content      text not null,
  -- [{code, message, path}]
  problems     jsonb not null,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, import_id, row)
);
create index import_rejects_by_age on import_rejects (created_at);

-- Looked up by its unguessable token before the workspace is known, hence not a tenant table.
create table dataset_shares (
  token        uuid primary key,
  workspace_id uuid not null,
  dataset_id   uuid not null,
  created_at   timestamptz(6) not null,
  unique (workspace_id, dataset_id)
);
