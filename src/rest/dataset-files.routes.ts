/**
 * Datasets as files over HTTP, in and out, streamed: `/datasets/{id}/import` and `/export`, what imports did, and
 * preference pairs of runs. Ours, not of the LangSmith protocol.
 */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { downloadDisposition } from '../attachments/attachment.js';
import type { AsOf } from '../datasets/dataset.js';
import type { ImportOutcome } from '../datasets/example-importer.js';
import { toExportFormat } from '../datasets/export.service.js';
import type { ExportedFile, ExportService } from '../datasets/export.service.js';
import type { ImportService } from '../datasets/import.service.js';
import { IMPORT_MODES } from '../datasets/import.store.js';
import type { DatasetImport } from '../datasets/import.store.js';
import { MULTIPART_LIMITS } from '../http/body.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import { AppError } from '../platform/errors.js';
import { runQueryBody, toRunQuery } from './run-query.wire.js';
import { idParam, orNull, parseBody, Query, toZonedTime, unwrap } from './wire-values.js';

export interface DatasetFileRoutesOptions {
  readonly imports: ImportService;
  readonly exports: ExportService;
}

const MAX_REJECTS = 1_000;

export function datasetFileRoutes({ imports, exports }: DatasetFileRoutesOptions): RouteModule {
  const findImport = async (request: FastifyRequest): Promise<DatasetImport> => {
    const found = await imports.findImport(principalOf(request), idParam(request, 'Import', 'importId'));
    if (found?.datasetId !== idParam(request, 'Dataset')) {
      throw new AppError('NOT_FOUND', 'Import not found.');
    }
    return found;
  };

  return {
    name: 'dataset-files',
    mount: 'v1',
    register(app) {
      app.post('/datasets/:id/import', { config: { access: 'write', body: 'stream' } }, async (request) => {
        const query = new Query(request);
        const file = {
          format: oneOf(query, 'format', ['csv', 'jsonl']) ?? formatOf(request),
          mode: oneOf(query, 'mode', IMPORT_MODES) ?? 'all_or_nothing',
          note: query.one('note'),
          mapping: {
            inputKeys: query.all('input_keys'),
            outputKeys: query.all('output_keys'),
            metadataKeys: query.all('metadata_keys'),
            splitKey: query.one('split_key'),
            idKey: query.one('id_key'),
          },
          csv: {
            delimiter: query.one('delimiter'),
            jsonCells: query.flag('json_cells'),
            guardedCells: query.flag('guarded_cells'),
          },
        };
        const chunks = app.bodies.chunks(request.raw, MULTIPART_LIMITS);
        const id = idParam(request, 'Dataset');
        try {
          return toWireOutcome(unwrap(await imports.importFile(principalOf(request), id, chunks, file)));
        } finally {
          // A refusal may come before the body was looked at.
          request.raw.resume();
        }
      });

      app.get('/datasets/:id/imports', { config: { access: 'read' } }, async (request) => {
        const { limit } = new Query(request).page(100);
        const found = await imports.listImports(principalOf(request), idParam(request, 'Dataset'), {
          limit,
        });
        return found.map(toWireImport);
      });

      app.get('/datasets/:id/imports/:importId', { config: { access: 'read' } }, async (request) =>
        toWireImport(await findImport(request)),
      );

      app.get('/datasets/:id/imports/:importId/rejects', { config: { access: 'read' } }, async (request) => {
        const { uuid } = await findImport(request);
        const query = new Query(request);
        const { limit } = query.page(MAX_REJECTS);
        const after = Number(query.one('after') ?? 0);
        if (!Number.isSafeInteger(after)) throw new AppError('UNPROCESSABLE', 'after must be a row number.');
        return imports.listRejects(principalOf(request), uuid, { after, limit });
      });

      app.get('/datasets/:id/export', { config: { access: 'read' } }, async (request, reply) => {
        const query = new Query(request);
        const format = toExportFormat(query.one('format') ?? 'jsonl');
        const options = { format, asOf: asOfQuery(query), splits: query.all('splits') };
        const id = idParam(request, 'Dataset');
        return sendFile(reply, await exports.exportDataset(principalOf(request), id, options));
      });

      app.post('/runs/preferences', { config: { access: 'read' } }, async (request, reply) => {
        const body = parseBody(runQueryBody, request.body ?? {});
        return sendFile(reply, exports.exportPreferences(principalOf(request), toRunQuery(body)));
      });
    },
  };
}

/** `version`, `tag` or `as_of`; at most one. */
function asOfQuery(query: Query): AsOf | undefined {
  const version = query.one('version');
  const tag = query.one('tag');
  const time = query.time('as_of');
  if ([version, tag, time].filter((given) => given !== undefined).length > 1) {
    throw new AppError('UNPROCESSABLE', 'Give at most one of version, tag and as_of.');
  }
  if (tag !== undefined) return { tag };
  if (time !== undefined) return { time };
  if (version === undefined) return undefined;
  if (!/^\d{1,9}$/.test(version)) throw new AppError('UNPROCESSABLE', 'version must be a number.');
  return { version: Number(version) };
}

function oneOf<T extends string>(query: Query, name: string, known: readonly T[]): T | undefined {
  const said = query.one(name);
  const value = known.find((one) => one === said);
  if (said !== undefined && value === undefined) {
    throw new AppError('UNPROCESSABLE', `${name} must be one of ${known.join(', ')}.`);
  }
  return value;
}

const formatOf = (request: FastifyRequest): 'csv' | 'jsonl' =>
  request.headers['content-type']?.toLowerCase().startsWith('text/csv') === true ? 'csv' : 'jsonl';

function sendFile(reply: FastifyReply, file: ExportedFile): FastifyReply {
  void reply
    .header('content-type', file.contentType)
    .header('content-disposition', downloadDisposition(file.name))
    .header('x-content-type-options', 'nosniff')
    .header('cache-control', 'private, no-store');
  if (file.version !== null) void reply.header('x-dataset-version', file.version);
  return reply.send(Readable.from(file.chunks, { objectMode: false }));
}

const toWireImport = (one: DatasetImport) => ({
  id: one.uuid,
  dataset_id: one.datasetId,
  format: one.format,
  mode: one.mode,
  version: one.version,
  imported: one.imported,
  rejected: one.rejected,
});

const toWireOutcome = (outcome: ImportOutcome) => ({
  ...toWireImport(outcome),
  as_of: orNull(outcome.made, ({ createdAt }) => toZonedTime(createdAt)),
});
