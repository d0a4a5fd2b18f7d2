/**
 * The tables of README.md and docs/ that repeat what the code says: settings, error codes, limits, filter fields and
 * operators. Each stands between `<!-- table: name -->` and `<!-- /table -->` and is written from here.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describeSettings } from '../src/config.js';
import { MAX_FILTER_DEPTH, MAX_FILTER_LENGTH, MAX_FILTER_NODES } from '../src/filters/filter-check.js';
import { OPERATORS, VOCABULARY } from '../src/filters/vocabulary.js';
import { MAX_PAGE } from '../src/graphql/cursor.js';
import { INTAKE_LIMITS } from '../src/ingest/limits.js';
import { ERROR_CODES } from '../src/platform/errors.js';
import type { ErrorCode } from '../src/platform/errors.js';

const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  UNAUTHENTICATED: 'No key, or one that is unknown, expired or revoked.',
  FORBIDDEN: 'The key lacks a scope, or is not for this workspace.',
  NOT_FOUND: 'Not there, or in another workspace: both look the same.',
  BAD_USER_INPUT: 'An argument, cursor, id, filter or body is malformed; the message names the place.',
  CONFLICT: 'It exists already with other content; with `Retry-After`, the same call is still going on.',
  QUERY_TOO_COMPLEX: 'A GraphQL document above a limit of size, depth or cost.',
  RATE_LIMITED: 'Above a rate of this key. Wait for `Retry-After`.',
  PAYLOAD_TOO_LARGE: 'A body, part or batch above its limit.',
  UNPROCESSABLE: 'Understood, but it cannot be stored as it is.',
  UNSUPPORTED_MEDIA_TYPE: 'A content type or encoding this path does not take.',
  IDEMPOTENCY_MISMATCH: 'An idempotency key was used before with another input.',
  TIMEOUT: 'It took too long and was given up. Ask for less; the same again would take as long.',
  UNAVAILABLE: 'Overloaded, stopping, or the database is away. Wait for `Retry-After`.',
};

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const table = (heads: readonly string[], rows: readonly (readonly string[])[]): string =>
  [heads, heads.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');
const code = (text: string): string => (text === '' ? '' : `\`${text}\``);
const mebibytes = (bytes: number): string => `${bytes / 1024 ** 2} MiB`;

const limits: readonly (readonly [string, string])[] = [
  ['Runs of one request', `${INTAKE_LIMITS.runsPerRequest}, above it 413`],
  ['Inputs, outputs, extra, events and error of a run together', mebibytes(INTAKE_LIMITS.runFieldBytes)],
  ['Tags of a run', `${INTAKE_LIMITS.tags} of ${INTAKE_LIMITS.tagLength} characters`],
  [
    'Name of a run, of a project',
    `${INTAKE_LIMITS.nameLength}, ${INTAKE_LIMITS.projectNameLength} characters`,
  ],
  [
    'Attachments of a run',
    `${INTAKE_LIMITS.attachmentsPerRun} of ${mebibytes(INTAKE_LIMITS.attachmentBytes)}`,
  ],
  ['Page of a GraphQL list', `${MAX_PAGE} (a trace: 10000 runs)`],
  [
    'A filter',
    `${MAX_FILTER_LENGTH} characters, ${MAX_FILTER_NODES} conditions and groups, ${MAX_FILTER_DEPTH} levels`,
  ],
];

/** Settings few installations need: in docs/operation.md instead of the README. */
const RARE: ReadonlySet<string> = new Set([
  'ALLOWED_ORIGINS',
  'ALLOW_VOLATILE_REDIS',
  'CONTENT_READ_RETENTION_DAYS',
  'DATABASE_ROLE',
  'INGEST_LANES',
  'MAX_CONNECTIONS_PER_ADDRESS',
  'MAX_IN_FLIGHT_BYTES',
  'OUTBOUND_ALLOWED_PRIVATE_HOSTS',
  'READ_CONNECTIONS',
  'TRUSTED_DOCUMENTS_FILE',
  'TRUSTED_DOCUMENTS_ONLY',
  'TRUSTED_PROXIES',
]);

const settingsTable = (isWanted: (name: string) => boolean): string =>
  table(
    ['variable', 'default', 'meaning'],
    describeSettings()
      .filter(({ name }) => isWanted(name))
      .map(({ name, fallback, description }) => [code(name), code(fallback), description]),
  );

/** Every table by name. */
export const TABLES: Readonly<Record<string, () => string>> = {
  settings: () => settingsTable((name) => !name.startsWith('OTEL_') && !RARE.has(name)),
  'rare-settings': () => settingsTable((name) => RARE.has(name)),
  'telemetry-settings': () => settingsTable((name) => name.startsWith('OTEL_')),
  errors: () =>
    table(
      ['code', 'HTTP', 'meaning'],
      Object.entries(ERROR_CODES).map(([name, status]) => [
        code(name),
        String(status),
        MEANINGS[name as ErrorCode],
      ]),
    ),
  limits: () => table(['limit', 'value'], limits),
  'filter-fields': () =>
    table(
      ['field', 'type', 'operators', 'meaning'],
      VOCABULARY.map((field) => [
        [field.name, ...field.aliases].map(code).join(', '),
        field.type,
        field.operators.join(' '),
        field.description + (field.content ? ' Needs the content scope.' : ''),
      ]),
    ),
  'filter-operators': () =>
    table(
      ['operator', 'meaning'],
      OPERATORS.map((operator) => [code(operator.usage), operator.description]),
    ),
};

/** Files with tables, relative to the repository. */
export const DOCUMENTS = ['README.md', 'docs/filters.md', 'docs/operation.md'] as const;

export const documentFile = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));

/** The text with every table made anew. @throws Error where it names a table that does not exist. */
export function withTables(text: string): string {
  return text.replace(/<!-- table: ([a-z-]+) -->[\s\S]*?<!-- \/table -->/g, (_match, name: string) => {
    const make = TABLES[name];
    if (make === undefined) throw new Error(`There is no table ${name}.`);
    return `<!-- table: ${name} -->\n\n${make()}\n\n<!-- /table -->`;
  });
}

export const readDocument = (name: string): string => readFileSync(documentFile(name), 'utf8');
