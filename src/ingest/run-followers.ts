/**
 * Keeps runs that follow their parent in its trace, inside the transaction that writes runs. Every writer holds a
 * shared lock on the places of its workspaces; one that may move a run holds it alone, so that of a parent and a
 * child written at once the second always sees the first. Whoever finds out too late that it moves runs gives up
 * (FollowedError) and is run again with the lock to itself.
 */
import type pg from 'pg';
import type { Queryable } from '../platform/db.js';
import { RunDayStore } from '../runs/run-day.store.js';
import { trustedScope } from '../tenancy/principal.js';
import { dottedSegment } from './dotted-order.js';
import { precedesTrace } from './run-location.js';
import { isFollower, placeAll } from './run-place.js';
import type { Place, TreeNode } from './run-place.js';
import { unsaidFields } from './run-row.js';
import type { RunRow, StoredRow } from './run-row.js';
import { addTraceDays } from './trace-days.js';

/** Runs of these workspaces have followers, or are some, and their places may change. Nothing was written. */
export class FollowedError extends Error {
  constructor(readonly workspaceIds: readonly string[]) {
    super('runs follow what was to be written');
  }
}

/** Apart from the advisory locks of one 64-bit number. */
const LOCK_CLASS = 1_415_004_240;
/** Rows of one statement that moves runs. */
const CHUNK = 1_000;

// The last eight digits of a version 7 id are random; two workspaces that share them wait for each other, no more.
const lockKey = (workspaceId: string): number => Number.parseInt(workspaceId.slice(-8), 16) | 0;

const lockCall = (key: number, alone: boolean): string =>
  `select pg_advisory_xact_lock${alone ? '' : '_shared'}(${LOCK_CLASS}, ${key})`;

/** Begins a transaction during which no run of the workspaces changes its place but through it. */
export async function beginWrite(
  client: pg.PoolClient,
  workspaceIds: Iterable<string>,
  alone: ReadonlySet<string>,
): Promise<void> {
  const locks = new Map<number, boolean>();
  for (const id of workspaceIds) locks.set(lockKey(id), locks.get(lockKey(id)) === true || alone.has(id));
  // One order for all writers. Several statements in one message take no parameters; these are integers.
  const calls = [...locks].sort(([a], [b]) => a - b).map(([key, own]) => lockCall(key, own));
  await client.query(['begin /* runs.begin */', ...calls].join('; '));
}

/** Keeps the places of a workspace's runs as they are until the transaction ends. */
export async function holdPlaces(tx: Queryable, workspaceId: string): Promise<void> {
  await tx.query(`/* runs.hold_places */ ${lockCall(lockKey(workspaceId), false)}`);
}

/** Waits for the transactions that write runs of a workspace, and keeps others from beginning until this one ends. */
export async function awaitWriters(tx: Queryable, workspaceId: string): Promise<void> {
  await tx.query(`/* runs.await_writers */ ${lockCall(lockKey(workspaceId), true)}`);
}

/** @throws FollowedError when some of these runs, of workspaces that have followers at all, are followed. */
export async function refuseFollowed(
  client: pg.PoolClient,
  runs: readonly { readonly workspaceId: string; readonly id: string }[],
): Promise<void> {
  if (runs.length === 0) return;
  const { rows } = await client.query<{ workspaceId: string }>({
    name: 'run_followers.find_workspaces',
    text: `/* run_followers.find_workspaces */
    select distinct f.workspace_id as "workspaceId"
    from unnest($1::uuid[], $2::uuid[]) as w (workspace_id, id)
    join run_followers f on f.workspace_id = w.workspace_id and f.parent_run_id = w.id`,
    values: [runs.map(({ workspaceId }) => workspaceId), runs.map(({ id }) => id)],
  });
  if (rows.length > 0) throw new FollowedError(rows.map(({ workspaceId }) => workspaceId));
}

/** A row about to be written, and what is stored of it. */
export interface PlacedRow {
  readonly row: RunRow;
  readonly stored?: StoredRow | undefined;
}

export interface MovedRun {
  readonly workspaceId: string;
  readonly id: string;
  readonly projectId: string;
  readonly traceId: string;
}

