/** What holders of a share link may read without a key: one trace, its feedback, and a page that shows it. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { RouteModule } from '../http/ports.js';
import { AppError } from '../platform/errors.js';
import type { RunService } from '../runs/run.service.js';
import type { OpenedShare, RunShareService } from '../sharing/run-share.service.js';
import type { Operation } from '../tenancy/principal.js';
import { toWireFeedback } from './feedback.wire.js';
import { renderTracePage } from './public-trace.page.js';
import { runQueryBody, toRunQuery } from './run-query.wire.js';
import type { RunReader } from './run-reader.js';
import { baseUrl, idParam, parseBody, Query, sendJsonText } from './wire-values.js';

export interface PublicRoutesOptions {
  readonly runs: RunService;
  readonly feedback: FeedbackService;
  readonly shares: RunShareService;
  readonly reader: RunReader;
  readonly publicUrl: string | undefined;
}

const MAX_FEEDBACK = 100;
const MAX_RUNS_ON_PAGE = 500;
const PAGE_FIELDS = ['name', 'status', 'inputs', 'outputs', 'error', 'latencySeconds'] as const;

const params = z.object({ token: z.string() });

export function publicRoutes(options: PublicRoutesOptions): RouteModule {
  const { runs, feedback, shares, reader, publicUrl } = options;
  /** A handler for whoever holds the link. */
  const shared =
    (handle: (opened: OpenedShare, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>) =>
    async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
      shares.open(parseBody(params, request.params).token, ({ share, principal }) => {
        const name = `${request.method} ${request.routeOptions.url ?? ''}`;
        const operation: Operation = { requestId: request.id, via: 'link', name };
        return handle({ share, principal: { ...principal, operation } }, request, reply);
      });

  return {
    name: 'public',
    mount: 'v1',
    register(app) {
      const config = { access: 'public' } as const;

      app.get(
        '/public/:token/run',
        { config },
        shared(async ({ share, principal }, request, reply) => {
          const run = await reader.one(principal, share.runId, baseUrl(request, publicUrl));
          if (run === undefined) throw new AppError('NOT_FOUND', 'Shared run not found.');
          return sendJsonText(reply, run);
        }),
      );

      app.get(
        '/public/:token/run/:id',
        { config },
        shared(async ({ share, principal }, request, reply) => {
          const id = idParam(request, 'Run');
          const found = await runs.findRun(principal, id, ['traceId']);
          const run =
            found?.traceId === share.traceId
              ? await reader.one(principal, id, baseUrl(request, publicUrl))
              : undefined;
          if (run === undefined) throw new AppError('NOT_FOUND', 'Run not found.');
          return sendJsonText(reply, run);
        }),
      );

      app.post(
        '/public/:token/runs/query',
        { config },
        shared(async ({ share, principal }, request, reply) => {
          const body = parseBody(runQueryBody, request.body ?? {});
          // Whatever is asked for, the shared trace is all there is.
          const query = { ...toRunQuery(body), projectIds: undefined, traceIds: [share.traceId] };
          return sendJsonText(reply, await reader.page(principal, query, body, baseUrl(request, publicUrl)));
        }),
      );

      app.get(
        '/public/:token/feedbacks',
        { config },
        shared(async ({ share, principal }, request) => {
          const { limit, offset } = new Query(request).page(MAX_FEEDBACK);
          const page = { limit, offset, backward: false, boundary: undefined };
          const rows = await feedback.list(principal, { traceId: share.traceId }, page);
          return rows.slice(0, limit).map(toWireFeedback);
        }),
      );

      app.get(
        '/public/:token/r',
        { config },
        shared(async ({ share, principal }, request, reply) => {
          const [run, nodes] = await Promise.all([
            runs.findRun(principal, share.runId, PAGE_FIELDS),
            runs.listTraceRuns(principal, share.traceId, { limit: MAX_RUNS_ON_PAGE }),
          ]);
          if (run === undefined) throw new AppError('NOT_FOUND', 'Shared run not found.');
          const page = renderTracePage({
            run,
            nodes: nodes.slice(0, MAX_RUNS_ON_PAGE),
            complete: nodes.length <= MAX_RUNS_ON_PAGE,
          });
          return reply
            .type('text/html; charset=utf-8')
            .header(
              'content-security-policy',
              "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            )
            .header('x-content-type-options', 'nosniff')
            .header('referrer-policy', 'no-referrer')
            .header('cache-control', 'no-store')
            .send(page);
        }),
      );
    },
  };
}
