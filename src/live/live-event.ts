/**
 * What subscribers are told, and how feed rows become it: the changed runs are read once for all who are
 * interested, and each distinct filter is asked once per run.
 */
import type { RunFilters } from '../filters/filter.js';
import type { ExperimentProgress, ExperimentState } from '../experiments/experiment.js';
import type { FilterableRun } from '../filters/filterable-run.js';
import type { RunField, RunRow, RunSelection } from '../runs/run-columns.js';
import { trustedScope } from '../tenancy/principal.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedTopic } from './feed.store.js';
import type { FeedEntry, FeedKind, FeedRow } from './feed.js';

type RunEventKind = 'RunStarted' | 'RunEnded' | 'RunUpdated' | 'FeedbackChanged';

/** Objects of this type are shared by all who see the event, so that it is executed and serialised once for them. */
export type LiveEvent =
  | {
      readonly kind: RunEventKind;
      readonly position: FeedPosition;
      readonly run: RunRow;
      readonly feedbackId: string | undefined;
      readonly bytes: number;
    }
  | {
      readonly kind: 'RunDeleted';
      readonly position: FeedPosition;
      readonly runId: string;
      readonly traceId: string;
      readonly bytes: number;
    }
  /** What experiments are now. One for all changes that were read together. */
  | {
      readonly kind: 'ExperimentProgressed';
      readonly position: FeedPosition;
      readonly news: ExperimentNews;
      readonly bytes: number;
    }
  /** Events in the half-open range may be missing; `position` is its end. */
  | {
      readonly kind: 'Gap';
      readonly position: FeedPosition;
      readonly from: FeedPosition;
      readonly bytes: number;
    }
  /** Everything up to here was delivered. */
  | { readonly kind: 'Ready'; readonly position: FeedPosition; readonly bytes: number };

/** How far an experiment has come. */
export interface ExperimentNews {
  readonly experimentId: string;
  readonly state: ExperimentState | null;
  readonly stateReason: string | null;
  /** US dollars, decimal text; null where workers have no part in it. */
  readonly spend: string | null;
  readonly progress: ExperimentProgress;
}

export interface LiveFilter {
  readonly filters: RunFilters;
  readonly needs: { readonly content: boolean; readonly feedback: boolean };
  /** Undefined where a run alone does not tell: then the database is asked, once per batch. */
  readonly test: ((run: FilterableRun) => boolean) | undefined;
}

/** What one subscription wants to see. */
export interface Interest {
  readonly workspaceId: string;
  readonly topic: FeedTopic;
  readonly filter: LiveFilter | undefined;
  readonly fields: readonly RunField[];
  /** Whether content may be seen. Decides which rows exist for it, so it is never shared across. */
  readonly content: boolean;
}

export interface RunPlace {
  readonly runId: string;
  readonly traceId: string;
}

export interface LiveRunSource {
  findByIds(scope: WorkspaceScope, ids: readonly string[], selection: RunSelection): Promise<RunRow[]>;
  findFilterable(
    scope: WorkspaceScope,
    ids: readonly string[],
    needs: { readonly content: boolean; readonly feedback: boolean },
  ): Promise<FilterableRun[]>;
  /** Of those that are there. Absent where nobody follows experiments. */
  findExperimentNews?(scope: WorkspaceScope, experimentIds: readonly string[]): Promise<ExperimentNews[]>;
  /** Those of the runs that match. */
  matchingIds(
    scope: WorkspaceScope,
    filters: RunFilters,
    runs: readonly RunPlace[],
  ): Promise<ReadonlySet<string>>;
}

/** One entry of the feed with its place. */
export interface PlacedEntry {
  readonly entry: FeedEntry;
  readonly projectId: string;
  readonly position: FeedPosition;
}

/** Interests that are equal in this key are served with the same events. */
export function interestKey({ workspaceId, topic, filter, fields, content }: Interest): string {
  return JSON.stringify([workspaceId, topic, filter?.filters ?? null, [...fields].sort(), content]);
}

