-- The short columns of a run stay in its row and are not compressed as long as moving its payloads out is enough. A row
-- beyond 2 kB used to go through pglz column by column first, a sixth of what Postgres spent on a run of 5 KB. Errors may
-- be long and are still compressed. Rows that are there stay as they are; partitions made later take this from runs.
alter table runs
  alter column dotted_order set storage main,
  alter column name set storage main,
  alter column run_type set storage main,
  alter column status set storage main,
  alter column tags set storage main,
  alter column thread_id set storage main,
  alter column tenant_id set storage main,
  alter column model set storage main,
  alter column provider set storage main,
  alter column prompt_token_details set storage main,
  alter column completion_token_details set storage main,
  alter column prompt_cost_details set storage main,
  alter column completion_cost_details set storage main,
  alter column attributes set storage main,
  alter column inputs_preview set storage main,
  alter column outputs_preview set storage main,
  alter column attachments set storage main,
  alter column merge_state set storage main;
