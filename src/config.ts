/**
 * The only reader of the environment. One zod object per concern; every problem is reported at once and the
 * process exits with 78. The parsed value is frozen; services get the numbers they need, never the whole.
 */
import { z } from 'zod';
import { isRange } from './platform/network.js';
import { ClusterUrlError, parseClusterUrl } from './platform/redis-url.js';
import { Secret } from './platform/secret.js';
import type { ExportSettings } from './platform/telemetry-export.js';

const port = z.coerce.number().int().min(1).max(65_535);
const count = (max: number) => z.coerce.number().int().min(1).max(max);
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');
const url = (protocols: readonly string[]) =>
  z.string().refine(
    (value) => {
      try {
        return protocols.includes(new URL(value).protocol);
      } catch {
        return false;
      }
    },
    { message: `must be a URL starting with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}` },
  );

/** One server, or a cluster. */
const redisUrl = z.string().superRefine((value, context) => {
  const refuse = (message: string): void => context.addIssue({ code: 'custom', message });
  try {
    if (parseClusterUrl(value) !== undefined) return;
    const { protocol, hostname } = new URL(value);
    if (['redis:', 'rediss:'].includes(protocol) && !hostname.includes(',')) return;
  } catch (error) {
    if (error instanceof ClusterUrlError) return refuse(error.message);
  }
  refuse(
    'must be a URL starting with redis:// or rediss://; of a cluster, with redis+cluster:// or rediss+cluster://',
  );
});

/** The list of a W3C baggage header, as the OpenTelemetry variables have it. */
const otlpHeaders = z.string().transform((text, context): Readonly<Record<string, string>> => {
  const headers: [string, string][] = [];
  for (const pair of text.split(',').filter((part) => part.trim() !== '')) {
    const [, name, value] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*=\s*(.*?)\s*$/.exec(pair) ?? [];
    try {
      if (name !== undefined && value !== undefined) headers.push([name, decodeURIComponent(value)]);
      else throw new URIError();
    } catch {
      context.addIssue({ code: 'custom', message: 'must be name=value pairs, values percent-encoded' });
      return z.NEVER;
    }
  }
  return Object.fromEntries(headers);
});

/** A list in one variable, with commas. */
const listOf = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');

const isOrigin = (text: string): boolean =>
  /^https?:/.test(text) && URL.canParse(text) && new URL(text).origin === text;

