-- Runs that did not say where in the tree they stand (no trace_id or no dotted_order) follow their parent: when it
-- comes, or moves, they move with it. Only such runs have a row; the client libraries say both in every batch.
create table run_followers (
  workspace_id  uuid not null,
  run_id        uuid not null,
  parent_run_id uuid not null,
  primary key (workspace_id, run_id)
);
create index run_followers_by_parent on run_followers (workspace_id, parent_run_id, run_id);