export interface Settled {
  /** Places of the rows that are to be written elsewhere than they say, by workspace and id. */
  readonly places: ReadonlyMap<string, Place>;
  /** Runs of deleted traces, by workspace and id: not to be written. */
  readonly dead: ReadonlySet<string>;
  /** Runs that were stored before and have moved. */
  readonly moved: readonly MovedRun[];
}

/**
 * Finds the places of rows that follow their parents, and moves the stored runs that follow the rows, with their
 * feedback and shares. The caller holds the workspaces' places alone.
 */
export async function settlePlaces(
  client: pg.PoolClient,
  rows: readonly PlacedRow[],
  nowUs: number,
): Promise<Settled> {
  const places = new Map<string, Place>();
  const dead = new Set<string>();
  const moved: MovedRun[] = [];
  for (const workspaceId of new Set(rows.map(({ row }) => row.draft.workspaceId))) {
    const own = rows.filter(({ row }) => row.draft.workspaceId === workspaceId);
    const tree = new Tree(client, workspaceId);
    await tree.follow(own);
    await tree.load(own);
    const gone = await tree.deadTraces();
    for (const { row } of own) {
      const place = tree.placeOf(row.draft.id);
      if (place === undefined) continue;
      places.set(workspaceId + row.draft.id, place);
      if (gone.has(place.traceId)) dead.add(workspaceId + row.draft.id);
    }
    moved.push(...(await tree.move(gone, nowUs)));
    await tree.noteDays(own);
    await tree.moveWhatHangsOn(own);
  }
  return { places, dead, moved };
}

interface StoredNode extends TreeNode {
  readonly day: string;
  readonly projectId: string;
  readonly before: Place;
}

interface NodeRow {
  readonly id: string;
  readonly day: string;
  readonly parentRunId: string | null;
  readonly traceId: string;
  readonly dottedOrder: string;
  readonly startUs: number;
  readonly mergeState: string | null;
  readonly projectId: string;
}

/** The part of a workspace's trees that a batch touches. */
class Tree {
  readonly #client: pg.PoolClient;
  readonly #workspaceId: string;
  /** Everything a place is worked out from: rows of the batch, stored runs below them, and their parents. */
  readonly #nodes = new Map<string, TreeNode>();
  /** Of these, stored runs below the batch's. */
  readonly #below = new Map<string, StoredNode>();

  constructor(client: pg.PoolClient, workspaceId: string) {
    this.#client = client;
    this.#workspaceId = workspaceId;
  }

  placeOf(id: string): Place | undefined {
    return this.#nodes.get(id)?.place;
  }

