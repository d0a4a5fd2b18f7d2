/** Examples as other objects lead to them: of a dataset, between two versions, of a run. */
import type { GraphQLResolveInfo } from 'graphql';
import { Arg, Args, Ctx, FieldResolver, ID, Info, Int, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { assertFirst, PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import { JsonScalar } from '../graphql/scalars.js';
import type { JsonValue } from '../ingest/run-event.js';
import { CONNECTION_ROWS } from '../runs/run-selection.js';
import { RunObject } from '../runs/run.types.js';
import type { AttachmentLinks, GraphqlRun } from '../runs/run.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import { AsOfInput, DATASET_NODE, toAsOf } from './dataset.inputs.js';
import { CHANGE_KINDS } from './dataset.js';
import type { ChangeKind, Dataset } from './dataset.js';
import type { DatasetLoaders } from './dataset.loaders.js';
import {
  DatasetDiffObject,
  DatasetObject,
  ExampleChangeKind,
  ExampleDifferenceConnection,
  ExampleDifferenceObject,
} from './dataset.types.js';
import type { PlacedDifference } from './dataset.types.js';
import { ExampleListArgs, toExampleFilter } from './example.inputs.js';
import { selectsContent, showExamples } from './example.resolver.js';
import type { ExampleService } from './example.service.js';
import type { ShownExample } from './example.store.js';
import { ExampleConnection, ExampleObject } from './example.types.js';
import type { GraphqlExample } from './example.types.js';
import { jsonPatch } from './json-patch.js';

const DIFF_COMPLEXITY = 50;
const PATCH_COMPLEXITY = 5;
const MAX_OF_RUN = 100;

export interface ExamplePlacesDeps {
  readonly examples: ExampleService;
  readonly cursors: Cursors;
  readonly links: AttachmentLinks;
  readonly loaders: LoaderFactory<DatasetLoaders>;
}

@Resolver(() => DatasetObject)
export class DatasetExamplesResolver {
  readonly #deps: ExamplePlacesDeps;

  constructor(deps: ExamplePlacesDeps) {
    this.#deps = deps;
  }

  @FieldResolver(() => ExampleConnection, {
    complexity: pageComplexity,
    description: 'As they are now, or as they were in one version, which never changes.',
  })
  async examples(
    @Root() dataset: Dataset,
    @Args(() => ExampleListArgs) args: ExampleListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<GraphqlExample>> {
    const { examples, cursors, links } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = toExampleFilter(args);
    const order = args.orderBy?.field ?? 'CREATED_AT';
    const direction = args.orderBy?.direction ?? 'desc';
    const datasetId = dataset.uuid;
    const pin = await examples.pin(principal, dataset, toAsOf(args.asOf));
    const list = { order: `examples.${order}`, direction, filter: { datasetId, pin, filter } };
    const window = cursors.request(page, list);
    const content = selectsContent(info, CONNECTION_ROWS);
    const query = { datasetId, pin, filter, order, direction, window, content };
    const value = { CREATED_AT: 'createdAt', MODIFIED_AT: 'modifiedAt', ID: 'uuid' } as const;
    return pageFromRows({
      cursors,
      request: window,
      rows: showExamples(await examples.listExamples(principal, query), context, links),
      position: (example) => ({ value: example[value[order]], id: example.uuid }),
      count: async (limit) => toCount(await examples.countExamples(principal, query, limit), limit),
    });
  }
}

@Resolver(() => RunObject)
export class RunExamplesResolver {
  readonly #deps: ExamplePlacesDeps;

  constructor(deps: ExamplePlacesDeps) {
    this.#deps = deps;
  }

  @FieldResolver(() => [ExampleObject], {
    description: 'Examples of any dataset that were made from this run, oldest first. Up to 100.',
  })
  @ListSize({ argument: 'first' })
  async examples(
    @Root() run: GraphqlRun,
    @Arg('first', () => Int, { defaultValue: 10 }) first: number,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlExample[]> {
    assertFirst(first, MAX_OF_RUN);
    const rows = await context.loader(this.#deps.loaders).bySource(run.uuid, first, selectsContent(info));
    return showExamples(rows, context, this.#deps.links);
  }
}

@Resolver(() => DatasetDiffObject)
export class DatasetDiffResolver {
  readonly #deps: ExamplePlacesDeps;

  constructor(deps: ExamplePlacesDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => DatasetDiffObject, {
    nullable: true,
    complexity: DIFF_COMPLEXITY,
    description: 'Null for a dataset that is not there.',
  })
  async datasetDiff(
    @Arg('datasetId', () => ID) datasetId: string,
    @Arg('from', () => AsOfInput) from: AsOfInput,
    @Arg('to', () => AsOfInput, { nullable: true, description: 'The newest version where not given.' })
    to: AsOfInput | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<DatasetDiffObject | null> {
    const { examples, loaders } = this.#deps;
    const principal = requirePrincipal(context);
    const id = parseId(DATASET_NODE, datasetId, 'datasetId');
    const dataset = await context.loader(loaders).byId.load(id);
    if (dataset === undefined) return null;
    const resolve = async (input: AsOfInput | null | undefined, path: string): Promise<number> => {
      const pin = await examples.pin(principal, dataset, toAsOf(input, [path]));
      return pin === 'newest' ? dataset.version : pin;
    };
    const range = { datasetId: id, from: await resolve(from, 'from'), to: await resolve(to, 'to') };
    const counts = await examples.countDifferences(principal, range);
    return { fromVersion: range.from, toVersion: range.to, ...counts, range };
  }

  @FieldResolver(() => ExampleDifferenceConnection, {
    complexity: pageComplexity,
    description: "By the examples' ids.",
  })
  async changes(
    @Root() { range, ...counts }: DatasetDiffObject,
    @Arg('kinds', () => [ExampleChangeKind], { nullable: true, description: 'All where not given.' })
    kinds: ChangeKind[] | null | undefined,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<PlacedDifference>> {
    const { examples, cursors } = this.#deps;
    const wanted = CHANGE_KINDS.filter((kind) => kinds?.includes(kind) ?? true);
    const list = { order: 'datasetDiff.changes', direction: 'asc', filter: { range, wanted } } as const;
    const request = cursors.request(page, list);
    const rows = await examples.listDifferences(requirePrincipal(context), range, wanted, request);
    return pageFromRows({
      cursors,
      request,
      rows: rows.map((row) => ({ ...row, range })),
      position: ({ exampleId }) => ({ value: exampleId, id: exampleId }),
      count: (limit) => {
        const total = wanted.reduce((sum, kind) => sum + counts[kind], 0);
        return Promise.resolve(toCount(Math.min(total, limit + 1), limit));
      },
    });
  }
}

const parsed = (text: string | null): JsonValue => (text === null ? null : (JSON.parse(text) as JsonValue));

/** What an example says, as one document that patches apply to. */
const documentOf = ({ name, inputs, outputs, metadata, splits }: ShownExample): JsonValue => ({
  name,
  inputs: parsed(inputs),
  outputs: parsed(outputs),
  metadata,
  splits: [...splits],
});

@Resolver(() => ExampleDifferenceObject)
export class ExampleDifferenceResolver {
  readonly #deps: ExamplePlacesDeps;

  constructor(deps: ExamplePlacesDeps) {
    this.#deps = deps;
  }

  @FieldResolver(() => ExampleObject, {
    nullable: true,
    complexity: 1,
    description: 'Null where it was added.',
  })
  before(
    @Root() difference: PlacedDifference,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlExample | null> {
    return this.#show(difference, 'from', info, context);
  }

  @FieldResolver(() => ExampleObject, {
    nullable: true,
    complexity: 1,
    description: 'Null where it was removed.',
  })
  after(
    @Root() difference: PlacedDifference,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlExample | null> {
    return this.#show(difference, 'to', info, context);
  }

  @FieldResolver(() => JsonScalar, {
    nullable: true,
    complexity: PATCH_COMPLEXITY,
    description:
      'Content. For a modified example: a JSON patch (RFC 6902) over {name, inputs, outputs, metadata, splits}.',
  })
  async patch(@Root() difference: PlacedDifference, @Ctx() context: GraphqlContext): Promise<unknown> {
    if (difference.kind !== 'modified' || !mayReadContent(requirePrincipal(context))) return null;
    const [before, after] = await Promise.all([
      this.#find(difference, 'from', true, context),
      this.#find(difference, 'to', true, context),
    ]);
    return before === undefined || after === undefined
      ? null
      : jsonPatch(documentOf(before), documentOf(after));
  }

  #find(
    { exampleId, range }: PlacedDifference,
    side: 'from' | 'to',
    content: boolean,
    context: GraphqlContext,
  ): Promise<ShownExample | undefined> {
    const place = { datasetId: range.datasetId, pin: range[side] };
    return context.loader(this.#deps.loaders).exampleAt(place, exampleId, content);
  }

  async #show(
    difference: PlacedDifference,
    side: 'from' | 'to',
    info: GraphQLResolveInfo,
    context: GraphqlContext,
  ): Promise<GraphqlExample | null> {
    const row = await this.#find(difference, side, selectsContent(info), context);
    return row === undefined ? null : (showExamples([row], context, this.#deps.links)[0] ?? null);
  }
}
