/** A trace: its totals and its tree. Deleting traces. */
import {
  Arg,
  Ctx,
  Field,
  FieldResolver,
  ID,
  Info,
  Int,
  Mutation,
  ObjectType,
  Query,
  Resolver,
  Root,
} from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { UuidScalar } from '../graphql/scalars.js';
import { toUserErrors, UserError } from '../graphql/user-error.js';
import { problem } from '../platform/result.js';
import { toProjectSelector } from '../projects/project.inputs.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import type { Project } from '../projects/project.js';
import { ProjectObject } from '../projects/project.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import { selectedNames, selectedRunFields, selectsField, selectsWhole } from './run-selection.js';
import { DeleteTracesInput } from './run.inputs.js';
import type { RunLoaders } from './run.loaders.js';
import { MAX_TRACE_RUNS } from './run.service.js';
import type { PlacedTraceRun, RunService } from './run.service.js';
import { RunObject, toRun } from './run.types.js';
import type { AttachmentLinks, GraphqlRun } from './run.types.js';
import { isTraceRunField } from './trace-run.js';
import {
  toTreeOnly,
  toTrace,
  toTraceRuns,
  TRACE_NODE,
  TraceObject,
  TraceRunConnection,
} from './trace.types.js';
import type { GraphqlTrace } from './trace.types.js';

/** A skeleton row is a twentieth of a run. */
const treeComplexity = ({ args }: { args: { first?: number | null } }): number =>
  10 + Math.ceil((args.first ?? MAX_TRACE_RUNS) / 20);

@ObjectType({ simpleResolvers: true })
export class DeleteTracesPayload {
  @Field(() => [UuidScalar], { description: 'Traces that are gone. Late events do not bring them back.' })
  deletedTraceIds!: readonly string[];

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

export interface TraceResolverDeps {
  readonly runs: RunService;
  readonly cursors: Cursors;
  readonly links: AttachmentLinks;
  readonly runLoaders: LoaderFactory<RunLoaders>;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

/** Of a trace, what is known without looking at its runs. */
const BARE_FIELDS: ReadonlySet<string> = new Set(['id', 'uuid', '__typename']);

/** What of the nodes at `path` has to be read. */
const traceRunFields = (info: GraphQLResolveInfo, path: string): (keyof PlacedTraceRun)[] =>
  selectedNames(info, path).filter(
    (name): name is keyof PlacedTraceRun => name === 'orphan' || isTraceRunField(name),
  );

@Resolver(() => TraceObject)
export class TraceResolver {
  readonly #deps: TraceResolverDeps;

  constructor(deps: TraceResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => TraceObject, {
    nullable: true,
    complexity: 20,
    description: 'By the id of its root run. There as soon as any of its runs is, even without the root.',
  })
  async trace(
    @Arg('id', () => ID) id: string,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlTrace | undefined> {
    const principal = requirePrincipal(context);
    const traceId = parseId(TRACE_NODE, id);
    if (selectsWhole(info, 'runs', BARE_FIELDS)) {
      const fields = traceRunFields(info, 'runs.nodes');
      const tree = await this.#deps.runs.listTraceRuns(principal, traceId, { limit: MAX_TRACE_RUNS, fields });
      return tree.length === 0 ? undefined : toTreeOnly(traceId, tree);
    }
    const trace = await this.#deps.runs.findTrace(principal, traceId);
    return trace && toTrace(trace);
  }

  @FieldResolver(() => RunObject, { nullable: true, description: 'Null while the root has not arrived.' })
  async root(
    @Root() trace: GraphqlTrace,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlRun | undefined> {
    if (trace.rootId === null) return undefined;
    const row = await context.loader(this.#deps.runLoaders).find(trace.rootId, selectedRunFields(info));
    const principal = requirePrincipal(context);
    const { workspaceId } = principal;
    return (
      row && toRun(row, { workspaceId, contentVisible: mayReadContent(principal), links: this.#deps.links })
    );
  }

  @FieldResolver(() => ProjectObject, { nullable: true })
  project(@Root() trace: GraphqlTrace, @Ctx() context: GraphqlContext): Promise<Project | undefined> {
    return context.loader(this.#deps.projectLoaders).byId.load(trace.projectId);
  }

  @FieldResolver(() => TraceRunConnection, {
    complexity: treeComplexity,
    description: 'The tree as a list in depth-first order, orphans where their parents would be.',
  })
  async runs(
    @Root() trace: GraphqlTrace,
    @Arg('first', () => Int, { defaultValue: MAX_TRACE_RUNS, description: 'Up to 10000.' }) first: number,
    @Arg('after', () => String, { nullable: true }) after: string | null | undefined,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<TraceRunConnection> {
    const { runs, cursors } = this.#deps;
    const list = { order: 'trace.runs', direction: 'asc', filter: trace.traceId } as const;
    const request = cursors.request({ first, after: after ?? null }, list, { max: MAX_TRACE_RUNS });
    const fields = traceRunFields(info, 'nodes');
    const found =
      trace.tree ??
      (await runs.listTraceRuns(requirePrincipal(context), trace.traceId, {
        limit: first,
        after: request.boundary?.id,
        fields,
      }));
    const nodes = toTraceRuns(found.slice(0, first), selectsField(info, 'nodes.id'));
    // The order is found again from the run itself: dotted orders of deep runs are too long for a cursor.
    const cursorOf = (run: (typeof nodes)[number] | undefined): string | null =>
      run === undefined ? null : cursors.encode(request, { value: null, id: run.uuid });
    return {
      nodes,
      pageInfo: {
        hasNextPage: found.length > first,
        hasPreviousPage: request.boundary !== undefined,
        startCursor: cursorOf(nodes[0]),
        endCursor: cursorOf(nodes.at(-1)),
      },
    };
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteTracesPayload, {
    description: 'Deletes whole traces with feedback, attachments and share links of their runs.',
  })
  async deleteTraces(
    @Arg('input', () => DeleteTracesInput) input: DeleteTracesInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteTracesPayload> {
    const selector = toProjectSelector(input.project, ['input', 'project']);
    const loaders = context.loader(this.#deps.projectLoaders);
    const project = await ('id' in selector
      ? loaders.byId.load(selector.id)
      : loaders.byName.load(selector.name));
    if (project === undefined) {
      const errors = toUserErrors([problem('NOT_FOUND', 'There is no such project.', ['project'])]);
      return { deletedTraceIds: [], errors };
    }
    const deleted = await this.#deps.runs.deleteTraces(
      requirePrincipal(context),
      project.uuid,
      input.traceIds,
    );
    const gone = new Set(deleted);
    const missing = input.traceIds.flatMap((id, index) =>
      gone.has(id)
        ? []
        : [problem('NOT_FOUND', 'There is no such trace in the project.', ['traceIds', String(index)])],
    );
    return { deletedTraceIds: deleted, errors: toUserErrors(missing) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const principal = requirePrincipal(context);
    const traces = new Map(
      (await this.#deps.runs.findTraces(principal, uuids)).map((trace) => [trace.traceId, trace]),
    );
    return uuids.map((id) => {
      const trace = traces.get(id);
      return trace === undefined ? null : toTrace(trace);
    });
  };
}
