/**
 * Values of the LangSmith protocol as it writes and reads them: query strings, times, ids, and how refusals of
 * services become its errors. Knows no resource.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { parseWireTime } from '../ingest/wire-time.js';
import { AppError, assertNever, type ErrorCode } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import { cleanJsonText, cleanText } from '../platform/json-text.js';
import type { Problem, ProblemCode, Result } from '../platform/result.js';

// ── Times ──────────────────────────────────────────────────────────────────────────────────────────────────

const STORED = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00$/;

/** `2026-11-21T10:00:00.123456`: what clients compare digit by digit. The protocol's run times carry no zone. */
export function toNaiveTime(stored: string): string {
  const match = STORED.exec(stored);
  if (match === null) throw new Error('A stored time has an unexpected form.');
  return `${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(6, '0')}`;
}

/** The same with its zone, for times that are not a run's. */
export const toZonedTime = (stored: string): string => `${toNaiveTime(stored)}+00:00`;

export const orNull = <T, U>(value: T | null | undefined, map: (value: T) => U): U | null =>
  value === null || value === undefined ? null : map(value);

/** ISO 8601 in UTC with microseconds; undefined for what is no time. */
export function fromWireTime(value: unknown): string | undefined {
  const us = parseWireTime(value);
  if (us === undefined || Number.isNaN(us)) return undefined;
  const ms = Math.floor(us / 1_000);
  return `${new Date(ms).toISOString().slice(0, -1)}${String(us - ms * 1_000).padStart(3, '0')}Z`;
}

/** Any form of time clients send, or null for "says nothing". */
export const wireTime = z
  .union([z.string(), z.number()])
  .nullish()
  .transform((value, context) => {
    if (value === undefined || value === null) return undefined;
    const time = fromWireTime(value);
    if (time === undefined) context.addIssue({ code: 'custom', message: 'is not a time' });
    return time;
  });

export const wireUuid = z
  .string()
  .refine(isUuid, { message: 'is not a UUID' })
  .transform((value) => value.toLowerCase());

/** One or several, as the protocol has it in many places. */
export const wireUuids = z.union([wireUuid.transform((value) => [value]), z.array(wireUuid).max(1_000)]);

// ── Bodies and query strings ───────────────────────────────────────────────────────────────────────────────

/** @throws AppError UNPROCESSABLE naming the field. */
export function parseBody<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join('.') ?? '';
  throw new AppError('UNPROCESSABLE', `${where === '' ? 'body' : where}: ${issue?.message ?? 'invalid'}`, {
    details: { loc: issue?.path ?? [] },
  });
}

/** The query string with repeated keys as lists. */
export class Query {
  readonly #values: Readonly<Record<string, string | string[] | undefined>>;

  constructor(request: FastifyRequest) {
    this.#values = request.query as Record<string, string | string[] | undefined>;
  }

  all(name: string): string[] | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    return (Array.isArray(value) ? value : [value]).map(cleanText);
  }

  one(name: string): string | undefined {
    return this.all(name)?.[0];
  }

  /** Python writes True and False. */
  flag(name: string): boolean | undefined {
    const value = this.one(name)?.toLowerCase();
    if (value === undefined || value === '' || value === 'none') return undefined;
    if (value === 'true' || value === '1') return true;
    if (value === 'false' || value === '0') return false;
    throw new AppError('UNPROCESSABLE', `${name} must be true or false.`);
  }

  uuids(name: string): string[] | undefined {
    return this.all(name)?.map((value) => {
      if (!isUuid(value)) throw new AppError('UNPROCESSABLE', `${name} must be UUIDs.`);
      return value.toLowerCase();
    });
  }

  /** A JSON object as text. */
  json(name: string): JsonObject | undefined {
    const text = this.one(name);
    if (text === undefined || text === '') return undefined;
    try {
      const value = JSON.parse(cleanJsonText(text)) as JsonValue;
      if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
    } catch {
      // Said below.
    }
    throw new AppError('UNPROCESSABLE', `${name} must be a JSON object.`);
  }

  time(name: string): string | undefined {
    const value = this.one(name);
    if (value === undefined || value === '') return undefined;
    const time = fromWireTime(value);
    if (time === undefined) throw new AppError('UNPROCESSABLE', `${name} is not a time.`);
    return time;
  }

  /** Never less than was asked for: clients take a short page for the last one. */
  page(max: number, fallback = Math.min(100, max)): { limit: number; offset: number } {
    return {
      limit: this.#integer('limit', fallback, 1, max),
      offset: this.#integer('offset', 0, 0, 1_000_000),
    };
  }

  #integer(name: string, fallback: number, min: number, max: number): number {
    const text = this.one(name);
    if (text === undefined || text === '') return fallback;
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new AppError('UNPROCESSABLE', `${name} must be between ${min} and ${max}.`);
    }
    return value;
  }
}

/**
 * A UUID in the path. Something else cannot exist.
 * @throws AppError NOT_FOUND
 */
export function idParam(request: FastifyRequest, what: string, name = 'id'): string {
  const value = (request.params as Record<string, string | undefined>)[name];
  if (!isUuid(value)) throw new AppError('NOT_FOUND', `${what} not found.`);
  return value.toLowerCase();
}

// ── Answers ────────────────────────────────────────────────────────────────────────────────────────────────

function codeOf(code: ProblemCode): ErrorCode {
  switch (code) {
    case 'INVALID':
    case 'LIMIT_EXCEEDED':
      return 'UNPROCESSABLE';
    case 'NOT_FOUND':
      return 'NOT_FOUND';
    case 'ALREADY_EXISTS':
    case 'CONFLICT':
      return 'CONFLICT';
    case 'NOT_ALLOWED':
      return 'FORBIDDEN';
    default:
      return assertNever(code);
  }
}

function refusalOf(problems: readonly Problem[]): AppError {
  const [first] = problems;
  if (first === undefined) return new AppError('UNPROCESSABLE', 'The request was refused.');
  // Not every message is a sentence: the problems of an import begin with the row and end without a full stop.
  const text = problems.map(({ message }) => message).join('; ');
  return new AppError(codeOf(first.code), text.replaceAll('.; ', '. '), {
    details: { loc: first.path },
  });
}

/** @throws AppError for a result that is a list of problems. */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw refusalOf(result.problems);
}

/** Sends text that is JSON already. */
export const sendJsonText = (reply: FastifyReply, text: string): FastifyReply =>
  reply.type('application/json; charset=utf-8').send(text);

/** What clients reach this server under: as configured, else as they called it. */
export const baseUrl = (request: FastifyRequest, publicUrl: string | undefined): string =>
  publicUrl ?? `${request.protocol}://${request.host}`;
