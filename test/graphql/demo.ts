/** A small schema with everything the transport has to cope with: pages, payloads, errors, mutations, oneOf. */
import 'reflect-metadata';
import {
  Arg,
  Args,
  Ctx,
  Directive,
  Field,
  InputType,
  Int,
  Mutation,
  ObjectType,
  Query,
  registerEnumType,
  Resolver,
  Subscription,
} from 'type-graphql';
import { ListSize, RequiresAccess } from '../../src/graphql/access.js';
import {
  connectionTypes,
  PageArgs,
  pageComplexity,
  pageFromRows,
  toCount,
} from '../../src/graphql/connection.js';
import type { Page } from '../../src/graphql/connection.js';
import { requirePrincipal } from '../../src/graphql/context.js';
import type { GraphqlContext } from '../../src/graphql/context.js';
import { Cursors } from '../../src/graphql/cursor.js';
import { Node, NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import type { RawJson } from '../../src/graphql/raw-json.js';
import { rawJson } from '../../src/graphql/raw-json.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, JsonScalar } from '../../src/graphql/scalars.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { toUserErrors, UserError } from '../../src/graphql/user-error.js';
import { AppError } from '../../src/platform/errors.js';
import { problem } from '../../src/platform/result.js';
import type { Problem } from '../../src/platform/result.js';

const Size = { SMALL: 'small', LARGE: 'large' } as const;
registerEnumType(Size, { name: 'Size' });

export interface ThingRow {
  readonly uuid: string;
  readonly name: string;
  readonly startTime: string;
  readonly cost: string;
  readonly tokens: number;
  readonly size: 'small' | 'large';
  readonly payload: RawJson | null;
  readonly parts: readonly { readonly label: string }[];
}

@ObjectType({ simpleResolvers: true })
class Part {
  @Field(() => String)
  label!: string;
}

@ObjectType({ implements: Node, simpleResolvers: true })
export class Thing extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DecimalScalar)
  cost!: string;

  @Field(() => BigIntScalar)
  tokens!: number;

  @Field(() => Size)
  size!: string;

  @Field(() => JsonScalar, { nullable: true })
  payload!: RawJson | null;

  @Field(() => [Part])
  parts!: Part[];

  @Field(() => ThingConnection, { complexity: pageComplexity })
  children(@Args(() => PageArgs) args: PageArgs): Page<ThingRow> {
    return pageOfThings(args);
  }
}

const { Connection: ThingConnection } = connectionTypes<ThingRow>(() => Thing, 'Thing');

@InputType()
class Selector {
  @Field(() => String, { nullable: true })
  byName?: string;

  @Field(() => Int, { nullable: true })
  byNumber?: number;
}
Directive('@oneOf')(Selector);

@InputType()
class Nest {
  @Field(() => Size, { nullable: true })
  size?: string;

  @Field(() => [Nest], { nullable: true })
  nests?: Nest[];

  @Field(() => Nest, { nullable: true })
  not?: Nest;
}

@InputType()
class CreateThingInput {
  @Field(() => String)
  name!: string;
}

@ObjectType({ simpleResolvers: true })
class CreateThingPayload {
  @Field(() => Thing, { nullable: true })
  thing!: ThingRow | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

export const HOSTILE = '"raw:1" \\" } ], "data": null, "errors": [';

export const THINGS: readonly ThingRow[] = Array.from({ length: 30 }, (_, index) => ({
  uuid: `00000000-0000-7000-8000-${String(index).padStart(12, '0')}`,
  name: `thing ${index}`,
  startTime: `2026-11-21 10:00:${String(index).padStart(2, '0')}.123456+00`,
  cost: '0.000000123',
  tokens: 12_345_678_901,
  size: index % 2 === 0 ? 'small' : 'large',
  payload: rawJson(index % 3 === 0 ? null : `{ "n" : ${index}.0, "text": ${JSON.stringify(HOSTILE)} }`),
  parts: [{ label: 'a' }, { label: 'b' }],
}));

const cursors = new Cursors({ key: 'a key for tests' });

function pageOfThings(args: PageArgs): Page<ThingRow> {
  const request = cursors.request(args, { order: 'things.name', direction: 'asc' });
  const ordered = request.backward ? [...THINGS].reverse() : THINGS;
  const from =
    request.boundary === undefined ? 0 : ordered.findIndex(({ uuid }) => uuid === request.boundary?.id) + 1;
  return pageFromRows({
    cursors,
    request,
    rows: ordered.slice(from, from + request.limit + 1),
    position: ({ name, uuid }) => ({ value: name, id: uuid }),
    count: (limit) => Promise.resolve(toCount(THINGS.length, limit)),
  });
}

@Resolver()
export class DemoResolver {
  readonly created: string[] = [];

