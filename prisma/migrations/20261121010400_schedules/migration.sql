-- What happens again and again at times people choose: experiments, harvests. A due time is taken by moving
-- next_run_at on in the transaction that makes the job, so it happens once, however many look.

create table schedules (
  workspace_id uuid not null,
  id           uuid not null,
  name         text not null,
  -- What is done: src/schedules/schedule.ts
  kind         text not null,
  -- The kind's own settings, checked before they were stored.
  config       json not null,
  -- Five fields: minute, hour, day of month, month, day of week.
  cron         text not null,
  -- IANA name.
  timezone     text not null,
  enabled      boolean not null,
  -- Null while it is disabled, and where the expression has no further time.
  next_run_at  timestamptz(6),
  -- The due time that was last taken, and what came of it: started | failed | null while it is being worked on.
  last_run_at  timestamptz(6),
  last_outcome text,
  -- Why it failed, for people.
  last_message text,
  -- What was made: an experiment's id.
  last_result_id uuid,
  actor        text,
  created_at   timestamptz(6) not null,
  updated_at   timestamptz(6) not null,
  primary key (workspace_id, id),
  unique (workspace_id, name)
);
create index schedules_due on schedules (next_run_at) where next_run_at is not null;
create index schedules_by_creation on schedules (workspace_id, created_at desc, id desc);
select protect_tenant_table('schedules');
