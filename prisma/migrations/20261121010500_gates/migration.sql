-- Gates: rules an experiment must meet before what it stands for may be released, and every time they were asked.

create table gates (
  workspace_id uuid not null,
  id           uuid not null,
  name         text not null,
  description  text,
  -- [{kind, ...}]: src/gates/gate.ts
  rules        json not null,
  -- {alpha, minimumPairs, ...}
  settings     json not null,
  -- Failing evaluations of one candidate in a row before it is blocked.
  failures_to_block integer not null,
  -- Grows with each change; evaluations say which one they were made by.
  revision     integer not null,
  created_at   timestamptz(6) not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index gates_by_creation on gates (workspace_id, created_at desc, id desc);

create table gate_evaluations (
  workspace_id  uuid not null,
  id            uuid not null,
  -- Null for rules that were given along with the question.
  gate_id       uuid,
  gate_revision integer,
  -- What is to be released, for example a commit: several experiments may stand for one candidate.
  candidate_ref text not null,
  candidate_experiment_id uuid not null,
  baseline_experiment_id  uuid,
  -- PASS | FAIL | INCONCLUSIVE
  verdict       text not null,
  -- Failing evaluations of this candidate in a row, this one included.
  failures      integer not null,
  blocks        boolean not null,
  -- Rules with their verdicts and the figures they were judged by.
  report        json not null,
  actor         text,
  created_at    timestamptz(6) not null,
  primary key (workspace_id, id)
);
create index gate_evaluations_by_gate on gate_evaluations (workspace_id, gate_id, created_at desc, id desc);
create index gate_evaluations_by_candidate on gate_evaluations (workspace_id, gate_id, candidate_ref, created_at desc, id desc);

select protect_tenant_table('gates');
select protect_tenant_table('gate_evaluations');
