/** Queries and mutations of datasets, and the fields of a dataset that lead elsewhere but to examples and files. */
import { Arg, Args, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { JsonScalar } from '../graphql/scalars.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { JsonValue } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import {
  AsOfInput,
  CloneDatasetInput,
  CreateDatasetInput,
  DATASET_NODE,
  DatasetListArgs,
  DeleteDatasetInput,
  ShareDatasetInput,
  TagDatasetVersionInput,
  toAsOf,
  toObject,
  UnshareDatasetInput,
  UntagDatasetVersionInput,
  UpdateDatasetInput,
} from './dataset.inputs.js';
import type { CloneTargetInput, DatasetPatchInput } from './dataset.inputs.js';
import type { Dataset, DatasetFilter, DatasetPatch, DatasetVersion } from './dataset.js';
import type { DatasetLoaders } from './dataset.loaders.js';
import type { DatasetService } from './dataset.service.js';
import {
  CloneDatasetPayload,
  CreateDatasetPayload,
  DatasetConnection,
  DatasetObject,
  DatasetShareObject,
  DatasetTagObject,
  DatasetVersionConnection,
  DatasetViolationsObject,
  DeleteDatasetPayload,
  ShareDatasetPayload,
  TagDatasetVersionPayload,
  UnshareDatasetPayload,
  UntagDatasetVersionPayload,
  UpdateDatasetPayload,
} from './dataset.types.js';
import type { DatasetShareService } from './dataset-share.service.js';
import type { DatasetShare } from './dataset-share.store.js';
import type { DatasetTag } from './dataset-version.store.js';
import type { ExampleService } from './example.service.js';
import type { CloneRequest, LineageService } from './lineage.service.js';

const SPLITS_COMPLEXITY = 20;
const VIOLATIONS_COMPLEXITY = 500;

export interface DatasetResolverDeps {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly lineage: LineageService;
  readonly shares: DatasetShareService;
  readonly cursors: Cursors;
  readonly loaders: LoaderFactory<DatasetLoaders>;
  /** What links start with; undefined where it is not configured. */
  readonly publicUrl: string | undefined;
}

@Resolver(() => DatasetObject)
export class DatasetResolver {
  readonly #deps: DatasetResolverDeps;

  constructor(deps: DatasetResolverDeps) {
    this.#deps = deps;
  }

  // ── Queries ──────────────────────────────────────────────────────────────────────────────────────────────

