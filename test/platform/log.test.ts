import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.pool.query(
    'create table guarded (id int primary key, note text not null check (length(note) < 20))',
  );
});
afterAll(() => database.drop());

interface Line {
  readonly err: Record<string, unknown> & { readonly stack?: string; readonly cause?: Line['err'] };
}

/** The line that is logged when an error is. */
function logged(error: unknown): { readonly line: Line; readonly text: string } {
  const lines: string[] = [];
  createLogger('info', 'test', { write: (text) => void lines.push(text) }).error({ err: error }, 'it failed');
  const text = lines.join('');
  return { line: JSON.parse(text) as Line, text };
}

const failureOf = async (sql: string, params: unknown[]): Promise<unknown> =>
  database.pool.query(sql, params).then(
    () => undefined,
    (error: unknown) => error,
  );

test('an error of the database is logged without the row it is about', async () => {
  const secret = 'a secret of a customer of ours';
  const broken = await failureOf('insert into guarded values (1, $1)', [secret]);
  expect((broken as { detail: string }).detail).toContain(secret);
  const { line, text } = logged(broken);
  expect(text).not.toContain('secret');
  expect(Object.keys(line.err).sort()).toEqual(['code', 'message', 'stack', 'type']);
  expect(line.err).toMatchObject({
    code: '23514',
    message: 'new row for relation "guarded" violates check constraint "guarded_note_check"',
  });
});

test('messages that quote what did not fit are cut there, in the stack as well', async () => {
  for (const [sql, value, message] of [
    ['select $1::text::uuid', 'a secret', 'invalid input syntax for type uuid: "…"'],
    [
      'select $1::text::timestamptz',
      'a "quoted" secret',
      'invalid input syntax for type timestamp with time zone: "…"',
    ],
    ['select $1::text::int', '99999999999', 'value "…" is out of range for type integer'],
    ['select $1::text::json', '{"secret": oops}', 'invalid input syntax for type json'],
  ] as const) {
    const { line, text } = logged(await failureOf(sql, [value]));
    expect(line.err['message']).toBe(message);
    expect(line.err.stack).toContain(message);
    expect(text).not.toMatch(/secret|99999999999/);
  }
});

test('causes are followed, as far as a few, and nothing else is taken along', () => {
  const request = { body: 'a secret' };
  const inner = Object.assign(new TypeError('inner'), { request, code: 'E_INNER' });
  const { line, text } = logged(Object.assign(new Error('outer', { cause: inner }), { response: request }));
  expect(line.err).toMatchObject({
    type: 'Error',
    message: 'outer',
    cause: { type: 'TypeError', message: 'inner', code: 'E_INNER' },
  });
  expect(text).not.toContain('secret');
  const loop = new Error('loop');
  loop.cause = loop;
  expect(logged(loop).text.length).toBeLessThan(50_000);
  expect(logged('a secret').text).not.toContain('secret');
  const prisma = new Error(
    'Invalid `create()` invocation:\n{ data: "a secret" }\n\nArgument `x` is missing.',
  );
  prisma.name = 'PrismaClientValidationError';
  expect(logged(prisma).line.err['message']).toBe('Argument `x` is missing.');
  expect(logged(prisma).text).not.toContain('secret');
});
