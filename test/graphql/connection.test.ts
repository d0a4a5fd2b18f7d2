/** Ids, cursors and pages: round trips, tampering, and every row exactly once in both directions. */
import 'reflect-metadata';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pageFromRows, toCount } from '../../src/graphql/connection.js';
import type { Page } from '../../src/graphql/connection.js';
import { Cursors } from '../../src/graphql/cursor.js';
import type { ListIdentity, PageArguments } from '../../src/graphql/cursor.js';
import { parseId, toGlobalId } from '../../src/graphql/global-id.js';
import { AppError } from '../../src/platform/errors.js';
import { keysetCondition, keysetOrder } from '../../src/platform/keyset.js';

const cursors = new Cursors({ key: 'k'.repeat(32) });
const list: ListIdentity = { order: 'runs.startTime', direction: 'desc', filter: { a: 1, b: [2, { c: 3 }] } };

const value = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.constant(null),
  fc.constant('2026-11-21 10:00:00.123456+00'),
);

function refusal(work: () => unknown): AppError {
  try {
    work();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

test('a global id comes back from its opaque and its bare form', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      expect(parseId('Run', toGlobalId('Run', uuid))).toBe(uuid);
      expect(parseId('Run', uuid.toUpperCase())).toBe(uuid);
    }),
  );
});

test('ids of another type and text that is no id are refused with their place', () => {
  const other = refusal(() =>
    parseId('Run', toGlobalId('Project', '00000000-0000-7000-8000-000000000000'), ['input', 'runId']),
  );
  expect(other).toMatchObject({ code: 'BAD_USER_INPUT', inputPath: ['input', 'runId'] });
  expect(other.message).toBe('"input.runId" is the id of a Project, not of a Run.');
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(refusal(() => parseId('Run', text)).code).toBe('BAD_USER_INPUT');
    }),
  );
  // Another spelling of the same bytes is another string, and refused.
  expect(
    refusal(() => parseId('Run', `${toGlobalId('Run', '00000000-0000-7000-8000-000000000000')}=`)).code,
  ).toBe('BAD_USER_INPUT');
});

test('a cursor comes back with every digit of its position', () => {
  fc.assert(
    fc.property(value, fc.uuid(), (sortValue, id) => {
      const after = cursors.encode(cursors.request({ first: 1 }, list), { value: sortValue, id });
      const request = cursors.request({ first: 1, after }, { ...list, filter: { b: [2, { c: 3 }], a: 1 } });
      expect(request.boundary).toEqual({ value: sortValue, id });
    }),
  );
});

test('an altered cursor is refused, whichever character was touched', () => {
  const genuine = cursors.encode(cursors.request({ first: 1 }, list), { value: 'v', id: 'i' });
  fc.assert(
    fc.property(
      fc.nat(genuine.length - 1),
      fc.constantFrom('A', 'a', 'z', '0', '9', '_', '-', '='),
      (at, character) => {
        fc.pre(genuine[at] !== character);
        const after = genuine.slice(0, at) + character + genuine.slice(at + 1);
        expect(refusal(() => cursors.request({ first: 1, after }, list)).message).toBe(
          'This is not a cursor.',
        );
      },
    ),
  );
  fc.assert(
    fc.property(fc.string(), (after) => {
      expect(refusal(() => cursors.request({ first: 1, after }, list)).code).toBe('BAD_USER_INPUT');
    }),
  );
  const foreign = new Cursors({ key: 'another' });
  expect(refusal(() => foreign.request({ first: 1, after: genuine }, list)).code).toBe('BAD_USER_INPUT');
});

test('a cursor of another filter, order or direction is refused', () => {
  const after = cursors.encode(cursors.request({ first: 1 }, list), { value: 'v', id: 'i' });
  for (const other of [
    { ...list, filter: { a: 2 } },
    { ...list, order: 'runs.cost' },
    { ...list, direction: 'asc' as const },
    { order: list.order, direction: list.direction },
  ]) {
    expect(refusal(() => cursors.request({ first: 1, after }, other)).message).toBe(
      'This cursor belongs to a list with another filter or order.',
    );
  }
});

