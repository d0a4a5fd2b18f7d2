/** `/examples` of the LangSmith protocol, and the multipart form of it below `/v1/platform`. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AttachmentService } from '../attachments/attachment.service.js';
import type { AsOf, Dataset } from '../datasets/dataset.js';
import type { DatasetService } from '../datasets/dataset.service.js';
import { parseExampleFilter } from '../datasets/example-filter.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { ExampleFilter, ExampleOrder, ShownExample } from '../datasets/example.store.js';
import type { ImportService } from '../datasets/import.service.js';
import type { LineageService } from '../datasets/lineage.service.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { Principal } from '../tenancy/principal.js';
import { requireScope, trustedScope } from '../tenancy/principal.js';
import { toCsvImport, withCsvForm } from './csv-uploads.js';
import { asOf } from './dataset.wire.js';
import { ExampleUploads, toWireWrite } from './example-uploads.js';
import {
  exampleBodies,
  exampleBody,
  examplePatch,
  examplePatches,
  hardDeleteBody,
  toChange,
  toDraft,
  toWireExample,
} from './example.wire.js';
import type { ExampleBody } from './example.wire.js';
import { baseUrl, idParam, parseBody, Query, sendJsonText, unwrap } from './wire-values.js';

export interface ExampleRoutesOptions {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly imports: ImportService;
  readonly lineage: LineageService;
  readonly attachments: AttachmentService;
  readonly ids: Ids;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 100;
const MAX_COUNT = 1_000_000;
/** More than a CSV file of the size a form may have. */
const MAX_ADDED = 1_000_000;

const ORDERS: Readonly<Record<string, ExampleOrder>> = {
  recent: 'CREATED_AT',
  recently_created: 'CREATED_AT',
  random: 'RANDOM',
  id: 'ID',
};

/** Examples as they go out, with links to their files where those were asked for. */
export class ExampleWriterOut {
  readonly #attachments: AttachmentService;
  readonly #publicUrl: string | undefined;

  constructor(options: { attachments: AttachmentService; publicUrl: string | undefined }) {
    this.#attachments = options.attachments;
    this.#publicUrl = options.publicUrl;
  }

