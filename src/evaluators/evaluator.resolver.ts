/** Queries and mutations of evaluators. */
import { Arg, Args, Ctx, FieldResolver, ID, Int, Mutation, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount, type Page } from '../graphql/connection.js';
import { requirePrincipal, type GraphqlContext, type LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import { judgementOf } from '../feedback/feedback.js';
import { AppError } from '../platform/errors.js';
import type { Result } from '../platform/result.js';
import type { EvaluationOutcome, PairOutcome, Score } from './evaluation.js';
import { configSchemaOf, EVALUATOR_KINDS } from './evaluator-config.js';
import {
  ArchiveEvaluatorInput,
  CreateEvaluatorInput,
  EvaluatorListArgs,
  toConfig,
  toTrial,
  TryEvaluatorInput,
  UpdateEvaluatorInput,
} from './evaluator.inputs.js';
import type { EvaluatorPatchInput } from './evaluator.inputs.js';
import type { EvaluatorLoaders } from './evaluator.loaders.js';
import type { EvaluatorPatch, EvaluatorService } from './evaluator.service.js';
import type { EvaluatorTrials } from './evaluator-trial.service.js';
import type { EvaluatorTrialType } from './evaluator.types.js';
import {
  EVALUATOR_NODE,
  EvaluatorConnection,
  EvaluatorKindInfo,
  EvaluatorPayload,
  EvaluatorType,
  EvaluatorVersionConnection,
  EvaluatorVersionType,
  TryEvaluatorPayload,
} from './evaluator.types.js';
import type { Evaluator, StoredVersion } from './evaluator.js';

/** It may call a model. */
const TRIAL_COMPLEXITY = 500;

export interface EvaluatorResolverDeps {
  readonly evaluators: EvaluatorService;
  readonly trials: EvaluatorTrials;
  readonly loaders: LoaderFactory<EvaluatorLoaders>;
  readonly cursors: Cursors;
}

@Resolver(() => EvaluatorType)
export class EvaluatorResolver {
  readonly #deps: EvaluatorResolverDeps;

  constructor(deps: EvaluatorResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => EvaluatorConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async evaluators(
    @Args(() => EvaluatorListArgs) args: EvaluatorListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Evaluator>> {
    const { evaluators, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = {
      nameContains: args.nameContains ?? undefined,
      kinds: args.kinds ?? undefined,
      feedbackKeys: args.feedbackKeys ?? undefined,
      archived: args.archived ?? undefined,
    };
    const request = cursors.request(page, { order: 'evaluators.createdAt', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await evaluators.list(principal, filter, request),
      position: ({ uuid, createdAt }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await evaluators.count(principal, filter, limit + 1), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => EvaluatorType, { nullable: true, description: 'By exactly one of id and name.' })
  async evaluator(
    @Arg('id', () => ID, { nullable: true }) id: string | null | undefined,
    @Arg('name', () => String, { nullable: true }) name: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Evaluator | undefined> {
    if (typeof id === 'string' && typeof name !== 'string') {
      return context.loader(this.#deps.loaders).byId.load(parseId(EVALUATOR_NODE, id));
    }
    if (typeof name === 'string' && typeof id !== 'string') {
      return this.#deps.evaluators.findByName(requirePrincipal(context), name);
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @RequiresAccess('authenticated')
  @ListSize(EVALUATOR_KINDS.length)
  @Query(() => [EvaluatorKindInfo], { description: 'What kinds there are and what settings each takes.' })
  evaluatorKinds(): EvaluatorKindInfo[] {
    return EVALUATOR_KINDS.map((kind) => ({ kind, configSchema: configSchemaOf(kind) }));
  }

  @FieldResolver(() => EvaluatorVersionType, { description: 'The newest version.' })
  async newest(@Root() evaluator: Evaluator, @Ctx() context: GraphqlContext): Promise<StoredVersion> {
    const { uuid: evaluatorId, version } = evaluator;
    const found = await context.loader(this.#deps.loaders).version.load({ evaluatorId, version });
    if (found === undefined) throw new Error('An evaluator has no newest version.');
    return found;
  }

  @FieldResolver(() => EvaluatorVersionType, { nullable: true, description: 'The version with this number.' })
  async at(
    @Root() { uuid: evaluatorId }: Evaluator,
    @Arg('version', () => Int) version: number,
    @Ctx() context: GraphqlContext,
  ): Promise<StoredVersion | undefined> {
    return context.loader(this.#deps.loaders).version.load({ evaluatorId, version });
  }

  @FieldResolver(() => EvaluatorVersionConnection, {
    complexity: pageComplexity,
    description: 'Newest first.',
  })
  async versions(
    @Root() evaluator: Evaluator,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<StoredVersion>> {
    const { evaluators, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = { evaluatorId: evaluator.uuid };
    const request = cursors.request(page, { order: 'evaluatorVersions.version', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await evaluators.listVersions(principal, evaluator.uuid, request),
      position: ({ uuid, version }) => ({ value: version, id: uuid }),
      // Numbered from 1 without gaps.
      count: (limit) => Promise.resolve(toCount(evaluator.version, limit)),
    });
  }

  @RequiresAccess('write')
  @Mutation(() => EvaluatorPayload)
  async createEvaluator(
    @Arg('input', () => CreateEvaluatorInput) input: CreateEvaluatorInput,
    @Ctx() context: GraphqlContext,
  ): Promise<EvaluatorPayload> {
    const { name, description, kind, feedbackKey, config, idempotencyKey } = input;
    const draft = { name, description, kind, feedbackKey, config: toConfig(config) };
    const result = await this.#deps.evaluators.create(requirePrincipal(context), draft, idempotencyKey);
    return this.#toPayload(context, result);
  }

  @RequiresAccess('write')
  @Mutation(() => EvaluatorPayload, {
    description: 'Another definition makes a new version, the same one makes none.',
  })
  async updateEvaluator(
    @Arg('input', () => UpdateEvaluatorInput) input: UpdateEvaluatorInput,
    @Ctx() context: GraphqlContext,
  ): Promise<EvaluatorPayload> {
    const id = parseId(EVALUATOR_NODE, input.id, ['input', 'id']);
    const patch = toPatch(input.patch);
    return this.#toPayload(context, await this.#deps.evaluators.update(requirePrincipal(context), id, patch));
  }

  @RequiresAccess('write')
  @Mutation(() => EvaluatorPayload, {
    description: 'Nothing new begins with an archived evaluator; what uses it already goes on.',
  })
  async archiveEvaluator(
    @Arg('input', () => ArchiveEvaluatorInput) { id, archived }: ArchiveEvaluatorInput,
    @Ctx() context: GraphqlContext,
  ): Promise<EvaluatorPayload> {
    const uuid = parseId(EVALUATOR_NODE, id, ['input', 'id']);
    const principal = requirePrincipal(context);
    return this.#toPayload(context, await this.#deps.evaluators.archive(principal, uuid, archived));
  }

  @RequiresAccess('write')
  @Mutation(() => TryEvaluatorPayload, {
    complexity: TRIAL_COMPLEXITY,
    description:
      'Runs an evaluator, stored or not yet, once. No score is stored; calls of a judge cost what they cost and are kept as runs. Needs the scope "content" as well.',
  })
  async tryEvaluator(
    @Arg('input', () => TryEvaluatorInput) input: TryEvaluatorInput,
    @Ctx() context: GraphqlContext,
  ): Promise<TryEvaluatorPayload> {
    const result = await this.#deps.trials.run(requirePrincipal(context), toTrial(input), context.signal);
    return result.ok
      ? { trial: toTrialType(result.value), errors: [] }
      : { trial: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const { byId } = context.loader(this.#deps.loaders);
    return (await Promise.all(uuids.map((id) => byId.load(id)))).map((evaluator) => evaluator ?? null);
  };

  readonly loadVersions: NodeLoad = async (context, uuids) => {
    const found = await this.#deps.evaluators.findVersionsOf(requirePrincipal(context), uuids);
    const byId = new Map(found.map((version) => [version.uuid, version]));
    return uuids.map((id) => byId.get(id) ?? null);
  };

  async #toPayload(context: GraphqlContext, result: Result<Evaluator>): Promise<EvaluatorPayload> {
    if (!result.ok) return { evaluator: null, webhookSecret: null, errors: toUserErrors(result.problems) };
    const secret = await this.#deps.evaluators.webhookSecret(requirePrincipal(context), result.value);
    return { evaluator: result.value, webhookSecret: secret ?? null, errors: [] };
  }
}

@Resolver(() => EvaluatorVersionType)
export class EvaluatorVersionResolver {
  readonly #loaders: LoaderFactory<EvaluatorLoaders>;

  constructor({ loaders }: { loaders: LoaderFactory<EvaluatorLoaders> }) {
    this.#loaders = loaders;
  }

  @FieldResolver(() => EvaluatorType)
  async evaluator(@Root() version: StoredVersion, @Ctx() context: GraphqlContext): Promise<Evaluator> {
    const found = await context.loader(this.#loaders).byId.load(version.evaluatorId);
    if (found === undefined) throw new Error('A version belongs to no evaluator.');
    return found;
  }
}

function toPatch({ name, description, kind, feedbackKey, config }: EvaluatorPatchInput): EvaluatorPatch {
  for (const [field, value] of Object.entries({ name, kind, feedbackKey, config })) {
    if (value !== null) continue;
    throw new AppError('BAD_USER_INPUT', `"${field}" cannot be cleared.`, {
      path: ['input', 'patch', field],
    });
  }
  return {
    name: name ?? undefined,
    description,
    kind: kind ?? undefined,
    feedbackKey: feedbackKey ?? undefined,
    config: toConfig(config) ?? undefined,
  };
}

function toTrialType(outcome: EvaluationOutcome | PairOutcome): EvaluatorTrialType {
  const { judgeRunIds, cost } = outcome;
  return {
    scores: outcome.kind === 'failed' ? [] : outcome.scores.map(toTrialScore),
    error: outcome.kind === 'failed' ? outcome.error : null,
    spread: outcome.kind === 'failed' ? null : (outcome.spread ?? null),
    positionBias: outcome.kind === 'compared' ? outcome.positionBias : null,
    judgeRunIds,
    cost,
    log: outcome.kind === 'compared' ? null : (outcome.log ?? null),
  };
}

/** As the feedback would be stored. */
const toTrialScore = ({ key, score, value, comment }: Score): EvaluatorTrialType['scores'][number] => ({
  key,
  ...judgementOf(score, value),
  comment: comment ?? null,
});
