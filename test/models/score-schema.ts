/** What judges are asked for. */
import type { JsonObject } from '../../src/ingest/run-event.js';

export const SCORE_SCHEMA: JsonObject = {
  type: 'object',
  properties: { score: { type: 'integer', minimum: 1, maximum: 5 }, reason: { type: 'string' } },
  required: ['score', 'reason'],
  additionalProperties: false,
};
