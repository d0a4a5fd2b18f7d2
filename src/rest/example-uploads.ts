/** Examples that come as multipart bodies, files included: all of a request or none of it. */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { AttachmentService } from '../attachments/attachment.service.js';
import type { ExampleAttachment } from '../datasets/dataset.js';
import type { ExampleChange, ExampleDraft } from '../datasets/example.js';
import { payloadOf } from '../datasets/example.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { LineageService } from '../datasets/lineage.service.js';
import type { ExampleWrite } from '../datasets/version-writer.js';
import { MULTIPART_LIMITS } from '../http/body.js';
import { boundaryOf, MultipartParser } from '../http/multipart.js';
import { principalOf } from '../http/ports.js';
import type { JsonObject } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { ExamplePartsCollector } from './example-parts.js';
import type { ExampleParts } from './example-parts.js';
import { exampleFacts, toFacts, toOperations } from './example.wire.js';
import type { ExampleFacts } from './example.wire.js';
import { parseBody, toZonedTime, unwrap, wireUuid } from './wire-values.js';

export interface ExampleUploadsDeps {
  readonly examples: ExampleService;
  readonly lineage: LineageService;
  readonly attachments: AttachmentService;
  readonly ids: Ids;
}

const facts = exampleFacts.extend({ dataset_id: wireUuid.nullish() });

interface ReadParts {
  readonly parts: ExampleParts;
  readonly facts: z.output<typeof facts>;
}

export const toWireWrite = ({ exampleIds, version }: ExampleWrite): JsonObject => ({
  count: exampleIds.length,
  example_ids: [...exampleIds],
  as_of: version === null ? null : toZonedTime(version.createdAt),
});

export class ExampleUploads {
  readonly #deps: ExampleUploadsDeps;

  constructor(deps: ExampleUploadsDeps) {
    this.#deps = deps;
  }

  /** @param datasetId as the parts name it where undefined. */
  async create(request: FastifyRequest, datasetId: string | undefined): Promise<JsonObject> {
    return this.#take(request, async (principal, read, keep) => {
      const drafts = await this.#drafts(principal, read, keep);
      const id = datasetId ?? datasetOf(read);
      return toWireWrite(unwrap(await this.#deps.examples.createExamples(principal, id, drafts)));
    });
  }

  async update(request: FastifyRequest, datasetId: string): Promise<JsonObject> {
    return this.#take(request, async (principal, read) => {
      const changes = read.map(({ parts, facts: said }): ExampleChange => ({
        id: parts.id,
        name: said.name ?? undefined,
        inputs: parts.inputs,
        outputs: parts.outputs,
        metadata: said.metadata ?? undefined,
        splits: said.split,
        sourceRunId: said.source_run_id ?? undefined,
        attachments: parts.attachments.length === 0 ? undefined : parts.attachments,
        operations: operationsOf(parts),
      }));
      const write = unwrap(await this.#deps.examples.updateExamples(principal, datasetId, changes));
      // The client counts what it sent, changed or not.
      return { ...toWireWrite(write), count: changes.length, example_ids: changes.map(({ id }) => id) };
    });
  }

  /** Files that `work` did not come to use are removed again. */
  async #take(
    request: FastifyRequest,
    work: (
      principal: Principal,
      read: readonly ReadParts[],
      keep: (ids: readonly string[]) => void,
    ) => Promise<JsonObject>,
  ): Promise<JsonObject> {
    const principal = principalOf(request);
    const scope = requireScope(principal, 'write');
    const { attachments, ids, lineage } = this.#deps;
    const lease = request.server.bodies.lease();
    const collector = new ExamplePartsCollector({ scope, attachments, ids, lease });
    const stored: string[] = [];
    try {
      const parser = new MultipartParser(boundaryOf(request.headers['content-type']), collector);
      for await (const chunk of request.server.bodies.chunks(request.raw, MULTIPART_LIMITS)) {
        parser.write(chunk);
        await collector.settle();
      }
      parser.end();
      await collector.settle();
      const read = collector
        .collected()
        .map((parts) => ({ parts, facts: parseBody(facts, parts.facts ?? {}) }));
      return await work(principal, read, (more) => stored.push(...more));
    } catch (error) {
      await collector.abort();
      await lineage.discardFiles(principal, [...collector.storedIds(), ...stored]);
      throw error;
    } finally {
      lease.release();
      // A refusal may come before the body was looked at.
      request.raw.resume();
    }
  }

  async #drafts(
    principal: Principal,
    read: readonly ReadParts[],
    keep: (ids: readonly string[]) => void,
  ): Promise<ExampleDraft[]> {
    const fromRuns = read.flatMap(({ facts: said }) =>
      said.use_source_run_io === true && typeof said.source_run_id === 'string' ? [said.source_run_id] : [],
    );
    const mapped = fromRuns.length === 0 ? undefined : await this.#deps.lineage.preview(principal, fromRuns);
    const files = await this.#runFiles(principal, read, keep);
    return read.map(({ parts, facts: said }): ExampleDraft => {
      const runId = said.source_run_id ?? '';
      const run = said.use_source_run_io === true ? mapped?.get(runId) : undefined;
      if (said.use_source_run_io === true && run === undefined) {
        throw new AppError('NOT_FOUND', 'Run not found.');
      }
      const made = run !== undefined && 'draft' in run ? run.draft : undefined;
      return {
        ...toFacts(said),
        id: parts.id,
        inputs: parts.inputs ?? made?.inputs ?? payloadOf({}),
        outputs: parts.outputs ?? made?.outputs,
        attachments: [...parts.attachments, ...filesOf(said, files)],
      };
    });
  }

  async #runFiles(
    principal: Principal,
    read: readonly ReadParts[],
    keep: (ids: readonly string[]) => void,
  ): Promise<ReadonlyMap<string, ExampleAttachment>> {
    const wanted = read.flatMap(({ facts: { source_run_id: runId, use_source_run_attachments: names } }) =>
      typeof runId === 'string' ? (names ?? []).map((name) => ({ runId, name })) : [],
    );
    if (wanted.length === 0) return new Map();
    const files = await this.#deps.lineage.copyRunFiles(principal, wanted);
    keep([...files.values()].map(({ id }) => id));
    return files;
  }
}

const filesOf = (said: ExampleFacts, files: ReadonlyMap<string, ExampleAttachment>): ExampleAttachment[] =>
  (said.use_source_run_attachments ?? []).flatMap(
    (name) => files.get(`${said.source_run_id ?? ''}/${name}`) ?? [],
  );

function datasetOf(read: readonly ReadParts[]): string {
  const [id, ...others] = new Set(read.map(({ facts: said }) => said.dataset_id));
  if (typeof id !== 'string') throw new AppError('UNPROCESSABLE', 'dataset_id is missing.');
  if (others.length > 0) throw new AppError('UNPROCESSABLE', 'All examples of a request go to one dataset.');
  return id;
}

function operationsOf({ id, operations }: ExampleParts): ExampleChange['operations'] {
  try {
    return toOperations(operations);
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    throw new AppError('UNPROCESSABLE', `${id}.attachments_operations: is not {retain: [..], rename: {..}}.`);
  }
}
