/** Queries and mutations of harvests, and what hangs on them. */
import { Arg, Args, Ctx, FieldResolver, ID, Info, Int, Mutation, Query, Resolver, Root } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import { AppError } from '../platform/errors.js';
import type { Result } from '../platform/result.js';
import { CONNECTION_ROWS, selectsField } from '../runs/run-selection.js';
import type { SelectionInfo } from '../runs/run-selection.js';
import type { ScheduleService } from '../schedules/schedule.service.js';
import { SchedulePayload } from '../schedules/schedule.types.js';
import type { Harvest, HarvestRun } from './harvest.js';
import {
  ApproveHarvestRunInput,
  CreateHarvestInput,
  CreateHarvestScheduleInput,
  datasetIdOf,
  DeleteHarvestInput,
  HarvestCandidateArgs,
  harvestIdOf,
  HarvestListArgs,
  HarvestRunFilterArgs,
  HarvestRunIdInput,
  harvestRunIdOf,
  HarvestRunListArgs,
  PreviewHarvestInput,
  RunHarvestInput,
  toDefinition,
  toPreviewOf,
  UpdateHarvestInput,
} from './harvest.inputs.js';
import type { HarvestPreviewService } from './harvest-preview.service.js';
import type { HarvestRunFilter } from './harvest-run.store.js';
import type { HarvestService } from './harvest.service.js';
import {
  DeleteHarvestPayload,
  HARVEST_NODE,
  HARVEST_RUN_NODE,
  HarvestCandidateConnection,
  HarvestConnection,
  HarvestPayload,
  HarvestPreviewType,
  HarvestRunConnection,
  HarvestRunPayload,
  HarvestRunType,
  HarvestType,
  toGraphqlCandidate,
  toGraphqlPreview,
} from './harvest.types.js';
import type { GraphqlCandidate } from './harvest.types.js';

/** It reads and judges up to a thousand runs. */
const PREVIEW_COMPLEXITY = 500;

export interface HarvestResolverDeps {
  readonly harvests: HarvestService;
  readonly previews: HarvestPreviewService;
  readonly schedules: ScheduleService;
  readonly cursors: Cursors;
}

@Resolver(() => HarvestType)
export class HarvestResolver {
  readonly #deps: HarvestResolverDeps;

