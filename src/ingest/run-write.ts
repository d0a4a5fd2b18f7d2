/**
 * The transaction of the write path. Rows that exist are locked, merged and updated; new rows are inserted;
 * the feed says what happened; then it commits. Knows nothing of batches, retries or who is waiting.
 */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { appendFeed } from '../live/feed.js';
import type { FeedEntry, FeedKind } from '../live/feed.js';
import { holdStrayDays } from './partition-catalog.js';
import { CopyBuffer } from './copy-binary.js';
import { naturalDay, STRAY_DAY } from './run-location.js';
import { mergeDrafts, PAYLOAD_FIELDS, TieError } from './run-merge.js';
import type { PayloadField, RunDraft } from './run-merge.js';
import {
  buildRow,
  COLUMNS,
  draftFromStored,
  encodeRow,
  KEPT_COLUMNS,
  needsOutputs,
  STORED_COLUMNS,
} from './run-row.js';
import type { RunRow, StoredRow } from './run-row.js';

export interface DraftToWrite {
  readonly draft: RunDraft;
  readonly day: string;
  /** The project of a run that names none. */
  readonly defaultProjectId: string;
}

export interface WriteOptions {
  readonly nowUs: number;
  /** Whether runs with a create event are copied straight into the table, trusting that they are new. */
  readonly optimistic: boolean;
}

/** A project was deleted since it was resolved, or never existed. Nothing was written. */
export class ProjectGoneError extends Error {
  constructor(readonly projectIds: readonly string[]) {
    super('project not found');
  }
}

/** A run that was to go to the stray partition has got a partition of its own meanwhile. Nothing was written. */
export class StaleLocationError extends Error {
  constructor(readonly days: readonly string[]) {
    super(`partitions appeared for ${days.join(', ')}`);
  }
}

interface FeedNews {
  readonly row: RunRow;
  readonly kind: FeedKind;
}

const columns = COLUMNS.join(', ');

// Sessions keep the stage; its rows go with each commit. Payloads pass through it uncompressed.
const CREATE_STAGE = `
create temp table if not exists stage_runs (like runs, keep integer not null) on commit delete rows;
alter table stage_runs
  alter column inputs set storage external, alter column outputs set storage external,
  alter column events set storage external, alter column serialized set storage external,
  alter column extra set storage external, alter column metadata set storage external`;

const INSERT_STAGED = `/* runs.insert_staged */
insert into runs (${columns})
select ${columns} from stage_runs where revision = 1
on conflict (workspace_id, id, day) do nothing
returning workspace_id::text || id::text as key`;

const assignments = COLUMNS.filter(
  (column) => !['workspace_id', 'id', 'day', 'created_at'].includes(column),
).map((column) => {
  const bit = KEPT_COLUMNS[column];
  return bit === undefined
    ? `${column} = s.${column}`
    : `${column} = case when s.keep & ${bit} = 0 then s.${column} else r.${column} end`;
});

const UPDATE_STAGED = `/* runs.update_staged */
update runs r set ${assignments.join(', ')}
from stage_runs s
where s.revision > 1 and r.workspace_id = s.workspace_id and r.id = s.id and r.day = s.day`;

const LOCK_STORED = `/* runs.lock_stored */
select ${STORED_COLUMNS}
from unnest($1::uuid[], $2::uuid[], $3::date[]) with ordinality as wanted (workspace_id, id, day, position)
join runs r on r.workspace_id = wanted.workspace_id and r.id = wanted.id and r.day = wanted.day
where r.day = any($3::date[])
order by wanted.position
for update of r`;

const READ_PAYLOADS = `/* runs.read_payloads */
select r.workspace_id::text || r.id::text as key, r.inputs, r.outputs, r.events, r.serialized
from unnest($1::uuid[], $2::uuid[], $3::date[]) as wanted (workspace_id, id, day)
join runs r on r.workspace_id = wanted.workspace_id and r.id = wanted.id and r.day = wanted.day
where r.day = any($3::date[])`;

