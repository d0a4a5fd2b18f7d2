-- harvest_sources.outcome may be passed_over too: the cap or a duplicate left the run out. That holds for the
-- definition that did so, told by its revision; null for the other outcomes, which hold for good.
alter table harvest_sources add column if not exists revision integer;