  @RequiresAccess('read')
  @Query(() => DatasetConnection, { complexity: pageComplexity })
  async datasets(
    @Args(() => DatasetListArgs) args: DatasetListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Dataset>> {
    const { datasets, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = toDatasetFilter(args);
    const order = args.orderBy?.field ?? 'CREATED_AT';
    const direction = args.orderBy?.direction ?? 'desc';
    const request = cursors.request(page, { order: `datasets.${order}`, direction, filter });
    const value = { CREATED_AT: 'createdAt', UPDATED_AT: 'updatedAt', NAME: 'name' } as const;
    return pageFromRows({
      cursors,
      request,
      rows: await datasets.listDatasets(principal, { filter, order, direction, window: request }),
      position: (dataset) => ({ value: dataset[value[order]], id: dataset.uuid }),
      count: async (limit) => toCount(await datasets.countDatasets(principal, filter, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => DatasetObject, { nullable: true, description: 'By exactly one of id and name.' })
  async dataset(
    @Arg('id', () => ID, { nullable: true }) id: string | null | undefined,
    @Arg('name', () => String, { nullable: true }) name: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Dataset | undefined> {
    if ((id ?? undefined) === undefined && typeof name === 'string') {
      return context.loader(this.#deps.loaders).byName.load(name);
    }
    if (typeof id === 'string' && (name ?? undefined) === undefined) {
      return context.loader(this.#deps.loaders).byId.load(parseId(DATASET_NODE, id));
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @RequiresAccess('read')
  @Query(() => DatasetViolationsObject, {
    nullable: true,
    complexity: VIOLATIONS_COMPLEXITY,
    description:
      'Which examples do not satisfy the schemas of the dataset, or those given instead. Needs the scope "content" too. Null for a dataset that is not there.',
  })
  async datasetViolations(
    @Arg('datasetId', () => ID) datasetId: string,
    @Arg('inputsSchema', () => JsonScalar, { nullable: true }) inputsSchema: JsonValue | undefined,
    @Arg('outputsSchema', () => JsonScalar, { nullable: true }) outputsSchema: JsonValue | undefined,
    @Arg('asOf', () => AsOfInput, { nullable: true }) asOf: AsOfInput | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<DatasetViolationsObject | null> {
    const { datasets } = this.#deps;
    const principal = requirePrincipal(context);
    const id = parseId(DATASET_NODE, datasetId, 'datasetId');
    const schemas = { inputsSchema, outputsSchema };
    const result = await datasets.findViolations(principal, id, schemas, toAsOf(asOf));
    if (result.ok) return result.value;
    const [problem] = result.problems;
    if (problem?.code === 'NOT_FOUND') return null;
    throw new AppError('BAD_USER_INPUT', problem?.message ?? 'The schemas cannot be used.', {
      path: problem?.path ?? [],
    });
  }

  // ── Fields ───────────────────────────────────────────────────────────────────────────────────────────────

  @FieldResolver(() => DatasetVersionConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async versions(
    @Root() dataset: Dataset,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<DatasetVersion>> {
    const { datasets, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = { datasetId: dataset.uuid };
    const window = cursors.request(page, { order: 'datasetVersions', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request: window,
      rows: await datasets.listVersions(principal, dataset.uuid, { window }),
      position: ({ version, datasetId }) => ({ value: version, id: datasetId }),
      count: (limit) => Promise.resolve(toCount(Math.min(dataset.version, limit + 1), limit)),
    });
  }

  @FieldResolver(() => [DatasetTagObject], { description: 'By name; without "latest".' })
  @ListSize(20)
  tags(@Root() dataset: Dataset, @Ctx() context: GraphqlContext): Promise<DatasetTag[]> {
    return this.#deps.datasets.listTags(requirePrincipal(context), dataset.uuid);
  }

  @FieldResolver(() => [String], {
    complexity: SPLITS_COMPLEXITY,
    description: 'Splits that have examples.',
  })
  async splits(
    @Root() dataset: Dataset,
    @Arg('asOf', () => AsOfInput, { nullable: true }) asOf: AsOfInput | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<string[]> {
    const { examples } = this.#deps;
    const principal = requirePrincipal(context);
    return examples.listSplits(principal, dataset.uuid, await examples.pin(principal, dataset, toAsOf(asOf)));
  }

  @FieldResolver(() => DatasetShareObject, {
    nullable: true,
    description: 'Null where the dataset is not shared.',
  })
  async share(@Root() dataset: Dataset, @Ctx() context: GraphqlContext): Promise<DatasetShareObject | null> {
    const share = await context.loader(this.#deps.loaders).share.load(dataset.uuid);
    return share === undefined ? null : this.#show(share);
  }

  // ── Mutations ────────────────────────────────────────────────────────────────────────────────────────────

  @RequiresAccess('write')
  @Mutation(() => CreateDatasetPayload)
  async createDataset(
    @Arg('input', () => CreateDatasetInput) input: CreateDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateDatasetPayload> {
    const { idempotencyKey, name, description, dataType, inputsSchema, outputsSchema } = input;
    const metadata = toObject(input.metadata, ['input', 'metadata']);
    const draft = { name, description, dataType, metadata, inputsSchema, outputsSchema };
    const principal = requirePrincipal(context);
    const result = await this.#deps.datasets.createDataset(principal, draft, { idempotencyKey });
    return result.ok
      ? { dataset: result.value, errors: [] }
      : { dataset: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => UpdateDatasetPayload)
  async updateDataset(
    @Arg('input', () => UpdateDatasetInput) input: UpdateDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UpdateDatasetPayload> {
    const id = parseId(DATASET_NODE, input.id, ['input', 'id']);
    const { force } = input;
    const patch = toPatch(input.patch);
    const result = await this.#deps.datasets.updateDataset(requirePrincipal(context), id, patch, { force });
    return result.ok
      ? { dataset: result.value, errors: [] }
      : { dataset: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteDatasetPayload, {
    description:
      'The dataset, its name and the ids of its examples are free at once; rows go in the background.',
  })
  async deleteDataset(
    @Arg('input', () => DeleteDatasetInput) input: DeleteDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteDatasetPayload> {
    const id = parseId(DATASET_NODE, input.id, ['input', 'id']);
    const result = await this.#deps.datasets.deleteDataset(requirePrincipal(context), id);
    return result.ok
      ? { deletedId: toGlobalId(DATASET_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => TagDatasetVersionPayload, {
    description: 'Gives a version a name, or moves the name to it.',
  })
  async tagDatasetVersion(
    @Arg('input', () => TagDatasetVersionInput) input: TagDatasetVersionInput,
    @Ctx() context: GraphqlContext,
  ): Promise<TagDatasetVersionPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const asOf = toAsOf(input.asOf, ['input', 'asOf']) ?? { tag: 'latest' };
    const result = await this.#deps.datasets.tagVersion(requirePrincipal(context), id, input.tag, asOf);
    return result.ok
      ? { version: result.value, errors: [] }
      : { version: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => UntagDatasetVersionPayload)
  async untagDatasetVersion(
    @Arg('input', () => UntagDatasetVersionInput) input: UntagDatasetVersionInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UntagDatasetVersionPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    return { removed: await this.#deps.datasets.untag(requirePrincipal(context), id, input.tag), errors: [] };
  }

  @RequiresAccess('write')
  @Mutation(() => CloneDatasetPayload, {
    description:
      'Copies the examples of a version, under new ids, as one version. Needs the scope "content" too.',
  })
  async cloneDataset(
    @Arg('input', () => CloneDatasetInput) input: CloneDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CloneDatasetPayload> {
    const result = await this.#deps.lineage.cloneDataset(requirePrincipal(context), {
      sourceId: parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']),
      asOf: toAsOf(input.asOf, ['input', 'asOf']),
      splits: input.splits ?? undefined,
      target: toTarget(input.target),
    });
    return result.ok
      ? { dataset: result.value.dataset, version: result.value.outcome.made, errors: [] }
      : { dataset: null, version: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => ShareDatasetPayload, {
    description: 'Needs the scope "content" too. A dataset has one link: sharing again gives the same.',
  })
  async shareDataset(
    @Arg('input', () => ShareDatasetInput) input: ShareDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ShareDatasetPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const result = await this.#deps.shares.share(requirePrincipal(context), id);
    return result.ok
      ? { share: this.#show(result.value), errors: [] }
      : { share: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => UnshareDatasetPayload)
  async unshareDataset(
    @Arg('input', () => UnshareDatasetInput) input: UnshareDatasetInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UnshareDatasetPayload> {
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    return { removed: await this.#deps.shares.unshare(requirePrincipal(context), id), errors: [] };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const loader = context.loader(this.#deps.loaders).byId;
    return (await Promise.all(uuids.map((id) => loader.load(id)))).map((dataset) => dataset ?? null);
  };

  #show({ token, createdAt }: DatasetShare): DatasetShareObject {
    return { token, createdAt, url: `${this.#deps.publicUrl ?? ''}/public/${token}/d` };
  }
}

function toDatasetFilter(args: DatasetListArgs): DatasetFilter {
  return {
    nameContains: args.nameContains ?? undefined,
    dataTypes: args.dataTypes ?? undefined,
    metadata: args.metadata === null ? undefined : toObject(args.metadata, ['metadata']),
  };
}

function toPatch(patch: DatasetPatchInput): DatasetPatch {
  if (patch.name === null) {
    throw new AppError('BAD_USER_INPUT', 'A dataset needs a name.', { path: ['input', 'patch', 'name'] });
  }
  const { name, description, inputsSchema, outputsSchema, baselineExperimentId } = patch;
  const metadata = toObject(patch.metadata, ['input', 'patch', 'metadata']);
  return { name, description, metadata, inputsSchema, outputsSchema, baselineExperimentId };
}

function toTarget({ datasetId, name }: CloneTargetInput): CloneRequest['target'] {
  const path = ['input', 'target'];
  if (typeof datasetId === 'string' && (name ?? undefined) === undefined) {
    return { datasetId: parseId(DATASET_NODE, datasetId, [...path, 'datasetId']) };
  }
  if (typeof name === 'string' && (datasetId ?? undefined) === undefined) return { name };
  throw new AppError('BAD_USER_INPUT', 'Give exactly one of "datasetId" and "name".', { path });
}
