/** The second version of the LangSmith protocol's reads: runs, traces, threads, shares. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Cursors, PageRequest } from '../graphql/cursor.js';
import { stringifyWithRawJson } from '../graphql/raw-json.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { Clock } from '../platform/clock.js';
import { AppError } from '../platform/errors.js';
import type { ProjectService } from '../projects/project.service.js';
import { MAX_PROJECT_PAGE } from '../projects/project.service.js';
import type { RunRow } from '../runs/run-columns.js';
import type { RunQuery } from '../runs/run-query.js';
import { RUN_TYPES } from '../runs/run.js';
import type { RunService } from '../runs/run.service.js';
import type { OpenedShare, RunShareService } from '../sharing/run-share.service.js';
import type { Principal } from '../tenancy/principal.js';
import type { ThreadService } from '../threads/thread.service.js';
import { filtersOf } from './run-query.wire.js';
import type { RunReader } from './run-reader.js';
import { appPath } from './run.wire.js';
import { selectionV2, toWireAggregates, toWireRunV2, toWireThreadV2, type WireRunV2 } from './run-v2.wire.js';
import {
  baseUrl,
  idParam,
  parseBody,
  Query,
  sendJsonText,
  unwrap,
  wireTime,
  wireUuid,
  wireUuids,
} from './wire-values.js';

export interface RunV2RoutesOptions {
  readonly runs: RunService;
  readonly threads: ThreadService;
  readonly projects: ProjectService;
  readonly shares: RunShareService;
  readonly reader: RunReader;
  readonly cursors: Cursors;
  readonly clock: Clock;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 1_000;
const DEFAULT_PAGE = 100;
const DAY_MS = 86_400_000;
/** A page of a trace's runs; the protocol has no cursor there. */
const MAX_TRACE = 10_000;

const text = z.string().nullish();
const upperCase = text.transform((value) => value?.toLowerCase());
const page = {
  selects: z.array(z.string()).max(200).nullish(),
  page_size: z.number().int().min(1).max(MAX_PAGE).nullish(),
  cursor: text,
  min_start_time: wireTime,
  max_start_time: wireTime,
  trace_filter: text,
  tree_filter: text,
};

const runsBody = z.object({
  ...page,
  project_ids: wireUuids.nullish(),
  reference_dataset_id: wireUuid.nullish(),
  ids: wireUuids.nullish(),
  trace_id: wireUuid.nullish(),
  filter: text,
  has_error: z.boolean().nullish(),
  is_root: z.boolean().nullish(),
  run_type: upperCase.pipe(z.enum(RUN_TYPES).optional()),
  reference_examples: wireUuids.nullish(),
  sort_order: upperCase.pipe(z.enum(['asc', 'desc']).optional()),
});

const tracesBody = z.object({ ...page, project_id: wireUuid, trace_ids: wireUuids.nullish() });
const threadsBody = z.object({ ...page, project_id: wireUuid, filter: text, thread_filter: text });
const publicBody = z.object({ selects: page.selects });

export function runV2Routes(options: RunV2RoutesOptions): RouteModule {
  return {
    name: 'runs-v2',
    mount: 'v2',
    register(app) {
      registerRuns(app, options);
      registerTraces(app, options);
      registerThreads(app, options);
      registerShares(app, options);
    },
  };
}

/** Runs named by id or trace are wanted whenever they were; lists look at the last day unless they say otherwise. */
function timeRangeOf(
  body: { min_start_time?: string | undefined; max_start_time?: string | undefined },
  named: boolean,
  clock: Clock,
): RunQuery['timeRange'] {
  const from =
    body.min_start_time ?? (named ? undefined : new Date(clock.now().getTime() - DAY_MS).toISOString());
  return { from, to: body.max_start_time };
}

const PAGING: ReadonlySet<string> = new Set(['cursor', 'page_size', 'selects', 'sort_order']);

/** The default window moves with the clock, so the body identifies a list, not the query made of it. */
function requestOf(
  cursors: Cursors,
  order: string,
  direction: 'asc' | 'desc',
  body: { page_size?: number | null | undefined; cursor?: string | null | undefined },
): PageRequest {
  const filter = Object.fromEntries(Object.entries(body).filter(([name]) => !PAGING.has(name)));
  const after = body.cursor === '' ? null : (body.cursor ?? null);
  return cursors.request(
    { first: body.page_size ?? DEFAULT_PAGE, after },
    { order, direction, filter },
    { max: MAX_PAGE },
  );
}