const GUARD = `/* runs.guard */
select
  (select coalesce(array_agg(t.workspace_id::text || t.trace_id::text), '{}')
   from unnest($1::uuid[], $2::uuid[]) as w (workspace_id, trace_id)
   join trace_tombstones t on t.workspace_id = w.workspace_id and t.trace_id = w.trace_id) as dead_traces,
  (select coalesce(array_agg(w.id::text), '{}')
   from unnest($3::uuid[], $4::uuid[]) as w (workspace_id, id)
   where not exists (select from projects p where p.workspace_id = w.workspace_id and p.id = w.id)) as missing_projects`;

const keyOf = (draft: RunDraft): string => draft.workspaceId + draft.id;

/**
 * Writes drafts, sorted by (workspace, id), in one transaction that is committed when this resolves.
 * @returns whether anything changed, so that the feed's doorbell is worth ringing.
 * @throws ProjectGoneError; a unique violation when `optimistic` trusted wrongly; anything Postgres says. The
 *   caller rolls back.
 */
export async function writeDrafts(
  client: pg.PoolClient,
  all: readonly DraftToWrite[],
  options: WriteOptions,
): Promise<boolean> {
  await client.query('begin');
  const items = await guard(client, all);
  await holdStrays(client, items);
  const trusted = options.optimistic ? items.filter(({ draft }) => draft.created) : [];
  const rest = options.optimistic ? items.filter(({ draft }) => !draft.created) : items;
  const news = await mergeOrInsert(client, rest, options.nowUs);
  if (trusted.length > 0) {
    const rows = trusted.map((item) => newRow(item, options.nowUs));
    await copy(client, 'runs', rows);
    for (const row of rows) news.push({ row, kind: row.status === 'pending' ? 's' : 'e' });
  }
  await announce(client, news);
  await client.query('commit');
  return news.length > 0;
}

/** A stray run's day may get its partition at any moment; from here to the commit it may not. */
async function holdStrays(client: pg.PoolClient, items: readonly DraftToWrite[]): Promise<void> {
  const days = new Set(
    items.flatMap(({ draft, day }) => (day === STRAY_DAY ? (naturalDay(draft.id) ?? []) : [])),
  );
  if (days.size === 0) return;
  const appeared = await holdStrayDays(client, [...days]);
  if (appeared.length > 0) throw new StaleLocationError(appeared);
}

/** Leaves out runs of deleted traces; refuses to write into projects that are not there. */
async function guard(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
): Promise<readonly DraftToWrite[]> {
  const traces = new Map<string, [string, string]>();
  const projects = new Map<string, [string, string]>();
  for (const { draft, defaultProjectId } of items) {
    const traceId = draft.traceId ?? draft.parentRunId ?? draft.id;
    traces.set(draft.workspaceId + traceId, [draft.workspaceId, traceId]);
    const projectId = draft.projectId ?? defaultProjectId;
    projects.set(projectId, [draft.workspaceId, projectId]);
  }
  const column = (entries: Map<string, [string, string]>, index: 0 | 1): string[] =>
    [...entries.values()].map((entry) => entry[index]);
  const { rows } = await client.query<{ dead_traces: string[]; missing_projects: string[] }>({
    name: 'runs.guard',
    text: GUARD,
    values: [column(traces, 0), column(traces, 1), column(projects, 0), column(projects, 1)],
  });
  const found = rows[0];
  if (found === undefined) throw new Error('the guard answered nothing');
  if (found.missing_projects.length > 0) throw new ProjectGoneError(found.missing_projects);
  if (found.dead_traces.length === 0) return items;
  const dead = new Set(found.dead_traces);
  return items.filter(
    ({ draft }) => !dead.has(draft.workspaceId + (draft.traceId ?? draft.parentRunId ?? draft.id)),
  );
}

