/**
 * Refusals: requests that are answered with a coded error instead of data. Anything thrown that is not an
 * AppError is a fault: clients see a generic message and an error id, the log has the rest. Expected outcomes
 * of a mutation are values (see result.ts), not errors.
 */

/** The closed list of codes a client can meet, published in the README. */
export const ERROR_CODES = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  BAD_USER_INPUT: 400,
  CONFLICT: 409,
  QUERY_TOO_COMPLEX: 400,
  RATE_LIMITED: 429,
  PAYLOAD_TOO_LARGE: 413,
  UNPROCESSABLE: 422,
  UNSUPPORTED_MEDIA_TYPE: 415,
  IDEMPOTENCY_MISMATCH: 422,
  TIMEOUT: 422,
  UNAVAILABLE: 503,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Seconds a client is asked to wait on 429 and 503: the Python SDK survives three such waits. */
export const RETRY_AFTER_SECONDS = 10;

export interface AppErrorOptions {
  cause?: unknown;
  /** Where in the input the problem is: argument names, list indexes. */
  path?: readonly (string | number)[];
  /** Further machine-readable facts, copied into `extensions` and REST bodies. */
  details?: Readonly<Record<string, unknown>>;
  /** Where the same request may succeed later: with RATE_LIMITED, UNAVAILABLE and a CONFLICT that passes. */
  retryAfterSeconds?: number;
}

/** A refused request. `message` is safe to show to the caller. */
export class AppError extends Error {
  // Not named `path`: graphql-js takes any error with one for an error that already knows its place in the result.
  readonly inputPath: readonly (string | number)[] | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: AppErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.inputPath = options.path;
    this.details = options.details;
    this.retryAfterSeconds =
      options.retryAfterSeconds ??
      (code === 'RATE_LIMITED' || code === 'UNAVAILABLE' ? RETRY_AFTER_SECONDS : undefined);
  }

  get status(): number {
    return ERROR_CODES[this.code];
  }
}

/** The AppError in an error's cause chain, if any: libraries wrap what resolvers and scalars throw. */
export function findAppError(error: unknown): AppError | undefined {
  for (let current: unknown = error, depth = 0; current instanceof Error && depth < 10; depth += 1) {
    if (current instanceof AppError) return current;
    const next: unknown = 'originalError' in current ? current.originalError : undefined;
    current = next ?? current.cause;
  }
  return undefined;
}

/** Of a text no database takes. Where in the input it stood is no longer known then. */
export const unstorableText = (cause: unknown): AppError =>
  new AppError('BAD_USER_INPUT', 'A text has a NUL character (\\u0000) in it, which cannot be stored.', {
    cause,
  });

/** Of a query that ran out of its time. Not to be sent again as it is: it would, and load the database once more. */
export const tooSlow = (cause: unknown): AppError =>
  new AppError('TIMEOUT', 'The query took too long and was given up. Ask for less at once.', { cause });

/** For the default branch of an exhaustive switch. */
export function assertNever(value: never): never {
  throw new Error(`Unexpected value: ${JSON.stringify(value)}`);
}