interface ShownPage {
  readonly rows: readonly RunRow[];
  readonly next: string | null;
}

function shownPage(cursors: Cursors, request: PageRequest, found: readonly RunRow[]): ShownPage {
  const rows = found.slice(0, request.limit);
  const last = rows.at(-1);
  const next =
    found.length > request.limit && last !== undefined
      ? cursors.encode(request, { value: last.startTime, id: last.uuid })
      : null;
  return { rows, next };
}

const answerPage = (items: readonly unknown[], next: string | null): string =>
  stringifyWithRawJson({ items, next_cursor: next, has_more: next !== null });

// ── Runs ───────────────────────────────────────────────────────────────────────────────────────────────────

function registerRuns(app: FastifyInstance, options: RunV2RoutesOptions): void {
  const { runs, reader, cursors, clock, projects, publicUrl } = options;

  /** Experiments over a dataset; more of them than a page of projects are never compared at once. */
  const projectsOf = async (principal: Principal, datasetId: string): Promise<string[]> => {
    const found = await projects.listProjectsByOffset(principal, {
      filter: { referenceDatasetIds: [datasetId] },
      sort: 'start_time',
      descending: true,
      limit: MAX_PROJECT_PAGE,
      offset: 0,
    });
    return found.projects.map(({ uuid }) => uuid);
  };

  app.post('/runs/query', { config: { access: 'read' } }, async (request, reply) => {
    const body = parseBody(runsBody, request.body ?? {});
    const principal = principalOf(request);
    const select = selectionV2(body.selects);
    const direction = body.sort_order ?? 'desc';
    const window = requestOf(cursors, 'rest.v2.runs', direction, body);
    const dataset = body.reference_dataset_id
      ? await projectsOf(principal, body.reference_dataset_id)
      : undefined;
    const query: RunQuery = {
      projectIds: body.project_ids ?? dataset,
      ids: body.ids ?? undefined,
      traceIds: body.trace_id ? [body.trace_id] : undefined,
      runType: body.run_type,
      isRoot: body.is_root ?? undefined,
      hasError: body.has_error ?? undefined,
      referenceExampleIds: body.reference_examples ?? undefined,
      timeRange: timeRangeOf(body, Boolean(body.ids ?? body.trace_id), clock),
      filters: filtersOf(body),
    };
    const found = await runs.listRuns(principal, query, { direction, window, fields: select.fields });
    const { rows, next } = shownPage(cursors, window, found);
    const context = await reader.contextOf(principal, rows, select, baseUrl(request, publicUrl));
    return sendJsonText(
      reply,
      answerPage(
        rows.map((run) => toWireRunV2(run, select, context)),
        next,
      ),
    );
  });

  app.get('/runs/:id', { config: { access: 'read' } }, async (request, reply) => {
    const principal = principalOf(request);
    const select = selectionV2(new Query(request).all('selects'));
    const run = await runs.findRun(principal, idParam(request, 'Run'), select.fields);
    if (run === undefined) throw new AppError('NOT_FOUND', 'Run not found.');
    const context = await reader.contextOf(principal, [run], select, baseUrl(request, publicUrl));
    return sendJsonText(reply, stringifyWithRawJson(toWireRunV2(run, select, context)));
  });

  app.get('/runs/:id/url', { config: { access: 'read' } }, async (request) => {
    const principal = principalOf(request);
    const run = await runs.findRun(principal, idParam(request, 'Run'), ['projectUuid']);
    if (run?.projectUuid === undefined) throw new AppError('NOT_FOUND', 'Run not found.');
    return {
      url: `${baseUrl(request, publicUrl)}${appPath(principal.workspaceId, run.projectUuid, run.uuid)}`,
    };
  });
}

// ── Traces ─────────────────────────────────────────────────────────────────────────────────────────────────

