import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { JsonCursor, JsonShapeError, parseInTurns } from '../../src/platform/json-cursor.js';
import { takesLongToParse } from '../../src/platform/json-text.js';

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return SyntaxError;
  }
};
const readInTurns = async (text: string): Promise<unknown> => {
  try {
    return await parseInTurns(text, 512);
  } catch (error) {
    if (error instanceof SyntaxError) return SyntaxError;
    throw error;
  }
};

const spaces = fc.stringMatching(/^[ \t\n\r]{0,3}$/);
const texts = fc
  .tuple(spaces, fc.json(), fc.constantFrom(0, 1, 2), spaces)
  .map(([before, json, indent, after]) => before + JSON.stringify(JSON.parse(json), null, indent) + after);
/** Texts that are nearly JSON: one character is taken out, doubled or replaced. */
const broken = fc
  .tuple(
    texts,
    fc.nat(),
    fc.constantFrom('', ',', ':', '"', '\\', '{', '}', '[', ']', '0', '-', '.', 'e', 't', '\n', '\u0001'),
  )
  .map(
    ([text, at, by]) => text.slice(0, at % (text.length + 1)) + by + text.slice((at % (text.length + 1)) + 1),
  );

test('a text read in turns is what JSON.parse makes of it, or refused like there', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(texts, broken, fc.string({ maxLength: 8 })), async (text) => {
      const expected = parsed(text);
      // 1e999 and NaN are told apart by nobody who has the value only.
      expect(await readInTurns(text)).toEqual(expected);
    }),
    { numRuns: 3_000 },
  );
});

test('containers of any size are taken apart where they are large', async () => {
  const filler = 'x'.repeat(70_000);
  const value = {
    list: [[1, { deep: [filler, { __proto__: null, a: filler }] }], [], {}, filler],
    ['__proto__x']: { b: [filler] },
    small: { c: [1.5e3, -0, true, null, '\u2028"\\'] },
  };
  const text = JSON.stringify(value).replace('__proto__x', '__proto__');
  const read = (await parseInTurns(text, 512)) as object;
  expect(JSON.stringify(read)).toBe(JSON.stringify(JSON.parse(text)));
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
});

test('a value is passed with its place, depth and size, white space around it left out', async () => {
  const text = ' {"a" : [1,[{}]] , "b":NaN, "c":-Infinity} ';
  const cursor = new JsonCursor(text);
  const found: [string, string, number, number, boolean][] = [];
  await cursor.members(async (key) => {
    const { start, end, depth, containers, nonFinite } = await cursor.skip();
    found.push([key, text.slice(start, end), depth, containers, nonFinite]);
  });
  cursor.end();
  expect(found).toEqual([
    ['a', '[1,[{}]]', 3, 3, false],
    ['b', 'NaN', 0, 0, true],
    ['c', '-Infinity', 0, 0, true],
  ]);
});

/** How often others had their turn while `work` ran. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let over = false;
  const count = (): void => {
    turns += 1;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  await work.finally(() => (over = true));
  return turns;
}

test.each([
  ['objects', `[${'{},'.repeat(1_000_000)}{}]`, 80],
  ['numbers', `[${'1,'.repeat(1_000_000)}1]`, 40],
  ['escapes', `"${'\\n'.repeat(1_000_000)}"`, 30],
  ['a key', `{"${'\\n'.repeat(1_000_000)}":1}`, 30],
  ['brackets', '['.repeat(1_000_000) + ']'.repeat(1_000_000), 60],
])('a text of nothing but %s leaves others their turns', async (_name, text, atLeast) => {
  expect(await turnsDuring(new JsonCursor(text).skip())).toBeGreaterThan(atLeast);
});

test('what would fill the memory or the stack as values is refused', async () => {
  const many = parseInTurns(`[${'{},'.repeat(1_000_000)}{}]`, 512);
  await expect(many).rejects.toEqual(new JsonShapeError('many'));
  await expect(parseInTurns('['.repeat(600) + ']'.repeat(600), 512)).rejects.toEqual(
    new JsonShapeError('deep'),
  );
});

test('texts are long by their length or by what they hold', () => {
  expect(takesLongToParse(JSON.stringify({ text: '{['.repeat(100_000) }))).toBe(false);
  expect(takesLongToParse(`[${'{},'.repeat(20_000)}{}]`)).toBe(true);
  expect(takesLongToParse(JSON.stringify('x'.repeat(1_048_576)))).toBe(true);
});
