-- A subscriber that resumes reads its own workspace's part of the log. Without this it would read everybody's: at
-- 200 batches a second, 17 million rows a day. Costs one index entry per batch and workspace, never per run.
create index feed_by_workspace on feed (workspace_id, xid, seq);
