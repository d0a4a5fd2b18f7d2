/**
 * The LangSmith protocol's run intake: POST /runs, PATCH /runs/{id}, POST /runs/batch, POST /runs/multipart.
 * Answers 202 once what was accepted is committed; 422 only when nothing of the request can ever be stored.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AttachmentService } from '../attachments/attachment.service.js';
import type { FeedbackIntake, IntakeOutcome, IntakeService } from '../ingest/intake.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import { parseWireText, withoutNonFinite } from '../ingest/payload.js';
import type { WireText } from '../ingest/payload.js';
import type { JsonObject, JsonValue, Refusal } from '../ingest/run-event.js';
import type { WireRun } from '../ingest/wire-run.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { requireScope } from '../tenancy/principal.js';
import { MULTIPART_LIMITS, utf8 } from './body.js';
import type { Lease } from './body.js';
import { boundaryOf, MultipartParser } from './multipart.js';
import { principalOf } from './ports.js';
import type { RouteModule } from './ports.js';
import { RunPartsCollector, tooManyRuns } from './run-parts.js';

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
          const body = await readText(request, lease, deps.ids);
          return answer(
            reply,
            await deps.intake.ingestRuns(principalOf(request), [single('create', body, undefined)], []),
          );
        }),
      );
      app.patch<{ Params: { id: string } }>('/runs/:id', options, (request, reply) =>
        withLease(request, async (lease) => {
          const body = await readText(request, lease, deps.ids);
          return answer(
            reply,
            await deps.intake.ingestRuns(
              principalOf(request),
              [single('update', body, request.params.id)],
              [],
            ),
          );
        }),
      );
      app.post('/runs/batch', options, (request, reply) =>
        withLease(request, async (lease) => {
          const { runs, refusals } = batch(await readText(request, lease, deps.ids));
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

type Body = WireText & { readonly mayBeLarge: boolean };

async function readText(request: FastifyRequest, lease: Lease, ids: Ids): Promise<Body> {
  const bytes = await request.server.bodies.bytes(request.raw, lease);
  const text = utf8(bytes);
  try {
    return {
      ...parseWireText(text, () => `non-finite ${ids.uuid()}`),
      mayBeLarge: bytes.length > INTAKE_LIMITS.runFieldBytes,
    };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new AppError('BAD_USER_INPUT', 'The body is not valid JSON.', { cause });
  }
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined for what is no object. */
function wireRun(kind: WireRun['kind'], item: JsonValue, body: Body, id?: string): WireRun | undefined {
  const finite = body.nonFinite === undefined ? undefined : withoutNonFinite(item, body.nonFinite);
  const run = finite?.item ?? item;
  if (!isObject(run)) return undefined;
  const notes = finite?.note === undefined ? undefined : [`run: ${finite.note}`];
  return { kind, id, run, mayBeDeep: body.mayBeDeep, mayBeLarge: body.mayBeLarge, ...(notes && { notes }) };
}

function single(kind: WireRun['kind'], body: Body, id: string | undefined): WireRun {
  const run = wireRun(kind, body.value, body, id);
  if (run === undefined) throw new AppError('BAD_USER_INPUT', 'The body is not a run object.');
  return run;
}

function batch(body: Body): { runs: WireRun[]; refusals: Refusal[] } {
  if (!isObject(body.value)) {
    throw new AppError('BAD_USER_INPUT', 'The body is not an object with "post" and "patch".');
  }
  const runs: WireRun[] = [];
  const refusals: Refusal[] = [];
  for (const [field, kind] of [['post', 'create'] as const, ['patch', 'update'] as const]) {
    const items = body.value[field] ?? [];
    if (!Array.isArray(items)) throw new AppError('BAD_USER_INPUT', `"${field}" is not a list of runs.`);
    if (runs.length + items.length > INTAKE_LIMITS.runsPerRequest) throw tooManyRuns();
    for (const [index, item] of items.entries()) {
      const run = wireRun(kind, item, body);
      if (run === undefined) {
        refusals.push({
          id: undefined,
          field: `${field}.${index}`,
          message: 'The item is not a run object.',
        });
      } else runs.push(run);
    }
  }
  return { runs, refusals };
}

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
