/** Experiments example by example in the LangSmith protocol's second version: pages with cursors, selected fields. */
import { z } from 'zod';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { Cursors } from '../graphql/cursor.js';
import { stringifyWithRawJson } from '../graphql/raw-json.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { ExampleWriterOut } from './examples.routes.js';
import { experimentQueries, MAX_EXPERIMENT_RUNS, TextsByExample } from './experiment-runs.js';
import type { RunReader } from './run-reader.js';
import { selectionV2, toWireRunV2 } from './run-v2.wire.js';
import { baseUrl, idParam, parseBody, sendJsonText, wireUuid, wireUuids } from './wire-values.js';

export interface ExperimentV2RoutesOptions {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly reader: RunReader;
  readonly out: ExampleWriterOut;
  readonly cursors: Cursors;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 100;

const body = z.object({
  experiment_ids: wireUuids,
  comparative_experiment_id: wireUuid.nullish(),
  example_ids: wireUuids.nullish(),
  filters: z.record(z.string(), z.array(z.string())).nullish(),
  selects: z.array(z.string()).max(200).nullish(),
  page_size: z.number().int().min(1).max(MAX_PAGE).nullish(),
  cursor: z.string().nullish(),
});

export function experimentV2Routes(options: ExperimentV2RoutesOptions): RouteModule {
  const { datasets, examples, reader, out, cursors, publicUrl } = options;
  return {
    name: 'experiments-v2',
    mount: 'v2',
    register(app) {
      app.post('/datasets/:id/experiment-runs', { config: { access: 'read' } }, async (request, reply) => {
        const principal = principalOf(request);
        const asked = parseBody(body, request.body);
        const dataset = await datasets.getDataset(principal, idParam(request, 'Dataset'));
        const { cursor, page_size: size, selects, ...list } = asked;
        const window = cursors.request(
          { first: size ?? MAX_PAGE, after: cursor === '' ? null : (cursor ?? null) },
          {
            order: 'rest.v2.experiment-runs',
            direction: 'desc',
            filter: { ...list, dataset: dataset.uuid },
          },
          { max: MAX_PAGE },
        );
        const found = await examples.listExamples(principal, {
          datasetId: dataset.uuid,
          pin: await examples.pin(principal, dataset, undefined),
          filter: { ids: asked.example_ids ?? undefined },
          order: 'CREATED_AT',
          direction: 'desc',
          window,
        });
        const page = found.slice(0, window.limit);
        const last = page.at(-1);
        const next =
          found.length > window.limit && last !== undefined
            ? cursors.encode(window, { value: last.createdAt, id: last.uuid })
            : null;
        const select = selectionV2(selects);
        const texts = new TextsByExample();
        const ids = page.map(({ uuid }) => uuid);
        for (const query of experimentQueries(asked.experiment_ids, ids, asked)) {
          const rows = await reader.rows(principal, query, {
            fields: [...select.fields, 'referenceExampleId'],
            limit: MAX_EXPERIMENT_RUNS,
          });
          const context = await reader.contextOf(principal, rows, select, baseUrl(request, publicUrl));
          for (const row of rows) {
            texts.add(row.referenceExampleId, stringifyWithRawJson(toWireRunV2(row, select, context)));
          }
        }
        const items = page.map((example) =>
          texts.join(example.uuid, out.toText(principal, request, example)),
        );
        const paging = JSON.stringify({ next_cursor: next, has_more: next !== null });
        return sendJsonText(reply, `{"items":[${items.join(',')}],${paging.slice(1)}`);
      });
    },
  };
}
