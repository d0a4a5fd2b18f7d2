/** Expected outcomes of a use case: a value, or problems the caller can act on. Nothing is thrown for these. */

/** Codes of problems reported in a mutation payload's `errors`. */
export type ProblemCode =
  'INVALID' | 'NOT_FOUND' | 'ALREADY_EXISTS' | 'CONFLICT' | 'LIMIT_EXCEEDED' | 'NOT_ALLOWED';

export interface Problem {
  readonly code: ProblemCode;
  readonly message: string;
  /** Path into the mutation's input; list indexes as decimal strings. */
  readonly path: readonly string[];
  readonly retryable: boolean;
}

export type Result<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly Problem[] };

export const ok = <T>(value: T): Result<T> => ({ ok: true, value });

export const failed = (
  ...problems: Problem[]
): { readonly ok: false; readonly problems: readonly Problem[] } => ({
  ok: false,
  problems,
});

export const problem = (
  code: ProblemCode,
  message: string,
  path: readonly string[] = [],
  retryable = false,
): Problem => ({
  code,
  message,
  path,
  retryable,
});