test('page sizes are from 1 to the cap, and exactly one of first and last is given', () => {
  const bad: PageArguments[] = [
    {},
    { first: 1, last: 1 },
    { first: 0 },
    { last: 101 },
    { first: 1.5 },
    { first: null },
    { first: 1, before: 'x' },
    { last: 1, after: 'x' },
  ];
  for (const args of bad) expect(refusal(() => cursors.request(args, list)).code).toBe('BAD_USER_INPUT');
  expect(cursors.request({ first: 100, last: null }, list)).toMatchObject({ limit: 100, backward: false });
  expect(cursors.request({ last: 1_000 }, list, { max: 1_000 })).toMatchObject({
    limit: 1_000,
    backward: true,
  });
});

interface Row {
  readonly value: number | null;
  readonly id: string;
}

/** What Postgres does with keysetCondition and keysetOrder, in memory. */
function read(rows: readonly Row[], direction: 'asc' | 'desc', args: PageArguments): Page<Row> {
  const sign = direction === 'asc' ? 1 : -1;
  const compare = (a: Row, b: Row): number => {
    if (a.value !== b.value) {
      if (a.value === null) return 1;
      if (b.value === null) return -1;
      return sign * (a.value - b.value);
    }
    return sign * (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
  };
  const request = cursors.request(args, { order: 'x', direction });
  const ordered = [...rows].sort(compare);
  if (request.backward) ordered.reverse();
  const { boundary } = request;
  const behind = ordered.filter((row) => {
    if (boundary === undefined) return true;
    const order = compare(row, { value: boundary.value as number | null, id: boundary.id });
    return request.backward ? order < 0 : order > 0;
  });
  return pageFromRows({
    cursors,
    request,
    rows: behind.slice(0, request.limit + 1),
    position: (row) => row,
    count: (limit) => Promise.resolve(toCount(rows.length, limit)),
  });
}

test('paging forward and backward visits each row exactly once, in the same order', () => {
  const rowsOf = fc.uniqueArray(
    fc.record({ value: fc.option(fc.integer({ min: 0, max: 3 })), id: fc.uuid() }),
    {
      selector: ({ id }) => id,
      maxLength: 30,
    },
  );
  fc.assert(
    fc.property(
      rowsOf,
      fc.integer({ min: 1, max: 7 }),
      fc.constantFrom('asc' as const, 'desc' as const),
      (rows, size, direction) => {
        const forward: Row[] = [];
        for (let after: string | null = null, more = true; more;) {
          const page = read(rows, direction, { first: size, after });
          forward.push(...page.nodes);
          expect(page.edges().map(({ node }) => node)).toEqual(page.nodes);
          expect(page.pageInfo().hasPreviousPage).toBe(after !== null);
          ({ hasNextPage: more, endCursor: after } = page.pageInfo());
        }
        const backward: Row[] = [];
        for (let before: string | null = null, more = true; more;) {
          const page = read(rows, direction, { last: size, before });
          backward.unshift(...page.nodes);
          ({ hasPreviousPage: more, startCursor: before } = page.pageInfo());
        }
        expect(new Set(forward.map(({ id }) => id)).size).toBe(rows.length);
        expect(forward).toHaveLength(rows.length);
        expect(backward).toEqual(forward);
      },
    ),
  );
});

test('the keyset condition is a row comparison where nulls are impossible, else the expansion', () => {
  const keyset = {
    value: 'r.start_time',
    type: 'timestamptz',
    id: 'r.id',
    direction: 'desc',
    nullable: false,
  } as const;
  const boundary = { value: '2026-11-21 10:00:00.123456+00', id: 'i' };
  const params: unknown[] = ['workspace'];
  expect(keysetCondition(keyset, { limit: 1, backward: false, boundary }, params)).toBe(
    '(r.start_time, r.id) < ($2::timestamptz, $3::uuid)',
  );
  expect(params).toEqual(['workspace', boundary.value, 'i']);
  expect(keysetCondition(keyset, { limit: 1, backward: false, boundary: undefined }, params)).toBe('true');
  expect(keysetOrder(keyset, { limit: 1, backward: true, boundary: undefined })).toBe(
    'r.start_time asc, r.id asc',
  );
  const nullable = { ...keyset, nullable: true };
  expect(keysetCondition(nullable, { limit: 1, backward: false, boundary }, [])).toBe(
    '(r.start_time < $1::timestamptz or (r.start_time = $1::timestamptz and r.id < $2::uuid) or r.start_time is null)',
  );
  expect(keysetOrder(nullable, { limit: 1, backward: true, boundary })).toBe(
    'r.start_time asc nulls first, r.id asc',
  );
});
