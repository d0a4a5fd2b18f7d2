-- Calls that were answered at a price nobody knows: a spend cap cannot be kept over them. Looked for before every paid call.
create index model_calls_unpriced on model_calls (workspace_id, owner_id)
  where cost is null and owner_id is not null and state in ('answered', 'failed');
