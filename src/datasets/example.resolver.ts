/** Queries and mutations of examples, the examples of a dataset, and what an example leads to. */
import type { GraphQLResolveInfo } from 'graphql';
import { Arg, Ctx, FieldResolver, ID, Info, Mutation, Query, Resolver, Root } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import { selectsField } from '../runs/run-selection.js';
import type { SelectionInfo } from '../runs/run-selection.js';
import { RUN_NODE } from '../runs/run.types.js';
import type { AttachmentLinks } from '../runs/run.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import { AsOfInput, DATASET_NODE, toAsOf } from './dataset.inputs.js';
import type { Dataset } from './dataset.js';
import type { DatasetLoaders } from './dataset.loaders.js';
import { DatasetObject } from './dataset.types.js';
import {
  CreateExamplesFromRunsInput,
  CreateExamplesInput,
  DeleteExamplesInput,
  SetSplitInput,
  toChange,
  toDraft,
  UpdateExamplesInput,
} from './example.inputs.js';
import type { RunMappingInput } from './example.inputs.js';
import { EXAMPLE_CONTENT } from './example.service.js';
import type { ExampleService } from './example.service.js';
import type { ShownExample } from './example.store.js';
import {
  CreateExamplesFromRunsPayload,
  CreateExamplesPayload,
  DeleteExamplesPayload,
  EXAMPLE_NODE,
  ExampleObject,
  SetSplitPayload,
  toGraphqlExample,
  UpdateExamplesPayload,
} from './example.types.js';
import type { GraphqlExample } from './example.types.js';
import type { LineageService } from './lineage.service.js';
import type { RunMapping } from './run-mapping.js';
import type { ExampleWrite } from './version-writer.js';

export interface ExampleResolverDeps {
  readonly examples: ExampleService;
  readonly lineage: LineageService;
  readonly links: AttachmentLinks;
  readonly loaders: LoaderFactory<DatasetLoaders>;
}

/** Whether content of the examples at one of the dotted paths is selected, `''` being the field itself. */
export const selectsContent = (info: SelectionInfo, paths: readonly string[] = ['']): boolean =>
  paths.some((path) =>
    EXAMPLE_CONTENT.some((field) => selectsField(info, path === '' ? field : `${path}.${field}`)),
  );

/** Rows as they are shown to the caller. */
export function showExamples(
  rows: readonly ShownExample[],
  context: GraphqlContext,
  links: AttachmentLinks,
): GraphqlExample[] {
  const principal = requirePrincipal(context);
  const { workspaceId } = principal;
  const contentVisible = mayReadContent(principal);
  return rows.map((row) => toGraphqlExample(row, { workspaceId, contentVisible, links }));
}

@Resolver(() => ExampleObject)
export class ExampleResolver {
  readonly #deps: ExampleResolverDeps;

