-- Full text and flattened payload pairs of runs, kept behind the write path by an indexer that follows the feed.

create table run_search (
  workspace_id uuid not null,
  run_id       uuid not null,
  day          date not null,
  -- Distinct folded words of name, error, inputs and outputs, and "@<workspace_id>", which keeps a lookup inside
  -- one workspace's posting lists (src/filters/text-index.ts, search-resolution.ts).
  words        tsvector not null,
  -- path -> text or list of texts, as runs.attributes.
  input_pairs  jsonb not null,
  output_pairs jsonb not null,
  -- Of the run when it was indexed.
  revision     bigint not null,
  primary key (workspace_id, run_id)
);
create index run_search_by_word on run_search using gin (words);
create index run_search_by_input on run_search using gin (input_pairs jsonb_path_ops);
create index run_search_by_output on run_search using gin (output_pairs jsonb_path_ops);

-- The last feed row the indexer has worked off. Local to one node, as the feed is.
create table search_position (
  only_row boolean primary key default true check (only_row),
  xid      xid8 not null,
  seq      bigint not null
);
insert into search_position (xid, seq) values ('0', 0);
