-- Language models: who answers, under which limits, and a record of every call, so that none is paid for twice.

create table model_providers (
  workspace_id uuid not null,
  id           uuid not null,
  name         text not null,
  -- openai_compatible | anthropic
  kind         text not null,
  base_url     text not null,
  -- {secret, headers}, sealed for this row: src/platform/vault.ts
  credentials  text not null,
  -- Last four characters of the secret; null where there is none.
  secret_hint  text,
  header_names text[] not null,
  -- Calls under way at once, and started per minute (null: no limit), over all processes.
  max_concurrency     integer not null,
  requests_per_minute integer,
  -- Of one attempt, milliseconds.
  timeout_ms    integer not null,
  -- How an answer of a given form is asked for: json_schema | tool_call
  structured_output text not null,
  default_model text,
  created_at    timestamptz(6) not null,
  updated_at    timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index model_providers_by_creation on model_providers (workspace_id, created_at desc, id desc);

-- US dollars per million tokens. The model "*" stands for those that are not listed.
create table model_prices (
  workspace_id uuid not null,
  provider_id  uuid not null,
  model        text not null,
  input        numeric(18, 6) not null,
  output       numeric(18, 6) not null,
  primary key (workspace_id, provider_id, model)
);

-- One row per provider that was called: its bucket of requests, and what its last answers say about its health.
create table model_gates (
  workspace_id uuid not null,
  provider_id  uuid not null,
  tokens       float8 not null,
  refilled_at  timestamptz(6) not null,
  -- No call begins before: the provider has asked for quiet.
  paused_until timestamptz(6),
  -- Answers in a row that were 429, and that were none at all.
  throttled    integer not null default 0,
  failures     integer not null default 0,
  -- Calls are refused until then; afterwards one may try.
  broken_until timestamptz(6),
  primary key (workspace_id, provider_id)
);

-- Calls under way. A slot whose process died is free when its time is over.
create table model_slots (
  workspace_id uuid not null,
  provider_id  uuid not null,
  id           uuid not null,
  held_until   timestamptz(6) not null,
  primary key (workspace_id, provider_id, id)
);

create table model_calls (
  workspace_id  uuid not null,
  -- The caller's name for the call, for ever.
  call_id       text not null,
  provider_id   uuid not null,
  model         text not null,
  -- What the cost counts for, such as an experiment.
  owner_id      uuid,
  -- running | open (may be tried again) | answered | failed (answered and paid for, but of no use)
  state         text not null,
  -- Number of the execution that owns the call; an older one that still runs is refused by it.
  claim         integer not null,
  claimed_until timestamptz(6),
  -- Requests sent, over all executions.
  attempts      integer not null default 0,
  prompt_tokens     bigint,
  completion_tokens bigint,
  -- US dollars; null where the price is not known.
  cost          numeric(24, 12),
  answer        text,
  -- {code, message} of a call that failed.
  error         jsonb,
  run_id        uuid,
  -- Whether the run was committed.
  traced        boolean not null default false,
  started_at    timestamptz(6),
  finished_at   timestamptz(6),
  created_at    timestamptz(6) not null,
  primary key (workspace_id, call_id)
);
create index model_calls_by_owner on model_calls (workspace_id, owner_id) where owner_id is not null;
create index model_calls_by_age on model_calls (created_at);

select protect_tenant_table('model_providers');
select protect_tenant_table('model_prices');
select protect_tenant_table('model_gates');
select protect_tenant_table('model_slots');
select protect_tenant_table('model_calls');
