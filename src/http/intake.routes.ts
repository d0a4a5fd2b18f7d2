/**
 * The LangSmith protocol's run intake: POST /runs, PATCH /runs/{id}, POST /runs/batch, POST /runs/multipart.
 * Answers 202 once what was accepted is committed; 422 only when nothing of the request can ever be stored.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AttachmentService } from '../attachments/attachment.service.js';
import type { FeedbackIntake, IntakeOutcome, IntakeService } from '../ingest/intake.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { requireScope } from '../tenancy/principal.js';
import { MULTIPART_LIMITS } from './body.js';
import type { Lease } from './body.js';
import { boundaryOf, MultipartParser } from './multipart.js';
import { principalOf } from './ports.js';
import type { RouteModule } from './ports.js';
import { readBatch, readRun } from './run-body.js';
import { RunPartsCollector } from './run-parts.js';

export interface IntakeRouteDeps {
  readonly intake: IntakeService;
  readonly feedback: FeedbackIntake;
  readonly attachments: AttachmentService;
  readonly ids: Ids;
}

const options = { config: { access: 'ingest', rateClass: 'ingest', body: 'stream' } } as const;

export function intakeRoutes(deps: IntakeRouteDeps): RouteModule {
  return {
    name: 'intake',
    mount: 'v1',
    register(app) {
      app.post('/runs', options, (request, reply) =>
        withLease(request, async (lease) => {
          const run = await readRun(await bytesOf(request, lease), 'create', undefined, deps.ids);
          return answer(reply, await deps.intake.ingestRuns(principalOf(request), [run], []));
        }),
      );
      app.patch<{ Params: { id: string } }>('/runs/:id', options, (request, reply) =>
        withLease(request, async (lease) => {
          const { id } = request.params;
          const run = await readRun(await bytesOf(request, lease), 'update', id, deps.ids);
          return answer(reply, await deps.intake.ingestRuns(principalOf(request), [run], []));
        }),
      );
      app.post('/runs/batch', options, (request, reply) =>
        withLease(request, async (lease) => {
          const { runs, refusals } = await readBatch(await bytesOf(request, lease), deps.ids);
          return answer(reply, await deps.intake.ingestRuns(principalOf(request), runs, refusals));
        }),
      );
      app.post('/runs/multipart', options, (request, reply) =>
        withLease(request, async (lease) => answer(reply, await takeMultipart(deps, request, lease))),
      );
    },
  };
}

/** The bytes of a request count against the process until it is answered. */
async function withLease<T>(request: FastifyRequest, work: (lease: Lease) => Promise<T>): Promise<T> {
  const lease = request.server.bodies.lease();
  try {
    return await work(lease);
  } finally {
    lease.release();
  }
}

const bytesOf = (request: FastifyRequest, lease: Lease): Promise<Buffer> =>
  request.server.bodies.bytes(request.raw, lease);

async function takeMultipart(
  deps: IntakeRouteDeps,
  request: FastifyRequest,
  lease: Lease,
): Promise<IntakeOutcome> {
  const principal = principalOf(request);
  const scope = requireScope(principal, 'ingest');
  const collector = new RunPartsCollector({ scope, attachments: deps.attachments, lease });
  const parser = new MultipartParser(boundaryOf(request.headers['content-type']), collector);
  try {
    for await (const chunk of request.server.bodies.chunks(request.raw, MULTIPART_LIMITS)) {
      parser.write(chunk);
      await collector.settle();
    }
    parser.end();
    await collector.settle();
  } catch (error) {
    await collector.abort();
    throw error;
  }
  const { runs, feedback, refusals } = collector.collected();
  const outcome = await deps.intake.ingestRuns(principal, runs, refusals);
  await collector.keepOnly(outcome.accepted);
  if (feedback.length === 0) return outcome;
  const refused = await deps.feedback(principal, feedback);
  return {
    accepted: outcome.accepted,
    refused: [...outcome.refused, ...refused],
    feedback: feedback.length - refused.length,
  };
}

/** 202 if anything was stored or there was nothing to store, else 422 that names the first item. */
function answer(reply: FastifyReply, outcome: IntakeOutcome): FastifyReply {
  const { accepted, refused } = outcome;
  const stored = accepted.length + (outcome.feedback ?? 0);
  if (stored === 0 && refused.length > 0) {
    const first = refused[0];
    const field = first?.field === undefined ? '' : ` (${first.field})`;
    throw new AppError('UNPROCESSABLE', `${first?.id ?? 'The item'}${field}: ${first?.message ?? ''}`, {
      details: { refused },
    });
  }
  return reply.code(202).send({
    message: refused.length === 0 ? 'Runs accepted.' : `Runs accepted, ${refused.length} item(s) refused.`,
    accepted: accepted.length,
    refused: refused.map(({ id, field, message }) => ({ id: id ?? null, field: field ?? null, message })),
  });
}