function registerTraces(app: FastifyInstance, options: RunV2RoutesOptions): void {
  const { runs, reader, cursors, clock, publicUrl } = options;

  app.post('/traces/query', { config: { access: 'read' } }, async (request, reply) => {
    const body = parseBody(tracesBody, request.body);
    const principal = principalOf(request);
    const select = selectionV2(body.selects);
    const window = requestOf(cursors, 'rest.v2.traces', 'desc', body);
    const query: RunQuery = {
      projectIds: [body.project_id],
      traceIds: body.trace_ids ?? undefined,
      isRoot: true,
      timeRange: timeRangeOf(body, Boolean(body.trace_ids), clock),
      filters: filtersOf(body),
    };
    const fields = [...select.fields, 'traceId', 'firstTokenTime'] as const;
    const found = await runs.listRuns(principal, query, { direction: 'desc', window, fields });
    const { rows, next } = shownPage(cursors, window, found);
    const [context, traces] = await Promise.all([
      reader.contextOf(principal, rows, select, baseUrl(request, publicUrl)),
      runs.findTraces(
        principal,
        rows.map(({ uuid }) => uuid),
      ),
    ]);
    const byId = new Map(traces.map((trace) => [trace.traceId, trace]));
    const items = rows.map((run) => ({
      root_run: toWireRunV2(run, select, context),
      trace_aggregates: toWireAggregates(byId.get(run.uuid), run),
    }));
    return sendJsonText(reply, answerPage(items, next));
  });

  app.get('/traces/:id/runs', { config: { access: 'read' } }, async (request, reply) => {
    const query = new Query(request);
    const [projectId] = query.uuids('project_id') ?? [];
    const items = await runsOfTrace(options, {
      principal: principalOf(request),
      query: {
        traceIds: [idParam(request, 'Trace')],
        projectIds: projectId === undefined ? undefined : [projectId],
        timeRange: { from: query.time('min_start_time'), to: query.time('max_start_time') },
        filters: filtersOf({ filter: query.one('filter') }),
      },
      selects: query.all('selects'),
      base: baseUrl(request, publicUrl),
    });
    return sendJsonText(reply, stringifyWithRawJson({ items }));
  });
}

/** All runs of a trace, oldest first. */
async function runsOfTrace(
  { runs, reader }: RunV2RoutesOptions,
  wanted: { principal: Principal; query: RunQuery; selects: readonly string[] | undefined; base: string },
): Promise<WireRunV2[]> {
  const { principal, query, base } = wanted;
  const select = selectionV2(wanted.selects);
  const window = { limit: MAX_TRACE, backward: false, boundary: undefined };
  const rows = await runs.listRuns(principal, query, { direction: 'asc', window, fields: select.fields });
  const shown = rows.slice(0, MAX_TRACE);
  const context = await reader.contextOf(principal, shown, select, base);
  return shown.map((run) => toWireRunV2(run, select, context));
}

// ── Threads ────────────────────────────────────────────────────────────────────────────────────────────────

