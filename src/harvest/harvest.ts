/**
 * What a harvest, an execution of it and a candidate are, and which definitions make sense. Pure.
 *
 * | state     | means                                                        | goes on to                 |
 * |-----------|--------------------------------------------------------------|----------------------------|
 * | running   | a worker reads runs and judges them                          | proposed, applied, failed, cancelled |
 * | proposed  | what is left waits for somebody to approve it                | applied, rejected, cancelled |
 * | applied   | what was left is in the dataset, as one version              | –                          |
 * | rejected  | nothing was added, and these runs are not proposed again     | –                          |
 * | failed    | it could not be carried out; nothing was added               | –                          |
 * | cancelled | called off; nothing was added                                | –                          |
 */
import { z } from 'zod';
import { MAX_SPLIT_LENGTH, MAX_SPLITS } from '../datasets/example.js';
import { textProblems } from '../datasets/dataset.js';
import { MAX_FILTER_LENGTH } from '../filters/filter-check.js';
import { parseFilter } from '../filters/filter-text.js';
import type { RunFilters } from '../filters/filter.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { MIN_THRESHOLD } from './near-duplicates.js';
import { MAX_CUSTOM_PATTERNS, MAX_PATTERN_LENGTH, patternProblem } from './redaction.js';
import { REDACTION_KINDS } from './secret-patterns.js';

export const HARVEST_LIMITS = {
  name: 200,
  description: 20_000,
  projects: 100,
  fields: 100,
  drops: 100,
  cap: 5_000,
  days: 366,
  overlapHours: 720,
  metadata: 16_384,
} as const;

const pointer = z
  .string()
  .max(1_000)
  .regex(/^(?:\/[^/]*)+$/, 'A JSON pointer begins with a slash, such as /inputs/question');

const fields = z
  .array(z.strictObject({ from: pointer, to: z.string().min(1).max(200) }))
  .max(HARVEST_LIMITS.fields);

const time = z.iso.datetime({ offset: true });

const harvestWindow = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('since_last'),
    overlapHours: z.int().min(0).max(HARVEST_LIMITS.overlapHours).default(24),
    firstDays: z.int().min(1).max(HARVEST_LIMITS.days).default(30),
  }),
  z.strictObject({ kind: z.literal('last_days'), days: z.int().min(1).max(HARVEST_LIMITS.days) }),
  z.strictObject({ kind: z.literal('range'), from: time, to: time.optional() }),
]);

const filterText = z.string().max(MAX_FILTER_LENGTH).optional();

const definitionSchema = z.strictObject({
  projectIds: z.array(z.uuid()).max(HARVEST_LIMITS.projects).default([]),
  rootsOnly: z.boolean().default(true),
  where: z.strictObject({ filter: filterText, traceFilter: filterText, treeFilter: filterText }).default({}),
  window: harvestWindow.default({ kind: 'since_last', overlapHours: 24, firstDays: 30 }),
  mapping: z
    .strictObject({ inputs: fields.optional(), outputs: fields.optional(), metadata: fields.optional() })
    .default({}),
  redaction: z
    .strictObject({
      // Nothing said is no reason to keep secrets.
      patterns: z
        .array(z.enum(REDACTION_KINDS))
        .max(REDACTION_KINDS.length)
        .default([...REDACTION_KINDS]),
      custom: z
        .array(
          z.strictObject({
            name: z.string().regex(/^[A-Z][A-Z0-9_]{0,31}$/, 'A name has capital letters, digits and _'),
            pattern: z.string().max(MAX_PATTERN_LENGTH),
          }),
        )
        .max(MAX_CUSTOM_PATTERNS)
        .default([]),
      drop: z.array(pointer).max(HARVEST_LIMITS.drops).default([]),
    })
    .default({ patterns: [...REDACTION_KINDS], custom: [], drop: [] }),
  duplicates: z
    .strictObject({
      exact: z.boolean().default(true),
      nearThreshold: z.number().min(MIN_THRESHOLD).max(1).nullable().default(null),
    })
    .default({ exact: true, nearThreshold: null }),
  cap: z.int().min(1).max(HARVEST_LIMITS.cap).default(1_000),
  pick: z.enum(['newest', 'oldest', 'random']).default('newest'),
  seed: z
    .string()
    .regex(/^-?\d{1,18}$/)
    .default('0'),
  stratifyBy: z.string().min(1).max(500).nullable().default(null),
  splits: z.array(z.string().min(1).max(MAX_SPLIT_LENGTH)).max(MAX_SPLITS).default([]),
  metadata: z.record(z.string(), z.json()).default({}),
  approval: z.boolean().default(false),
});

