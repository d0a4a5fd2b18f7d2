/** Queries and mutations of gates. */
import {
  Arg,
  Args,
  ArgsType,
  Ctx,
  Field,
  FieldResolver,
  ID,
  Mutation,
  Query,
  Resolver,
  Root,
} from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import { AppError } from '../platform/errors.js';
import type { Result } from '../platform/result.js';
import {
  CreateGateInput,
  DeleteGateInput,
  EvaluateGateInput,
  toExperimentRef,
  toGateRef,
  toSettings,
  UpdateGateInput,
} from './gate.inputs.js';
import type { GateLoaders } from './gate.loaders.js';
import type { GateService } from './gate.service.js';
import type { Flakiness } from './gate.store.js';
import {
  DeleteGatePayload,
  EvaluateGatePayload,
  FlakinessType,
  GATE_NODE,
  GateConnection,
  GateEvaluationConnection,
  GatePayload,
  GateType,
  GateVerdictEnum,
} from './gate.types.js';
import type { Gate, GateEvaluation, GateVerdict } from './gate.js';

/** It compares two experiments and keeps the answer. */
const EVALUATION_COMPLEXITY = 500;
const FLAKINESS_COMPLEXITY = 20;

export interface GateResolverDeps {
  readonly gates: GateService;
  readonly loaders: LoaderFactory<GateLoaders>;
  readonly cursors: Cursors;
}

@ArgsType()
export class GateEvaluationArgs {
  @Field(() => String, { nullable: true })
  candidateRef?: string | null;

  @Field(() => [GateVerdictEnum], { nullable: true })
  verdicts?: GateVerdict[] | null;
}

@Resolver(() => GateType)
export class GateResolver {
  readonly #deps: GateResolverDeps;

  constructor(deps: GateResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => GateConnection, { complexity: pageComplexity, description: 'In order of name.' })
  async gates(@Args(() => PageArgs) page: PageArgs, @Ctx() context: GraphqlContext): Promise<Page<Gate>> {
    const { gates, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const request = cursors.request(page, { order: 'gates.name', direction: 'asc' });
    return pageFromRows({
      cursors,
      request,
      rows: await gates.list(principal, request),
      position: ({ uuid, name }) => ({ value: name, id: uuid }),
      count: async (limit) => toCount(await gates.count(principal, limit + 1), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => GateType, { nullable: true, description: 'By exactly one of id and name.' })
  async gate(
    @Arg('id', () => ID, { nullable: true }) id: string | null | undefined,
    @Arg('name', () => String, { nullable: true }) name: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Gate | undefined> {
    if (typeof id === 'string' && typeof name !== 'string') {
      return context.loader(this.#deps.loaders).byId.load(parseId(GATE_NODE, id));
    }
    if (typeof name === 'string' && typeof id !== 'string') {
      return this.#deps.gates.findByName(requirePrincipal(context), name);
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @FieldResolver(() => GateEvaluationConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async evaluations(
    @Root() gate: Gate,
    @Args(() => GateEvaluationArgs) args: GateEvaluationArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<GateEvaluation>> {
    const { gates, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = {
      gateId: gate.uuid,
      candidateRef: args.candidateRef ?? undefined,
      verdicts: args.verdicts ?? undefined,
    };
    const request = cursors.request(page, { order: 'gateEvaluations.createdAt', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await gates.listEvaluations(principal, filter, request),
      position: ({ uuid, createdAt }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await gates.countEvaluations(principal, filter, limit + 1), limit),
    });
  }

  @FieldResolver(() => FlakinessType, { complexity: FLAKINESS_COMPLEXITY })
  async flakiness(@Root() gate: Gate, @Ctx() context: GraphqlContext): Promise<Flakiness> {
    return context.loader(this.#deps.loaders).flakiness.load(gate.uuid);
  }

  @RequiresAccess('write')
  @Mutation(() => GatePayload)
  async createGate(
    @Arg('input', () => CreateGateInput) input: CreateGateInput,
    @Ctx() context: GraphqlContext,
  ): Promise<GatePayload> {
    const { name, description, rules, failuresToBlock, idempotencyKey } = input;
    const draft = { name, description, rules, settings: toSettings(input.settings), failuresToBlock };
    return toPayload(await this.#deps.gates.create(requirePrincipal(context), draft, idempotencyKey));
  }

  @RequiresAccess('write')
  @Mutation(() => GatePayload, { description: 'Earlier evaluations keep the rules they were made by.' })
  async updateGate(
    @Arg('input', () => UpdateGateInput) input: UpdateGateInput,
    @Ctx() context: GraphqlContext,
  ): Promise<GatePayload> {
    const id = parseId(GATE_NODE, input.id, ['input', 'id']);
    const patch = {
      name: input.name ?? undefined,
      description: input.description,
      rules: input.rules ?? undefined,
      settings: toSettings(input.settings),
      failuresToBlock: input.failuresToBlock ?? undefined,
    };
    return toPayload(await this.#deps.gates.update(requirePrincipal(context), id, patch));
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteGatePayload, { description: 'Its evaluations stay.' })
  async deleteGate(
    @Arg('input', () => DeleteGateInput) input: DeleteGateInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteGatePayload> {
    const id = parseId(GATE_NODE, input.id, ['input', 'id']);
    const result = await this.#deps.gates.delete(requirePrincipal(context), id);
    return result.ok
      ? { deletedId: toGlobalId(GATE_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => EvaluateGatePayload, {
    complexity: EVALUATION_COMPLEXITY,
    description:
      'Asks a gate, or rules given along, and keeps the answer. CONFLICT while an experiment has not finished.',
  })
  async evaluateGate(
    @Arg('input', () => EvaluateGateInput) input: EvaluateGateInput,
    @Ctx() context: GraphqlContext,
  ): Promise<EvaluateGatePayload> {
    const question = {
      gate: input.gate ? toGateRef(input.gate) : undefined,
      rules: input.rules ?? undefined,
      settings: toSettings(input.settings),
      candidate: toExperimentRef(input.candidate, 'candidate'),
      baseline: input.baseline ? toExperimentRef(input.baseline, 'baseline') : undefined,
      candidateRef: input.candidateRef ?? undefined,
    };
    const principal = requirePrincipal(context);
    const result = await this.#deps.gates.evaluate(principal, question, input.idempotencyKey, context.signal);
    return result.ok
      ? { evaluation: result.value, errors: [] }
      : { evaluation: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const { byId } = context.loader(this.#deps.loaders);
    return (await Promise.all(uuids.map((id) => byId.load(id)))).map((gate) => gate ?? null);
  };

  readonly loadEvaluations: NodeLoad = async (context, uuids) => {
    const found = await this.#deps.gates.findEvaluations(requirePrincipal(context), uuids);
    const byId = new Map(found.map((each) => [each.uuid, each]));
    return uuids.map((id) => byId.get(id) ?? null);
  };
}

const toPayload = (result: Result<Gate>): GatePayload =>
  result.ok ? { gate: result.value, errors: [] } : { gate: null, errors: toUserErrors(result.problems) };
