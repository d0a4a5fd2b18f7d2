-- Harvests: examples made from runs again and again. A harvest is a definition; each execution of it keeps the
-- definition it was made by, and a candidate for every run it looked at. What a harvest has added, proposed or been
-- refused is kept by run, so that no run is harvested twice, however often and by however many workers.

create table harvests (
  workspace_id uuid not null,
  id           uuid not null,
  name         text not null,
  description  text,
  dataset_id   uuid not null,
  -- src/harvest/harvest.ts
  definition   json not null,
  -- Grows with each change of the definition; executions say which one they were made by.
  revision     integer not null,
  -- Runs that started before this were looked at by an execution that ended well; null before the first.
  harvested_to timestamptz(6),
  actor        text,
  created_at   timestamptz(6) not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index harvests_by_creation on harvests (workspace_id, created_at desc, id desc);

create table harvest_runs (
  workspace_id uuid not null,
  id           uuid not null,
  harvest_id   uuid not null,
  -- Of the harvest, for the notes of versions.
  harvest_name text not null,
  dataset_id   uuid not null,
  revision     integer not null,
  definition   json not null,
  -- running | proposed | applied | rejected | failed | cancelled
  state        text not null,
  -- Why it failed, for people.
  reason       text,
  -- Of the runs' start times, half-open.
  window_from  timestamptz(6) not null,
  window_to    timestamptz(6) not null,
  -- The dataset's newest version when its examples were compared with the candidates.
  dataset_version integer,
  matched      integer not null default 0,
  internal     integer not null default 0,
  known        integer not null default 0,
  redacted     integer not null default 0,
  exact_duplicates integer not null default 0,
  near_duplicates  integer not null default 0,
  over_cap     integer not null default 0,
  pending      integer not null default 0,
  added        integer not null default 0,
  rejected     integer not null default 0,
  failed       integer not null default 0,
  -- The version of the dataset it made; null where it made none.
  version      integer,
  job_id       uuid,
  -- Who asked for it: a user, a key, a schedule.
  actor        text,
  -- Who approved or rejected it.
  decided_by   text,
  created_at   timestamptz(6) not null,
  finished_at  timestamptz(6),
  primary key (workspace_id, id)
);
create index harvest_runs_by_creation on harvest_runs (workspace_id, created_at desc, id desc);
create index harvest_runs_by_harvest on harvest_runs (workspace_id, harvest_id, created_at desc, id desc);
-- Executions whose job may be gone.
create index harvest_runs_running on harvest_runs (created_at) where state = 'running';
-- Candidates that nobody looks at any more.
create index harvest_runs_finished on harvest_runs (finished_at) where finished_at is not null;

create table harvest_candidates (
  workspace_id   uuid not null,
  harvest_run_id uuid not null,
  source_run_id  uuid not null,
  -- In order of the runs' start times, from 1.
  position       integer not null,
  start_time     timestamptz(6) not null,
  -- pending | added | known | exact_duplicate | near_duplicate | over_cap | rejected | failed
  verdict        text not null,
  -- Why it failed, without content.
  reason         text,
  -- The example or run it is a duplicate of.
  duplicate_of   uuid,
  -- How often which pattern was found: {"EMAIL": 2}. Null where none was.
  redactions     jsonb,
  -- Hash of the value candidates are shared out by; null where they are not.
  stratum        text,
  inputs_hash    bytea,
  -- The example it would become, redacted; only while it is pending.
  inputs         json,
  outputs        json,
  metadata       json,
  example_id     uuid,
  primary key (workspace_id, harvest_run_id, source_run_id)
);
create index harvest_candidates_by_position on harvest_candidates (workspace_id, harvest_run_id, position);

-- What became of the runs a harvest has met: one row for each run, for as long as the harvest exists.
create table harvest_sources (
  workspace_id   uuid not null,
  harvest_id     uuid not null,
  dataset_id     uuid not null,
  source_run_id  uuid not null,
  harvest_run_id uuid not null,
  -- proposed | added | rejected
  outcome        text not null,
  created_at     timestamptz(6) not null,
  primary key (workspace_id, harvest_id, dataset_id, source_run_id)
);
create index harvest_sources_by_run on harvest_sources (workspace_id, harvest_run_id);

select protect_tenant_table('harvests');
select protect_tenant_table('harvest_runs');
select protect_tenant_table('harvest_candidates');
select protect_tenant_table('harvest_sources');
