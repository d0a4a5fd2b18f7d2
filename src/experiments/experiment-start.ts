/** What has to be said to start an experiment, and what of it can be refused without looking anything up. Pure. */
import { z } from 'zod';
import { pointerProblem } from '../evaluators/pick.js';
import { problem, type Problem } from '../platform/result.js';
import { startTarget } from './target.js';

export const START_LIMITS = {
  repetitions: 20,
  concurrency: 64,
  maxAttempts: 10,
  minDeadlineMs: 1_000,
  maxDeadlineMs: 600_000,
  evaluators: 50,
  splits: 100,
  /** Examples times repetitions. */
  rows: 100_000,
  /** Rows times evaluators. */
  evaluations: 500_000,
} as const;

const DEFAULTS = { repetitions: 1, concurrency: 8, maxAttempts: 3, deadlineMs: 60_000 };

const asOf = z.union([
  z.strictObject({ version: z.int().min(0) }),
  z.strictObject({ tag: z.string().min(1).max(128) }),
  z.strictObject({ time: z.iso.datetime({ offset: true }) }),
]);

const evaluatorRef = z.union([
  z.strictObject({ id: z.uuid(), version: z.int().min(1).optional() }),
  z.strictObject({ name: z.string().min(1).max(200), version: z.int().min(1).optional() }),
]);

/**
 * As it is kept by schedules. Secrets in the target are sealed by then. With a target `runs` the experiment is one that
 * is there, and only scores are made.
 */
export const startSchema = z.strictObject({
  /** Of the experiment whose runs are scored; otherwise absent. */
  experimentId: z.uuid().optional(),
  datasetId: z.uuid().optional(),
  asOf: asOf.optional(),
  splits: z.array(z.string().min(1).max(200)).max(START_LIMITS.splits).default([]),
  name: z.string().max(400).optional(),
  description: z.string().max(20_000).optional(),
  metadata: z.record(z.string(), z.json()).default({}),
  target: startTarget,
  evaluators: z.array(evaluatorRef).max(START_LIMITS.evaluators),
  repetitions: z.int().min(1).max(START_LIMITS.repetitions).default(DEFAULTS.repetitions),
  concurrency: z.int().min(1).max(START_LIMITS.concurrency).default(DEFAULTS.concurrency),
  maxAttempts: z.int().min(1).max(START_LIMITS.maxAttempts).default(DEFAULTS.maxAttempts),
  deadlineMs: z
    .int()
    .min(START_LIMITS.minDeadlineMs)
    .max(START_LIMITS.maxDeadlineMs)
    .default(DEFAULTS.deadlineMs),
  seed: z
    .string()
    .regex(/^-?\d{1,18}$/)
    .default('0'),
  useCache: z.boolean().default(true),
  /** US dollars, decimal text. */
  spendCap: z
    .string()
    .regex(/^\d{1,11}(\.\d{1,12})?$/)
    .nullable()
    .default(null),
});

export type ExperimentStart = z.infer<typeof startSchema>;

/** Paths are those of the draft. */
export function readStart(
  draft: unknown,
):
  | { readonly ok: true; readonly value: ExperimentStart }
  | { readonly ok: false; readonly problems: Problem[] } {
  const parsed = startSchema.safeParse(draft);
  if (!parsed.success) {
    const problems = parsed.error.issues
      .slice(0, 20)
      .map(({ message, path }) => problem('INVALID', `${message}.`.replace('..', '.'), path.map(String)));
    return { ok: false, problems };
  }
  const problems = startProblems(parsed.data);
  return problems.length > 0 ? { ok: false, problems } : { ok: true, value: parsed.data };
}

function startProblems(start: ExperimentStart): Problem[] {
  const problems: Problem[] = [];
  const { target, datasetId, experimentId } = start;
  if (target.kind === 'runs') {
    if (experimentId === undefined) {
      problems.push(problem('INVALID', 'Name the experiment whose runs are scored.', ['target', 'runs']));
    }
    if (start.evaluators.length === 0) {
      problems.push(problem('INVALID', 'Without an evaluator there is nothing to do.', ['evaluators']));
    }
  } else if (datasetId === undefined) {
    problems.push(problem('INVALID', 'Name the dataset.', ['datasetId']));
  }
  if (target.kind === 'http') {
    const wrong = pointerProblem(target.outputPath);
    if (wrong !== undefined) problems.push(problem('INVALID', wrong, ['target', 'http', 'outputPath']));
  }
  if (start.spendCap !== null && Number(start.spendCap) === 0) {
    problems.push(problem('INVALID', 'A spend cap is above zero.', ['spendCap']));
  }
  return problems;
}
