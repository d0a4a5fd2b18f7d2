/** The schema against the one of the last release, and the judge itself. */
import { expect, test } from '@jest/globals';
import { repositoryProblems, schemaChangeProblems } from '../../scripts/schema-changes.js';

const BEFORE = `
  type Query { run(id: ID!): Run old: String @deprecated(reason: "Use run. Removal on 2026-06-30 UTC.") }
  type Run { id: ID! name: String! }
  "What a run does. Values may be added; tolerate unknown ones."
  enum Kind { LLM TOOL }
  enum Order { ASC DESC }
  input RunInput { name: String! kind: Kind order: Order }
  type Mutation { createRun(input: RunInput!): Run }
`;
const judge = (after: string, allowed: { change: string; reason: string }[] = [], today = '2026-06-30') =>
  schemaChangeProblems(BEFORE, after, allowed, today);

test('nothing since the last release breaks clients without a reason', () => {
  expect(repositoryProblems(new Date().toISOString().slice(0, 10))).toEqual([]);
});

test('what is added breaks nobody', () => {
  const after = BEFORE.replace('name: String! }', 'name: String! more: String }')
    .replace('run(id: ID!)', 'runs: [Run!]! run(id: ID!, deep: Boolean)')
    .replace('name: String! kind', 'note: String name: String! kind')
    .replace('LLM TOOL', 'LLM TOOL OTHER');
  expect(judge(after)).toEqual([]);
});

test.each([
  ['a field that goes', BEFORE.replace(' name: String! }', ' }'), 'Run.name was removed.'],
  [
    'a type that changes',
    BEFORE.replace('name: String! }', 'name: Int! }'),
    'Run.name changed type from String! to Int!.',
  ],
  [
    'an input that is needed now',
    BEFORE.replace('kind: Kind', 'kind: Kind!'),
    'RunInput.kind changed type from Kind to Kind!.',
  ],
  [
    'an argument that is needed now',
    BEFORE.replace('(id: ID!)', '(id: ID!, at: String!)'),
    'A required arg at on Query.run was added.',
  ],
  ['a value that goes', BEFORE.replace('ASC DESC', 'ASC'), 'DESC was removed from enum type Order.'],
])('%s is found', (_what, after, sentence) => {
  expect(judge(after)).toEqual([`${sentence} This breaks clients of the last release.`]);
  expect(judge(after, [{ change: sentence, reason: 'Nobody could use it since it always failed.' }])).toEqual(
    [],
  );
});

test('a value clients were not told to expect needs a reason', () => {
  const sentence = 'RANDOM was added to enum type Order.';
  const after = BEFORE.replace('ASC DESC', 'ASC DESC RANDOM');
  expect(judge(after)).toEqual([`${sentence} This may surprise clients of the last release.`]);
  expect(judge(after, [{ change: sentence, reason: 'Only input of clients has this type.' }])).toEqual([]);
});

test('a deprecated field may go once its day is past', () => {
  const after = BEFORE.replace(/ old: String @deprecated\(.*?\)/, '');
  expect(judge(after, [], '2026-06-30')).toEqual([
    'Query.old was removed. This breaks clients of the last release.',
  ]);
  expect(judge(after, [], '2026-07-01')).toEqual([]);
});

test('a reason that is no longer needed is found, too', () => {
  const reason = 'It was there before the last release and nobody cleaned up.';
  expect(judge(BEFORE, [{ change: 'Run.name was removed.', reason }])).toEqual([
    '"Run.name was removed." is allowed, but it is not a change since the last release.',
  ]);
});
