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
import { beginWrite, FollowedError, settlePlaces } from './run-followers.js';
import type { MovedRun } from './run-followers.js';
import { guard } from './run-guard.js';
import type { DraftToWrite } from './run-guard.js';
import { naturalDay, STRAY_DAY } from './run-location.js';
import { mergeDrafts, PAYLOAD_FIELDS, TieError } from './run-merge.js';
import type { PayloadField, RunDraft } from './run-merge.js';
import { isFollower } from './run-place.js';
import {
  buildRow,
  COLUMNS,
  draftFromStored,
  encodeRow,
  KEPT_COLUMNS,
  needsOutputs,
  startOf,
  STORED_COLUMNS,
  unsaidFields,
} from './run-row.js';
import type { RunRow, StoredRow } from './run-row.js';

export interface WriteOptions {
  readonly nowUs: number;
  /** Whether runs with a create event are copied straight into the table, trusting that they are new. */
  readonly optimistic: boolean;
  /** Workspaces whose runs may have to move, after a FollowedError. */
  readonly settling: ReadonlySet<string>;
}

/** A run that was to go to the stray partition has got a partition of its own meanwhile. Nothing was written. */
export class StaleLocationError extends Error {
  constructor(readonly days: readonly string[]) {
    super(`partitions appeared for ${days.join(', ')}`);
  }
}

interface FeedNews {
  readonly workspaceId: string;
  readonly id: string;
  readonly projectId: string;
  readonly traceId: string;
  readonly kind: FeedKind;
}

