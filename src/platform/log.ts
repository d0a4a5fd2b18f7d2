/** Structured logs. No bodies, no variables, no credentials: what may not be logged is not given to a logger. */
import { pino } from 'pino';
import type { DestinationStream, Logger, LoggerOptions } from 'pino';
import { traceFields } from './telemetry.js';

export type { Logger } from 'pino';

/** @param destination standard output where absent. */
export function createLogger(level: string, service: string, destination?: DestinationStream): Logger {
  const options: LoggerOptions = {
    level,
    base: { service },
    serializers: { err: (error: unknown) => loggedError(error) },
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
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

interface LoggedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
  readonly cause?: LoggedError;
}

/** Causes of causes that are followed. */
const MAX_CAUSES = 8;
const SQL_STATE = /^[0-9A-Z]{5}$/;
/** Data that does not fit its type: these messages quote it, as in `invalid input syntax for type uuid: "..."`. */
const DATA_EXCEPTION = '22';

/**
 * What may be said of an error. Not whatever else it carries: drivers put rows (`detail`), statements (`where`,
 * `internalQuery`) and whole requests on theirs.
 */
export function loggedError(error: unknown, depth = 0): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error, message: 'What was thrown is no error.' };
  const code: unknown = 'code' in error ? error.code : undefined;
  const message = withoutContent(error, code);
  return {
    type: error.name,
    message,
    ...(typeof code === 'string' && { code }),
    ...(error.stack !== undefined && { stack: error.stack.replace(error.message, () => message) }),
    ...(error.cause !== undefined && depth < MAX_CAUSES && { cause: loggedError(error.cause, depth + 1) }),
  };
}

function withoutContent({ name, message }: Error, code: unknown): string {
  if (typeof code === 'string' && SQL_STATE.test(code) && code.startsWith(DATA_EXCEPTION)) {
    return message.replace(/".*"/s, '"…"');
  }
  // Prisma shows the call with its arguments, and says in the last line what was wrong.
  return name.startsWith('PrismaClient') ? (message.trim().split('\n').at(-1) ?? '') : message;
}
