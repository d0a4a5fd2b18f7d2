/** `/datasets` of the LangSmith protocol: datasets, their versions, tags, splits, shares and downloads. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DATA_TYPES } from '../datasets/dataset.js';
import type { AsOf, ChangeKind, Dataset } from '../datasets/dataset.js';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { DatasetShareService } from '../datasets/dataset-share.service.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { ExportFormat, ExportService } from '../datasets/export.service.js';
import type { ImportService } from '../datasets/import.service.js';
import type { LineageService } from '../datasets/lineage.service.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { JsonObject } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import type { ProjectService } from '../projects/project.service.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { csvDatasetBody, toCsvImport, withCsvForm } from './csv-uploads.js';
import {
  asOf,
  cloneBody,
  datasetBody,
  datasetPatch,
  splitsBody,
  tagBody,
  toWireDataset,
  toWireVersion,
} from './dataset.wire.js';
import { idParam, parseBody, Query, unwrap } from './wire-values.js';

export interface DatasetRoutesOptions {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly exports: ExportService;
  readonly imports: ImportService;
  readonly lineage: LineageService;
  readonly shares: DatasetShareService;
  readonly projects: ProjectService;
}

const MAX_PAGE = 100;
const MAX_DIFFERENCES = 100_000;
const DOWNLOADS: Readonly<Record<string, ExportFormat>> = {
  openai_ft: 'openai',
  openai: 'openai',
  jsonl: 'jsonl',
  csv: 'csv',
};

export function datasetRoutes(options: DatasetRoutesOptions): RouteModule {
  const { datasets, examples, exports, imports, lineage, shares, projects } = options;

  const describe = async (principal: Principal, found: readonly Dataset[]): Promise<JsonObject[]> => {
    const experiments = principal.scopes.has('read')
      ? await projects.experimentsOf(
          principal,
          found.map(({ uuid }) => uuid),
        )
      : undefined;
    return found.map((dataset) =>
      toWireDataset(dataset, principal.workspaceId, experiments?.get(dataset.uuid)),
    );
  };
  const describeOne = async (principal: Principal, dataset: Dataset): Promise<JsonObject> =>
    (await describe(principal, [dataset]))[0] ?? {};

  /** The dataset of the path. */
  const datasetOf = (request: FastifyRequest): Promise<Dataset> =>
    datasets.getDataset(principalOf(request), idParam(request, 'Dataset'));

  return {
    name: 'datasets',
    mount: 'v1',
    register(app) {
      const read = { config: { access: 'read' } } as const;
      const write = { config: { access: 'write' } } as const;

      app.post('/datasets', write, async (request) => {
        const principal = principalOf(request);
        const draft = parseBody(datasetBody, request.body);
        return describeOne(principal, unwrap(await datasets.createDataset(principal, draft)));
      });

      app.get('/datasets', read, async (request, reply) => {
        const principal = principalOf(request);
        const query = new Query(request);
        const { limit, offset } = query.page(MAX_PAGE);
        const filter = {
          ids: query.uuids('id'),
          excludeIds: query.uuids('exclude'),
          name: query.one('name'),
          nameContains: query.one('name_contains'),
          dataTypes: dataTypesOf(query),
          metadata: query.json('metadata'),
        };
        const found = await datasets.listDatasets(principal, {
          filter,
          order: ORDERS[query.one('sort_by') ?? ''] ?? 'CREATED_AT',
          direction: (query.flag('sort_by_desc') ?? true) ? 'desc' : 'asc',
          window: { limit, backward: false, boundary: undefined },
          offset,
        });
        const total = await datasets.countDatasets(principal, filter, 10_000);
        void reply.header('x-pagination-total', String(total));
        return describe(principal, found.slice(0, limit));
      });

      app.get('/datasets/:id', read, async (request) =>
        describeOne(principalOf(request), await datasetOf(request)),
      );

      app.patch('/datasets/:id', write, async (request) => {
        const principal = principalOf(request);
        const patch = parseBody(datasetPatch, request.body ?? {});
        return describeOne(
          principal,
          unwrap(await datasets.updateDataset(principal, idParam(request, 'Dataset'), patch)),
        );
      });

      app.delete('/datasets/:id', write, async (request) => {
        unwrap(await datasets.deleteDataset(principalOf(request), idParam(request, 'Dataset')));
        return { message: 'Dataset deleted.' };
      });

      app.post('/datasets/upload', { config: { access: 'write', body: 'stream' } }, async (request) => {
        const principal = principalOf(request);
        // The answer counts what was taken in.
        requireScope(principal, 'read');
        return withCsvForm(request, async (form) => {
          const draft = parseBody(datasetBody, csvDatasetBody(form));
          const { uuid } = unwrap(await datasets.createDataset(principal, draft));
          try {
            const file = Readable.from(form.chunks);
            unwrap(await imports.importFile(principal, uuid, file, toCsvImport(form)));
          } catch (error) {
            // A file that is refused leaves no dataset behind.
            await datasets.deleteDataset(principal, uuid);
            throw error;
          }
          return describeOne(principal, await datasets.getDataset(principal, uuid));
        });
      });

      app.post('/datasets/clone', write, async (request) => {
        const body = parseBody(cloneBody, request.body);
        const { outcome } = unwrap(
          await lineage.cloneDataset(principalOf(request), {
            sourceId: body.source_dataset_id,
            asOf: typeof body.as_of === 'string' ? asOf(body.as_of) : undefined,
            exampleIds: body.examples ?? undefined,
            target: { datasetId: body.target_dataset_id },
          }),
        );
        return { count: outcome.imported };
      });

      registerVersions();
      registerSplits();
      registerShares();
      registerDownloads();

      function registerVersions(): void {
        app.put('/datasets/:id/tags', write, async (request) => {
          const body = parseBody(tagBody, request.body);
          const id = idParam(request, 'Dataset');
          requireScope(principalOf(request), 'read');
          const version = unwrap(
            await datasets.tagVersion(principalOf(request), id, body.tag, asOf(body.as_of)),
          );
          return toWireVersion(version, version.version === (await datasetOf(request)).version);
        });

        app.get('/datasets/:id/version', read, async (request) => {
          const query = new Query(request);
          const dataset = await datasetOf(request);
          const wanted = wantedVersion(query) ?? { tag: 'latest' };
          const version = await datasets.findVersion(principalOf(request), dataset.uuid, wanted);
          if (version === undefined) throw new AppError('NOT_FOUND', 'Dataset version not found.');
          return toWireVersion(version, version.version === dataset.version);
        });

        app.get('/datasets/:id/versions', read, async (request) => {
          const query = new Query(request);
          const { limit, offset } = query.page(MAX_PAGE);
          const dataset = await datasetOf(request);
          const found = await datasets.listVersions(principalOf(request), dataset.uuid, {
            window: { limit, backward: false, boundary: undefined },
            offset,
            exampleId: query.uuids('example')?.[0],
          });
          return found
            .slice(0, limit)
            .map((version) => toWireVersion(version, version.version === dataset.version));
        });

        app.get('/datasets/:id/versions/diff', read, async (request) => {
          const principal = principalOf(request);
          const query = new Query(request);
          const dataset = await datasetOf(request);
          const version = async (name: string): Promise<number> => {
            const text = query.one(name);
            if (text === undefined) throw new AppError('UNPROCESSABLE', `${name} is missing.`);
            return datasets.resolve(principal, dataset, asOf(text));
          };
          const range = {
            datasetId: dataset.uuid,
            from: await version('from_version'),
            to: await version('to_version'),
          };
          const ids = async (kind: ChangeKind): Promise<string[]> => {
            const window = { limit: MAX_DIFFERENCES, backward: false, boundary: undefined };
            const found = await examples.listDifferences(principal, range, [kind], window);
            return found.map(({ exampleId }) => exampleId);
          };
          return {
            examples_added: await ids('added'),
            examples_modified: await ids('modified'),
            examples_removed: await ids('removed'),
          };
        });
      }

      function registerSplits(): void {
        app.get('/datasets/:id/splits', read, async (request) => {
          const principal = principalOf(request);
          const dataset = await datasetOf(request);
          const pin = await examples.pin(principal, dataset, wantedVersion(new Query(request)));
          return examples.listSplits(principal, dataset.uuid, pin);
        });

        app.put('/datasets/:id/splits', write, async (request) => {
          const body = parseBody(splitsBody, request.body);
          const change = { split: body.split_name, remove: body.remove ?? false, ids: body.examples };
          unwrap(await examples.setSplit(principalOf(request), idParam(request, 'Dataset'), change));
          return body.examples;
        });
      }

      function registerShares(): void {
        app.get('/datasets/:id/share', read, async (request) => {
          const dataset = await datasetOf(request);
          const share = (await shares.findByDatasets(principalOf(request), [dataset.uuid])).get(dataset.uuid);
          // One SDK reads the token of null: an error it can show is kinder.
          if (share === undefined) throw new AppError('NOT_FOUND', 'Dataset is not shared.');
          return { dataset_id: dataset.uuid, share_token: share.token };
        });

        // The client's body repeats the id, as text.
        app.put('/datasets/:id/share', { config: { access: 'write', body: 'stream' } }, async (request) => {
          request.raw.resume();
          const share = unwrap(await shares.share(principalOf(request), idParam(request, 'Dataset')));
          return { dataset_id: share.datasetId, share_token: share.token };
        });

        app.delete('/datasets/:id/share', write, async (request) => {
          await shares.unshare(principalOf(request), idParam(request, 'Dataset'));
          return { message: 'Dataset unshared.' };
        });
      }

      function registerDownloads(): void {
        for (const [path, format] of Object.entries(DOWNLOADS)) {
          app.get(`/datasets/:id/${path}`, read, async (request, reply) => {
            const options = { format, asOf: wantedVersion(new Query(request)) };
            const file = await exports.exportDataset(
              principalOf(request),
              idParam(request, 'Dataset'),
              options,
            );
            return sendText(reply, file.contentType, file.chunks);
          });
        }
      }
    },
  };
}

const ORDERS: Readonly<Record<string, 'CREATED_AT' | 'UPDATED_AT' | 'NAME'>> = {
  created_at: 'CREATED_AT',
  modified_at: 'UPDATED_AT',
  name: 'NAME',
};

function dataTypesOf(query: Query) {
  return query.all('data_type')?.map((value) => {
    const known = DATA_TYPES.find((type) => type === value);
    if (known === undefined) {
      throw new AppError('UNPROCESSABLE', `data_type must be one of ${DATA_TYPES.join(', ')}.`);
    }
    return known;
  });
}

/** `as_of` is a time or a tag; `tag` a tag. */
function wantedVersion(query: Query): AsOf | undefined {
  const tag = query.one('tag');
  if (tag !== undefined && tag !== '') return { tag };
  const text = query.one('as_of');
  return text === undefined || text === '' ? undefined : asOf(text);
}

const sendText = (reply: FastifyReply, type: string, chunks: AsyncIterable<string>): FastifyReply =>
  reply
    .header('content-type', type)
    .header('x-content-type-options', 'nosniff')
    .header('cache-control', 'private, no-store')
    .send(Readable.from(chunks, { objectMode: false }));
