/** Experiments as the LangSmith protocol reads them: example by example, and those set against each other. */
import { z } from 'zod';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { ComparativeService } from '../experiments/comparative.service.js';
import type { ComparativeExperiment } from '../experiments/comparative.store.js';
import type { ExperimentService } from '../experiments/experiment.service.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import { stringifyWithRawJson } from '../graphql/raw-json.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { JsonObject } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import type { Principal } from '../tenancy/principal.js';
import { asOf } from './dataset.wire.js';
import type { ExampleWriterOut } from './examples.routes.js';
import { experimentQueries, MAX_EXPERIMENT_RUNS, TextsByExample } from './experiment-runs.js';
import { describeComparatives } from './comparative.wire.js';
import type { RunReader } from './run-reader.js';
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

export interface ExperimentRoutesOptions {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly experiments: ExperimentService;
  readonly comparatives: ComparativeService;
  readonly feedback: FeedbackService;
  readonly reader: RunReader;
  readonly out: ExampleWriterOut;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 100;

const datasetRunsBody = z.object({
  session_ids: wireUuids,
  offset: z.number().int().min(0).max(1_000_000).nullish(),
  limit: z.number().int().min(1).max(MAX_PAGE).nullish(),
  preview: z.boolean().nullish(),
  example_ids: wireUuids.nullish(),
  comparative_experiment_id: wireUuid.nullish(),
  filters: z.record(z.string(), z.array(z.string())).nullish(),
  as_of: z.string().nullish(),
});

const comparativeBody = z.object({
  id: wireUuid.nullish(),
  name: z.string().nullish(),
  description: z.string().nullish(),
  experiment_ids: wireUuids,
  extra: z.record(z.string(), z.unknown()).nullish(),
  created_at: wireTime,
});

/** Without payloads: those of a page of large runs would not fit. */
const PREVIEW = [
  'id name run_type status start_time end_time error trace_id session_id dotted_order parent_run_id inputs_preview',
  'outputs_preview total_tokens prompt_tokens completion_tokens total_cost reference_example_id feedback_stats tags',
]
  .join(' ')
  .split(' ');

export function experimentRoutes(options: ExperimentRoutesOptions): RouteModule {
  const { datasets, examples, experiments, comparatives, feedback, reader, out, publicUrl } = options;

  const describe = (principal: Principal, found: readonly ComparativeExperiment[]): Promise<JsonObject[]> =>
    describeComparatives({ experiments, feedback }, principal, found);

  return {
    name: 'experiments',
    mount: 'v1',
    register(app) {
      app.post('/datasets/:id/runs', { config: { access: 'read' } }, async (request, reply) => {
        const principal = principalOf(request);
        const body = parseBody(datasetRunsBody, request.body);
        const dataset = await datasets.getDataset(principal, idParam(request, 'Dataset'));
        const limit = body.limit ?? MAX_PAGE;
        const found = await examples.listExamples(principal, {
          datasetId: dataset.uuid,
          pin: await examples.pin(
            principal,
            dataset,
            typeof body.as_of === 'string' ? asOf(body.as_of) : undefined,
          ),
          filter: { ids: body.example_ids ?? undefined },
          order: 'CREATED_AT',
          direction: 'desc',
          window: { limit, backward: false, boundary: undefined },
          offset: body.offset ?? 0,
        });
        const page = found.slice(0, limit);
        const runs = new TextsByExample();
        const ids = page.map(({ uuid }) => uuid);
        for (const query of experimentQueries(body.session_ids, ids, body)) {
          const select = body.preview === true ? PREVIEW : undefined;
          const base = baseUrl(request, publicUrl);
          for (const run of await reader.all(principal, query, {
            select,
            base,
            limit: MAX_EXPERIMENT_RUNS,
          })) {
            runs.add(run.reference_example_id, stringifyWithRawJson(run));
          }
        }
        const texts = page.map((example) => runs.join(example.uuid, out.toText(principal, request, example)));
        return sendJsonText(reply, `[${texts.join(',')}]`);
      });

      app.post('/datasets/comparative', { config: { access: 'write' } }, async (request) => {
        const principal = principalOf(request);
        const body = parseBody(comparativeBody, request.body);
        const made = unwrap(
          await comparatives.create(principal, {
            id: body.id ?? undefined,
            name: body.name,
            description: body.description,
            experimentIds: body.experiment_ids,
            extra: (body.extra ?? undefined) as JsonObject | undefined,
            createdAt: body.created_at,
          }),
        );
        return (await describe(principal, [made]))[0];
      });

      app.get('/datasets/:id/comparative', { config: { access: 'read' } }, async (request) => {
        const principal = principalOf(request);
        const { limit, offset } = new Query(request).page(MAX_PAGE);
        const window = { limit, backward: false, boundary: undefined };
        const dataset = await datasets.getDataset(principal, idParam(request, 'Dataset'));
        const found = await comparatives.list(principal, dataset.uuid, { window, offset });
        return describe(principal, found.slice(0, limit));
      });

      app.delete('/datasets/comparative/:id', { config: { access: 'write' } }, async (request) => {
        const deleted = await comparatives.delete(
          principalOf(request),
          idParam(request, 'Comparative experiment'),
        );
        if (!deleted) throw new AppError('NOT_FOUND', 'Comparative experiment not found.');
        return { message: 'Comparative experiment deleted.' };
      });
    },
  };
}
