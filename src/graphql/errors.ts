/**
 * How failures look to GraphQL clients, over HTTP and socket alike. Refusals keep their code and message, GraphQL's
 * own complaints about a request theirs; everything else is a fault: an id for the client, the rest for the log.
 */
import { GraphQLError } from 'graphql';
import type { GraphQLFormattedError } from 'graphql';
import { isTooSlow, isTransient, isUnstorableText } from '../platform/db.js';
import { AppError, ERROR_CODES, findAppError, tooSlow, unstorableText } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { Logger } from '../platform/log.js';
import { DOCUMENT_NOT_FOUND } from './trusted-documents.js';

/** Where an error came up, for the log. Never variables, never document text. */
export interface ErrorSite {
  readonly operationName?: string | null | undefined;
  readonly workspaceId?: string | undefined;
  readonly requestId?: string | undefined;
}

const FAULT_CODE = 'INTERNAL_SERVER_ERROR';
/** HTTP statuses of codes that are not refusals of ours. */
const GRAPHQL_STATUS: Readonly<Record<string, number>> = {
  GRAPHQL_PARSE_FAILED: 400,
  GRAPHQL_VALIDATION_FAILED: 400,
  OPERATION_RESOLUTION_FAILURE: 400,
  BAD_REQUEST: 400,
  [DOCUMENT_NOT_FOUND]: 400,
};
// The one complaint about arguments that can only be made during execution: a variable without a value.
const ARGUMENT_COMPLAINT = /^Argument "[^"]+" (of|has) /;
// graphql-js lists names of the schema that resemble a misspelt one.
const SUGGESTION = / ?Did you mean .+\?$/s;

/**
 * The refusal an error stands for. A database that is away is one: the same request may succeed shortly; a query that
 * runs out of its time and a text that cannot be stored or looked for are others.
 */
export function refusalOf(error: unknown): AppError | undefined {
  const refusal = findAppError(error);
  if (refusal !== undefined) return refusal;
  for (let current: unknown = error, depth = 0; current instanceof Error && depth < 10; depth += 1) {
    if (isTooSlow(current)) return tooSlow(error);
    if (isTransient(current)) {
      return new AppError('UNAVAILABLE', 'The database did not answer in time. Try again shortly.', {
        cause: error,
      });
    }
    if (isUnstorableText(current)) return unstorableText(error);
    current = ('originalError' in current ? current.originalError : undefined) ?? current.cause;
  }
  return undefined;
}

/** Whether it is neither a refusal nor a complaint about the request: something is wrong on our side. */
export const isFault = (error: object): boolean =>
  refusalOf(error) === undefined && complaintOf(error) === undefined;

export class ErrorPresenter {
  readonly #log: Logger;
  readonly #ids: Ids;
  // Errors pass here more than once on their way out; each is logged the first time only.
  readonly #presented = new WeakMap<object, GraphQLFormattedError>();

  constructor({ log, ids }: { log: Logger; ids: Ids }) {
    this.#log = log;
    this.#ids = ids;
  }

  /** What the client is shown. Logs faults and database failures, once per error. */
  present(error: unknown, site: ErrorSite = {}): GraphQLFormattedError {
    if (typeof error !== 'object' || error === null) return this.#fault(error, site);
    const known = this.#presented.get(error);
    if (known !== undefined) return known;
    const formatted = this.#format(error, site);
    this.#presented.set(error, formatted);
    return formatted;
  }

  #format(error: object, site: ErrorSite): GraphQLFormattedError {
    const refusal = refusalOf(error);
    if (refusal !== undefined) {
      if (refusal.code === 'UNAVAILABLE' || refusal.code === 'TIMEOUT') {
        this.#log.warn({ err: refusal, ...site }, 'operation turned away');
      }
      return { message: refusal.message, ...placeOf(error), extensions: refusalExtensions(refusal) };
    }
    const complaint = complaintOf(error);
    if (complaint !== undefined) {
      const extensions = { ...complaint.extensions };
      delete extensions['http'];
      return { message: complaint.message, ...placeOf(error), extensions };
    }
    return this.#fault(error, site);
  }

  #fault(error: unknown, site: ErrorSite): GraphQLFormattedError {
    const errorId = this.#ids.uuid();
    this.#log.error({ err: error, errorId, ...site }, 'operation failed');
    return {
      message: 'Something went wrong on our side.',
      ...(typeof error === 'object' && error !== null ? placeOf(error) : {}),
      extensions: { code: FAULT_CODE, errorId },
    };
  }
}

function refusalExtensions(refusal: AppError): Record<string, unknown> {
  return {
    ...refusal.details,
    code: refusal.code,
    ...(refusal.inputPath === undefined ? {} : { inputPath: refusal.inputPath }),
    ...(refusal.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: refusal.retryAfterSeconds }),
  };
}

function placeOf(error: object): Pick<GraphQLFormattedError, 'locations' | 'path'> {
  if (!(error instanceof GraphQLError)) return {};
  const { locations, path } = error;
  return { ...(locations === undefined ? {} : { locations }), ...(path === undefined ? {} : { path }) };
}

/** What GraphQL itself says about a request: its syntax, its validity, its variables, its arguments. */
function complaintOf(error: object): { message: string; extensions: Record<string, unknown> } | undefined {
  if (!(error instanceof GraphQLError)) return undefined;
  const coded = codedError(error);
  if (coded?.extensions['code'] === 'GRAPHQL_PARSE_FAILED' && !error.message.startsWith('Syntax Error')) {
    // The parser is recursive: a document of brackets ends in a RangeError.
    return { message: 'Syntax Error: The document is nested too deeply.', extensions: coded.extensions };
  }
  if (coded !== undefined) {
    return { message: error.message.replace(SUGGESTION, ''), extensions: coded.extensions };
  }
  if (error.path === undefined && error.originalError === undefined) {
    return { message: error.message.replace(SUGGESTION, ''), extensions: { code: 'BAD_USER_INPUT' } };
  }
  if (ARGUMENT_COMPLAINT.test(error.message)) {
    return { message: error.message, extensions: { code: 'BAD_USER_INPUT' } };
  }
  return undefined;
}

/** The nearest error of GraphQL's in the chain that says what it is. */
function codedError(error: GraphQLError): GraphQLError | undefined {
  for (let current: unknown = error; current instanceof GraphQLError; current = current.originalError) {
    const code = current.extensions['code'];
    if (typeof code === 'string' && code !== FAULT_CODE) return current;
  }
  return undefined;
}

/** The HTTP status of a response that consists of this error alone. */
export function statusOf(formatted: GraphQLFormattedError): number {
  const code = formatted.extensions?.['code'];
  if (typeof code !== 'string') return 500;
  return code in ERROR_CODES ? ERROR_CODES[code as keyof typeof ERROR_CODES] : (GRAPHQL_STATUS[code] ?? 500);
}

export function retryAfterOf(formatted: GraphQLFormattedError): number | undefined {
  const seconds = formatted.extensions?.['retryAfterSeconds'];
  return typeof seconds === 'number' ? seconds : undefined;
}
