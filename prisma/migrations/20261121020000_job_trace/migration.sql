-- Which request or job asked for a job, as a W3C traceparent: the job's own trace points back to it. Null while spans
-- are not recorded.
alter table jobs add column traceparent text;
