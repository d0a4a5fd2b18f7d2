/** Structured logs. No bodies, no variables, no credentials: what may not be logged is not given to a logger. */
import { pino } from 'pino';
import type { Logger } from 'pino';
import { traceFields } from './telemetry.js';

export type { Logger } from 'pino';

export function createLogger(level: string, service: string): Logger {
  return pino({
    level,
    base: { service },
    // A new object each time: the logger adds what is logged to it.
    mixin: () => ({ ...traceFields() }),
    redact: {
      paths: [
        '*.authorization',
        '*["x-api-key"]',
        '*.cookie',
        '*.password',
        '*.connectionString',
        '*.apiKey',
      ],
      censor: '***',
    },
  });
}
