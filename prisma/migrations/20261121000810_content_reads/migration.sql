-- Who read content (inputs, outputs, errors, events, attachments) when, by which operation: one row per operation
-- and kind of object, written within seconds of the read. Partitioned by month, so that what is past its retention
-- leaves as a whole; upkeep makes the months ahead. Read by admins, newest first, along the primary key.
create table content_reads (
  workspace_id uuid not null,
  -- When the operation first read content.
  read_at      timestamptz(6) not null,
  id           uuid not null,
  -- service | personal | link | system
  caller       text not null,
  -- Null for holders of links and for work of the installation itself.
  key_id       uuid,
  user_id      uuid,
  -- The id that logs and responses carry, too.
  request_id   text not null,
  -- graphql | rest | live | link | system
  via          text not null,
  -- Such as `query Traces`, `POST /runs/query`.
  operation    text not null,
  -- run | thread | attachment | ...
  object_type  text not null,
  -- The first of them; object_count says how many there were.
  object_ids   text[] not null,
  object_count bigint not null,
  -- The content fields that were read.
  fields       text[] not null,
  primary key (workspace_id, read_at, id)
) partition by range (read_at);

do $$
declare
  month timestamp := date_trunc('month', now() at time zone 'UTC');
begin
  for step in 0..1 loop
    execute format(
      'create table content_reads_%s partition of content_reads for values from (%L) to (%L)',
      to_char(month, 'YYYYMM'),
      to_char(month, 'YYYY-MM-DD') || ' 00:00:00+00',
      to_char(month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00');
    perform protect_tenant_table(format('content_reads_%s', to_char(month, 'YYYYMM'))::regclass);
    month := month + interval '1 month';
  end loop;
end
$$;

select protect_tenant_table('content_reads');
select protect_tenant_table('idempotency_records');
