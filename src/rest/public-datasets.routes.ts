/** What holders of a dataset's share link may read without a key: the dataset, its newest examples, its experiments. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Dataset } from '../datasets/dataset.js';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { DatasetShareService } from '../datasets/dataset-share.service.js';
import type { ExampleService } from '../datasets/example.service.js';
import type { ComparativeService } from '../experiments/comparative.service.js';
import type { ExperimentService } from '../experiments/experiment.service.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { RouteModule } from '../http/ports.js';
import type { ProjectService } from '../projects/project.service.js';
import type { Operation, Principal } from '../tenancy/principal.js';
import { describeComparatives } from './comparative.wire.js';
import { toWireDataset } from './dataset.wire.js';
import { exampleQuery } from './examples.routes.js';
import type { ExampleWriterOut } from './examples.routes.js';
import { runQueryBody, toRunQuery } from './run-query.wire.js';
import type { RunReader } from './run-reader.js';
import { toWireSession } from './session.wire.js';
import { baseUrl, parseBody, Query, sendJsonText } from './wire-values.js';

export interface PublicDatasetRoutesOptions {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly shares: DatasetShareService;
  readonly projects: ProjectService;
  readonly experiments: ExperimentService;
  readonly comparatives: ComparativeService;
  readonly feedback: FeedbackService;
  readonly reader: RunReader;
  readonly out: ExampleWriterOut;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 100;
const MAX_COUNT = 1_000_000;

const params = z.object({ token: z.string() });

interface Opened {
  readonly dataset: Dataset;
  readonly principal: Principal;
}

export function publicDatasetRoutes(options: PublicDatasetRoutesOptions): RouteModule {
  const {
    datasets,
    examples,
    shares,
    projects,
    experiments,
    comparatives,
    feedback,
    reader,
    out,
    publicUrl,
  } = options;

  /** A handler for whoever holds the link. */
  const shared =
    (handle: (opened: Opened, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>) =>
    (request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
      shares.open(parseBody(params, request.params).token, async ({ share, principal: holder }) => {
        const name = `${request.method} ${request.routeOptions.url ?? ''}`;
        const operation: Operation = { requestId: request.id, via: 'link', name };
        const principal = { ...holder, operation };
        return handle(
          { dataset: await datasets.getDataset(principal, share.datasetId), principal },
          request,
          reply,
        );
      });

  const experimentsOf = async (principal: Principal, datasetId: string): Promise<string[]> => {
    const { projects: found } = await projects.listProjectsByOffset(principal, {
      filter: { referenceDatasetIds: [datasetId] },
      sort: 'start_time',
      descending: true,
      limit: MAX_PAGE,
      offset: 0,
    });
    return found.map(({ uuid }) => uuid);
  };

  return {
    name: 'public-datasets',
    mount: 'v1',
    register(app) {
      const config = { access: 'public' } as const;

      app.get(
        '/public/:token/datasets',
        { config },
        shared(async ({ dataset, principal }) => {
          const experiments = await projects.experimentsOf(principal, [dataset.uuid]);
          return toWireDataset(dataset, principal.workspaceId, experiments.get(dataset.uuid));
        }),
      );

      app.get(
        '/public/:token/examples',
        { config },
        shared(async ({ dataset, principal }, request, reply) => {
          const query = new Query(request);
          const { limit, offset } = query.page(MAX_PAGE);
          const { asOf, ...asked } = exampleQuery(query);
          const found = await examples.listExamples(principal, {
            ...asked,
            datasetId: dataset.uuid,
            pin: await examples.pin(principal, dataset, asOf),
            window: { limit, backward: false, boundary: undefined },
            offset,
          });
          const texts = found.slice(0, limit).map((example) => out.toText(principal, request, example));
          return sendJsonText(reply, `[${texts.join(',')}]`);
        }),
      );

      app.get(
        '/public/:token/examples/count',
        { config },
        shared(async ({ dataset, principal }, request) => {
          const { asOf, filter } = exampleQuery(new Query(request));
          const pin = await examples.pin(principal, dataset, asOf);
          return examples.countExamples(principal, { datasetId: dataset.uuid, pin, filter }, MAX_COUNT);
        }),
      );

      app.get(
        '/public/:token/datasets/sessions',
        { config },
        shared(async ({ dataset, principal }, request) => {
          const { limit, offset } = new Query(request).page(MAX_PAGE);
          const { projects: found } = await projects.listProjectsByOffset(principal, {
            filter: { referenceDatasetIds: [dataset.uuid] },
            sort: 'start_time',
            descending: true,
            limit,
            offset,
          });
          return found.map((project) => toWireSession(project, principal.workspaceId, undefined));
        }),
      );

      app.get(
        '/public/:token/datasets/comparative',
        { config },
        shared(async ({ dataset, principal }, request) => {
          const { limit, offset } = new Query(request).page(MAX_PAGE);
          const window = { limit, backward: false, boundary: undefined };
          const found = await comparatives.list(principal, dataset.uuid, { window, offset });
          return describeComparatives({ experiments, feedback }, principal, found.slice(0, limit));
        }),
      );

      app.post(
        '/public/:token/datasets/runs/query',
        { config },
        shared(async ({ dataset, principal }, request, reply) => {
          const body = parseBody(runQueryBody, request.body ?? {});
          // Whatever is asked for, runs of the dataset's experiments are all there is.
          const own = await experimentsOf(principal, dataset.uuid);
          const projectIds = own.filter((id) => body.session?.includes(id) ?? true);
          const query = { ...toRunQuery(body), projectIds };
          return sendJsonText(reply, await reader.page(principal, query, body, baseUrl(request, publicUrl)));
        }),
      );
    },
  };
}
