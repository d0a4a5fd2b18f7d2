/**
 * Where a run lives: the day of its partition. A function of the run's identity, never of the times a client
 * sends, so that every event of a run finds the same row (docs/decisions/001).
 */
import { uuidTimeMs } from '../platform/ids.js';

/** The partition for runs whose id names a day that can have no partition. */
export const STRAY_DAY = '1970-01-01';

/** A partition may be made for days from this many back ... */
export const OLDEST_DAYS_BACK = 400;
/** ... to this many ahead of today. */
export const DAYS_AHEAD = 7;

const DAY_MS = 86_400_000;
const EARLIEST_MS = Date.UTC(2020, 0, 1);
const LATEST_MS = Date.UTC(2100, 0, 1);

// Runs of one batch are milliseconds apart; formatting a date for each would be the dearest part of locating.
let lastDayNumber = Number.NaN;
let lastDay = '';

/** The UTC day of an instant, as `YYYY-MM-DD`. */
export function dayOf(ms: number): string {
  const dayNumber = Math.floor(ms / DAY_MS);
  if (dayNumber !== lastDayNumber) {
    lastDay = new Date(ms).toISOString().slice(0, 10);
    lastDayNumber = dayNumber;
  }
  return lastDay;
}

/** `day` moved by whole days. */
export const addDays = (day: string, days: number): string => dayOf(Date.parse(day) + days * DAY_MS);

/** The day a UUIDv7 id names; undefined for other versions and for times nobody's clock should show. */
export function naturalDay(id: string): string | undefined {
  const ms = uuidTimeMs(id);
  if (ms === undefined || ms < EARLIEST_MS || ms >= LATEST_MS) return undefined;
  return dayOf(ms);
}

/**
 * How far apart two runs of a trace may live for conditions on the one to see the other, and for sums over threads.
 * Looking into every partition there is would cost each candidate hundreds of lookups.
 */
export const TRACE_SPAN_DAYS = 7;

/**
 * The first day in which the runs of a trace are looked for, judged by its id: children are made after their root, by
 * clocks less than a day apart. What lies before is in trace_days. Undefined where every day is looked at.
 */
export function firstDayOfTrace(traceId: string): string | undefined {
  const day = naturalDay(traceId);
  return day === undefined ? undefined : addDays(day, -1);
}

/** Whether a run of the trace that lives in `day` lies before the days in which the trace is looked for. */
export function precedesTrace(day: string, traceId: string): boolean {
  const named = naturalDay(traceId);
  // Hardly ever; only then is a day before worked out.
  return named !== undefined && day < named && day !== STRAY_DAY && day < addDays(named, -1);
}

/** Whether a partition for `day` may be made now. Days outside are stored in the stray partition. */
export function mayHavePartition(day: string, nowMs: number): boolean {
  const distance = (Date.parse(day) - Date.parse(dayOf(nowMs))) / DAY_MS;
  return distance >= -OLDEST_DAYS_BACK && distance <= DAYS_AHEAD;
}