/** All of it is kept with each execution: what one does never depends on a change that came later. */
export type HarvestDefinition = z.infer<typeof definitionSchema>;

export type HarvestPick = HarvestDefinition['pick'];

export interface Harvest {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  readonly datasetId: string;
  readonly definition: HarvestDefinition;
  /** Grows with each change of the definition or the dataset. */
  readonly revision: number;
  readonly harvestedTo: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export const HARVEST_RUN_STATES = [
  'running',
  'proposed',
  'applied',
  'rejected',
  'failed',
  'cancelled',
] as const;
export type HarvestRunState = (typeof HARVEST_RUN_STATES)[number];

export const VERDICTS = [
  'pending',
  'added',
  'known',
  'exact_duplicate',
  'near_duplicate',
  'over_cap',
  'rejected',
  'failed',
] as const;
export type Verdict = (typeof VERDICTS)[number];

/** Runs by what became of them. All but `internal` and `redacted` add up to what matched, without internal ones. */
export interface HarvestCounts {
  /** Runs the filters let through, internal ones among them. */
  readonly matched: number;
  /** Made by evaluation: of judges, evaluators and experiments. */
  readonly internal: number;
  /** In the dataset already, or met by an earlier execution: added, proposed, rejected or passed over. */
  readonly known: number;
  /** In which something was redacted, whatever became of them. */
  readonly redacted: number;
  readonly exactDuplicates: number;
  readonly nearDuplicates: number;
  readonly overCap: number;
  readonly pending: number;
  readonly added: number;
  readonly rejected: number;
  readonly failed: number;
}

export interface HarvestRun extends HarvestCounts {
  readonly uuid: string;
  readonly harvestId: string;
  readonly harvestName: string;
  readonly datasetId: string;
  readonly revision: number;
  readonly definition: HarvestDefinition;
  readonly state: HarvestRunState;
  readonly reason: string | null;
  readonly windowFrom: string;
  readonly windowTo: string;
  readonly datasetVersion: number | null;
  readonly version: number | null;
  readonly jobId: string | null;
  readonly actor: string | null;
  readonly decidedBy: string | null;
  readonly createdAt: string;
  readonly finishedAt: string | null;
}

/** JSON texts; content. */
export interface CandidateContent {
  readonly inputs: string | null;
  readonly outputs: string | null;
}

/** A run that was looked at, and the example it would become. Content and metadata are there while it is pending. */
export interface HarvestCandidate extends CandidateContent {
  readonly sourceRunId: string;
  readonly position: number;
  readonly startTime: string;
  readonly verdict: Verdict;
  readonly reason: string | null;
  readonly duplicateOf: string | null;
  readonly redactions: Readonly<Record<string, number>> | null;
  readonly metadata: string | null;
  readonly exampleId: string | null;
}

export interface HarvestDraft {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly datasetId: string;
  /** What is missing has its default. */
  readonly definition: unknown;
}

/** A change: absent leaves. */
export interface HarvestPatch {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly datasetId?: string | undefined;
  /** Replaces the whole definition. */
  readonly definition?: unknown;
}

export interface TimeWindow {
  readonly from: string;
  readonly to: string;
}

/** Key in an example's metadata: the harvest it came from. */
export const HARVEST_KEY = 'tracewell.harvest';

/**
 * The definition with its defaults.
 * @throws AppError BAD_USER_INPUT for a filter that is none.
 */
export function readDefinition(draft: unknown): Result<HarvestDefinition> {
  const parsed = definitionSchema.safeParse(draft);
  if (!parsed.success) {
    const problems = parsed.error.issues
      .slice(0, 20)
      .map(({ message, path }) =>
        problem('INVALID', `${message}.`.replace('..', '.'), ['definition', ...path.map(String)]),
      );
    return failed(...problems);
  }
  const problems = definitionProblems(parsed.data);
  if (problems.length > 0) return failed(...problems);
  filtersOf(parsed.data);
  return ok(parsed.data);
}

function definitionProblems({ window, redaction, metadata }: HarvestDefinition): Problem[] {
  const problems: Problem[] = [];
  if (
    window.kind === 'range' &&
    window.to !== undefined &&
    Date.parse(window.to) <= Date.parse(window.from)
  ) {
    const path = ['definition', 'window', 'range', 'to'];
    problems.push(problem('INVALID', 'The window ends before it begins.', path));
  }
  for (const [index, { pattern }] of redaction.custom.entries()) {
    const wrong = patternProblem(pattern);
    const path = ['definition', 'redaction', 'custom', String(index), 'pattern'];
    if (wrong !== undefined) problems.push(problem('INVALID', wrong, path));
  }
  if (JSON.stringify(metadata).length > HARVEST_LIMITS.metadata) {
    const message = `metadata may have at most ${HARVEST_LIMITS.metadata} characters as JSON.`;
    problems.push(problem('LIMIT_EXCEEDED', message, ['definition', 'metadata']));
  }
  return problems;
}

/** Why a harvest cannot be called so; empty where it can. */
export function nameProblems({ name, description }: Pick<HarvestPatch, 'name' | 'description'>): Problem[] {
  return [
    ...(name?.trim() === '' ? [problem('INVALID', 'A harvest needs a name.', ['name'])] : []),
    ...textProblems('name', name, HARVEST_LIMITS.name),
    ...textProblems('description', description, HARVEST_LIMITS.description),
  ];
}

/** @throws AppError BAD_USER_INPUT for a text that is no filter. */
export function filtersOf({ where }: Pick<HarvestDefinition, 'where'>): RunFilters {
  const { filter, traceFilter, treeFilter } = where;
  const at = (field: string) => ['definition', 'where', field];
  return {
    ...(filter !== undefined && { run: parseFilter(filter, at('filter')) }),
    ...(traceFilter !== undefined && { root: parseFilter(traceFilter, at('traceFilter')) }),
    ...(treeFilter !== undefined && { tree: parseFilter(treeFilter, at('treeFilter')) }),
  };
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/**
 * Which start times an execution looks at. `since_last` reaches back behind the last one, because runs and feedback
 * come late; what was harvested then is known.
 */
export function windowOf(
  { window }: Pick<HarvestDefinition, 'window'>,
  harvestedTo: string | null,
  now: Date,
): TimeWindow {
  const to = now.toISOString();
  const before = (ms: number): string => new Date(now.getTime() - ms).toISOString();
  switch (window.kind) {
    case 'last_days':
      return { from: before(window.days * DAY_MS), to };
    case 'range': {
      const { from } = window;
      const end = window.to !== undefined && Date.parse(window.to) < now.getTime() ? window.to : to;
      return { from: new Date(from).toISOString(), to: new Date(end).toISOString() };
    }
    case 'since_last': {
      if (harvestedTo === null) return { from: before(window.firstDays * DAY_MS), to };
      const from = new Date(harvestedTo).getTime() - window.overlapHours * HOUR_MS;
      return { from: new Date(from).toISOString(), to };
    }
  }
}
