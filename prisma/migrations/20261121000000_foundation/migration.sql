-- The foundation: who may do what (tenancy), what was traced (projects, runs) and in which order it was
-- committed (feed). Later capabilities add migrations of their own; nothing here is ever edited again.
--
-- Rules kept by test/conformance/schema-lint.test.ts:
--   * a tenant table starts its primary key and every unique constraint with workspace_id;
--   * no foreign key into or out of runs and feed, no triggers, no default partition;
--   * every other table is on the lint's list of reference or local tables, with its reason.

-- ── Tenancy ────────────────────────────────────────────────────────────────────────────────────────────────
create table organizations (
  id         uuid primary key,
  name       text not null,
  created_at timestamptz(6) not null default now()
);

create table workspaces (
  id              uuid primary key,
  organization_id uuid not null references organizations (id),
  name            text not null,
  -- The owner name in prompt identifiers and links; unique over the installation.
  handle          text not null unique,
  created_at      timestamptz(6) not null default now(),
  deleted_at      timestamptz(6)
);
create index workspaces_by_organization on workspaces (organization_id);

create table users (
  id         uuid primary key,
  email      text not null unique,
  name       text not null,
  created_at timestamptz(6) not null default now()
);

create table organization_members (
  organization_id uuid not null references organizations (id),
  user_id         uuid not null references users (id),
  -- owner | admin | member
  role            text not null,
  created_at      timestamptz(6) not null default now(),
  primary key (organization_id, user_id)
);

create table workspace_members (
  workspace_id uuid not null references workspaces (id),
  user_id      uuid not null references users (id),
  -- admin | editor | viewer | annotator
  role         text not null,
  created_at   timestamptz(6) not null default now(),
  primary key (workspace_id, user_id)
);
create index workspace_members_by_user on workspace_members (user_id);

-- Looked up by MAC before the workspace is known, hence not a tenant table. workspace_id is null for a key
-- of the whole organisation. next_mac is the second live secret during a rotation.
create table api_keys (
  id               uuid primary key,
  organization_id  uuid not null references organizations (id),
  workspace_id     uuid references workspaces (id),
  user_id          uuid references users (id),
  -- service | personal
  kind             text not null,
  name             text not null,
  -- First and last characters, for lists; never enough to guess the rest.
  hint             text not null,
  mac              bytea not null unique,
  previous_mac     bytea unique,
  previous_expires_at timestamptz(6),
  scopes           text[] not null,
  expires_at       timestamptz(6),
  revoked_at       timestamptz(6),
  last_used_at     timestamptz(6),
  created_at       timestamptz(6) not null default now()
);
create index api_keys_by_workspace on api_keys (workspace_id);
create index api_keys_by_organization on api_keys (organization_id);

-- Settings of this installation that must outlive a process and be the same in all of them.
create table installation (
  key   text primary key,
  value text not null
);

