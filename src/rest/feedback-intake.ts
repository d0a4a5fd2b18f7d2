/** Feedback that comes inside a multipart batch of runs. */
import type { FeedbackService } from '../feedback/feedback.service.js';
import { MAX_BATCH, type FeedbackDraft } from '../feedback/feedback.js';
import type { FeedbackIntake } from '../ingest/intake.js';
import type { JsonObject, Refusal } from '../ingest/run-event.js';
import { feedbackBody } from './feedback.wire.js';

const shownId = (object: JsonObject): string | undefined =>
  typeof object['id'] === 'string' ? object['id'].slice(0, 64) : undefined;

/** Each object is stored or refused by itself. Resolves after the commits. */
export function createFeedbackIntake({ feedback }: { feedback: FeedbackService }): FeedbackIntake {
  return async (principal, objects) => {
    const refusals: Refusal[] = [];
    const drafts: FeedbackDraft[] = [];
    const ids: (string | undefined)[] = [];
    for (const object of objects) {
      const parsed = feedbackBody.safeParse(object);
      if (parsed.success) {
        drafts.push(parsed.data);
        ids.push(shownId(object));
        continue;
      }
      const [issue] = parsed.error.issues;
      const field = ['feedback', ...(issue?.path ?? [])].join('.');
      refusals.push({ id: shownId(object), field, message: `${field}: ${issue?.message ?? 'invalid'}` });
    }
    for (let from = 0; from < drafts.length; from += MAX_BATCH) {
      const results = await feedback.create(principal, drafts.slice(from, from + MAX_BATCH));
      results.forEach((result, index) => {
        if (result.ok) return;
        const [first] = result.problems;
        const field = ['feedback', ...(first?.path ?? [])].join('.');
        refusals.push({ id: ids[from + index], field, message: first?.message ?? 'refused' });
      });
    }
    return refusals;
  };
}