  toText(principal: Principal, request: FastifyRequest, example: ShownExample): string {
    const base = baseUrl(request, this.#publicUrl);
    const scope = trustedScope(principal.workspaceId);
    return toWireExample(example, (id, name) => `${base}${this.#attachments.presign(scope, id, name)}`);
  }
}

/** A caller whose examples are shown to them once they are written, which needs to be known beforehand. */
function answered(request: FastifyRequest): Principal {
  const principal = principalOf(request);
  requireScope(principal, 'read');
  return principal;
}

/** What `GET /examples` and its public twin ask for. */
export function exampleQuery(query: Query): {
  filter: ExampleFilter;
  order: ExampleOrder;
  direction: 'asc' | 'desc';
  seed: number | undefined;
  asOf: AsOf | undefined;
} {
  const text = query.one('filter');
  const time = query.one('as_of');
  const order = query.one('order') ?? 'recent';
  const known = ORDERS[order];
  if (known === undefined) {
    throw new AppError('UNPROCESSABLE', `order must be one of ${Object.keys(ORDERS).join(', ')}.`);
  }
  const seed = Number(query.one('random_seed') ?? 0);
  if (!Number.isFinite(seed)) throw new AppError('UNPROCESSABLE', 'random_seed must be a number.');
  return {
    filter: {
      ids: query.uuids('id'),
      splits: query.all('splits'),
      metadata: query.json('metadata'),
      search: query.all('full_text_contains'),
      where: text === undefined || text === '' ? undefined : parseExampleFilter(text),
    },
    order: known,
    direction: order === 'id' || query.flag('descending') === false ? 'asc' : 'desc',
    // A client may give a fraction.
    seed: Number.isInteger(seed) ? seed : Math.floor(seed * 1_000_000),
    asOf: time === undefined || time === '' ? undefined : asOf(time),
  };
}

export function exampleRoutes(options: ExampleRoutesOptions): RouteModule {
  const { datasets, examples, imports } = options;
  const out = new ExampleWriterOut(options);

  const sendOne = (
    request: FastifyRequest,
    reply: FastifyReply,
    example: ShownExample | undefined,
  ): FastifyReply => {
    if (example === undefined) throw new AppError('NOT_FOUND', 'Example not found.');
    return sendJsonText(reply, out.toText(principalOf(request), request, example));
  };
  const sendAll = (
    request: FastifyRequest,
    reply: FastifyReply,
    found: readonly ShownExample[],
  ): FastifyReply => {
    const principal = principalOf(request);
    return sendJsonText(
      reply,
      `[${found.map((example) => out.toText(principal, request, example)).join(',')}]`,
    );
  };

  const datasetNamed = async (principal: Principal, query: Query): Promise<Dataset | undefined> => {
    const [id] = query.uuids('dataset') ?? [];
    if (id !== undefined) return datasets.getDataset(principal, id);
    const name = query.one('dataset_name');
    return name === undefined ? undefined : (await datasets.findDatasetsByName(principal, [name]))[0];
  };

  /** A body without a dataset goes to none. */
  const datasetIdOf = async (principal: Principal, body: ExampleBody): Promise<string> => {
    const named =
      typeof body.dataset_name === 'string'
        ? (await datasets.findDatasetsByName(principal, [body.dataset_name]))[0]?.uuid
        : undefined;
    const id = body.dataset_id ?? named;
    if (id === undefined) throw new AppError('NOT_FOUND', 'Dataset not found.');
    return id;
  };

  /** As they were written, in the order of their ids. */
  const written = async (principal: Principal, ids: readonly string[]): Promise<ShownExample[]> => {
    const found = new Map((await examples.findExamples(principal, ids)).map((each) => [each.uuid, each]));
    return ids.flatMap((id) => found.get(id) ?? []);
  };

  return {
    name: 'examples',
    mount: 'v1',
    register(app) {
      const read = { config: { access: 'read' } } as const;
      const write = { config: { access: 'write' } } as const;

      app.get('/examples', read, async (request, reply) => {
        const principal = principalOf(request);
        const query = new Query(request);
        const { limit, offset } = query.page(MAX_PAGE);
        const { asOf: at, ...asked } = exampleQuery(query);
        const dataset = await datasetNamed(principal, query);
        if (dataset === undefined) {
          const found = await written(principal, asked.filter.ids ?? []);
          return sendAll(request, reply, found.slice(offset, offset + limit));
        }
        const found = await examples.listExamples(principal, {
          ...asked,
          datasetId: dataset.uuid,
          pin: await examples.pin(principal, dataset, at),
          window: { limit, backward: false, boundary: undefined },
          offset,
        });
        return sendAll(request, reply, found.slice(0, limit));
      });

      app.get('/examples/count', read, async (request) => {
        const principal = principalOf(request);
        const query = new Query(request);
        const { asOf: at, filter } = exampleQuery(query);
        const dataset = await datasetNamed(principal, query);
        if (dataset === undefined) throw new AppError('UNPROCESSABLE', 'dataset is missing.');
        const pin = await examples.pin(principal, dataset, at);
        return examples.countExamples(principal, { datasetId: dataset.uuid, pin, filter }, MAX_COUNT);
      });

      app.get('/examples/:id', read, async (request, reply) => {
        const time = new Query(request).one('as_of');
        const at = time === undefined || time === '' ? undefined : asOf(time);
        const id = idParam(request, 'Example');
        return sendOne(request, reply, await examples.findExample(principalOf(request), id, at));
      });

      app.post('/examples', write, async (request, reply) => {
        const principal = answered(request);
        const body = parseBody(exampleBody, request.body);
        const datasetId = await datasetIdOf(principal, body);
        const { exampleIds } = unwrap(await examples.createExamples(principal, datasetId, [toDraft(body)]));
        return sendOne(request, reply, (await written(principal, exampleIds))[0]);
      });

      app.patch('/examples/:id', write, async (request) => {
        const principal = principalOf(request);
        const id = idParam(request, 'Example');
        const body = parseBody(examplePatch, request.body ?? {});
        const datasetId = body.dataset_id ?? (await examples.datasetsOf(principal, [id])).get(id);
        if (datasetId === undefined) throw new AppError('NOT_FOUND', 'Example not found.');
        return toWireWrite(unwrap(await examples.updateExamples(principal, datasetId, [toChange(id, body)])));
      });

      app.post('/examples/bulk', write, async (request, reply) => {
        const principal = answered(request);
        const bodies = parseBody(exampleBodies, request.body);
        const groups = new Map<string, ExampleBody[]>();
        for (const body of bodies) {
          const datasetId = await datasetIdOf(principal, body);
          groups.set(datasetId, [...(groups.get(datasetId) ?? []), body]);
        }
        if (groups.size > 1) throw new AppError('UNPROCESSABLE', 'All examples of a call go to one dataset.');
        const ids: string[] = [];
        for (const [datasetId, own] of groups) {
          ids.push(
            ...unwrap(await examples.createExamples(principal, datasetId, own.map(toDraft))).exampleIds,
          );
        }
        return sendAll(request, reply, await written(principal, ids));
      });

      const form = { config: { access: 'write', body: 'stream' } } as const;
      app.post('/examples/upload/:id', form, async (request, reply) => {
        const principal = answered(request);
        const id = idParam(request, 'Dataset');
        const { made } = await withCsvForm(request, async (csv) =>
          unwrap(await imports.importFile(principal, id, Readable.from(csv.chunks), toCsvImport(csv))),
        );
        if (made === null) return sendAll(request, reply, []);
        const range = { datasetId: id, from: made.version - 1, to: made.version };
        const window = { limit: MAX_ADDED, backward: false, boundary: undefined };
        const added = await examples.listDifferences(principal, range, ['added'], window);
        const ids = added.map(({ exampleId }) => exampleId);
        return sendAll(request, reply, await written(principal, ids));
      });

      app.patch('/examples/bulk', write, async (request) => {
        const principal = principalOf(request);
        const changes = parseBody(examplePatches, request.body);
        const owners = await examples.datasetsOf(
          principal,
          changes.map(({ id }) => id),
        );
        const datasetIds = new Set(changes.map(({ id, dataset_id: said }) => said ?? owners.get(id)));
        const [datasetId, ...others] = datasetIds;
        if (datasetId === undefined) throw new AppError('NOT_FOUND', 'Example not found.');
        if (others.length > 0) {
          throw new AppError('UNPROCESSABLE', 'All examples of a call are of one dataset.');
        }
        const list = changes.map((change) => toChange(change.id, change));
        return toWireWrite(unwrap(await examples.updateExamples(principal, datasetId, list)));
      });

      app.delete('/examples/:id', write, async (request) => {
        unwrap(await examples.deleteExamples(principalOf(request), [idParam(request, 'Example')]));
        return { message: 'Example deleted.' };
      });

      app.delete('/examples', write, async (request) => {
        const ids = new Query(request).uuids('example_ids') ?? [];
        unwrap(await examples.deleteExamples(principalOf(request), ids));
        return { message: 'Examples deleted.' };
      });
    },
  };
}

export function exampleUploadRoutes(options: ExampleRoutesOptions): RouteModule {
  const { examples } = options;
  const uploads = new ExampleUploads(options);
  return {
    name: 'example-uploads',
    mount: 'platform',
    register(app) {
      const stream = { config: { access: 'write', body: 'stream' } } as const;
      const idOf = (request: FastifyRequest): string => idParam(request, 'Dataset', 'datasetId');

      app.post('/datasets/:datasetId/examples', stream, async (request, reply) =>
        reply.code(201).send(await uploads.create(request, idOf(request))),
      );
      app.patch('/datasets/:datasetId/examples', stream, async (request) =>
        uploads.update(request, idOf(request)),
      );
      // One client names the dataset in each part.
      app.post('/examples/multipart', stream, async (request, reply) =>
        reply.code(201).send(await uploads.create(request, undefined)),
      );
      app.post('/datasets/examples/delete', { config: { access: 'write' } }, async (request) => {
        const body = parseBody(hardDeleteBody, request.body);
        const hard = body.hard_delete ?? false;
        unwrap(await examples.deleteExamples(principalOf(request), body.example_ids, { hard }));
        return { message: 'Examples deleted.' };
      });
    },
  };
}