-- ── Projects ───────────────────────────────────────────────────────────────────────────────────────────────
create table projects (
  workspace_id         uuid not null,
  id                   uuid not null,
  name                 text not null,
  description          text,
  -- The wire protocol's extra object, metadata included.
  extra                jsonb not null default '{}',
  reference_dataset_id uuid,
  start_time           timestamptz(6) not null,
  end_time             timestamptz(6),
  created_at           timestamptz(6) not null,
  updated_at           timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index projects_by_creation on projects (workspace_id, created_at desc, id desc);

-- ── Runs ───────────────────────────────────────────────────────────────────────────────────────────────────
-- Partitioned by `day`, the day a run lives in. The day is a function of the run's identity, never of the
-- times a client sends (docs/decisions/001): a UUIDv7 id names its own day, any other id is looked up in
-- run_locator. run_days says which days hold which start times of a project, so that readers still prune.
-- Payloads are json text with external storage: compressing them costs half of the write path.
create table runs (
  workspace_id        uuid not null,
  id                  uuid not null,
  day                 date not null,
  project_id          uuid not null,
  trace_id            uuid not null,
  parent_run_id       uuid,
  dotted_order        text collate "C" not null,
  name                text not null,
  run_type            text not null,
  -- pending | success | error
  status              text not null,
  start_time          timestamptz(6) not null,
  end_time            timestamptz(6),
  first_token_time    timestamptz(6),
  -- Seconds, never negative; null while pending.
  latency             double precision,
  first_token_latency double precision,
  error               text,
  tags                text[] not null,
  thread_id           text,
  -- The customer a trace belongs to; data inside the workspace, not access.
  tenant_id           text,
  model               text,
  provider            text,
  prompt_tokens       bigint,
  completion_tokens   bigint,
  total_tokens        bigint,
  prompt_token_details     jsonb,
  completion_token_details jsonb,
  prompt_cost         numeric(24, 12),
  completion_cost     numeric(24, 12),
  total_cost          numeric(24, 12),
  prompt_cost_details      jsonb,
  completion_cost_details  jsonb,
  reference_example_id uuid,
  -- As the client sent it, nested, merged key by key.
  metadata            json not null,
  -- metadata flattened to path -> string (or list of strings): what metadata filters use.
  attributes          jsonb not null,
  -- The wire protocol's extra without metadata (runtime, invocation_params, ...).
  extra               json not null,
  inputs              json,
  outputs             json,
  events              json,
  serialized          json,
  inputs_preview      text,
  outputs_preview     text,
  -- [{name, mimeType, size}] in order of arrival; the bytes are in attachment_chunks.
  attachments         jsonb,
  -- Grows with each change of the row; a reader that has seen revision n has seen everything before.
  revision            bigint not null,
  -- Rank of the event each field came from (src/ingest/run-merge.ts).
  merge_rank          bigint not null,
  merge_state         json,
  created_at          timestamptz(6) not null,
  updated_at          timestamptz(6) not null,
  primary key (workspace_id, id, day)
) partition by range (day);

alter table runs
  alter column inputs set storage external,
  alter column outputs set storage external,
  alter column events set storage external,
  alter column serialized set storage external,
  alter column extra set storage external,
  alter column metadata set storage external;

-- All runs of a trace. Not with dotted_order: a run 50 levels deep would not fit an index row.
create index runs_by_trace on runs (workspace_id, trace_id);
-- The list of traces, newest first.
create index runs_roots on runs (workspace_id, project_id, start_time desc, id desc) where parent_run_id is null;
-- Lists of all runs and statistics over a time range.
create index runs_by_time on runs (workspace_id, project_id, start_time desc, id desc);
-- Turns of a thread, newest first.
create index runs_by_thread on runs (workspace_id, project_id, thread_id, start_time desc)
  where thread_id is not null and parent_run_id is null;
-- Metadata equality and containment.
create index runs_by_attribute on runs using gin (attributes jsonb_path_ops);

-- Runs whose id names a day for which no partition may exist (clock nonsense) and whose start does not
-- help either. Day 1970-01-01 by definition.
create table runs_stray partition of runs for values from ('1970-01-01') to ('1970-01-02');

-- Where a run lives whose id does not tell: id -> day. Insert-only.
create table run_locator (
  workspace_id uuid not null,
  run_id       uuid not null,
  day          date not null,
  primary key (workspace_id, run_id)
);

-- Zone map: the days of a project and the start times found there. Widened before the runs are written, so
-- it may promise too much, never too little.
create table run_days (
  workspace_id   uuid not null,
  project_id     uuid not null,
  day            date not null,
  first_start_on date not null,
  last_start_on  date not null,
  primary key (workspace_id, project_id, day)
);

-- Traces that were deleted: an event that arrives late must not bring them back.
create table trace_tombstones (
  workspace_id uuid not null,
  trace_id     uuid not null,
  deleted_at   timestamptz(6) not null,
  primary key (workspace_id, trace_id)
);

-- ── Attachments ────────────────────────────────────────────────────────────────────────────────────────────
create table attachments (
  workspace_id uuid not null,
  run_id       uuid not null,
  name         text not null,
  id           uuid not null,
  mime_type    text not null,
  size         bigint not null,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, run_id, name)
);

create table attachment_chunks (
  workspace_id  uuid not null,
  attachment_id uuid not null,
  position      integer not null,
  data          bytea not null,
  primary key (workspace_id, attachment_id, position)
);
alter table attachment_chunks alter column data set storage external;

-- ── Change feed ────────────────────────────────────────────────────────────────────────────────────────────
-- One row per committed batch and workspace. Readers take rows below pg_snapshot_xmin only, in (xid, seq)
-- order: commit order as far as anyone can observe it. Local to one node, never distributed.
create table feed (
  xid          xid8 not null default pg_current_xact_id(),
  seq          bigint generated always as identity,
  workspace_id uuid not null,
  project_ids  uuid[] not null,
  -- [[kind, projectIndex, runId, traceId], ...]; kinds in src/live/feed.ts.
  entries      json not null,
  created_at   timestamptz(6) not null default now(),
  primary key (xid, seq)
);
create index feed_by_age on feed (created_at);
alter table feed alter column entries set storage external;

-- The highest position ever trimmed: a cursor at or below it has a gap behind it.
create table feed_floor (
  only_row boolean primary key default true check (only_row),
  xid      xid8 not null,
  seq      bigint not null
);
insert into feed_floor (xid, seq) values ('0', 0);