export function placeEntries(rows: readonly FeedRow[]): PlacedEntry[] {
  return rows.flatMap((row) => {
    const xid = BigInt(row.xid);
    const seq = BigInt(row.seq);
    return row.entries.map((entry, index) => ({
      entry,
      projectId: row.projectIds[entry[1]] ?? '',
      position: { xid, seq, index },
    }));
  });
}

const PAYLOADS: ReadonlySet<RunField> = new Set([
  'inputs',
  'outputs',
  'events',
  'serialized',
  'extra',
  'error',
]);

/** Entries that become events at once: runs with their payloads are megabytes, without them a kilobyte. */
export function batchSize(...interests: readonly Interest[]): number {
  return interests.some(({ content, fields }) => content && fields.some((field) => PAYLOADS.has(field)))
    ? 32
    : 256;
}

function concerns(topic: FeedTopic, { entry, projectId }: PlacedEntry): boolean {
  if (topic.kind === 'experiment') return projectId === topic.experimentId;
  if (entry[0] === 'x') return false;
  return topic.kind === 'project' ? projectId === topic.projectId : entry[3] === topic.traceId;
}

/**
 * The events of one workspace's entries for each interest, in order. A run that is gone by now makes no event:
 * its deletion follows in the log. All interests must be of the workspace.
 */
export async function makeEvents(
  source: LiveRunSource,
  workspaceId: string,
  entries: readonly PlacedEntry[],
  interests: readonly Interest[],
): Promise<Map<Interest, LiveEvent[]>> {
  const scope = trustedScope(workspaceId);
  const wanted = new Map<Interest, PlacedEntry[]>();
  const followed = new Map<Interest, PlacedEntry>();
  for (const interest of interests) {
    const concerned = entries.filter((entry) => concerns(interest.topic, entry));
    const last = concerned.at(-1);
    if (last === undefined) continue;
    if (interest.topic.kind === 'experiment') followed.set(interest, last);
    else wanted.set(interest, concerned);
  }
  const matches = await askFilters(source, scope, wanted);
  const [open, masked] = await Promise.all(
    [true, false].map((content) => loadRuns(source, scope, wanted, matches, content)),
  );
  const events = new Map(
    [...wanted].map(([interest, concerned]) => [
      interest,
      toEvents(concerned, matches.get(interest), (interest.content ? open : masked) ?? new Map()),
    ]),
  );
  await addExperimentNews(source, scope, followed, events);
  return events;
}

async function addExperimentNews(
  source: LiveRunSource,
  scope: WorkspaceScope,
  followed: ReadonlyMap<Interest, PlacedEntry>,
  events: Map<Interest, LiveEvent[]>,
): Promise<void> {
  if (followed.size === 0) return;
  const ids = new Set([...followed.values()].map(({ projectId }) => projectId));
  const found = new Map(
    ((await source.findExperimentNews?.(scope, [...ids])) ?? []).map((news) => [news.experimentId, news]),
  );
  for (const [interest, { position, projectId }] of followed) {
    const news = found.get(projectId);
    if (news === undefined) continue;
    events.set(interest, [{ kind: 'ExperimentProgressed', position, news, bytes: 4 * EVENT_BYTES }]);
  }
}

const idsOf = (entries: Iterable<PlacedEntry>): Map<string, string> => {
  const traceOf = new Map<string, string>();
  for (const { entry } of entries) if (entry[0] !== 'd') traceOf.set(entry[2], entry[3]);
  return traceOf;
};

