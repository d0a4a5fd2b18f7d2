-- What carrying an experiment out needs beside 20261121010200.

alter table experiment_executions
  -- Milliseconds a target may take for one row.
  add column deadline_ms integer not null default 60000,
  -- US dollars of all calls so far; grows in the transactions that end an attempt, so each call counts once.
  add column spend       numeric(24, 12) not null default 0;

alter table experiment_rows
  -- Times a person had it tried again after it had failed for good; a new round has a run of its own.
  add column round  integer not null default 0,
  -- Claims that ended without a word: their process died or froze.
  add column losses integer not null default 0,
  -- US dollars of the target's calls.
  add column cost   numeric(24, 12);

alter table experiment_results
  add column round  integer not null default 0,
  add column losses integer not null default 0;

select protect_tenant_table('experiment_executions');
select protect_tenant_table('comparative_experiments');
