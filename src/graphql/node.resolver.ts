/** `node` and `nodes`: any object by its global id, loaded the way its own domain loads it. */
import { Arg, Ctx, Field, ID, Info, InterfaceType, Query, Resolver } from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { AppError } from '../platform/errors.js';
import { ListSize, RequiresAccess } from './access.js';
import type { GraphqlContext } from './context.js';
import { decodeGlobalId } from './global-id.js';
import { UuidScalar } from './scalars.js';

const MAX_NODES = 100;

/**
 * Loads objects of one type in the order of `uuids`: null for those that do not exist for the caller. The selection in
 * `info` is that of all types together.
 */
export type NodeLoad = (
  context: GraphqlContext,
  uuids: readonly string[],
  info: GraphQLResolveInfo,
) => Promise<readonly (object | null)[]>;

// Rows are plain: what type they are is known to whoever loaded them.
const typeNames = new WeakMap<object, string>();

@InterfaceType({
  description: 'Anything with a global id. Rows give `uuid`; `id` is made from it.',
  resolveType: (row: object) => typeNames.get(row),
})
export abstract class Node {
  @Field(() => ID, { description: 'Opaque and unique over all types.' })
  id!: string;

  @Field(() => UuidScalar, { description: 'The id as SDKs and logs show it.' })
  uuid!: string;
}

/** Which types `node` can load. Domains register theirs in the composition root. */
export class NodeTypes {
  readonly #loads = new Map<string, NodeLoad>();

  register(type: string, load: NodeLoad): this {
    if (this.#loads.has(type)) throw new Error(`The node type ${type} is registered twice.`);
    this.#loads.set(type, load);
    return this;
  }

  /** Objects in the order of `ids`; null for foreign, missing and unknown ones alike. One load per type. */
  async load(
    context: GraphqlContext,
    ids: readonly string[],
    info: GraphQLResolveInfo,
  ): Promise<(object | null)[]> {
    const places = new Map<string, { index: number; uuid: string }[]>();
    for (const [index, id] of ids.entries()) {
      const ref = decodeGlobalId(id);
      if (ref === undefined) {
        throw new AppError('BAD_USER_INPUT', `"${id.slice(0, 80)}" is not a global id.`, {
          path: ['ids', index],
        });
      }
      const group = places.get(ref.type) ?? [];
      group.push({ index, uuid: ref.uuid });
      places.set(ref.type, group);
    }
    const found: (object | null)[] = ids.map(() => null);
    await Promise.all(
      [...places].map(async ([type, group]) => {
        const uuids = [...new Set(group.map(({ uuid }) => uuid))];
        const rows = await this.#loads.get(type)?.(context, uuids, info);
        for (const { index, uuid } of group) {
          const row = rows?.[uuids.indexOf(uuid)] ?? null;
          if (row !== null) typeNames.set(row, type);
          found[index] = row;
        }
      }),
    );
    return found;
  }
}

@Resolver()
export class NodeResolver {
  readonly #nodeTypes: NodeTypes;

  constructor({ nodeTypes }: { nodeTypes: NodeTypes }) {
    this.#nodeTypes = nodeTypes;
  }

  @RequiresAccess('read')
  @Query(() => Node, {
    nullable: true,
    description: 'The object with this id; null if there is none for the caller.',
  })
  async node(
    @Ctx() context: GraphqlContext,
    @Arg('id', () => ID) id: string,
    @Info() info: GraphQLResolveInfo,
  ): Promise<object | null> {
    const [row] = await this.#nodeTypes.load(context, [id], info);
    return row ?? null;
  }

  @RequiresAccess('read')
  @ListSize({ argument: 'ids' })
  @Query(() => [Node], {
    nullable: 'items',
    description: `Up to ${MAX_NODES} objects in the order of \`ids\`; null for each that does not exist for the caller.`,
  })
  async nodes(
    @Ctx() context: GraphqlContext,
    @Arg('ids', () => [ID]) ids: string[],
    @Info() info: GraphQLResolveInfo,
  ): Promise<(object | null)[]> {
    if (ids.length > MAX_NODES) {
      throw new AppError('BAD_USER_INPUT', `"ids" may have ${MAX_NODES} entries.`, { path: ['ids'] });
    }
    return this.#nodeTypes.load(context, ids, info);
  }
}