interface Update {
  readonly row: RunRow;
  readonly stored: StoredRow;
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

const keyOf = (draft: RunDraft): string => draft.workspaceId + draft.id;

/**
 * Writes drafts, sorted by (workspace, id), in one transaction that is committed when this resolves.
 * @returns whether anything changed, so that the feed's doorbell is worth ringing.
 * @throws ProjectGoneError, FollowedError; a unique violation when `optimistic` trusted wrongly; anything Postgres
 *   says. The caller rolls back.
 */
export async function writeDrafts(
  client: pg.PoolClient,
  all: readonly DraftToWrite[],
  options: WriteOptions,
): Promise<boolean> {
  const workspaceIds = new Set(all.map(({ draft }) => draft.workspaceId));
  const settling = new Set(options.settling);
  for (const { draft } of all) if (draft.created && isFollower(draft)) settling.add(draft.workspaceId);
  await beginWrite(client, workspaceIds, settling);
  const items = await guard(client, all, settling);
  await holdStrays(client, items);
  const isTrusted = ({ draft }: DraftToWrite): boolean =>
    options.optimistic && draft.created && !settling.has(draft.workspaceId);
  const trusted = items.filter(isTrusted);
  const rest = trusted.length === 0 ? items : items.filter((item) => !isTrusted(item));
  const news = await mergeOrInsert(client, rest, settling, options.nowUs);
  if (trusted.length > 0) {
    const rows = trusted.map((item) => newRow(item, options.nowUs));
    await copy(client, 'runs', rows);
    for (const row of rows) news.push(newsOf(row, row.status === 'pending' ? 's' : 'e'));
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
  settling: ReadonlySet<string>,
  nowUs: number,
): Promise<FeedNews[]> {
  const news: FeedNews[] = [];
  let open = items;
  for (let round = 0; open.length > 0; round += 1) {
    if (round > 10) throw new Error('runs kept appearing and vanishing while they were written');
    const stored = await lockStored(client, open);
    const merged = await mergeStored(client, open, stored, nowUs);
    const made = open.filter(({ draft }) => !stored.has(keyOf(draft))).map((item) => newRow(item, nowUs));
    const { updates, inserts, moved } = await settle(client, merged, made, settling, nowUs);
    for (const run of moved) news.push({ ...run, kind: 'u' });
    if (updates.length + inserts.length === 0) break;
    await client.query(CREATE_STAGE);
    if (round > 0) await client.query('delete from stage_runs');
    await copy(client, 'stage_runs', [...updates.map(({ row }) => row), ...inserts]);
    if (updates.length > 0) await client.query({ name: 'runs.update_staged', text: UPDATE_STAGED });
    for (const { row, stored: before } of updates) {
      news.push(newsOf(row, before.status === 'pending' && row.status !== 'pending' ? 'e' : 'u'));
    }
    if (inserts.length === 0) break;
    const { rows } = await client.query<{ key: string }>({ name: 'runs.insert_staged', text: INSERT_STAGED });
    const inserted = new Set(rows.map((row) => row.key));
    const missed = new Set<string>();
    for (const row of inserts) {
      if (!inserted.has(keyOf(row.draft))) missed.add(keyOf(row.draft));
      else news.push(newsOf(row, row.status !== 'pending' ? 'e' : row.draft.created ? 's' : 'u'));
    }
    open = open.filter(({ draft }) => missed.has(keyOf(draft)));
  }
  return news;
}

/** The rows in their right places, without those of deleted traces; and stored runs that moved along. */
async function settle(
  client: pg.PoolClient,
  updates: readonly Update[],
  inserts: readonly RunRow[],
  settling: ReadonlySet<string>,
  nowUs: number,
): Promise<{ updates: readonly Update[]; inserts: readonly RunRow[]; moved: readonly MovedRun[] }> {
  const late = [
    ...updates.filter(({ row, stored }) =>
      isFollower(row.draft) ? !staysPut(row, stored) : wasFollower(stored),
    ),
    ...inserts.filter(({ draft }) => isFollower(draft)).map((row) => ({ row })),
  ].filter(({ row }) => !settling.has(row.draft.workspaceId));
  if (late.length > 0) throw new FollowedError(late.map(({ row }) => row.draft.workspaceId));
  const unsettled = [...updates, ...inserts.map((row) => ({ row }))].filter(({ row }) =>
    settling.has(row.draft.workspaceId),
  );
  if (unsettled.length === 0) return { updates, inserts, moved: [] };
  const { places, dead, moved } = await settlePlaces(client, unsettled, nowUs);
  const inPlace = (row: RunRow): RunRow => ({ ...row, ...places.get(keyOf(row.draft)) });
  return {
    updates: updates
      .filter(({ row }) => !dead.has(keyOf(row.draft)))
      .map(({ row, stored }) => ({ row: inPlace(row), stored })),
    inserts: inserts.filter((row) => !dead.has(keyOf(row.draft))).map(inPlace),
    moved,
  };
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

/** The rows that change. Payloads are read only where a tie or the token usage needs them. */
async function mergeStored(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
  stored: ReadonlyMap<string, StoredRow>,
  nowUs: number,
): Promise<Update[]> {
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
    return merged === 'unchanged' ? [] : [{ row: updatedRow(row, merged, nowUs), stored: row }];
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

function updatedRow(row: StoredRow, merged: RunDraft, nowUs: number): RunRow {
  return buildRow(merged, {
    day: row.day,
    // The stored default stays: the workspace's default project may have been made anew meanwhile.
    defaultProjectId: row.project_id,
    revision: row.revision + 1,
    createdUs: row.created_us,
    updatedUs: nowUs,
    storedFirstTokenUs: row.first_token_us ?? undefined,
    place: staysBelow(row, merged) ? { traceId: row.trace_id, dottedOrder: row.dotted_order } : undefined,
  });
}

/** Whether nothing that decides over a follower's place has changed. */
const staysBelow = (row: StoredRow, merged: RunDraft): boolean =>
  isFollower(merged) &&
  merged.parentRunId === row.parent_run_id &&
  startOf(merged, row.created_us) === row.start_us;

function wasFollower(stored: StoredRow): boolean {
  if (stored.parent_run_id === null || stored.merge_state === null) return false;
  const unsaid = unsaidFields(stored.merge_state);
  return unsaid.has('traceId') || unsaid.has('dottedOrder');
}

const staysPut = (row: RunRow, stored: StoredRow): boolean =>
  row.traceId === stored.trace_id &&
  row.dottedOrder === stored.dotted_order &&
  row.draft.parentRunId === stored.parent_run_id;

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

const newsOf = (row: RunRow, kind: FeedKind): FeedNews => ({
  workspaceId: row.draft.workspaceId,
  id: row.draft.id,
  projectId: row.projectId,
  traceId: row.traceId,
  kind,
});

/** One feed row per workspace. */
async function announce(client: pg.PoolClient, news: readonly FeedNews[]): Promise<void> {
  const byWorkspace = new Map<string, FeedNews[]>();
  for (const item of news) {
    const group = byWorkspace.get(item.workspaceId);
    if (group === undefined) byWorkspace.set(item.workspaceId, [item]);
    else group.push(item);
  }
  for (const [workspaceId, group] of byWorkspace) {
    const index = new Map<string, number>();
    const entries = group.map(({ kind, projectId, id, traceId }): FeedEntry => {
      const position = index.get(projectId) ?? index.size;
      index.set(projectId, position);
      return [kind, position, id, traceId];
    });
    await appendFeed(client, workspaceId, [...index.keys()], entries);
  }
}
