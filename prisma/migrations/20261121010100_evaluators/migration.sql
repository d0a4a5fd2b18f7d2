-- Evaluators: what turns an output into a score. Every change makes a new immutable version; scores name the
-- version they came from.

create table evaluators (
  workspace_id uuid not null,
  id           uuid not null,
  name         text not null,
  description  text,
  -- Newest version.
  version      integer not null,
  archived_at  timestamptz(6),
  created_at   timestamptz(6) not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index evaluators_by_creation on evaluators (workspace_id, created_at desc, id desc);

create table evaluator_versions (
  workspace_id uuid not null,
  id           uuid not null,
  evaluator_id uuid not null,
  version      integer not null,
  -- exact_match, llm_judge, code, ...: src/evaluators/evaluator.ts
  kind         text not null,
  -- The key its scores are stored under.
  feedback_key text not null,
  -- The kind's own settings, checked before they were stored.
  config       json not null,
  -- SHA-256 of the canonical JSON of [kind, feedback key, config]: part of the key of cached results.
  config_hash  bytea not null,
  actor        text,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, evaluator_id, version)
);