function newRow({ draft, day, defaultProjectId }: DraftToWrite, nowUs: number): RunRow {
  return buildRow(draft, { day, defaultProjectId, revision: 1, createdUs: nowUs, updatedUs: nowUs });
}

/**
 * Locks what exists and merges into it, inserts what does not. A run that another transaction inserted between
 * the two is met by the insert, left out there, and merged in the next round.
 */
async function mergeOrInsert(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
  nowUs: number,
): Promise<FeedNews[]> {
  const news: FeedNews[] = [];
  let open = items;
  for (let round = 0; open.length > 0; round += 1) {
    if (round > 10) throw new Error('runs kept appearing and vanishing while they were written');
    const stored = await lockStored(client, open);
    const updates = await mergeStored(client, open, stored, nowUs);
    const inserts = open.filter(({ draft }) => !stored.has(keyOf(draft))).map((item) => newRow(item, nowUs));
    if (updates.length + inserts.length === 0) break;
    await client.query(CREATE_STAGE);
    if (round > 0) await client.query('delete from stage_runs');
    await copy(client, 'stage_runs', [...updates.map(({ row }) => row), ...inserts]);
    if (updates.length > 0) await client.query({ name: 'runs.update_staged', text: UPDATE_STAGED });
    news.push(...updates);
    if (inserts.length === 0) break;
    const { rows } = await client.query<{ key: string }>({ name: 'runs.insert_staged', text: INSERT_STAGED });
    const inserted = new Set(rows.map((row) => row.key));
    for (const row of inserts) {
      if (inserted.has(keyOf(row.draft))) {
        news.push({ row, kind: row.status !== 'pending' ? 'e' : row.draft.created ? 's' : 'u' });
      }
    }
    open = open.filter(({ draft }) => !stored.has(keyOf(draft)) && !inserted.has(keyOf(draft)));
  }
  return news;
}

const identities = (items: readonly DraftToWrite[]): [string[], string[], string[]] => [
  items.map(({ draft }) => draft.workspaceId),
  items.map(({ draft }) => draft.id),
  items.map(({ day }) => day),
];

async function lockStored(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
): Promise<Map<string, StoredRow>> {
  const { rows } = await client.query<StoredRow>({
    name: 'runs.lock_stored',
    text: LOCK_STORED,
    values: identities(items),
  });
  return new Map(rows.map((row) => [row.workspace_id + row.id, row]));
}

/** The rows that change, with their news. Payloads are read only where a tie or the token usage needs them. */
async function mergeStored(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
  stored: ReadonlyMap<string, StoredRow>,
  nowUs: number,
): Promise<FeedNews[]> {
  const pairs = items.flatMap((item) => {
    const row = stored.get(keyOf(item.draft));
    return row === undefined ? [] : [{ item, row }];
  });
  const first = pairs.map(({ item, row }) => tryMerge(item.draft, row, {}));
  const undecided = pairs.filter((_, index) => first[index] === undefined);
  const payloads =
    undecided.length === 0
      ? new Map<string, Payloads>()
      : await readPayloads(
          client,
          undecided.map(({ item }) => item),
        );
  return pairs.flatMap(({ item, row }, index) => {
    const merged = first[index] ?? tryMerge(item.draft, row, payloads.get(keyOf(item.draft)) ?? {});
    if (merged === undefined) throw new Error('a tie could not be decided although the payloads were read');
    return merged === 'unchanged' ? [] : [updatedRow(item, row, merged, nowUs)];
  });
}

type Payloads = Partial<Record<PayloadField, string>>;

/** The merged draft; 'unchanged' when the stored one knew it all; undefined when payloads must be read first. */
function tryMerge(draft: RunDraft, row: StoredRow, payloads: Payloads): RunDraft | 'unchanged' | undefined {
  const before = draftFromStored(row, payloads);
  try {
    const merged = mergeDrafts(before, draft);
    if (sameDraft(before, merged)) return 'unchanged';
    return needsOutputs(merged) && payloads.outputs === undefined ? undefined : merged;
  } catch (error) {
    if (error instanceof TieError) return undefined;
    throw error;
  }
}

