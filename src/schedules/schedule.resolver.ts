/** Queries and mutations of schedules; they are made by mutations of the domain that owns their kind. */
import { Arg, Args, Ctx, ID, Mutation, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Schedule } from './schedule.js';
import { DeleteScheduleInput, ScheduleListArgs, UpdateScheduleInput } from './schedule.inputs.js';
import type { ScheduleService } from './schedule.service.js';
import {
  DeleteSchedulePayload,
  SCHEDULE_NODE,
  ScheduleConnection,
  SchedulePayload,
  ScheduleType,
} from './schedule.types.js';

@Resolver(() => ScheduleType)
export class ScheduleResolver {
  readonly #schedules: ScheduleService;
  readonly #cursors: Cursors;

  constructor({ schedules, cursors }: { schedules: ScheduleService; cursors: Cursors }) {
    this.#schedules = schedules;
    this.#cursors = cursors;
  }

  @RequiresAccess('read')
  @Query(() => ScheduleConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async schedules(
    @Args(() => ScheduleListArgs) { kind }: ScheduleListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Schedule>> {
    const principal = requirePrincipal(context);
    const filter = { kind: kind ?? undefined };
    const request = this.#cursors.request(page, { order: 'schedules.created', direction: 'desc', filter });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: await this.#schedules.list(principal, filter, request),
      position: ({ createdAt, uuid }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await this.#schedules.count(principal, filter, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => ScheduleType, { nullable: true })
  async schedule(
    @Arg('id', () => ID) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<Schedule | undefined> {
    const found = await this.#schedules.find(requirePrincipal(context), [parseId(SCHEDULE_NODE, id)]);
    return found[0];
  }

  @RequiresAccess('write')
  @Mutation(() => SchedulePayload)
  async updateSchedule(
    @Arg('input', () => UpdateScheduleInput) input: UpdateScheduleInput,
    @Ctx() context: GraphqlContext,
  ): Promise<SchedulePayload> {
    const id = parseId(SCHEDULE_NODE, input.id, ['input', 'id']);
    const result = await this.#schedules.update(requirePrincipal(context), id, {
      name: input.name ?? undefined,
      cron: input.cron ?? undefined,
      timezone: input.timezone ?? undefined,
      enabled: input.enabled ?? undefined,
    });
    return result.ok
      ? { schedule: result.value, errors: [] }
      : { schedule: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteSchedulePayload, { description: 'What it has started goes on.' })
  async deleteSchedule(
    @Arg('input', () => DeleteScheduleInput) input: DeleteScheduleInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteSchedulePayload> {
    const id = parseId(SCHEDULE_NODE, input.id, ['input', 'id']);
    const result = await this.#schedules.delete(requirePrincipal(context), id);
    return result.ok
      ? { deletedId: toGlobalId(SCHEDULE_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const found = await this.#schedules.find(requirePrincipal(context), uuids);
    const byId = new Map(found.map((schedule) => [schedule.uuid, schedule]));
    return uuids.map((id) => byId.get(id) ?? null);
  };
}
