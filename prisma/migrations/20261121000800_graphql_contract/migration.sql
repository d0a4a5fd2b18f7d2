-- Calls with an idempotency key and what they were answered, kept for 24 hours so that a repetition gets the same
-- answer. A row is written in the transaction of the call's own effect: there is one if and only if the other is
-- there. That a call is going on is an advisory lock of its transaction and needs no row, so that nothing is left
-- behind by a process that died.
create table idempotency_records (
  workspace_id uuid not null,
  -- Derived from the workspace, the calling key, the mutation and the idempotency key; tells none of them.
  id           bytea not null,
  mutation     text not null,
  -- Another input under the same key is refused.
  request_hash bytea not null,
  -- Encrypted with a key that takes the idempotency key to make: results can hold secrets and content.
  result       bytea not null,
  created_at   timestamptz(6) not null,
  primary key (workspace_id, id)
);
create index idempotency_records_by_age on idempotency_records (created_at);