/** Which runs each interest's filter lets through. Interests without a filter have no entry. */
async function askFilters(
  source: LiveRunSource,
  scope: WorkspaceScope,
  wanted: ReadonlyMap<Interest, readonly PlacedEntry[]>,
): Promise<Map<Interest, ReadonlySet<string>>> {
  // Content may be asked about only by those who may see it; refusing is the resolver's part, once.
  const distinct = new Map<
    string,
    { filter: LiveFilter; runs: Map<string, string>; interests: Interest[] }
  >();
  for (const [interest, entries] of wanted) {
    if (interest.filter === undefined) continue;
    const key = JSON.stringify(interest.filter.filters);
    const group = distinct.get(key) ?? {
      filter: interest.filter,
      runs: new Map<string, string>(),
      interests: [],
    };
    distinct.set(key, group);
    for (const [runId, traceId] of idsOf(entries)) group.runs.set(runId, traceId);
    group.interests.push(interest);
  }
  const groups = [...distinct.values()];
  const tested = groups.filter(({ filter }) => filter.test !== undefined);
  const ids = new Set(tested.flatMap(({ runs }) => [...runs.keys()]));
  const runs =
    ids.size === 0
      ? []
      : await source.findFilterable(scope, [...ids], {
          content: tested.some(({ filter }) => filter.needs.content),
          feedback: tested.some(({ filter }) => filter.needs.feedback),
        });
  const matches = new Map<Interest, ReadonlySet<string>>();
  for (const { filter, interests, runs: asked } of groups) {
    const { test } = filter;
    const passed =
      test === undefined
        ? await source.matchingIds(
            scope,
            filter.filters,
            [...asked].map(([runId, traceId]) => ({ runId, traceId })),
          )
        : new Set(runs.filter((run) => asked.has(run.id) && test(run)).map(({ id }) => id));
    for (const interest of interests) matches.set(interest, passed);
  }
  return matches;
}

/** The runs that interests of one access need, with every column any of them needs. */
async function loadRuns(
  source: LiveRunSource,
  scope: WorkspaceScope,
  wanted: ReadonlyMap<Interest, readonly PlacedEntry[]>,
  matches: ReadonlyMap<Interest, ReadonlySet<string>>,
  content: boolean,
): Promise<Map<string, { run: RunRow; bytes: number }>> {
  const ids = new Set<string>();
  const fields = new Set<RunField>();
  for (const [interest, entries] of wanted) {
    if (interest.content !== content) continue;
    const passed = matches.get(interest);
    for (const id of idsOf(entries).keys()) if (passed?.has(id) ?? true) ids.add(id);
    for (const field of interest.fields) fields.add(field);
  }
  if (ids.size === 0) return new Map();
  const rows = await source.findByIds(scope, [...ids], { fields: [...fields], content });
  return new Map(rows.map((run) => [run.uuid, { run, bytes: weigh(run) }]));
}

function toEvents(
  entries: readonly PlacedEntry[],
  passed: ReadonlySet<string> | undefined,
  runs: ReadonlyMap<string, { run: RunRow; bytes: number }>,
): LiveEvent[] {
  const events: LiveEvent[] = [];
  for (const { entry, position } of entries) {
    const [kind, , runId, traceId, feedbackId] = entry;
    if (kind === 'd') {
      events.push({ kind: 'RunDeleted', position, runId, traceId, bytes: EVENT_BYTES });
    } else if (kind !== 'x' && (passed?.has(runId) ?? true)) {
      const found = runs.get(runId);
      if (found === undefined) continue;
      events.push({ kind: KINDS[kind], position, run: found.run, feedbackId, bytes: found.bytes });
    }
  }
  return events;
}

const KINDS: Record<Exclude<FeedKind, 'd' | 'x'>, RunEventKind> = {
  s: 'RunStarted',
  e: 'RunEnded',
  u: 'RunUpdated',
  f: 'FeedbackChanged',
};

/** What an event weighs beside its run's text: objects, numbers, places. */
export const EVENT_BYTES = 200;

/** Roughly what the run's text takes; buffers are bounded by it. */
function weigh(run: RunRow): number {
  let bytes = EVENT_BYTES;
  for (const value of Object.values(run)) {
    if (typeof value === 'string') bytes += value.length;
    else if (typeof value === 'object' && value !== null) bytes += JSON.stringify(value).length;
  }
  return bytes;
}
