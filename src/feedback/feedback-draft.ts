/** What clients say about feedback, made storable, and what a patch makes of stored feedback. Pure. */
import type { JsonValue } from '../ingest/run-event.js';
import { cleanText } from '../platform/json-text.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import {
  cleanJson,
  judgementOf,
  MAX_JSON_DEPTH,
  type Feedback,
  type FeedbackDraft,
  type FeedbackPatch,
} from './feedback.js';

const JSON_FIELDS = ['value', 'correction', 'source', 'extra'] as const;

/** The draft with every text and JSON value storable. */
export function cleanDraft(draft: FeedbackDraft): Result<FeedbackDraft> {
  const json: Partial<Record<(typeof JSON_FIELDS)[number], JsonValue>> = {};
  for (const field of JSON_FIELDS) {
    const value = draft[field];
    if (value === undefined || value === null) continue;
    const clean = cleanJson(value);
    if (clean === undefined) {
      return failed(problem('INVALID', `${field} is nested deeper than ${MAX_JSON_DEPTH} levels.`, [field]));
    }
    json[field] = clean;
  }
  return ok({
    ...draft,
    ...(json as Pick<FeedbackDraft, (typeof JSON_FIELDS)[number]>),
    key: cleanText(draft.key),
    comment: typeof draft.comment === 'string' ? cleanText(draft.comment) : null,
    threadId: typeof draft.threadId === 'string' ? cleanText(draft.threadId) : null,
  });
}

/** `patch` says what is changed, `clean` what to. */
export function patched(
  current: Feedback,
  patch: FeedbackPatch,
  clean: FeedbackDraft,
): Pick<Feedback, 'score' | 'value' | 'comment' | 'correction'> {
  const given = judgementOf(clean.score, clean.value);
  // A boolean score is its own value, unless the client had named another: it goes where the score goes.
  const implied = typeof current.value === 'boolean' && current.score === Number(current.value);
  const follows =
    patch.score !== undefined && (implied || (typeof patch.score === 'boolean' && current.value === null));
  const valueGiven = patch.value !== undefined || follows;
  return {
    score: patch.score === undefined ? current.score : given.score,
    value: valueGiven ? given.value : current.value,
    comment: patch.comment === undefined ? current.comment : (clean.comment ?? null),
    correction: patch.correction === undefined ? current.correction : (clean.correction ?? null),
  };
}