/** Whether nothing was won: the merge takes values over by reference, so identity tells. */
function sameDraft(before: RunDraft, merged: RunDraft): boolean {
  const fields = [
    ...PAYLOAD_FIELDS,
    'traceId',
    'parentRunId',
    'dottedOrder',
    'projectId',
    'name',
    'runType',
    'startUs',
    'endUs',
    'error',
    'referenceExampleId',
    'tags',
  ] as const;
  return (
    before.created === merged.created &&
    fields.every((field) => before[field] === merged[field]) &&
    sameRanks(before, merged) &&
    JSON.stringify(before.metadata) === JSON.stringify(merged.metadata) &&
    JSON.stringify(before.extra) === JSON.stringify(merged.extra) &&
    JSON.stringify(before.attachments) === JSON.stringify(merged.attachments)
  );
}

/** The common rank may move to another value without any field's rank changing. */
function sameRanks(before: RunDraft, merged: RunDraft): boolean {
  const keys = new Set([...Object.keys(before.ranks ?? {}), ...Object.keys(merged.ranks ?? {})]);
  if (before.rank !== merged.rank) return false;
  return [...keys].every(
    (key) => (before.ranks?.[key] ?? before.rank) === (merged.ranks?.[key] ?? merged.rank),
  );
}

async function readPayloads(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
): Promise<Map<string, Payloads>> {
  const { rows } = await client.query<{ key: string } & Record<PayloadField, string | null>>({
    name: 'runs.read_payloads',
    text: READ_PAYLOADS,
    values: identities(items),
  });
  return new Map(
    rows.map((row) => [
      row.key,
      Object.fromEntries(
        PAYLOAD_FIELDS.flatMap((field) => (row[field] === null ? [] : [[field, row[field]]])),
      ) as Payloads,
    ]),
  );
}

function updatedRow(item: DraftToWrite, row: StoredRow, merged: RunDraft, nowUs: number): FeedNews {
  const updated = buildRow(merged, {
    day: row.day,
    // The stored default stays: the workspace's default project may have been made anew meanwhile.
    defaultProjectId: row.project_id,
    revision: row.revision + 1,
    createdUs: row.created_us,
    updatedUs: nowUs,
    storedFirstTokenUs: row.first_token_us ?? undefined,
  });
  return { row: updated, kind: row.status === 'pending' && updated.status !== 'pending' ? 'e' : 'u' };
}

async function copy(
  client: pg.PoolClient,
  table: 'runs' | 'stage_runs',
  rows: readonly RunRow[],
): Promise<void> {
  const buffer = new CopyBuffer(Math.min(rows.length * 6_000, 8 * 1024 * 1024));
  const staged = table === 'stage_runs';
  for (const row of rows) encodeRow(buffer, row, staged ? 'stage' : 'runs');
  const stream = client.query(
    copyFrom(`copy ${table} (${columns}${staged ? ', keep' : ''}) from stdin (format binary)`),
  );
  await pipeline(Readable.from([buffer.finish()]), stream);
}

/** One feed row per workspace. */
async function announce(client: pg.PoolClient, news: readonly FeedNews[]): Promise<void> {
  const byWorkspace = new Map<string, FeedNews[]>();
  for (const item of news) {
    const group = byWorkspace.get(item.row.draft.workspaceId);
    if (group === undefined) byWorkspace.set(item.row.draft.workspaceId, [item]);
    else group.push(item);
  }
  for (const [workspaceId, group] of byWorkspace) {
    const projectIds = [...new Set(group.map(({ row }) => row.projectId))];
    const index = new Map(projectIds.map((id, position) => [id, position]));
    const entries = group.map(({ row, kind }): FeedEntry => [
      kind,
      index.get(row.projectId) ?? 0,
      row.draft.id,
      row.traceId,
    ]);
    await appendFeed(client, workspaceId, projectIds, entries);
  }
}
