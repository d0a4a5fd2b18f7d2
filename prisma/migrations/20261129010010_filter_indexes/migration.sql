-- Indexes for filters that found few runs only by looking at each one of the project.

-- Tags, in the index of metadata: a posting list more for each tag of a run, but no second structure to keep.
drop index runs_by_attribute;
create index runs_by_attribute on runs using gin (attributes jsonb_path_ops, tags);

-- Runs of a thread below its roots. Roots stay in runs_by_thread, where a thread's turns are read in order.
create index runs_by_thread_below on runs (workspace_id, project_id, thread_id)
  where thread_id is not null and parent_run_id is not null;

-- Feedback by key and score, whatever the run's project: for scores that few runs have.
create index feedback_by_key on feedback (workspace_id, key, score, run_id) where run_id is not null;