  constructor(deps: ExampleResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => ExampleObject, {
    nullable: true,
    description: 'As it is now, or as it was: also where it is deleted since.',
  })
  async example(
    @Arg('id', () => ID) id: string,
    @Arg('asOf', () => AsOfInput, { nullable: true }) asOf: AsOfInput | null | undefined,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlExample | undefined> {
    const uuid = parseId(EXAMPLE_NODE, id);
    const content = selectsContent(info);
    const state = toAsOf(asOf);
    const row =
      state === undefined
        ? await context.loader(this.#deps.loaders).example(uuid, content)
        : await this.#deps.examples.findExample(requirePrincipal(context), uuid, state, { content });
    return row && showExamples([row], context, this.#deps.links)[0];
  }

  @FieldResolver(() => DatasetObject, { nullable: true, complexity: 1 })
  dataset(@Root() example: GraphqlExample, @Ctx() context: GraphqlContext): Promise<Dataset | undefined> {
    return context.loader(this.#deps.loaders).byId.load(example.datasetId);
  }

  // ── Mutations ────────────────────────────────────────────────────────────────────────────────────────────

  @RequiresAccess('write')
  @Mutation(() => CreateExamplesPayload, { description: 'All or none, in one version.' })
  async createExamples(
    @Arg('input', () => CreateExamplesInput) input: CreateExamplesInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateExamplesPayload> {
    const { idempotencyKey, note } = input;
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const drafts = input.examples.map(toDraft);
    const principal = requirePrincipal(context);
    return written(await this.#deps.examples.createExamples(principal, id, drafts, { idempotencyKey, note }));
  }

  @RequiresAccess('write')
  @Mutation(() => CreateExamplesFromRunsPayload, {
    description: 'All or none, in one version. Needs the scope "content" too.',
  })
  async createExamplesFromRuns(
    @Arg('input', () => CreateExamplesFromRunsInput) input: CreateExamplesFromRunsInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateExamplesFromRunsPayload> {
    const { idempotencyKey, note, withAttachments, skipExisting } = input;
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const request = {
      runIds: input.runIds.map((run, index) => parseId(RUN_NODE, run, ['input', 'runIds', index])),
      mapping: toMapping(input.mapping),
      splits: input.splits ?? undefined,
      withAttachments,
      skipExisting,
    };
    const principal = requirePrincipal(context);
    return written(await this.#deps.lineage.createFromRuns(principal, id, request, { idempotencyKey, note }));
  }

  @RequiresAccess('write')
  @Mutation(() => UpdateExamplesPayload, {
    description: 'All or none, in one version; none is made where nothing changes.',
  })
  async updateExamples(
    @Arg('input', () => UpdateExamplesInput) input: UpdateExamplesInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UpdateExamplesPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const { note } = input;
    const changes = input.examples.map((patch, index) =>
      toChange(patch, parseId(EXAMPLE_NODE, patch.id, ['input', 'examples', index, 'id']), index),
    );
    return written(
      await this.#deps.examples.updateExamples(requirePrincipal(context), id, changes, { note }),
    );
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteExamplesPayload, { description: 'All or none; each dataset gets one version.' })
  async deleteExamples(
    @Arg('input', () => DeleteExamplesInput) input: DeleteExamplesInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteExamplesPayload> {
    const ids = input.ids.map((id, index) => parseId(EXAMPLE_NODE, id, ['input', 'ids', index]));
    const { hard, note } = input;
    const result = await this.#deps.examples.deleteExamples(requirePrincipal(context), ids, { hard, note });
    if (!result.ok) return { versions: [], deletedIds: [], errors: toUserErrors(result.problems) };
    return {
      versions: result.value.flatMap(({ version, made }) => (made && version !== null ? [version] : [])),
      deletedIds: result.value.flatMap(({ exampleIds }) =>
        exampleIds.map((id) => toGlobalId(EXAMPLE_NODE, id)),
      ),
      errors: [],
    };
  }

  @RequiresAccess('write')
  @Mutation(() => SetSplitPayload, { description: 'Puts examples into a split, or takes them out of it.' })
  async setSplit(
    @Arg('input', () => SetSplitInput) input: SetSplitInput,
    @Ctx() context: GraphqlContext,
  ): Promise<SetSplitPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const ids = input.exampleIds.map((example, index) =>
      parseId(EXAMPLE_NODE, example, ['input', 'exampleIds', index]),
    );
    const { split, remove } = input;
    return written(await this.#deps.examples.setSplit(requirePrincipal(context), id, { split, remove, ids }));
  }

  /** For `node(id)`: any field may be asked for, which is not known here. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const loaders = context.loader(this.#deps.loaders);
    const rows = await Promise.all(uuids.map((id) => loaders.example(id, true)));
    return rows.map((row) =>
      row === undefined ? null : (showExamples([row], context, this.#deps.links)[0] ?? null),
    );
  };
}

function written(result: Result<ExampleWrite>): CreateExamplesPayload {
  if (!result.ok) {
    return { version: null, changed: false, exampleIds: [], errors: toUserErrors(result.problems) };
  }
  const { version, made, exampleIds } = result.value;
  return {
    version,
    changed: made,
    exampleIds: exampleIds.map((id) => toGlobalId(EXAMPLE_NODE, id)),
    errors: [],
  };
}

const toMapping = (mapping: RunMappingInput | null | undefined): RunMapping => ({
  inputs: mapping?.inputs ?? undefined,
  outputs: mapping?.outputs ?? undefined,
  metadata: mapping?.metadata ?? undefined,
});
