/** Probes and metrics. Liveness depends on nothing but this process; readiness on what requests need. */
import type pg from 'pg';
import type { Metrics } from '../platform/metrics.js';
import type { RouteModule } from './ports.js';

/** Findings by name: `ok`, or what is wrong. */
export interface Readiness {
  readonly ok: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

export interface HealthDeps {
  readonly metrics: Metrics;
  readonly ready: () => Promise<Readiness>;
  readonly isDraining: () => boolean;
}

const FREE = { access: 'public', rateClass: 'free' } as const;
const MAX_LAG_SECONDS = 1;
const CHECK_TIMEOUT_MS = 1_000;

export function healthRoutes(deps: HealthDeps): RouteModule[] {
  const { metrics } = deps;
  return [
    {
      name: 'health',
      mount: 'root',
      register(app) {
        app.get('/healthz', { config: FREE }, async (_request, reply) => {
          const lagSeconds = metrics.eventLoopLagSeconds();
          return reply
            .code(lagSeconds < MAX_LAG_SECONDS ? 200 : 503)
            .send({ ok: lagSeconds < MAX_LAG_SECONDS, event_loop_lag_seconds: lagSeconds });
        });
        app.get('/readyz', { config: FREE }, async (_request, reply) => {
          const found = await deps.ready();
          const ok = found.ok && !deps.isDraining();
          if (!ok) void reply.header('retry-after', '10');
          return reply
            .code(ok ? 200 : 503)
            .send({ ok, checks: { ...found.checks, draining: deps.isDraining() ? 'yes' : 'ok' } });
        });
        app.get('/metrics', { config: FREE }, async (_request, reply) =>
          reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
        );
      },
    },
    {
      name: 'health',
      mount: 'v1',
      register(app) {
        app.get('/ok', { config: FREE }, () => Promise.resolve({ ok: true }));
        app.get('/info/health', { config: FREE }, () => Promise.resolve({ ok: true }));
      },
    },
  ];
}

/**
 * Readiness from named checks run side by side; one that throws or takes longer than a second has failed. Probes that
 * come together share one run: a flood of them must not be what the checks fail by. Messages of errors are not shown:
 * the path is public.
 */
export function readiness(checks: Readonly<Record<string, () => Promise<void>>>): () => Promise<Readiness> {
  let running: Promise<Readiness> | undefined;
  return () => {
    running ??= runChecks(checks).finally(() => (running = undefined));
    return running;
  };
}

async function runChecks(checks: Readonly<Record<string, () => Promise<void>>>): Promise<Readiness> {
  const entries = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<[string, string]> => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<string>((resolve) => {
        timer = setTimeout(() => resolve(`no answer within ${CHECK_TIMEOUT_MS} ms`), CHECK_TIMEOUT_MS);
      });
      const answer = check().then(
        () => 'ok',
        () => 'failed',
      );
      const found = await Promise.race([answer, late]);
      clearTimeout(timer);
      return [name, found];
    }),
  );
  return { ok: entries.every(([, found]) => found === 'ok'), checks: Object.fromEntries(entries) };
}

/** A round trip to the database. */
export function databaseCheck(pool: pg.Pool): () => Promise<void> {
  return async () => {
    await pool.query('/* health.round_trip */ select 1');
  };
}

/** Whether the database has every migration this program knows, by name. */
export function migrationsCheck(pool: pg.Pool, newestMigration: string): () => Promise<void> {
  return async () => {
    const { rowCount } = await pool.query(
      '/* health.migrations */ select 1 from _prisma_migrations where migration_name = $1 and finished_at is not null limit 1',
      [newestMigration],
    );
    if (rowCount === 0) throw new Error(`Migration ${newestMigration} is missing.`);
  };
}
