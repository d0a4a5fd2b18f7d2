-- Jobs: what there is to do, who does it, and how it went. The queue engine (BullMQ on Postgres or on Redis)
-- only delivers; everything it knows can be made again from here.
--
-- All four tables are local to one node, never distributed: they belong to the installation, and a job of the
-- whole installation has no workspace.

create table jobs (
  id             uuid primary key,
  -- Null for work of the whole installation.
  workspace_id   uuid,
  name           text not null,
  queue          text not null,
  -- At most one active job per name, workspace and key.
  dedupe_key     text,
  -- Ids and versions only, never content.
  payload        jsonb not null,
  -- queued | running | waiting (until run_at) | succeeded | failed | cancelled
  state          text not null,
  -- {done, total, note}, as the handler last reported it.
  progress       jsonb,
  -- Executions that counted; one that died with its process does not.
  attempts       integer not null default 0,
  max_attempts   integer not null,
  -- Executions that ended without a word: their process died or froze.
  crashes        integer not null default 0,
  -- Number of the execution that owns the row. An older execution that still runs is refused by it.
  claim          bigint not null default 0,
  -- Number of the delivery the engine was last given; part of the engine's job id.
  delivery       integer not null default 1,
  -- 0 is first. Grows with what the same workspace already has queued, so that workspaces take turns.
  priority       integer not null default 0,
  -- Why it waits: scheduled | retry
  waiting_reason text,
  error          text,
  actor          text,
  run_at         timestamptz(6) not null default now(),
  created_at     timestamptz(6) not null default now(),
  started_at     timestamptz(6),
  heartbeat_at   timestamptz(6),
  -- When the sweeper last found the delivery in the engine.
  checked_at     timestamptz(6),
  finished_at    timestamptz(6),
  -- After this a finished row is removed.
  keep_until     timestamptz(6)
);
create unique index jobs_one_active on jobs
  (name, coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid), dedupe_key)
  where dedupe_key is not null and state in ('queued', 'running', 'waiting');
-- What is queued, per workspace for turns and per queue for places in line.
create index jobs_queued on jobs (queue, priority, created_at) where state = 'queued';
create index jobs_queued_by_workspace on jobs (workspace_id, queue) where state = 'queued';
-- The sweeper: what may have been lost, oldest look first.
create index jobs_active on jobs (state, run_at) where state in ('queued', 'running', 'waiting');
-- Lists of a workspace, newest first.
create index jobs_by_creation on jobs (workspace_id, created_at desc, id desc);
create index jobs_expired on jobs (keep_until) where keep_until is not null;

-- Deliveries that have not reached the engine yet. Emptied by the dispatcher.
create table job_outbox (
  id           bigint generated always as identity primary key,
  job_id       uuid not null,
  queue        text not null,
  -- The engine's job id: adding it twice adds it once.
  delivery_id  text not null,
  delivery     integer not null,
  priority     integer not null,
  run_at       timestamptz(6) not null,
  -- A dispatcher is handing it over until then.
  leased_until timestamptz(6),
  created_at   timestamptz(6) not null default now()
);
create index job_outbox_by_job on job_outbox (job_id);

-- Worker processes that are alive, and the queues they serve.
create table job_workers (
  id      uuid primary key,
  queues  text[] not null,
  seen_at timestamptz(6) not null
);

-- The days that have a partition of runs. A writer that is about to put a run of such a day into runs_stray
-- takes a share lock on this table first; whoever makes the partition inserts here first. So no run of a day
-- can slip into runs_stray while its partition is being made.
create table run_partitions (
  day        date primary key,
  created_at timestamptz(6) not null default now()
);

-- Upkeep looks for chunks whose attachment never came to be.
create index attachments_by_id on attachments (workspace_id, id);