function registerThreads(app: FastifyInstance, options: RunV2RoutesOptions): void {
  const { runs, threads, reader, cursors, clock, publicUrl } = options;

  app.post('/threads/query', { config: { access: 'read' } }, async (request, reply) => {
    const body = parseBody(threadsBody, request.body);
    const principal = principalOf(request);
    const window = requestOf(cursors, 'rest.v2.threads', 'desc', body);
    const query = {
      projectId: body.project_id,
      timeRange: timeRangeOf(body, false, clock),
      filters: filtersOf({ ...body, search_filter: body.thread_filter }),
    };
    const { boundary } = window;
    const after = boundary && { lastStartTime: String(boundary.value), threadId: boundary.id };
    const found = await threads.listThreads(principal, query, { limit: window.limit, after });
    const rows = found.slice(0, window.limit);
    const last = rows.at(-1);
    const usage = rows.length === 0 ? [] : await threads.usageOf(principal, body.project_id, rows);
    const byId = new Map(usage.map((each) => [each.threadId, each]));
    const next =
      found.length > window.limit && last !== undefined
        ? cursors.encode(window, { value: last.lastStartTime, id: last.threadId })
        : null;
    return sendJsonText(
      reply,
      answerPage(
        rows.map((thread) => toWireThreadV2(thread, byId.get(thread.threadId))),
        next,
      ),
    );
  });

  app.get('/threads/:thread/traces', { config: { access: 'read' } }, async (request, reply) => {
    const { thread: threadId } = request.params as { thread: string };
    const query = new Query(request);
    const [projectId] = query.uuids('project_id') ?? [];
    if (projectId === undefined) throw new AppError('UNPROCESSABLE', 'project_id is required.');
    const principal = principalOf(request);
    const size = query.one('page_size');
    const body = {
      threadId,
      projectId,
      filter: query.one('filter'),
      cursor: query.one('cursor'),
      page_size: size === undefined ? undefined : Number(size),
    };
    const window = requestOf(cursors, 'rest.v2.thread', 'desc', body);
    const selected = selectionV2(
      query.all('selects')?.map((name) => (name === 'LATENCY' ? 'LATENCY_SECONDS' : name)),
    );
    const select = { ...selected, names: [...new Set([...selected.names, 'TRACE_ID'])] };
    const found = await runs.listRuns(
      principal,
      { projectIds: [projectId], threadId, isRoot: true, filters: filtersOf(body) },
      { direction: 'desc', window, fields: [...select.fields, 'traceId'] },
    );
    const { rows, next } = shownPage(cursors, window, found);
    const context = await reader.contextOf(principal, rows, select, baseUrl(request, publicUrl));
    const items = rows.map((run) => ({
      ...toWireRunV2(run, select, context),
      ...(run.latencySeconds !== undefined && { latency: run.latencySeconds }),
    }));
    return sendJsonText(reply, answerPage(items, next));
  });

  app.get('/threads/:thread/stats', { config: { access: 'read' } }, async (request) => {
    const { thread: threadId } = request.params as { thread: string };
    const query = new Query(request);
    const [projectId] = query.uuids('session_id') ?? [];
    if (projectId === undefined) throw new AppError('UNPROCESSABLE', 'session_id is required.');
    const principal = principalOf(request);
    const thread = await threads.findThread(principal, projectId, threadId);
    if (thread === undefined) throw new AppError('NOT_FOUND', 'Thread not found.');
    const [usage] = await threads.usageOf(principal, projectId, [thread]);
    const wire = toWireThreadV2(thread, usage);
    const figures: Record<string, unknown> = {
      TURNS: { turns: thread.traceCount },
      FIRST_START_TIME: { first_start_time: wire['min_start_time'] },
      LAST_START_TIME: { last_start_time: wire['max_start_time'] },
      LATENCY_P50: { latency_p50_seconds: thread.latencyP50 },
      LATENCY_P99: { latency_p99_seconds: thread.latencyP99 },
      TOTAL_TOKENS: { total_tokens: wire['total_tokens'] },
      TOTAL_COST: { total_cost: wire['total_cost'] },
      PROMPT_TOKENS: { prompt_tokens: Number(usage?.promptTokens ?? 0) },
      COMPLETION_TOKENS: { completion_tokens: Number(usage?.completionTokens ?? 0) },
      PROMPT_COST: { prompt_cost: Number(usage?.promptCost ?? 0) },
      COMPLETION_COST: { completion_cost: Number(usage?.completionCost ?? 0) },
    };
    return Object.assign({}, ...(query.all('selects') ?? []).map((name) => figures[name] ?? {})) as object;
  });
}

// ── Shares ─────────────────────────────────────────────────────────────────────────────────────────────────

function registerShares(app: FastifyInstance, options: RunV2RoutesOptions): void {
  const { runs, shares, reader, publicUrl } = options;

  // A child shares its trace, under the root's name: that is what is taken back later.
  app.post('/runs/:id/share', { config: { access: 'write' } }, async (request) => {
    const principal = principalOf(request);
    const run = await runs.findRun(principal, idParam(request, 'Run'), ['traceId']);
    if (run?.traceId === undefined) throw new AppError('NOT_FOUND', 'Run not found.');
    return { share_token: unwrap(await shares.share(principal, run.traceId)).token };
  });

  app.delete('/runs/:id/share', { config: { access: 'write' } }, async (request, reply) => {
    await shares.unshare(principalOf(request), idParam(request, 'Run'));
    return reply.code(204).send();
  });

  const shared =
    (handle: (opened: OpenedShare, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
      shares.open((request.params as { token: string }).token, (opened) => handle(opened, request, reply));

  app.post(
    '/public/:token/runs/query',
    { config: { access: 'public' } },
    shared(async ({ share, principal }, request, reply) => {
      const { selects } = parseBody(publicBody, request.body ?? {});
      const items = await runsOfTrace(options, {
        principal,
        query: { traceIds: [share.traceId] },
        selects: selects ?? undefined,
        base: baseUrl(request, publicUrl),
      });
      return sendJsonText(reply, stringifyWithRawJson({ items }));
    }),
  );

  app.get(
    '/public/:token/run/:id',
    { config: { access: 'public' } },
    shared(async ({ share, principal }, request, reply) => {
      const select = selectionV2(new Query(request).all('selects'));
      const run = await runs.findRun(principal, idParam(request, 'Run'), [...select.fields, 'traceId']);
      if (run === undefined || run.traceId !== share.traceId) {
        throw new AppError('NOT_FOUND', 'Run not found.');
      }
      const context = await reader.contextOf(principal, [run], select, baseUrl(request, publicUrl));
      return sendJsonText(reply, stringifyWithRawJson(toWireRunV2(run, select, context)));
    }),
  );
}