/** One entry per variable: the tables in README.md and docs/ are made from these descriptions. */
const settings = z.object({
  PORT: port.default(1984).describe('Port of the gateway: GraphQL, REST intake, health and metrics.'),
  HOST: z.string().default('127.0.0.1').describe('Address the gateway listens on.'),
  WORKER_PORT: port.default(1985).describe('Port of health and metrics of a worker process.'),
  PUBLIC_URL: url(['http:', 'https:'])
    .optional()
    .describe('Address clients reach the gateway under; used in links. Default: from the request.'),
  DATABASE_URL: url(['postgres:', 'postgresql:'])
    .optional()
    .describe('Postgres 15 or newer. Default: an embedded Postgres in TRACEWELL_DATA_DIR.'),
  DATABASE_ROLE: z
    .string()
    .regex(/^[a-z_][a-z0-9_]{0,62}$/, 'must be a plain role name')
    .optional()
    .describe(
      'Role that statements of callers run as where the login role bypasses row-level security. Default: `tracewell_app`, made at start.',
    ),
  REDIS_URL: redisUrl
    .optional()
    .describe(
      'Redis 6.2 or newer for jobs and doorbells, or a cluster: `redis+cluster://host:port,host:port`. Default: both run on Postgres.',
    ),
  TRACEWELL_DATA_DIR: z
    .string()
    .default('.tracewell')
    .describe('Where the embedded Postgres and this installation keep their files.'),
  TRACEWELL_INIT_API_KEY: z
    .string()
    .min(32)
    .max(256)
    .optional()
    .describe('Value of the first service key, for automation: any string of 32 characters or more.'),
  TRACEWELL_KEY_PEPPER: z
    .string()
    .min(32)
    .optional()
    .describe(
      'Secret the stored key hashes are made with. Default: generated once and kept in the database directory.',
    ),
  TRACEWELL_SECRETS_KEY: z
    .string()
    .refine((text) => listOf(text).every((key) => key.length >= 32), 'every key has 32 characters or more')
    .optional()
    .describe(
      'Encrypts stored secrets, such as keys of model providers. To replace it, put the new one before the old one, with a comma. Default: generated once and kept in the database.',
    ),
  OUTBOUND_ALLOWED_PRIVATE_HOSTS: z
    .string()
    .refine(
      (text) =>
        listOf(text).every((entry) => URL.canParse(`http://${entry}`) && /^[^/@?#]+:\d+$/.test(entry)),
      'must be a list of host:port',
    )
    .optional()
    .describe(
      'Hosts that model calls and webhooks may reach although they are private or use another port than 80 and 443, e.g. `ollama:11434,10.0.0.7:8000`.',
    ),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('Lowest level that is logged.'),
  INGEST_LANES: count(8).default(2).describe('Connections per gateway that write runs.'),
  READ_CONNECTIONS: count(50).default(6).describe('Connections per gateway that serve queries.'),
  INGEST_REQUESTS_PER_MINUTE: count(1_000_000)
    .default(5_000)
    .describe('Intake requests per key and minute; above it 429 with Retry-After.'),
  API_REQUESTS_PER_MINUTE: count(1_000_000)
    .default(2_000)
    .describe('Other requests per key and minute; above it 429 with Retry-After.'),
  GRAPHQL_COST_PER_MINUTE: count(100_000_000)
    .default(50_000)
    .describe('GraphQL cost points per key and minute; above it 429 with Retry-After.'),
  MAX_IN_FLIGHT_BYTES: count(16 * 1024 ** 3)
    .default(256 * 1024 * 1024)
    .describe('Bytes of intake a gateway holds at once; above it 503 with Retry-After.'),
  MAX_CONNECTIONS_PER_ADDRESS: count(100_000)
    .default(1_000)
    .describe(
      'Connections one client address (IPv6: /64) may hold open at a gateway; above it 503. Those of trusted proxies do not count.',
    ),
  TRUSTED_PROXIES: z
    .string()
    .refine((text) => listOf(text).every(isRange), 'must be a list of addresses or CIDRs')
    .optional()
    .describe(
      'Balancers in front of the gateway, e.g. `10.0.0.5,172.16.0.0/12`: who a client is, and under which host, is taken from their X-Forwarded headers.',
    ),
  ALLOWED_ORIGINS: z
    .string()
    .refine((text) => listOf(text).every(isOrigin), 'must be a list of origins, such as https://example.com')
    .optional()
    .describe(
      'Origins of web pages that may call the gateway and open sockets, e.g. `https://console.example.com`. That of PUBLIC_URL always may.',
    ),
  FEED_RETENTION_HOURS: count(24 * 90)
    .default(24)
    .describe('How long a live subscriber may be away and still resume without a gap.'),
  CONTENT_READ_RETENTION_DAYS: count(3_650)
    .default(400)
    .describe('How long it is recorded who read content; a month goes when all of it is older.'),
  TRUSTED_DOCUMENTS_FILE: z
    .string()
    .optional()
    .describe('JSON file of SHA-256 hashes and GraphQL documents that clients may name by `documentId`.'),
  TRUSTED_DOCUMENTS_ONLY: z
    .enum(['nobody', 'personal', 'everybody'])
    .default('nobody')
    .describe(
      'Who may run no GraphQL documents but those of the file: holders of personal tokens, or everybody.',
    ),
  ALLOW_VOLATILE_REDIS: flag
    .default(false)
    .describe('Start although Redis may evict or does not persist (jobs are then re-created from Postgres).'),
  OTEL_EXPORTER_OTLP_ENDPOINT: url(['http:', 'https:'])
    .optional()
    .describe('Collector that spans of this program are sent to, over OTLP/HTTP. Default: none are made.'),
  OTEL_EXPORTER_OTLP_HEADERS: otlpHeaders
    .optional()
    .describe('Headers of these requests: `name=value,name=value`, values percent-encoded.'),
  OTEL_SERVICE_NAME: z
    .string()
    .optional()
    .describe('Name in these spans. Default: `tracewell-gateway`, `tracewell-workers`.'),
  OTEL_TRACES_SAMPLER: z
    .enum([
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ])
    .default('parentbased_always_on')
    .describe('Which traces are recorded; the ones with a parent follow what a caller decided.'),
  OTEL_TRACES_SAMPLER_ARG: z.coerce
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('Share of traces for `traceidratio` and `parentbased_traceidratio`.'),
});

type Settings = z.infer<typeof settings>;

export interface Config {
  readonly gateway: {
    readonly host: string;
    readonly port: number;
    readonly publicUrl: string | undefined;
    readonly connectionsPerAddress: number;
    /** Addresses and CIDRs. */
    readonly trustedProxies: readonly string[];
    readonly allowedOrigins: readonly string[];
  };
  readonly workers: { readonly port: number };
  /** `url` is undefined where the embedded Postgres is to be used. */
  readonly database: {
    readonly url: Secret | undefined;
    readonly role?: string | undefined;
    readonly readConnections: number;
  };
  readonly redis:
    | { readonly kind: 'none' }
    | { readonly kind: 'redis'; readonly url: Secret; readonly allowVolatile: boolean };
  readonly dataDir: string;
  readonly initApiKey: Secret | undefined;
  readonly keyPepper: Secret | undefined;
  /** The newest first; empty: one this installation makes for itself. */
  readonly secretsKeys: readonly Secret[];
  /** What users' addresses may be, beyond public ones. */
  readonly outbound: { readonly allowedHosts: readonly string[] };
  readonly logLevel: Settings['LOG_LEVEL'];
  readonly ingest: { readonly lanes: number; readonly maxInFlightBytes: number };
  readonly limits: {
    readonly ingestRequestsPerMinute: number;
    readonly apiRequestsPerMinute: number;
    readonly graphqlCostPerMinute: number;
  };
  readonly feed: { readonly retentionHours: number };
  /** Undefined: off. */
  readonly telemetry: ExportSettings | undefined;
  readonly contentReads: { readonly retentionDays: number };
  readonly trustedDocuments: {
    readonly file: string | undefined;
    readonly requiredFor: Settings['TRUSTED_DOCUMENTS_ONLY'];
  };
}

/** Every problem of the environment at once, one line each. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The configuration has ${problems.length} problem(s):\n  ${problems.join('\n  ')}`);
    this.name = 'ConfigError';
  }
}

const secret = (value: string | undefined): Secret | undefined =>
  value === undefined ? undefined : new Secret(value);

/**
 * Parses an environment. An empty string means unset. `databaseRequired` for processes that bring no database.
 * @throws ConfigError listing every problem.
 */
export function loadConfig(env: NodeJS.ProcessEnv, { databaseRequired = false } = {}): Config {
  const present = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = settings.safeParse(present);
  const missing =
    databaseRequired && present['DATABASE_URL'] === undefined
      ? ['DATABASE_URL: must be set; `npm start` brings a database of its own.']
      : [];
  if (!parsed.success || missing.length > 0) {
    const issues = parsed.error?.issues ?? [];
    throw new ConfigError([
      ...missing,
      ...issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`),
    ]);
  }
  const s = parsed.data;
  if (s.TRUSTED_DOCUMENTS_ONLY !== 'nobody' && s.TRUSTED_DOCUMENTS_FILE === undefined) {
    throw new ConfigError(['TRUSTED_DOCUMENTS_ONLY: needs TRUSTED_DOCUMENTS_FILE, the documents it allows.']);
  }
  return Object.freeze({
    gateway: {
      host: s.HOST,
      port: s.PORT,
      publicUrl: s.PUBLIC_URL?.replace(/\/$/, ''),
      connectionsPerAddress: s.MAX_CONNECTIONS_PER_ADDRESS,
      trustedProxies: listOf(s.TRUSTED_PROXIES),
      allowedOrigins: [
        ...(s.PUBLIC_URL === undefined ? [] : [new URL(s.PUBLIC_URL).origin]),
        ...listOf(s.ALLOWED_ORIGINS),
      ],
    },
    workers: { port: s.WORKER_PORT },
    database: { url: secret(s.DATABASE_URL), role: s.DATABASE_ROLE, readConnections: s.READ_CONNECTIONS },
    redis:
      s.REDIS_URL === undefined
        ? { kind: 'none' as const }
        : { kind: 'redis' as const, url: new Secret(s.REDIS_URL), allowVolatile: s.ALLOW_VOLATILE_REDIS },
    dataDir: s.TRACEWELL_DATA_DIR,
    initApiKey: secret(s.TRACEWELL_INIT_API_KEY),
    keyPepper: secret(s.TRACEWELL_KEY_PEPPER),
    secretsKeys: listOf(s.TRACEWELL_SECRETS_KEY).map((key) => new Secret(key)),
    outbound: { allowedHosts: listOf(s.OUTBOUND_ALLOWED_PRIVATE_HOSTS) },
    logLevel: s.LOG_LEVEL,
    ingest: { lanes: s.INGEST_LANES, maxInFlightBytes: s.MAX_IN_FLIGHT_BYTES },
    limits: {
      ingestRequestsPerMinute: s.INGEST_REQUESTS_PER_MINUTE,
      apiRequestsPerMinute: s.API_REQUESTS_PER_MINUTE,
      graphqlCostPerMinute: s.GRAPHQL_COST_PER_MINUTE,
    },
    feed: { retentionHours: s.FEED_RETENTION_HOURS },
    telemetry: telemetryOf(s),
    contentReads: { retentionDays: s.CONTENT_READ_RETENTION_DAYS },
    trustedDocuments: { file: s.TRUSTED_DOCUMENTS_FILE, requiredFor: s.TRUSTED_DOCUMENTS_ONLY },
  });
}

/** @throws ConfigError where spans would be sent to the gateway that makes them: each would make another. */
function telemetryOf(s: Settings): ExportSettings | undefined {
  const endpoint = s.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (endpoint === undefined) return undefined;
  const { hostname, port, protocol, origin } = new URL(endpoint);
  const here = ['127.0.0.1', 'localhost', '[::1]', '0.0.0.0', '[::]', s.HOST].includes(hostname);
  const isSelf = here && Number(port || (protocol === 'https:' ? 443 : 80)) === s.PORT;
  if (isSelf || (s.PUBLIC_URL !== undefined && new URL(s.PUBLIC_URL).origin === origin)) {
    throw new ConfigError(['OTEL_EXPORTER_OTLP_ENDPOINT: is this gateway; its spans must go elsewhere.']);
  }
  return {
    endpoint,
    headers: Object.entries(s.OTEL_EXPORTER_OTLP_HEADERS ?? {}).map(([name, value]) => ({
      name,
      value: new Secret(value),
    })),
    serviceName: s.OTEL_SERVICE_NAME,
    sampler: s.OTEL_TRACES_SAMPLER,
    ratio: s.OTEL_TRACES_SAMPLER_ARG,
  };
}

/** The exit code where settings cannot work, so that nobody starts the process again as it is. */
export const CONFIGURATION_ERROR = 78;

function orExit<T>(load: () => T): T {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(CONFIGURATION_ERROR);
  }
}

/**
 * Loads the configuration of this process; prints every problem and exits with 78 where there is one. `defaults`
 * stand for variables that are not set, before the defaults of the table.
 */
export function loadConfigOrExit(defaults: Readonly<Record<string, string>> = {}): Config {
  return orExit(() => loadConfig({ ...defaults, ...process.env }));
}

/**
 * The same for a gateway or worker, which brings no database. Without one it exits with 78, too: a process manager
 * that started it again and again would change nothing.
 */
export function loadProcessConfigOrExit(): { readonly config: Config; readonly databaseUrl: string } {
  return orExit(() => {
    const config = loadConfig(process.env, { databaseRequired: true });
    const { url } = config.database;
    if (url === undefined) throw new Error('A process was to start without a database.');
    return { config, databaseUrl: url.reveal() };
  });
}

/** Name, default and meaning of each variable, in order: the source of the README's table. */
export function describeSettings(): { name: string; fallback: string; description: string }[] {
  return Object.entries(settings.shape).map(([name, schema]) => {
    const parsed = schema.safeParse(undefined);
    return {
      name,
      fallback: !parsed.success || typeof parsed.data === 'object' ? '' : String(parsed.data ?? ''),
      description: schema.description ?? '',
    };
  });
}