  constructor(deps: HarvestResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => HarvestConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async harvests(
    @Args(() => HarvestListArgs) { datasetId }: HarvestListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Harvest>> {
    const { harvests, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = {
      datasetId: typeof datasetId === 'string' ? datasetIdOf(datasetId, ['datasetId']) : undefined,
    };
    const request = cursors.request(page, { order: 'harvests.created', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await harvests.list(principal, filter, request),
      position: ({ createdAt, uuid }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await harvests.count(principal, filter, limit + 1), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => HarvestType, { nullable: true, description: 'By exactly one of id and name.' })
  async harvest(
    @Arg('id', () => ID, { nullable: true }) id: string | null | undefined,
    @Arg('name', () => String, { nullable: true }) name: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Harvest | undefined> {
    const principal = requirePrincipal(context);
    if (typeof id === 'string' && typeof name !== 'string') {
      return (await this.#deps.harvests.find(principal, [parseId(HARVEST_NODE, id)]))[0];
    }
    if (typeof name === 'string' && typeof id !== 'string') {
      return this.#deps.harvests.findByName(principal, name);
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @RequiresAccess('read')
  @Query(() => HarvestRunConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async harvestRuns(
    @Args(() => HarvestRunListArgs) { harvestId, states }: HarvestRunListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<HarvestRun>> {
    const id = typeof harvestId === 'string' ? parseId(HARVEST_NODE, harvestId, ['harvestId']) : undefined;
    return this.#runs(context, { harvestId: id, states: states ?? undefined }, page);
  }

  @RequiresAccess('read')
  @Query(() => HarvestRunType, { nullable: true })
  async harvestRun(
    @Arg('id', () => ID) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestRun | undefined> {
    const principal = requirePrincipal(context);
    return (await this.#deps.harvests.findRuns(principal, [parseId(HARVEST_RUN_NODE, id)]))[0];
  }

  @RequiresAccess('content')
  @Query(() => HarvestPreviewType, {
    complexity: PREVIEW_COMPLEXITY,
    description: 'What a harvest would do with the oldest runs of its window. Writes nothing.',
  })
  async previewHarvest(
    @Arg('of', () => PreviewHarvestInput) of: PreviewHarvestInput,
    @Arg('first', () => Int, { defaultValue: 10, description: 'At most 50.' }) first: number,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestPreviewType> {
    const principal = requirePrincipal(context);
    const target = toPreviewOf(of);
    return toGraphqlPreview(await this.#deps.previews.preview(principal, target, first, context.signal));
  }

  @FieldResolver(() => HarvestRunConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async runs(
    @Root() harvest: Harvest,
    @Args(() => HarvestRunFilterArgs) { states }: HarvestRunFilterArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<HarvestRun>> {
    return this.#runs(context, { harvestId: harvest.uuid, states: states ?? undefined }, page);
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestPayload, { description: 'Needs the scopes read and content, too.' })
  async createHarvest(
    @Arg('input', () => CreateHarvestInput) input: CreateHarvestInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestPayload> {
    const { name, description, idempotencyKey } = input;
    const draft = {
      name,
      description,
      datasetId: datasetIdOf(input.datasetId, ['input', 'datasetId']),
      definition: toDefinition(input.definition, ['input', 'definition']),
    };
    return toPayload(await this.#deps.harvests.create(requirePrincipal(context), draft, idempotencyKey));
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestPayload, {
    description:
      'Executions under way keep the definition they were started with. Needs the scopes read and content, too.',
  })
  async updateHarvest(
    @Arg('input', () => UpdateHarvestInput) input: UpdateHarvestInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestPayload> {
    const { name, description, datasetId, definition } = input;
    const patch = {
      name: name ?? undefined,
      description,
      datasetId: typeof datasetId === 'string' ? datasetIdOf(datasetId, ['input', 'datasetId']) : undefined,
      definition: definition ? toDefinition(definition, ['input', 'definition']) : undefined,
    };
    return toPayload(await this.#deps.harvests.update(requirePrincipal(context), harvestIdOf(input), patch));
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteHarvestPayload, { description: 'Open executions are cancelled; examples stay.' })
  async deleteHarvest(
    @Arg('input', () => DeleteHarvestInput) input: DeleteHarvestInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteHarvestPayload> {
    const result = await this.#deps.harvests.delete(requirePrincipal(context), harvestIdOf(input));
    return result.ok
      ? { deletedId: toGlobalId(HARVEST_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestRunPayload, {
    description: 'Workers carry it out. Needs the scope content, too.',
  })
  async runHarvest(
    @Arg('input', () => RunHarvestInput) input: RunHarvestInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestRunPayload> {
    const principal = requirePrincipal(context);
    return toRunPayload(await this.#deps.harvests.run(principal, harvestIdOf(input), input.idempotencyKey));
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestRunPayload, {
    description: 'Adds what was proposed as one version. Needs the scope content, too.',
  })
  async approveHarvestRun(
    @Arg('input', () => ApproveHarvestRunInput) input: ApproveHarvestRunInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestRunPayload> {
    const principal = requirePrincipal(context);
    const candidates = input.candidates ?? undefined;
    return toRunPayload(await this.#deps.harvests.approve(principal, harvestRunIdOf(input), candidates));
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestRunPayload, { description: 'These runs are not proposed again.' })
  async rejectHarvestRun(
    @Arg('input', () => HarvestRunIdInput) input: HarvestRunIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestRunPayload> {
    return toRunPayload(await this.#deps.harvests.reject(requirePrincipal(context), harvestRunIdOf(input)));
  }

  @RequiresAccess('write')
  @Mutation(() => HarvestRunPayload, {
    description: 'Calls off what runs, or takes back what is proposed: these runs may be harvested again.',
  })
  async cancelHarvestRun(
    @Arg('input', () => HarvestRunIdInput) input: HarvestRunIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<HarvestRunPayload> {
    return toRunPayload(await this.#deps.harvests.cancel(requirePrincipal(context), harvestRunIdOf(input)));
  }

  @RequiresAccess('write')
  @Mutation(() => SchedulePayload, {
    description: 'Runs a harvest again and again. Needs the scopes read and content, too.',
  })
  async createHarvestSchedule(
    @Arg('input', () => CreateHarvestScheduleInput) input: CreateHarvestScheduleInput,
    @Ctx() context: GraphqlContext,
  ): Promise<SchedulePayload> {
    const principal = requirePrincipal(context);
    const { name, cron, timezone, enabled } = input.schedule;
    const id = parseId(HARVEST_NODE, input.harvestId, ['input', 'harvestId']);
    const config = await this.#deps.harvests.prepareSchedule(principal, id);
    const made = config.ok
      ? await this.#deps.schedules.create(
          principal,
          { name, cron, timezone, enabled, kind: 'harvest', config: config.value },
          input.idempotencyKey,
        )
      : config;
    return made.ok
      ? { schedule: made.value, errors: [] }
      : { schedule: null, errors: toUserErrors(made.problems) };
  }

  async #runs(context: GraphqlContext, filter: HarvestRunFilter, page: PageArgs): Promise<Page<HarvestRun>> {
    const { harvests, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const request = cursors.request(page, { order: 'harvestRuns.created', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await harvests.listRuns(principal, filter, request),
      position: ({ createdAt, uuid }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await harvests.countRuns(principal, filter, limit + 1), limit),
    });
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const found = await this.#deps.harvests.find(requirePrincipal(context), uuids);
    const byId = new Map(found.map((harvest) => [harvest.uuid, harvest]));
    return uuids.map((id) => byId.get(id) ?? null);
  };

  readonly loadRuns: NodeLoad = async (context, uuids) => {
    const found = await this.#deps.harvests.findRuns(requirePrincipal(context), uuids);
    const byId = new Map(found.map((run) => [run.uuid, run]));
    return uuids.map((id) => byId.get(id) ?? null);
  };
}

@Resolver(() => HarvestRunType)
export class HarvestRunResolver {
  readonly #harvests: HarvestService;
  readonly #cursors: Cursors;

  constructor({ harvests, cursors }: { harvests: HarvestService; cursors: Cursors }) {
    this.#harvests = harvests;
    this.#cursors = cursors;
  }

  @FieldResolver(() => HarvestCandidateConnection, {
    complexity: pageComplexity,
    description: "In order of the runs' start.",
  })
  async candidates(
    @Root() run: HarvestRun,
    @Args(() => HarvestCandidateArgs) args: HarvestCandidateArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
    @Info() info: SelectionInfo,
  ): Promise<Page<GraphqlCandidate>> {
    const principal = requirePrincipal(context);
    const verdicts = args.verdicts ?? undefined;
    const filter = { harvestRunId: run.uuid, verdicts };
    const request = this.#cursors.request(page, { order: 'harvestCandidates', direction: 'asc', filter });
    const wanted = CONNECTION_ROWS.some((path) =>
      ['inputs', 'outputs'].some((field) => selectsField(info, `${path}.${field}`)),
    );
    const rows = await this.#harvests.listCandidates(principal, run.uuid, verdicts, request, wanted);
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: rows.map(toGraphqlCandidate),
      position: ({ position, sourceRunId }) => ({ value: position, id: sourceRunId }),
      count: async (limit) =>
        toCount(await this.#harvests.countCandidates(principal, run.uuid, verdicts, limit + 1), limit),
    });
  }
}

const toPayload = (result: Result<Harvest>): HarvestPayload =>
  result.ok
    ? { harvest: result.value, errors: [] }
    : { harvest: null, errors: toUserErrors(result.problems) };

const toRunPayload = (result: Result<HarvestRun>): HarvestRunPayload =>
  result.ok
    ? { harvestRun: result.value, errors: [] }
    : { harvestRun: null, errors: toUserErrors(result.problems) };
