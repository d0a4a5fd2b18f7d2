/**
 * Everything that reads runs, on a database of its own, fed through the real write path. Statements of the
 * services are recorded, so that a test can say how many there were and what they read.
 */
import { graphql } from 'graphql';
import type { ExecutionResult, GraphQLSchema } from 'graphql';
import type pg from 'pg';
import { v7 } from 'uuid';
import type { ContentNote } from '../../src/audit/content-read.js';
import { createContext, requirePrincipal } from '../../src/graphql/context.js';
import { Cursors } from '../../src/graphql/cursor.js';
import { NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { IntakeService } from '../../src/ingest/intake.js';
import { PartitionCatalog } from '../../src/ingest/partition-catalog.js';
import { ProjectResolver } from '../../src/ingest/project-resolver.js';
import type { JsonObject, Payload, RunEvent } from '../../src/ingest/run-event.js';
import { RunWriter } from '../../src/ingest/run-writer.js';
import { RunZones } from '../../src/ingest/run-zones.js';
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import type { Queryable } from '../../src/platform/db.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { createMetrics } from '../../src/platform/metrics.js';
import { ProjectLoaders } from '../../src/projects/project.loaders.js';
import { ProjectsResolver } from '../../src/projects/project.resolver.js';
import { ProjectService } from '../../src/projects/project.service.js';
import { ProjectStatsStore } from '../../src/projects/project-stats.store.js';
import { ProjectStore } from '../../src/projects/project.store.js';
import { RunDayStore } from '../../src/runs/run-day.store.js';
import { RunIntakeResolver } from '../../src/runs/run-intake.resolver.js';
import { RunLoaders } from '../../src/runs/run.loaders.js';
import { RunResolver } from '../../src/runs/run.resolver.js';
import { RunService } from '../../src/runs/run.service.js';
import { RunStatsResolver } from '../../src/runs/run-stats.resolver.js';
import { RunStatsStore } from '../../src/runs/run-stats.store.js';
import { RunStore } from '../../src/runs/run.store.js';
import { TraceResolver } from '../../src/runs/trace.resolver.js';
import { TraceStore } from '../../src/runs/trace.store.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { ThreadResolver } from '../../src/threads/thread.resolver.js';
import { ThreadService } from '../../src/threads/thread.service.js';
import { ThreadStore } from '../../src/threads/thread.store.js';
import { createTestDatabase } from '../support/database.js';
import { inScope } from '../support/scoped.js';

export const DAY_MS = 86_400_000;

/** A UUIDv7 made at a moment. */
export const idAt = (ms: number): string => v7({ msecs: ms });

export const payload = (value: JsonObject): Payload => ({ text: JSON.stringify(value), value });

export function principalOf(
  workspaceId: string,
  scopes: readonly Scope[] = ['ingest', 'read', 'content', 'write'],
): Principal {
  return {
    keyId: idAt(Date.now()),
    kind: 'service',
    organizationId: idAt(Date.now()),
    workspaceId,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

/** `20260102T030405678000Z<id>` */
export const segment = (startMs: number, id: string): string =>
  `${new Date(startMs).toISOString().replace(/[-:.Z]/g, '')}000Z${id}`;

/** A root run of a project, complete unless `fields` say otherwise. */
export function rootEvent(workspaceId: string, startMs: number, fields: Partial<RunEvent> = {}): RunEvent {
  const id = fields.id ?? idAt(startMs);
  return {
    kind: 'create',
    workspaceId,
    id,
    traceId: id,
    dottedOrder: segment(startMs, id),
    project: { name: 'demo' },
    name: 'root',
    runType: 'chain',
    startUs: startMs * 1_000,
    endUs: startMs * 1_000 + 1_000_000,
    ...fields,
  };
}

export function childEvent(parent: RunEvent, startMs: number, fields: Partial<RunEvent> = {}): RunEvent {
  const id = fields.id ?? idAt(startMs);
  return rootEvent(parent.workspaceId, startMs, {
    id,
    traceId: parent.traceId ?? parent.id,
    parentRunId: parent.id,
    dottedOrder: `${parent.dottedOrder ?? ''}.${segment(startMs, id)}`,
    ...(parent.project !== undefined && { project: parent.project }),
    name: 'child',
    ...fields,
  });
}

/** Passes on to a pool and keeps what was asked. */
class RecordingDb implements Queryable {
  readonly statements: string[] = [];

  constructor(private readonly pool: pg.Pool) {}

  query<R extends pg.QueryResultRow>(
    text: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<R>> {
    this.statements.push(typeof text === 'string' ? text : text.text);
    return this.pool.query<R>(text, values);
  }
}

export type World = Awaited<ReturnType<typeof createWorld>>;

export async function createWorld() {
  const database = await createTestDatabase();
  const log = createLogger('silent', 'test');
  const pool = createPool({
    url: database.url,
    role: database.role,
    name: 'read',
    max: 4,
    statementTimeoutMs: 30_000,
    log,
  });
  const ingestPool = createPool({
    url: database.url,
    name: 'ingest',
    max: 2,
    statementTimeoutMs: 30_000,
    rows: 'everywhere',
    log,
  });
  const doorbell = { ring: () => undefined, listen: () => () => undefined, close: () => Promise.resolve() };
  const clock = systemClock;
  const ids = systemIds;
  const writer = new RunWriter({
    pool: ingestPool,
    lanes: 2,
    projects: new ProjectResolver({ pool, ids, clock }),
    zones: new RunZones({ pool, partitions: new PartitionCatalog({ pool }) }),
    doorbell,
    clock,
    log,
  });

  const db = new RecordingDb(pool);
  const days = new RunDayStore({ db });
  const search = { resolve: () => Promise.resolve(undefined) };
  const contentNotes: ContentNote[] = [];
  const contentReads = { note: (_caller: unknown, note: ContentNote) => void contentNotes.push(note) };
  const runs = new RunService({
    pool,
    runs: new RunStore({ db }),
    traces: new TraceStore({ db }),
    stats: new RunStatsStore({ db }),
    days,
    search,
    contentReads,
    doorbell,
    clock,
  });
  const enqueued: string[] = [];
  const projects = new ProjectService({
    pool,
    projects: new ProjectStore({ db }),
    stats: new ProjectStatsStore({ db }),
    days,
    deletions: {
      enqueue: (_tx, _scope, projectId) => {
        enqueued.push(projectId);
        return Promise.resolve();
      },
    },
    idempotency: new Idempotency({ pool, pepper: 'a pepper for tests', clock }),
    clock,
    ids,
  });
  const threads = new ThreadService({ threads: new ThreadStore({ db }), days, search, contentReads });
  const cursors = new Cursors({ key: 'a key for cursors' });
  const links = {
    presign: ({ runId, name }: { runId: string; name: string }) => `https://files.example/${runId}/${name}`,
  };
  const projectLoaders = (context: Parameters<typeof requirePrincipal>[0]): ProjectLoaders =>
    new ProjectLoaders({ service: projects, principal: requirePrincipal(context) });
  const runLoaders = (context: Parameters<typeof requirePrincipal>[0]): RunLoaders =>
    new RunLoaders({ service: runs, principal: requirePrincipal(context) });
  const nodeTypes = new NodeTypes();
  const runResolver = new RunResolver({ runs, cursors, links, runLoaders, projectLoaders });
  const traceResolver = new TraceResolver({ runs, cursors, links, runLoaders, projectLoaders });
  const projectResolver = new ProjectsResolver({ projects, cursors, loaders: projectLoaders });
  nodeTypes
    .register('Run', runResolver.loadNodes)
    .register('Trace', traceResolver.loadNodes)
    .register('Project', projectResolver.loadNodes);
  const intake = new IntakeService({ sink: writer, clock, ids, log, metrics: createMetrics() });
  const instances = [
    runResolver,
    traceResolver,
    projectResolver,
    new RunStatsResolver({ runs, projectLoaders }),
    new RunIntakeResolver({ intake, ids }),
    new ThreadResolver({ threads, cursors, projectLoaders }),
    new NodeResolver({ nodeTypes }),
  ];
  const schema: GraphQLSchema = buildTracewellSchema(
    instances,
    instances.map((instance) => instance.constructor as never),
  );

  return {
    database,
    /** For arranging and looking, in all workspaces. */
    pool: ingestPool,
    runs: inScope(runs),
    projects: inScope(projects),
    threads: inScope(threads),
    enqueued,
    schema,
    /** Reads of content since the last call. */
    takeContentNotes: (): ContentNote[] => contentNotes.splice(0),
    /** Statements of stores since the last call. */
    takeStatements: (): string[] => db.statements.splice(0),
    /** Stores events; fails the test when one is refused. */
    async write(events: readonly RunEvent[]): Promise<void> {
      const refusals = (await writer.write(events)).filter((refusal) => refusal !== undefined);
      if (refusals.length > 0) throw new Error(`refused: ${JSON.stringify(refusals[0])}`);
    },
    async execute(
      principal: Principal | undefined,
      source: string,
      variableValues: Record<string, unknown> = {},
    ): Promise<ExecutionResult> {
      const contextValue = createContext({
        principal,
        signal: new AbortController().signal,
        requestId: 'test',
      });
      const run = (): Promise<ExecutionResult> => graphql({ schema, source, variableValues, contextValue });
      return principal === undefined ? run() : inWorkspace(principal.workspaceId, run);
    },
    /** The data of a query that must succeed, as a client would see it. */
    async query<T>(
      principal: Principal,
      source: string,
      variableValues: Record<string, unknown> = {},
    ): Promise<T> {
      const result = await this.execute(principal, source, variableValues);
      if (result.errors !== undefined) {
        throw new Error(result.errors.map(({ message }) => message).join('; '));
      }
      return JSON.parse(JSON.stringify(result.data)) as T;
    },
    async close(): Promise<void> {
      await writer.close();
      await pool.end();
      await ingestPool.end();
      await database.drop();
    },
  };
}
