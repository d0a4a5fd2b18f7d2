-- Whose runs an answer of a gate rests on: a candidate that was copied from the cache of an earlier try is no new try.
alter table gate_evaluations
  -- The experiment most outputs were made by: the candidate itself, or the one they were taken from. Null: as the candidate.
  add column evidence_experiment_id uuid;
