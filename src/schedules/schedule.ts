/** What a schedule is, and when it is due next. Pure. Times are UTC text as Postgres gives them. */
import { CronExpressionParser } from 'cron-parser';
import type { JsonObject } from '../ingest/run-event.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { problem, type Problem } from '../platform/result.js';

export const SCHEDULE_KINDS = ['experiment', 'harvest'] as const;
export type ScheduleKind = (typeof SCHEDULE_KINDS)[number];

export interface Schedule {
  readonly uuid: string;
  readonly name: string;
  readonly kind: ScheduleKind;
  readonly config: JsonObject;
  readonly cron: string;
  readonly timezone: string;
  readonly enabled: boolean;
  readonly nextRunAt: string | null;
  readonly lastRunAt: string | null;
  /** Null while the last due time is being worked on, and before the first. */
  readonly lastOutcome: 'started' | 'failed' | null;
  readonly lastMessage: string | null;
  readonly lastResultId: string | null;
  readonly actor: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface ScheduleDraft {
  readonly name: string;
  readonly kind: ScheduleKind;
  /** Checked by whoever owns the kind. */
  readonly config: JsonObject;
  readonly cron: string;
  readonly timezone: string;
  readonly enabled: boolean;
}

/** The settings as people may see them: what is sealed in them is blotted out. */
export function shownConfig(config: JsonObject): JsonObject {
  const shown = JSON.stringify(config, (key, value: unknown) => (key === 'sealed' ? '***' : value));
  return JSON.parse(shown) as JsonObject;
}

/** A change: absent leaves. */
export interface SchedulePatch {
  readonly name?: string | undefined;
  readonly config?: JsonObject | undefined;
  readonly cron?: string | undefined;
  readonly timezone?: string | undefined;
  readonly enabled?: boolean | undefined;
}

/** What came of one due time. */
export type ScheduleOutcome =
  | { readonly kind: 'started'; readonly resultId: string | null }
  /** It cannot be done as it stands; it is tried again at its next time. */
  | { readonly kind: 'failed'; readonly message: string };

/**
 * What a kind of schedule does at its times. Idempotent per due time: it is called again after a crash with the same
 * `dueAt`. What it throws is tried again.
 */
export type ScheduleAction = (
  scope: WorkspaceScope,
  schedule: Schedule,
  dueAt: string,
) => Promise<ScheduleOutcome>;

export type ScheduleActions = Partial<Readonly<Record<ScheduleKind, ScheduleAction>>>;

export const MAX_SCHEDULE_NAME = 200;
const MAX_CRON_LENGTH = 200;

/** Why this cannot be scheduled; empty where it can. Paths are those of the draft. */
export function scheduleProblems({ name, cron, timezone }: SchedulePatch): Problem[] {
  const problems: Problem[] = [];
  if (
    name !== undefined &&
    (name.trim() === '' || name.length > MAX_SCHEDULE_NAME || name.includes('\u0000'))
  ) {
    problems.push(problem('INVALID', `name needs 1 to ${MAX_SCHEDULE_NAME} characters.`, ['name']));
  }
  if (timezone !== undefined && !isTimezone(timezone)) {
    problems.push(problem('INVALID', `There is no time zone "${timezone.slice(0, 64)}".`, ['timezone']));
  }
  if (cron !== undefined) {
    const wrong = cronProblem(cron);
    if (wrong !== undefined) problems.push(problem('INVALID', wrong, ['cron']));
  }
  return problems;
}

function cronProblem(cron: string): string | undefined {
  if (cron.length > MAX_CRON_LENGTH) return `cron may have at most ${MAX_CRON_LENGTH} characters.`;
  // Six fields would count seconds, `H` would be another time in each process.
  if (cron.trim().split(/\s+/).length !== 5 || /H/i.test(cron.replaceAll(/THU|MARCH/gi, ''))) {
    return 'cron has five fields: minute, hour, day of month, month, day of week.';
  }
  try {
    CronExpressionParser.parse(cron, { tz: 'UTC' });
    return undefined;
  } catch {
    return 'cron is no expression of minute, hour, day of month, month, day of week.';
  }
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

/** The first time strictly after `after`; null where there is none. The expression and zone were checked. */
export function nextRun(cron: string, timezone: string, after: Date): Date | null {
  try {
    return CronExpressionParser.parse(cron, { currentDate: after, tz: timezone }).next().toDate();
  } catch {
    return null;
  }
}
