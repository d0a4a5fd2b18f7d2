/** What user code and webhooks answer with, read as scores. Strict: whatever is no score is an error. Pure. */
import { z } from 'zod';
import { cleanJson, MAX_KEY_LENGTH } from '../feedback/feedback.js';
import { cleanText } from '../platform/json-text.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import type { Score } from './evaluation.js';

export const MAX_SCORES = 20;
const MAX_COMMENT_LENGTH = 16_384;

const score = z.union([z.number(), z.boolean(), z.null()]);
const scoreObject = z
  .object({
    key: z.string().min(1).max(MAX_KEY_LENGTH).optional(),
    score: score.optional(),
    value: z
      .json()
      .optional()
      .refine((value) => cleanJson(value ?? null) !== undefined, 'is nested too deep'),
    comment: z.string().max(MAX_COMMENT_LENGTH).nullish(),
  })
  .refine((item) => (item.score ?? item.value ?? null) !== null, 'has neither a score nor a value');
type ScoreObject = z.infer<typeof scoreObject>;

/**
 * A number, a boolean, {key, score, value, comment}, or a list of such objects, each under a key of its own.
 * @param defaultKey for scores that name none.
 */
export function readScores(answer: unknown, defaultKey: string): Result<Score[]> {
  if (typeof answer === 'boolean' || (typeof answer === 'number' && Number.isFinite(answer))) {
    return ok([{ key: defaultKey, score: answer }]);
  }
  const list: readonly unknown[] = Array.isArray(answer) ? answer : [answer];
  if (list.length === 0) return failed(problem('INVALID', 'The answer is an empty list.'));
  if (list.length > MAX_SCORES) {
    return failed(problem('INVALID', `The answer has ${list.length} scores; ${MAX_SCORES} are the most.`));
  }
  const scores: Score[] = [];
  for (const [index, item] of list.entries()) {
    const where = Array.isArray(answer) ? `Item ${index} of the answer` : 'The answer';
    if (typeof item !== 'object' || item === null) {
      return failed(problem('INVALID', `${where} is no score: ${brief(item)}.`));
    }
    const parsed = scoreObject.safeParse(item);
    if (!parsed.success) {
      return failed(problem('INVALID', `${where} is no score: ${reasonOf(parsed.error)}.`));
    }
    scores.push(toScore(parsed.data, defaultKey));
  }
  const keys = scores.map(({ key }) => key);
  const twice = keys.find((key, index) => keys.indexOf(key) !== index);
  return twice === undefined
    ? ok(scores)
    : failed(problem('INVALID', `The answer has two scores under the key "${twice}".`));
}

function toScore({ key, score: given, value, comment }: ScoreObject, defaultKey: string): Score {
  const clean = value === undefined ? undefined : cleanJson(value);
  return {
    key: key === undefined ? defaultKey : cleanText(key),
    score: given ?? null,
    ...(clean !== undefined && { value: clean }),
    ...(typeof comment === 'string' && comment !== '' && { comment: cleanText(comment) }),
  };
}

function reasonOf(error: z.ZodError): string {
  const [issue] = error.issues;
  if (issue === undefined) return 'unknown';
  const path = issue.path.map(String).join('.');
  return path === '' ? issue.message : `${path}: ${issue.message}`;
}

function brief(value: unknown): string {
  const text = value === undefined ? 'undefined' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
