-- Experiments. An experiment is a project with a reference dataset: its runs that name an example are its rows,
-- the feedback on them its scores, whoever made them. These tables are what a worker needs beside that to carry
-- one out by itself: a unit per row and per score, each with a natural key, so that nothing is done twice.

create table experiment_executions (
  workspace_id  uuid not null,
  -- Also the id of its project.
  experiment_id uuid not null,
  dataset_id    uuid not null,
  -- Pinned: an experiment never runs over "whatever is there".
  dataset_version integer not null,
  -- Empty: all splits.
  splits        text[] not null,
  -- {kind: model | http | runs, ...}: src/experiments/target.ts
  target        json not null,
  target_hash   bytea not null,
  evaluator_version_ids uuid[] not null,
  repetitions   integer not null,
  concurrency   integer not null,
  -- Executions of one unit that may fail before its error is kept.
  max_attempts  integer not null,
  -- Part of the cache key and of every random choice.
  seed          bigint not null,
  use_cache     boolean not null,
  -- US dollars; null: no cap. Units that would start above it are not started.
  spend_cap     numeric(24, 12),
  -- planning | running | paused | cancelled | completed | failed
  state         text not null,
  -- Why it is paused or failed, for people: paused by a user, spend cap reached, ...
  state_reason  text,
  -- Grows with each change of state or progress: what subscribers resume from.
  revision      bigint not null default 0,
  actor         text,
  created_at    timestamptz(6) not null,
  started_at    timestamptz(6),
  finished_at   timestamptz(6),
  primary key (workspace_id, experiment_id)
);
create index experiment_executions_open on experiment_executions (created_at) where state in ('planning', 'running');

-- One per example and repetition.
create table experiment_rows (
  workspace_id  uuid not null,
  experiment_id uuid not null,
  example_id    uuid not null,
  -- From 0.
  repetition    integer not null,
  -- Order in which rows are started.
  position      integer not null,
  -- pending | running | done | failed
  state         text not null,
  -- Number of the execution that owns the unit; an older one that still runs is refused by it.
  claim         integer not null default 0,
  -- The claim is lost after this.
  claimed_until timestamptz(6),
  attempts      integer not null default 0,
  -- Not before; for trying again later.
  available_at  timestamptz(6) not null,
  -- The target's run; its id is fixed before the first attempt.
  run_id        uuid not null,
  -- {code, message} of a target that failed for good.
  error         jsonb,
  -- The run whose output was used again instead of calling the target.
  cached_from   uuid,
  finished_at   timestamptz(6),
  primary key (workspace_id, experiment_id, example_id, repetition)
);
create index experiment_rows_open on experiment_rows (workspace_id, experiment_id, position) where state in ('pending', 'running');

-- One per row and evaluator version.
create table experiment_results (
  workspace_id  uuid not null,
  experiment_id uuid not null,
  example_id    uuid not null,
  repetition    integer not null,
  evaluator_version_id uuid not null,
  -- pending | running | scored | failed | skipped (no output to evaluate)
  state         text not null,
  claim         integer not null default 0,
  claimed_until timestamptz(6),
  attempts      integer not null default 0,
  available_at  timestamptz(6) not null,
  -- Of the feedback written in the transaction that made this `scored`.
  feedback_ids  uuid[] not null default '{}',
  -- {code, message}: an evaluator that failed is an error, never a score.
  error         jsonb,
  -- Whether the scores are those of an earlier equal evaluation; never counted as new evidence.
  cached        boolean not null default false,
  -- Of k repeats of a judge: their values and how far they lie apart.
  spread        jsonb,
  -- US dollars of the calls made for it.
  cost          numeric(24, 12),
  finished_at   timestamptz(6),
  primary key (workspace_id, experiment_id, example_id, repetition, evaluator_version_id)
);
create index experiment_results_open on experiment_results (workspace_id, experiment_id, available_at) where state in ('pending', 'running');

-- Results by what they were made from: example content, target, evaluator version, seed. Content-addressed, so a
-- row is never changed.
create table evaluation_cache (
  workspace_id uuid not null,
  -- SHA-256: src/experiments/evaluation-cache.ts
  key          bytea not null,
  -- target | evaluation
  kind         text not null,
  -- The run whose output this is, or that was scored.
  run_id       uuid not null,
  value        json not null,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, key)
);
create index evaluation_cache_by_age on evaluation_cache (created_at);

-- Comparative (pairwise) experiments of the wire protocol: which experiments stand against each other.
create table comparative_experiments (
  workspace_id   uuid not null,
  id             uuid not null,
  name           text,
  description    text,
  reference_dataset_id uuid not null,
  experiment_ids uuid[] not null,
  extra          jsonb not null default '{}',
  created_at     timestamptz(6) not null,
  updated_at     timestamptz(6) not null,
  primary key (workspace_id, id)
);
create index comparative_experiments_by_dataset on comparative_experiments (workspace_id, reference_dataset_id, created_at desc, id desc);
