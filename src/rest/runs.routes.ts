/** `/runs` of the LangSmith protocol: queries, single runs, statistics, threads, deletion, sharing. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { checkFilter } from '../filters/filter-text.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import { AppError } from '../platform/errors.js';
import type { RunService } from '../runs/run.service.js';
import type { RunShare } from '../sharing/run-share.store.js';
import type { RunShareService } from '../sharing/run-share.service.js';
import type { ThreadService } from '../threads/thread.service.js';
import type { ThreadRow } from '../threads/thread.store.js';
import { filtersOf, runQueryBody, toRunQuery } from './run-query.wire.js';
import type { RunReader } from './run-reader.js';
import { NO_RUNS, toStatsShape, toWireRunStats, toWireThread } from './run-stats.wire.js';
import {
  baseUrl,
  idParam,
  parseBody,
  Query,
  sendJsonText,
  unwrap,
  wireTime,
  wireUuid,
} from './wire-values.js';

export interface RunRoutesOptions {
  readonly runs: RunService;
  readonly threads: ThreadService;
  readonly shares: RunShareService;
  readonly reader: RunReader;
  readonly publicUrl: string | undefined;
}

export function runRoutes(options: RunRoutesOptions): RouteModule {
  return {
    name: 'runs',
    mount: 'v1',
    register(app) {
      registerReads(app, options);
      registerThreads(app, options);
      registerDeletion(app, options);
      registerShares(app, options);
    },
  };
}

function registerReads(app: FastifyInstance, { runs, reader, publicUrl }: RunRoutesOptions): void {
  app.post('/runs/query', { config: { access: 'read' } }, async (request, reply) => {
    const body = parseBody(runQueryBody, request.body ?? {});
    const base = baseUrl(request, publicUrl);
    return sendJsonText(reply, await reader.page(principalOf(request), toRunQuery(body), body, base));
  });

  app.get('/runs/:id', { config: { access: 'read' } }, async (request, reply) => {
    const id = idParam(request, 'Run');
    const run = await reader.one(principalOf(request), id, baseUrl(request, publicUrl));
    if (run === undefined) throw new AppError('NOT_FOUND', 'Run not found.');
    return sendJsonText(reply, run);
  });

  app.post('/runs/stats', { config: { access: 'read' } }, async (request) => {
    const body = parseBody(runQueryBody, request.body ?? {});
    const { rows } = await runs.stats(principalOf(request), toRunQuery(body), toStatsShape(body.group_by));
    if (body.group_by) {
      return Object.fromEntries(rows.map((row) => [row.groups[0] ?? '', toWireRunStats(row)]));
    }
    return rows[0] === undefined ? NO_RUNS : toWireRunStats(rows[0]);
  });

  app.post('/runs/query/validate', { config: { access: 'read' } }, (request, reply) => {
    const body = parseBody(
      runQueryBody.pick({ filter: true, trace_filter: true, tree_filter: true }),
      request.body ?? {},
    );
    const errors = Object.entries(body).flatMap(([field, filter]) => {
      if (filter === null || filter === undefined || filter === '') return [];
      const check = checkFilter(filter);
      return check.valid ? [] : [{ field, ...check.error }];
    });
    return reply.send({ valid: errors.length === 0, errors });
  });
}

// ── Threads ────────────────────────────────────────────────────────────────────────────────────────────────

const groupBody = z.object({
  session_id: wireUuid,
  group_by: z.literal('conversation'),
  filter: z.string().nullish(),
  start_time: wireTime,
  end_time: wireTime,
  offset: z.number().int().min(0).max(100_000).nullish(),
  limit: z.number().int().min(1).max(100).nullish(),
});

const THREAD_PAGE = 100;
const MAX_THREAD_COUNT = 10_000;

function registerThreads(app: FastifyInstance, { threads }: RunRoutesOptions): void {
  app.post('/runs/group', { config: { access: 'read' } }, async (request) => {
    const body = parseBody(groupBody, request.body);
    const principal = principalOf(request);
    const query = {
      projectId: body.session_id,
      timeRange: { from: body.start_time, to: body.end_time },
      filters: filtersOf({ filter: body.filter }),
    };
    const wanted = (body.offset ?? 0) + (body.limit ?? THREAD_PAGE);
    const found: ThreadRow[] = [];
    // The protocol counts from the start; threads are paged by position, so the way there is read.
    for (let more = true; more && found.length < wanted;) {
      const last = found.at(-1);
      const limit = Math.min(THREAD_PAGE, wanted - found.length);
      const page = await threads.listThreads(principal, query, { limit, after: last });
      found.push(...page.slice(0, limit));
      more = page.length > limit;
    }
    return {
      groups: found.slice(body.offset ?? 0).map(toWireThread),
      total: Math.min(await threads.countThreads(principal, query, MAX_THREAD_COUNT), MAX_THREAD_COUNT),
    };
  });

  app.get('/runs/threads/:thread', { config: { access: 'read' } }, async (request) => {
    const { thread: threadId } = request.params as { thread: string };
    const [projectId] = new Query(request).uuids('session_id') ?? [];
    if (projectId === undefined) throw new AppError('UNPROCESSABLE', 'session_id is required.');
    const thread = await threads.findThread(principalOf(request), projectId, threadId);
    if (thread === undefined) throw new AppError('NOT_FOUND', 'Thread not found.');
    return toWireThread(thread);
  });
}

// ── Deletion ───────────────────────────────────────────────────────────────────────────────────────────────

const deletionBody = z.object({ session_id: wireUuid, trace_ids: z.array(wireUuid).min(1).max(1_000) });
const TRACES_AT_ONCE = 100;

function registerDeletion(app: FastifyInstance, { runs }: RunRoutesOptions): void {
  for (const path of ['/runs/delete', '/runs/delete/traces']) {
    app.post(path, { config: { access: 'write' } }, async (request, reply) => {
      const { session_id: projectId, trace_ids: traceIds } = parseBody(deletionBody, request.body);
      const deleted: string[] = [];
      for (let from = 0; from < traceIds.length; from += TRACES_AT_ONCE) {
        const some = traceIds.slice(from, from + TRACES_AT_ONCE);
        deleted.push(...(await runs.deleteTraces(principalOf(request), projectId, some)));
      }
      return reply.code(202).send({ trace_ids: deleted });
    });
  }
}

// ── Sharing ────────────────────────────────────────────────────────────────────────────────────────────────

const shareBody = z.object({ share_token: wireUuid.nullish(), expires_at: wireTime });

const toWireShare = ({ runId, token, expiresAt }: RunShare) => ({
  run_id: runId,
  share_token: token,
  expires_at: expiresAt,
});

function registerShares(app: FastifyInstance, { shares }: RunRoutesOptions): void {
  app.put('/runs/:id/share', { config: { access: 'write' } }, async (request) => {
    const { share_token: token, expires_at: expiresAt } = parseBody(shareBody, request.body ?? {});
    const result = await shares.share(principalOf(request), idParam(request, 'Run'), {
      token: token ?? undefined,
      expiresAt: expiresAt === undefined ? undefined : new Date(expiresAt),
    });
    return toWireShare(unwrap(result));
  });

  app.get('/runs/:id/share', { config: { access: 'read' } }, async (request, reply) => {
    const id = idParam(request, 'Run');
    const share = (await shares.findByRuns(principalOf(request), [id])).get(id);
    // "Not shared" is an answer with a body, which returning null would not be.
    return sendJsonText(reply, JSON.stringify(share === undefined ? null : toWireShare(share)));
  });

  app.delete('/runs/:id/share', { config: { access: 'write' } }, async (request) => {
    await shares.unshare(principalOf(request), idParam(request, 'Run'));
    return {};
  });
}
