/** What a feedback key means: its scale or categories and which direction is better. Pure. */
import type { JsonValue } from '../ingest/run-event.js';
import { problem, type Problem } from '../platform/result.js';

export type FeedbackConfigType = 'continuous' | 'categorical' | 'freeform';

export interface FeedbackCategory {
  /** The score this category counts as. */
  readonly value: number;
  readonly label: string | null;
}

export interface FeedbackConfigDefinition {
  readonly type: FeedbackConfigType;
  /** Bounds of a continuous score, both included; null is unbounded. */
  readonly min: number | null;
  readonly max: number | null;
  /** Empty unless categorical. */
  readonly categories: readonly FeedbackCategory[];
}

export interface FeedbackConfig extends FeedbackConfigDefinition {
  readonly key: string;
  readonly isLowerScoreBetter: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
}

const MAX_CATEGORIES = 200;
const MAX_LABEL_LENGTH = 256;

/** The category a value names, by its label or by its number; a number may come as text. */
export function categoryOf(
  config: FeedbackConfigDefinition,
  value: string | number,
): FeedbackCategory | undefined {
  return config.categories.find(
    (category) => category.value === value || category.label === value || String(category.value) === value,
  );
}

/** "a score from 0 to 1", "one of: good (1), bad (0)". */
export function describeAllowed(config: FeedbackConfigDefinition): string {
  if (config.type === 'categorical') {
    const names = config.categories.map(({ value, label }) =>
      label === null ? String(value) : `${label} (${value})`,
    );
    return `one of: ${names.join(', ')}`;
  }
  if (config.type === 'freeform') return 'anything';
  if (config.min === null && config.max === null) return 'any score';
  if (config.min === null) return `a score of at most ${config.max}`;
  if (config.max === null) return `a score of at least ${config.min}`;
  return `a score from ${config.min} to ${config.max}`;
}

/** Why a definition makes no sense; empty where it does. Paths are relative to the definition. */
export function definitionProblems(definition: FeedbackConfigDefinition): Problem[] {
  const problems: Problem[] = [];
  const { type, min, max, categories } = definition;
  const bounds = [min, max].filter((bound) => bound !== null);
  if (!bounds.every(Number.isFinite)) {
    problems.push(problem('INVALID', 'min and max must be finite numbers.', ['min']));
  }
  if (min !== null && max !== null && min > max) {
    problems.push(problem('INVALID', `min (${min}) must not be above max (${max}).`, ['min']));
  }
  if (type === 'categorical' && categories.length === 0) {
    problems.push(problem('INVALID', 'A categorical key needs at least one category.', ['categories']));
  }
  if (categories.length > MAX_CATEGORIES) {
    problems.push(problem('INVALID', `A key may have at most ${MAX_CATEGORIES} categories.`, ['categories']));
  }
  if (categories.some(({ label }) => (label?.length ?? 0) > MAX_LABEL_LENGTH)) {
    problems.push(
      problem('INVALID', `A label may have at most ${MAX_LABEL_LENGTH} characters.`, ['categories']),
    );
  }
  const labels = categories.map(({ label }) => label).filter((label) => label !== null);
  const values = categories.map(({ value }) => value);
  if (new Set(values).size < values.length || new Set(labels).size < labels.length) {
    problems.push(
      problem('INVALID', 'Two categories have the same value or the same label.', ['categories']),
    );
  }
  return problems;
}

/** Whether two definitions mean the same; what a type does not use is not compared. */
export function sameDefinition(left: FeedbackConfigDefinition, right: FeedbackConfigDefinition): boolean {
  const essence = ({ type, min, max, categories }: FeedbackConfigDefinition): JsonValue =>
    type === 'continuous'
      ? [type, min, max]
      : type === 'categorical'
        ? [type, ...categories.map(({ value, label }) => [value, label])]
        : [type];
  return JSON.stringify(essence(left)) === JSON.stringify(essence(right));
}
