-- Comparative experiments that workers judge: their units are rows and results under the comparative experiment's id.
alter table experiment_rows
  -- Of a pair: the other experiment's run for the same example and repetition; run_id is the first's.
  add column other_run_id uuid;
