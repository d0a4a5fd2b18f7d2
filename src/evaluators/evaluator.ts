/** What an evaluator is, and which scale its scores have. Pure. Times are UTC text. */
import { createHash } from 'node:crypto';
import type { FeedbackConfig, FeedbackConfigDefinition } from '../feedback/feedback-config.js';
import { categoryOf, describeAllowed } from '../feedback/feedback-config.js';
import { MAX_KEY_LENGTH } from '../feedback/feedback.js';
import type { JsonObject } from '../ingest/run-event.js';
import { canonicalJson } from '../platform/canonical-json.js';
import { problem, type Problem } from '../platform/result.js';
import type { EvaluatorVersion } from './evaluation.js';
import type { EvaluatorSpec, JudgeScore } from './evaluator-config.js';

export interface Evaluator {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  /** The newest version. */
  readonly version: number;
  /** Archived evaluators are not offered and take no further versions; what names one of theirs goes on. */
  readonly archivedAt: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface StoredVersion extends EvaluatorVersion {
  /** Who made it; null where that is not known. */
  readonly actor: string | null;
  readonly createdAt: string;
}

/** What one version is made of. */
export interface EvaluatorDefinition {
  readonly kind: string;
  readonly feedbackKey: string;
  readonly config: unknown;
}

export const MAX_NAME_LENGTH = 200;
const MAX_DESCRIPTION_LENGTH = 5_000;

/** Equal for definitions that score alike, whatever their version: part of the key of cached results. */
export function configHash(kind: string, feedbackKey: string, config: JsonObject): string {
  return createHash('sha256')
    .update(canonicalJson([kind, feedbackKey, config]))
    .digest('hex');
}

/** Expects cleaned text. */
export function namingProblems(naming: {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly feedbackKey?: string | undefined;
}): Problem[] {
  const { name, description, feedbackKey } = naming;
  const problems: Problem[] = [];
  if (name !== undefined && (name.trim() === '' || name.length > MAX_NAME_LENGTH)) {
    problems.push(problem('INVALID', `A name has 1 to ${MAX_NAME_LENGTH} characters.`, ['name']));
  }
  if (typeof description === 'string' && description.length > MAX_DESCRIPTION_LENGTH) {
    problems.push(
      problem('INVALID', `A description has at most ${MAX_DESCRIPTION_LENGTH} characters.`, ['description']),
    );
  }
  if (feedbackKey !== undefined && (feedbackKey === '' || feedbackKey.length > MAX_KEY_LENGTH)) {
    problems.push(
      problem('INVALID', `A feedback key has 1 to ${MAX_KEY_LENGTH} characters.`, ['feedbackKey']),
    );
  }
  return problems;
}

/** Which scores a kind can give, and which are better. */
export interface ScoreScale {
  readonly definition: FeedbackConfigDefinition;
  readonly isLowerScoreBetter: boolean;
  /** False for judges: only whoever wrote the prompt knows what a high score says. */
  readonly hasFixedDirection: boolean;
}

const continuous = (min: number | null, max: number | null): FeedbackConfigDefinition => ({
  type: 'continuous',
  min,
  max,
  categories: [],
});

const higher = (definition: FeedbackConfigDefinition): ScoreScale => ({
  definition,
  isLowerScoreBetter: false,
  hasFixedDirection: true,
});
const lower = (definition: FeedbackConfigDefinition): ScoreScale => ({
  ...higher(definition),
  isLowerScoreBetter: true,
});

/** Undefined where only the code behind the evaluator knows. A boolean counts as 1 or 0. */
export function scaleOf({ kind, config }: EvaluatorSpec): ScoreScale | undefined {
  switch (kind) {
    case 'code':
    case 'webhook':
      return undefined;
    case 'latency':
      return config.maxSeconds === undefined ? lower(continuous(0, null)) : higher(continuous(0, 1));
    case 'cost':
      return config.max === undefined ? lower(continuous(0, null)) : higher(continuous(0, 1));
    case 'edit_distance':
      return config.measure === 'distance' && config.threshold === undefined
        ? lower(continuous(0, 1))
        : higher(continuous(0, 1));
    case 'llm_judge':
      return { ...higher(judgeScale(config.score)), hasFixedDirection: false };
    case 'exact_match':
    case 'contains':
    case 'forbidden_phrases':
    case 'required_keywords':
    case 'regex':
    case 'length':
    case 'json_schema':
    case 'numeric_tolerance':
    case 'tool_trajectory':
    case 'pairwise':
      return higher(continuous(0, 1));
  }
}

function judgeScale(score: JudgeScore): FeedbackConfigDefinition {
  if (score.type === 'boolean') return continuous(0, 1);
  if (score.type === 'number') return continuous(score.min, score.max);
  const scores = score.labels.map((label) => label.score);
  // Categories are told apart by their scores too; labels that count the same are a scale with names.
  if (new Set(scores).size < scores.length) return continuous(Math.min(...scores), Math.max(...scores));
  return {
    type: 'categorical',
    min: null,
    max: null,
    categories: score.labels.map(({ label, score: value }) => ({ label, value })),
  };
}

/** Why scores of this scale would be refused under a key that has a config already; undefined where none would be. */
export function scaleProblem(scale: ScoreScale, existing: FeedbackConfig): Problem | undefined {
  const { definition } = scale;
  if (scale.hasFixedDirection && scale.isLowerScoreBetter !== existing.isLowerScoreBetter) {
    const better = (isLower: boolean): string => (isLower ? 'lower' : 'higher');
    return problem(
      'INVALID',
      `Under the feedback key "${existing.key}" ${better(existing.isLowerScoreBetter)} scores are better; of this evaluator's the ${better(scale.isLowerScoreBetter)} ones are. Comparisons and gates would read them the wrong way round: use another key.`,
      ['feedbackKey'],
    );
  }
  const refusal = problem(
    'INVALID',
    `The feedback key "${existing.key}" takes ${describeAllowed(existing)}; this evaluator gives ${describeAllowed(definition)}.`,
    ['feedbackKey'],
  );
  if (existing.type === 'freeform') return undefined;
  if (definition.type === 'categorical') {
    const fits = definition.categories.every(({ label, value }) =>
      existing.type === 'categorical'
        ? existing.categories.some((category) => category.value === value) &&
          categoryOf(existing, label ?? value) !== undefined
        : value >= (existing.min ?? -Infinity) && value <= (existing.max ?? Infinity),
    );
    return fits ? undefined : refusal;
  }
  if (existing.type === 'categorical') return refusal;
  const reachesBelow = existing.min !== null && (definition.min === null || definition.min < existing.min);
  const reachesAbove = existing.max !== null && (definition.max === null || definition.max > existing.max);
  return reachesBelow || reachesAbove ? refusal : undefined;
}