  /** Notes who follows whom from now on. */
  async follow(rows: readonly PlacedRow[]): Promise<void> {
    const followers = rows.filter(({ row }) => isFollower(row.draft));
    if (followers.length > 0) {
      await this.#client.query(
        `/* run_followers.add */
        insert into run_followers (workspace_id, run_id, parent_run_id)
        select $1, f.run_id, f.parent_run_id from unnest($2::uuid[], $3::uuid[]) as f (run_id, parent_run_id)
        on conflict (workspace_id, run_id) do update set parent_run_id = excluded.parent_run_id
        where run_followers.parent_run_id <> excluded.parent_run_id`,
        [
          this.#workspaceId,
          followers.map(({ row }) => row.draft.id),
          followers.map(({ row }) => row.draft.parentRunId),
        ],
      );
    }
    const settled = rows.filter(({ row, stored }) => stored !== undefined && !isFollower(row.draft));
    if (settled.length === 0) return;
    await this.#client.query(
      `/* run_followers.remove */ delete from run_followers where workspace_id = $1 and run_id = any($2::uuid[])`,
      [this.#workspaceId, settled.map(({ row }) => row.draft.id)],
    );
  }

  /** Reads what the places of the rows and of the runs below them depend on, and works them out. */
  async load(rows: readonly PlacedRow[]): Promise<void> {
    for (const { row, stored } of rows) this.#nodes.set(row.draft.id, nodeOfRow(row, stored));
    let level = rows.filter((entry) => hasMoved(entry)).map(({ row }) => row.draft.id);
    while (level.length > 0) level = await this.#loadFollowers(level);
    const missing = new Set<string>();
    for (const node of this.#nodes.values()) {
      if (node.place !== undefined || !isFollower({ ...node.said, parentRunId: node.parentRunId })) continue;
      if (node.parentRunId !== undefined && !this.#nodes.has(node.parentRunId)) missing.add(node.parentRunId);
    }
    // Stored runs that nothing of this touches stand where they should.
    for (const found of await this.#read([...missing])) {
      this.#nodes.set(found.id, { ...found, place: found.before });
    }
    placeAll(this.#nodes);
  }

  /** Ids of runs that were met for the first time. */
  async #loadFollowers(parentIds: readonly string[]): Promise<string[]> {
    const { rows } = await this.#client.query<{ runId: string }>(
      `/* run_followers.list */
      select run_id as "runId" from run_followers where workspace_id = $1 and parent_run_id = any($2::uuid[])`,
      [this.#workspaceId, parentIds],
    );
    const fresh: string[] = [];
    const unread: string[] = [];
    for (const { runId } of rows) {
      const known = this.#nodes.get(runId);
      if (known === undefined) unread.push(runId);
      else if (known.place !== undefined) {
        // A row of the batch that seemed to stay where it is.
        known.place = undefined;
        fresh.push(runId);
      }
    }
    for (const found of await this.#read(unread)) {
      this.#nodes.set(found.id, found);
      this.#below.set(found.id, found);
      fresh.push(found.id);
    }
    return fresh;
  }

  async #read(ids: readonly string[]): Promise<StoredNode[]> {
    const found: StoredNode[] = [];
    const days = new RunDayStore({ db: this.#client });
    for (let from = 0; from < ids.length; from += CHUNK) {
      const part = ids.slice(from, from + CHUNK);
      const { rows } = await this.#client.query<NodeRow & Record<string, unknown>>(
        `/* runs.read_places */
        select id, day, parent_run_id as "parentRunId", trace_id as "traceId", dotted_order as "dottedOrder",
          (extract(epoch from start_time) * 1000000)::bigint as "startUs", merge_state as "mergeState",
          project_id as "projectId"
        from runs
        where workspace_id = $1 and id = any($2::uuid[]) and day = any($3::date[])
        limit $4`,
        [this.#workspaceId, part, await days.ofRuns(trustedScope(this.#workspaceId), part), part.length],
      );
      found.push(...rows.map(nodeOfStored));
    }
    return found;
  }

  /** Which of the traces that runs were placed in are deleted. */
  async deadTraces(): Promise<ReadonlySet<string>> {
    const traceIds = new Set([...this.#nodes.values()].flatMap(({ place }) => place?.traceId ?? []));
    const { rows } = await this.#client.query<{ traceId: string }>(
      `/* traces.find_buried */
      select trace_id as "traceId" from trace_tombstones where workspace_id = $1 and trace_id = any($2::uuid[])`,
      [this.#workspaceId, [...traceIds]],
    );
    return new Set(rows.map(({ traceId }) => traceId));
  }

  /** Moves the stored runs whose place has changed. */
  async move(deadTraces: ReadonlySet<string>, nowUs: number): Promise<MovedRun[]> {
    const changed = [...this.#below.values()].flatMap((node) =>
      node.place === undefined || samePlace(node.place, node.before) || deadTraces.has(node.place.traceId)
        ? []
        : [{ ...node, place: node.place }],
    );
    for (let from = 0; from < changed.length; from += CHUNK) {
      const part = changed.slice(from, from + CHUNK);
      await this.#client.query(
        `/* runs.move */
        update runs r
        set trace_id = m.trace_id, dotted_order = m.dotted_order, revision = r.revision + 1,
          updated_at = timestamptz 'epoch' + $6::bigint * interval '1 microsecond'
        from unnest($2::uuid[], $3::date[], $4::uuid[], $5::text[]) as m (id, day, trace_id, dotted_order)
        where r.workspace_id = $1 and r.id = m.id and r.day = m.day and r.day = any($3::date[])`,
        [
          this.#workspaceId,
          part.map(({ id }) => id),
          part.map(({ day }) => day),
          part.map(({ place }) => place.traceId),
          part.map(({ place }) => place.dottedOrder),
          nowUs,
        ],
      );
      await this.#moveBelongings(part.map(({ id, place }) => ({ id, traceId: place.traceId })));
    }
    return changed.map(({ id, projectId, place: { traceId } }) => ({
      workspaceId: this.#workspaceId,
      id,
      projectId,
      traceId,
    }));
  }

  /** The same for rows of the batch, which the caller writes. */
  async moveWhatHangsOn(rows: readonly PlacedRow[]): Promise<void> {
    const moved = rows.flatMap(({ row, stored }) => {
      const traceId = this.placeOf(row.draft.id)?.traceId;
      return traceId === undefined || traceId === stored?.trace_id ? [] : [{ id: row.draft.id, traceId }];
    });
    if (moved.length > 0) await this.#moveBelongings(moved);
  }

  /** Remembers where runs are that lie before the trace they were placed in. */
  async noteDays(rows: readonly PlacedRow[]): Promise<void> {
    const days = [
      ...rows.map(({ row }) => ({ day: row.facts.day, place: this.placeOf(row.draft.id) })),
      ...this.#below.values(),
    ].flatMap(({ day, place }) =>
      place !== undefined && precedesTrace(day, place.traceId)
        ? [{ workspaceId: this.#workspaceId, traceId: place.traceId, day }]
        : [],
    );
    await addTraceDays(this.#client, days);
  }

  /** Feedback that is not filed yet gets its trace when it is. */
  async #moveBelongings(moved: readonly { readonly id: string; readonly traceId: string }[]): Promise<void> {
    const values = [this.#workspaceId, moved.map(({ id }) => id), moved.map(({ traceId }) => traceId)];
    await this.#client.query(
      `/* feedback.move */
      update feedback f
      set trace_id = m.trace_id
      from unnest($2::uuid[], $3::uuid[]) as m (run_id, trace_id)
      where f.workspace_id = $1 and f.run_id = m.run_id and f.project_id is not null
        and f.trace_id is distinct from m.trace_id`,
      values,
    );
    await this.#client.query(
      `/* run_shares.move */
      update run_shares s
      set trace_id = m.trace_id
      from unnest($2::uuid[], $3::uuid[]) as m (run_id, trace_id)
      where s.workspace_id = $1 and s.run_id = m.run_id and s.trace_id <> m.trace_id`,
      values,
    );
  }
}

const samePlace = (a: Place, b: Place): boolean => a.traceId === b.traceId && a.dottedOrder === b.dottedOrder;

/** Whether the row is new or stands elsewhere than the stored one did. */
const hasMoved = ({ row, stored }: PlacedRow): boolean =>
  stored === undefined ||
  row.traceId !== stored.trace_id ||
  row.dottedOrder !== stored.dotted_order ||
  row.draft.parentRunId !== (stored.parent_run_id ?? undefined);

function nodeOfRow(row: RunRow, stored: StoredRow | undefined): TreeNode {
  const { draft } = row;
  const { id, parentRunId, traceId, dottedOrder } = draft;
  const stays = !isFollower(draft) || !hasMoved({ row, stored });
  return {
    id,
    parentRunId,
    segment: dottedSegment(row.startUs, id),
    said: { traceId, dottedOrder },
    place: stays ? { traceId: row.traceId, dottedOrder: row.dottedOrder } : undefined,
  };
}

function nodeOfStored(row: NodeRow): StoredNode {
  const unsaid = unsaidFields(row.mergeState);
  return {
    id: row.id,
    parentRunId: row.parentRunId ?? undefined,
    segment: dottedSegment(row.startUs, row.id),
    said: {
      traceId: unsaid.has('traceId') ? undefined : row.traceId,
      dottedOrder: unsaid.has('dottedOrder') ? undefined : row.dottedOrder,
    },
    place: undefined,
    day: row.day,
    projectId: row.projectId,
    before: { traceId: row.traceId, dottedOrder: row.dottedOrder },
  };
}