  @RequiresAccess('public')
  @Query(() => String)
  hello(@Arg('name', () => String, { nullable: true }) name?: string): string {
    return `hello ${name ?? 'you'}`;
  }

  @RequiresAccess('read')
  @Query(() => ThingConnection, { complexity: pageComplexity })
  things(@Args(() => PageArgs) args: PageArgs): Page<ThingRow> {
    return pageOfThings(args);
  }

  @RequiresAccess('read')
  @ListSize(30)
  @Query(() => [Thing])
  allThings(): readonly ThingRow[] {
    return THINGS;
  }

  @RequiresAccess('admin')
  @Query(() => String)
  secret(): string {
    return 'secret';
  }

  @RequiresAccess('public')
  @Query(() => JsonScalar, { nullable: true })
  echo(@Arg('value', () => JsonScalar, { nullable: true }) value: unknown): unknown {
    return value;
  }

  @RequiresAccess('public')
  @Query(() => String)
  when(@Arg('at', () => DateTimeScalar) at: string): string {
    return at;
  }

  @RequiresAccess('public')
  @Query(() => String)
  select(@Arg('by', () => Selector) by: Selector): string {
    return JSON.stringify(by);
  }

  @RequiresAccess('public')
  @Query(() => String)
  nested(@Arg('nest', () => Nest) nest: Nest): string {
    return JSON.stringify(nest);
  }

  @RequiresAccess('public')
  @Query(() => String, { nullable: true })
  fail(@Arg('how', () => String) how: string, @Ctx() context: GraphqlContext): string {
    if (how === 'refuse') {
      throw new AppError('CONFLICT', 'Not now.', { path: ['how'], details: { version: 3 } });
    }
    if (how === 'wrapped') throw new Error('outer', { cause: new AppError('NOT_FOUND', 'Gone.') });
    if (how === 'limit') throw new AppError('RATE_LIMITED', 'Slow down.', { retryAfterSeconds: 7 });
    if (how === 'database') throw Object.assign(new Error('terminating connection'), { code: '57P01' });
    if (how === 'statement') throw Object.assign(new Error('canceling statement'), { code: '57014' });
    if (how === 'string') throw 'select * from secrets';
    if (how === 'anonymous') return requirePrincipal({ ...context, principal: undefined }).keyId;
    throw new Error('relation "secrets" does not exist');
  }

  @RequiresAccess('public')
  @Query(() => Int)
  broken(): unknown {
    return 'not a number';
  }

  @RequiresAccess('public')
  @Query(() => String)
  async slow(@Ctx() context: GraphqlContext): Promise<string> {
    return new Promise((resolve) => context.signal.addEventListener('abort', () => resolve('too late')));
  }

  @RequiresAccess('write')
  @Mutation(() => CreateThingPayload)
  createThing(@Arg('input', () => CreateThingInput) { name }: CreateThingInput): CreateThingPayload {
    const problems: Problem[] = name === '' ? [problem('INVALID', 'A name is needed.', ['name'])] : [];
    if (problems.length === 0) this.created.push(name);
    return { thing: problems.length === 0 ? (THINGS[0] ?? null) : null, errors: toUserErrors(problems) };
  }

  @RequiresAccess('public')
  @Subscription(() => Int, {
    subscribe: async function* () {
      yield 1;
    },
  })
  ticks(): number {
    return 1;
  }
}

export function demoSchema(resolver = new DemoResolver()): ReturnType<typeof buildTracewellSchema> {
  const nodeTypes = new NodeTypes().register('Thing', async (_context, uuids) =>
    uuids.map((uuid) => THINGS.find((thing) => thing.uuid === uuid) ?? null),
  );
  return buildTracewellSchema([resolver, new NodeResolver({ nodeTypes })], [DemoResolver, NodeResolver]);
}
