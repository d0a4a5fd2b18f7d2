/**
 * What feedback is and which feedback a config allows. Pure: drafts are cleaned and judged here, stored
 * elsewhere.
 */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { isUuid } from '../platform/ids.js';
import { cleanText } from '../platform/json-text.js';
import { problem, type Problem } from '../platform/result.js';
import {
  categoryOf,
  describeAllowed,
  type FeedbackConfig,
  type FeedbackConfigDefinition,
} from './feedback-config.js';

/** One judgement of one run, or of a whole project where `runId` is null. Times are UTC text with microseconds. */
export interface Feedback {
  readonly id: string;
  readonly runId: string | null;
  readonly traceId: string | null;
  readonly projectId: string | null;
  readonly key: string;
  /** 1 or 0 for a boolean; the boolean itself is then in `value`. */
  readonly score: number | null;
  readonly value: JsonValue;
  readonly comment: string | null;
  readonly correction: JsonValue;
  readonly sourceType: string;
  /** `{type, metadata, user_id, ls_user_id, user_name, ...}` as the client sent it. */
  readonly source: JsonObject;
  readonly feedbackGroupId: string | null;
  readonly comparativeExperimentId: string | null;
  readonly extra: JsonObject | null;
  readonly threadId: string | null;
  readonly runStartTime: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** What a client says about one feedback. Absent and null both mean "says nothing". */
export interface FeedbackDraft {
  readonly id?: string | null;
  readonly runId?: string | null;
  readonly traceId?: string | null;
  readonly projectId?: string | null;
  readonly key: string;
  readonly score?: number | boolean | null;
  readonly value?: JsonValue;
  readonly comment?: string | null;
  readonly correction?: JsonValue;
  readonly source?: JsonObject | null;
  readonly feedbackGroupId?: string | null;
  readonly comparativeExperimentId?: string | null;
  readonly extra?: JsonObject | null;
  readonly threadId?: string | null;
  /** ISO 8601. */
  readonly runStartTime?: string | null;
  readonly createdAt?: string | null;
  /** Becomes the key's config if it has none yet; the stored config wins otherwise. */
  readonly config?: FeedbackConfigDefinition | null;
}

/** A change of a stored feedback: absent leaves, null clears. */
export interface FeedbackPatch {
  readonly score?: number | boolean | null;
  readonly value?: JsonValue;
  readonly comment?: string | null;
  readonly correction?: JsonValue;
}

/** What of a feedback its key's config has a say in. */
export interface Judgement {
  readonly score: number | null;
  readonly value: JsonValue;
}

export const MAX_KEY_LENGTH = 256;
const MAX_COMMENT_LENGTH = 65_536;
/** Of `value`, `correction`, `extra` and `source` each, as JSON text. */
const MAX_JSON_LENGTH = 262_144;
export const MAX_JSON_DEPTH = 64;
const MAX_THREAD_ID_LENGTH = 1_024;
/** Feedback per request. */
export const MAX_BATCH = 1_000;

/** JSON as jsonb can keep it. Undefined where it is nested deeper than MAX_JSON_DEPTH. */
export function cleanJson(value: JsonValue, depth = 0): JsonValue | undefined {
  if (typeof value === 'string') return cleanText(value);
  if (value === null || typeof value !== 'object') return value;
  if (depth >= MAX_JSON_DEPTH) return undefined;
  if (Array.isArray(value)) {
    const items: JsonValue[] = [];
    for (const item of value) {
      const clean = cleanJson(item, depth + 1);
      if (clean === undefined) return undefined;
      items.push(clean);
    }
    return items;
  }
  const object: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    const clean = cleanJson(item, depth + 1);
    if (clean === undefined) return undefined;
    // Not an assignment: a key named __proto__ is data like any other.
    Object.defineProperty(object, cleanText(key), {
      value: clean,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return object;
}

/** A boolean score is kept as 1 or 0, and as the value where the client gave no other value. */
export function judgementOf(
  score: number | boolean | null | undefined,
  value: JsonValue | undefined,
): Judgement {
  if (typeof score === 'boolean') return { score: score ? 1 : 0, value: value ?? score };
  return { score: score ?? null, value: value ?? null };
}

/** The category's score where the client named the category only. */
export function completeJudgement(judgement: Judgement, config: FeedbackConfig | undefined): Judgement {
  if (config?.type !== 'categorical' || judgement.score !== null || typeof judgement.value !== 'string') {
    return judgement;
  }
  const category = categoryOf(config, judgement.value);
  return category === undefined ? judgement : { ...judgement, score: category.value };
}

/** Why a config refuses a judgement; undefined where it is allowed. Names what is allowed. */
export function refusalOf(
  key: string,
  judgement: Judgement,
  config: FeedbackConfig | undefined,
): Problem | undefined {
  if (config === undefined) return undefined;
  const refuse = (field: string, given: JsonValue): Problem =>
    problem('INVALID', `"${key}" takes ${describeAllowed(config)}; got ${brief(given)}.`, [field]);
  const { score, value } = judgement;
  switch (config.type) {
    case 'freeform':
      return undefined;
    case 'continuous': {
      const low = config.min !== null && score !== null && score < config.min;
      const high = config.max !== null && score !== null && score > config.max;
      return low || high ? refuse('score', score) : undefined;
    }
    case 'categorical': {
      if (score !== null && !config.categories.some((category) => category.value === score)) {
        return refuse('score', score);
      }
      const named = typeof value === 'string' || typeof value === 'number';
      if (named && categoryOf(config, value) === undefined) return refuse('value', value);
      return undefined;
    }
  }
}

function brief(value: JsonValue): string {
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

const UUID_FIELDS = [
  'id',
  'runId',
  'traceId',
  'projectId',
  'feedbackGroupId',
  'comparativeExperimentId',
] as const;
const JSON_FIELDS = ['value', 'correction', 'extra', 'source'] as const;

/** Why a draft cannot be stored whatever its config says; empty where it can. Expects cleaned JSON. */
export function problemsOf(draft: Partial<FeedbackDraft>): Problem[] {
  const problems: Problem[] = [];
  const invalid = (field: string, message: string): void => {
    problems.push(problem('INVALID', message, [field]));
  };
  for (const field of UUID_FIELDS) {
    const value = draft[field];
    if (value !== undefined && value !== null && !isUuid(value)) invalid(field, `${field} must be a UUID.`);
  }
  if (draft.key !== undefined && (draft.key === '' || draft.key.length > MAX_KEY_LENGTH)) {
    invalid('key', `key must have 1 to ${MAX_KEY_LENGTH} characters.`);
  }
  if (typeof draft.score === 'number' && !Number.isFinite(draft.score)) {
    invalid('score', 'score must be a finite number.');
  }
  if ((draft.comment?.length ?? 0) > MAX_COMMENT_LENGTH) {
    invalid('comment', `comment may have at most ${MAX_COMMENT_LENGTH} characters.`);
  }
  if ((draft.threadId?.length ?? 0) > MAX_THREAD_ID_LENGTH) {
    invalid('threadId', `threadId may have at most ${MAX_THREAD_ID_LENGTH} characters.`);
  }
  for (const field of JSON_FIELDS) {
    const value = draft[field];
    if (value === undefined || value === null) continue;
    if (JSON.stringify(value).length > MAX_JSON_LENGTH) {
      invalid(field, `${field} may have at most ${MAX_JSON_LENGTH} characters as JSON.`);
    }
  }
  return problems;
}

/**
 * For callers without the content scope: comments and corrections quote what was judged, a judge's reasoning word by
 * word.
 */
export const withoutContent = (feedback: Feedback): Feedback => ({
  ...feedback,
  comment: null,
  correction: null,
});
