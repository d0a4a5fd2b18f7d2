/** What statistics over runs consist of, and which questions are too large. Pure. */
import { AppError } from '../platform/errors.js';
import type { TimeRange } from './run-day.store.js';

export const GROUP_KINDS = [
  'NAME',
  'RUN_TYPE',
  'STATUS',
  'PROJECT',
  'MODEL',
  'PROVIDER',
  'TENANT',
  'TAG',
  'VERSION',
  'METADATA',
] as const;
export type GroupKind = (typeof GROUP_KINDS)[number];

/** `key` is the metadata path (dots between nested keys), for METADATA only. */
export interface StatsGroup {
  readonly kind: GroupKind;
  readonly key?: string | undefined;
}

export const BUCKETS = ['MINUTE', 'HOUR', 'DAY', 'WEEK'] as const;
export type Bucket = (typeof BUCKETS)[number];

export interface StatsShape {
  readonly groupBy: readonly StatsGroup[];
  readonly bucket?: Bucket | undefined;
  /** IANA name; decides where days and weeks begin. */
  readonly zone: string;
  /** The groups with the most runs are kept. */
  readonly maxGroups: number;
  /** Whether to read feedback averages too. */
  readonly feedback: boolean;
}

/** Durations in seconds, sums as text, money as decimal text. Percentiles interpolate between neighbours. */
export interface RunStatsRow {
  /** One value per group in the question; null where runs have none. */
  readonly groups: readonly (string | null)[];
  readonly bucketStart: string | null;
  readonly runCount: number;
  readonly errorCount: number;
  readonly pendingCount: number;
  /** Failed runs among all runs of the row, 0 to 1; null without runs. */
  readonly errorRate: number | null;
  /** Runs with a first token among model calls that ended, 0 to 1. */
  readonly streamingRate: number | null;
  readonly firstRunStartTime: string | null;
  readonly lastRunStartTime: string | null;
  readonly latencyP50: number | null;
  readonly latencyP95: number | null;
  readonly latencyP99: number | null;
  readonly firstTokenP50: number | null;
  readonly firstTokenP95: number | null;
  readonly firstTokenP99: number | null;
  readonly tokensP50: number | null;
  readonly tokensP99: number | null;
  readonly costP50: string | null;
  readonly costP99: string | null;
  readonly promptTokens: string;
  readonly completionTokens: string;
  readonly totalTokens: string;
  readonly promptCost: string | null;
  readonly completionCost: string | null;
  readonly totalCost: string | null;
  readonly feedback: readonly FeedbackAverage[];
}

export interface FeedbackAverage {
  readonly key: string;
  /** Feedback with this key, scored or not. */
  readonly count: number;
  /** Mean of the scores; null where none has one. */
  readonly average: number | null;
}

export interface RunStatsResult {
  readonly rows: readonly RunStatsRow[];
  /** Whether groups with fewer runs were left out. */
  readonly truncated: boolean;
}

export const MAX_GROUPS = 100;
export const MAX_GROUP_KINDS = 3;
/** Groups times buckets. */
export const MAX_STATS_ROWS = 10_000;
const MAX_KEY_LENGTH = 500;
const MAX_ZONE_LENGTH = 64;

const BUCKET_MS: Readonly<Record<Bucket, number>> = {
  MINUTE: 60_000,
  HOUR: 3_600_000,
  DAY: 86_400_000,
  WEEK: 604_800_000,
};

/** @throws AppError BAD_USER_INPUT naming the argument that asks for nonsense or too much. */
export function assertStatsShape(shape: StatsShape, range: TimeRange | undefined, now: Date): void {
  const refuse = (message: string, ...path: (string | number)[]): never => {
    throw new AppError('BAD_USER_INPUT', message, { path });
  };
  const { groupBy, maxGroups, zone, bucket } = shape;
  if (groupBy.length > MAX_GROUP_KINDS) refuse(`At most ${MAX_GROUP_KINDS} groups go together.`, 'groupBy');
  groupBy.forEach(({ kind, key }, index) => {
    if ((kind === 'METADATA') !== (key !== undefined && key !== '')) {
      refuse(
        '"key" names the metadata path to group by; METADATA needs one and no other kind takes one.',
        'groupBy',
        index,
        'key',
      );
    }
    if ((key?.length ?? 0) > MAX_KEY_LENGTH) {
      refuse(`"key" may have at most ${MAX_KEY_LENGTH} characters.`, 'groupBy', index, 'key');
    }
  });
  if (new Set(groupBy.map(({ kind, key }) => `${kind}/${key ?? ''}`)).size < groupBy.length) {
    refuse('The same group is asked for twice.', 'groupBy');
  }
  if (!Number.isInteger(maxGroups) || maxGroups < 1 || maxGroups > MAX_GROUPS) {
    refuse(`The number of groups must be between 1 and ${MAX_GROUPS}.`, 'limit');
  }
  if (!isTimeZone(zone)) {
    refuse(`"${zone.slice(0, MAX_ZONE_LENGTH)}" is not a time zone; use a name like "Europe/Oslo".`, 'zone');
  }
  if (bucket === undefined || range?.from === undefined) return;
  const end = range.to === undefined ? now.getTime() : Date.parse(range.to);
  if ((end - Date.parse(range.from)) / BUCKET_MS[bucket] > MAX_STATS_ROWS) {
    refuse(`The range has more than ${MAX_STATS_ROWS} buckets: shorten it or take longer buckets.`, 'bucket');
  }
}

/** Offsets like "+02:00" are refused: Postgres reads their sign the other way round. */
function isTimeZone(zone: string): boolean {
  if (zone.length > MAX_ZONE_LENGTH || !/^[A-Za-z]/.test(zone)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
