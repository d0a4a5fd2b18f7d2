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
import { GATE_LIMITS } from '../src/graphql/gate.js';
import { DEFAULT_DEADLINE_MS, DEFAULT_MAX_BODY_BYTES } from '../src/graphql/server.js';
import { SOCKET_LIMITS } from '../src/graphql/socket-limits.js';
import { JSON_LIMITS, MAX_RATIO, MULTIPART_LIMITS, RATIO_FREE_BYTES } from '../src/http/body.js';
import { MAX_HEADER_BYTES, MAX_PARTS } from '../src/http/multipart.js';
import { HEADERS_MS, REQUEST_MS } from '../src/http/server.js';
import { MAX_WINDOW_BYTES } from '../src/http/zstd.js';
import { INTAKE_LIMITS } from '../src/ingest/limits.js';
import { STREAM_LIMITS } from '../src/live/hub.js';
import { MAX_WAIT_MS } from '../src/platform/connection-shares.js';
import { MAX_JSON_DEPTH } from '../src/platform/json-text.js';
import { FAILURES } from '../src/tenancy/authenticator.js';
import { INGEST_BURST } from '../src/tenancy/rate-limiter.js';
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

const seconds = (ms: number): string => `${ms / 1_000} s`;
const { document: shape } = GATE_LIMITS;
const { query, mutation } = shape.maxRootFields;

/** All that a gateway holds its callers to, beside rates and what is a setting: limit, value, answer above it. */
const gatewayLimits: readonly (readonly [string, string | number, string])[] = [
  ['Body of a JSON request, as sent', mebibytes(JSON_LIMITS.maxEncodedBytes), '413'],
  ['The same, decompressed', mebibytes(JSON_LIMITS.maxDecodedBytes), '413'],
  [
    'Body of a multipart request, as sent and decompressed',
    mebibytes(MULTIPART_LIMITS.maxDecodedBytes),
    '413',
  ],
  [
    'Growth of a body by decompression',
    `${MAX_RATIO} times, where it gets larger than ${mebibytes(RATIO_FREE_BYTES)}`,
    '413',
  ],
  ['Window of zstd', mebibytes(MAX_WINDOW_BYTES), '413'],
  ['Parts of a multipart request', MAX_PARTS, '413'],
  ['Headers of a part', `${MAX_HEADER_BYTES / 1024} KiB`, '400'],
  ['Nesting of JSON', `${MAX_JSON_DEPTH} levels`, '400; of a multipart request, the run is refused'],
  ['Runs of one request', INTAKE_LIMITS.runsPerRequest, '413'],
  ['Runs of one `createRuns` or `updateRuns`', INTAKE_LIMITS.runsPerMutation, '`BAD_USER_INPUT`'],
  [
    'Inputs, outputs, extra, events, serialized and error of a run together',
    mebibytes(INTAKE_LIMITS.runFieldBytes),
    'cut, with a note',
  ],
  ['Name of a run', `${INTAKE_LIMITS.nameLength} characters`, 'cut, with a note'],
  ['Name of a project', `${INTAKE_LIMITS.projectNameLength} characters`, 'the run is refused'],
  ['Tags of a run', `${INTAKE_LIMITS.tags} of ${INTAKE_LIMITS.tagLength} characters`, 'cut, with a note'],
  [
    'Attachments of a run',
    `${INTAKE_LIMITS.attachmentsPerRun} of ${mebibytes(INTAKE_LIMITS.attachmentBytes)}`,
    'left out, the run is kept',
  ],
  ['Name of an attachment', `${INTAKE_LIMITS.attachmentNameLength} characters`, 'left out, the run is kept'],
  ['Intake requests of a key at once', `${INGEST_BURST}, less where its rate is`, '429'],
  [
    'Unknown keys from one network (IPv4: /24, IPv6: /64)',
    `${FAILURES.capacity}, and ${FAILURES.restorePerSecond} more each second`,
    '429 for keys that were never good',
  ],
  ['Headers of a request, a whole request', `${seconds(HEADERS_MS)}, ${seconds(REQUEST_MS)}`, '408'],
  [
    'Connections to the database that queries of one workspace hold',
    'two thirds of `READ_CONNECTIONS`',
    `503 after ${seconds(MAX_WAIT_MS)}`,
  ],
  ['Body of a GraphQL request', mebibytes(DEFAULT_MAX_BODY_BYTES), '413'],
  ['Time of a GraphQL operation', seconds(DEFAULT_DEADLINE_MS), '`TIMEOUT`'],
  ['Tokens of a GraphQL document', shape.maxTokens, 'syntax error, 400'],
  ['Depth; of introspection', `${shape.maxDepth}; ${shape.maxIntrospectionDepth}`, '`QUERY_TOO_COMPLEX`'],
  ['Aliases, directives', `${shape.maxAliases}, ${shape.maxDirectives}`, '`QUERY_TOO_COMPLEX`'],
  ['Root fields of a query, of a mutation', `${query}, ${mutation}`, '`QUERY_TOO_COMPLEX`'],
  ['Selections with fragments written out', shape.maxSelections, '`QUERY_TOO_COMPLEX`'],
  ['Objects an operation may return', GATE_LIMITS.maxNodes, '`QUERY_TOO_COMPLEX`'],
  ['Cost points of an operation', GATE_LIMITS.maxCost, '`QUERY_TOO_COMPLEX`'],
  ['Page of a GraphQL list', MAX_PAGE, '`BAD_USER_INPUT`'],
  ['Length of a filter', `${MAX_FILTER_LENGTH} characters`, '`BAD_USER_INPUT`'],
  [
    'Conditions and groups, levels of a filter',
    `${MAX_FILTER_NODES}, ${MAX_FILTER_DEPTH}`,
    '`BAD_USER_INPUT`',
  ],
  ['Sockets of a gateway', SOCKET_LIMITS.sockets, '503'],
  ['Sockets of a key', SOCKET_LIMITS.socketsPerKey, 'closed with 4429'],
  ['Operations of a socket', SOCKET_LIMITS.operationsPerSocket, '`RATE_LIMITED`'],
  ['Message of a socket', `${SOCKET_LIMITS.maxMessageBytes / 1024} KiB`, 'closed with 1009'],
  [
    'Messages of a socket',
    `${SOCKET_LIMITS.messages.count} in ${seconds(SOCKET_LIMITS.messages.perMs)}`,
    'closed with 4429',
  ],
  ['Id of an operation', `${SOCKET_LIMITS.idLength} characters`, 'closed with 4400'],
  ['Until `connection_init`', seconds(SOCKET_LIMITS.initTimeoutMs), 'closed with 4408'],
  ['An answer to a ping', seconds(SOCKET_LIMITS.pingMs), 'closed'],
  [
    'Events waiting for a subscriber',
    `${STREAM_LIMITS.events}, ${STREAM_LIMITS.bytes / 1024} KiB`,
    'read from the log, at its own pace',
  ],
  ['A subscriber that stays behind', seconds(STREAM_LIMITS.patienceMs), 'closed with 1013'],
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
  'gateway-limits': () =>
    table(
      ['limit', 'value', 'above it'],
      gatewayLimits.map(([name, value, answer]) => [name, String(value), answer]),
    ),
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
