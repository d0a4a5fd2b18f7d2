-- Feedback on runs and projects, what a feedback key means, and the two kinds of unguessable links: a run
-- shared for reading, and a form that accepts feedback without a key.
--
-- No foreign key leads to runs: feedback regularly arrives before the run it is about.

create table feedback (
  workspace_id      uuid not null,
  id                uuid not null,
  -- Null for feedback on a whole project (an experiment's summary scores).
  run_id            uuid,
  -- Null until known: taken from the client where it says so, from the run otherwise.
  trace_id          uuid,
  project_id        uuid,
  key               text not null,
  -- A boolean is stored as 1 or 0 here and as itself in value.
  score             double precision,
  value             jsonb,
  comment           text,
  -- What the output should have been: an object or a text.
  correction        jsonb,
  -- api | model | app | auto_eval, or what else the client names; a copy of source.type for filters.
  source_type       text not null,
  -- Who said it, whole: type, metadata, user ids, reviewer, evaluator version, rubric version.
  source            jsonb not null,
  feedback_group_id uuid,
  comparative_experiment_id uuid,
  extra             jsonb,
  thread_id         text,
  run_start_time    timestamptz(6),
  created_at        timestamptz(6) not null,
  updated_at        timestamptz(6) not null,
  primary key (workspace_id, id)
);
-- Feedback of a run or of a page of runs.
create index feedback_by_run on feedback (workspace_id, run_id, key);
-- Lists of a project, newest first, and its statistics per key.
create index feedback_by_project on feedback (workspace_id, project_id, key, created_at desc, id desc);
create index feedback_by_trace on feedback (workspace_id, trace_id);
-- The workspace's own list, newest first.
create index feedback_by_creation on feedback (workspace_id, created_at desc, id desc);
-- What still waits for its run: few rows, looked at by lists of a project and emptied by upkeep.
create index feedback_unattached on feedback (workspace_id, created_at) where project_id is null and run_id is not null;

create table feedback_configs (
  workspace_id uuid not null,
  key          text not null,
  -- continuous | categorical | freeform
  type         text not null,
  -- Bounds of a continuous score, both included; null is unbounded.
  min          double precision,
  max          double precision,
  -- [{value, label}] of a categorical key.
  categories   jsonb,
  is_lower_score_better boolean not null default false,
  created_at   timestamptz(6) not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, key)
);

-- Looked up by its unguessable token before the workspace is known, hence not a tenant table.
create table run_shares (
  token        uuid primary key,
  workspace_id uuid not null,
  run_id       uuid not null,
  trace_id     uuid not null,
  created_at   timestamptz(6) not null,
  expires_at   timestamptz(6),
  unique (workspace_id, run_id)
);

-- Looked up by its unguessable id before the workspace is known, hence not a tenant table.
create table feedback_tokens (
  id           uuid primary key,
  workspace_id uuid not null,
  run_id       uuid not null,
  key          text not null,
  config       jsonb,
  created_at   timestamptz(6) not null,
  expires_at   timestamptz(6) not null
);
create index feedback_tokens_by_run on feedback_tokens (workspace_id, run_id, created_at);
