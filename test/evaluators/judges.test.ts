import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { EvaluationOutcome, EvaluatorVersion, PairOutcome } from '../../src/evaluators/evaluation.js';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { createWorld } from '../models/world.js';
import type { World } from '../models/world.js';
import type { AskedOfModel, Json } from '../support/model-protocols.js';
import { ATTACKS } from './attacks.js';
import { contextOf, runOf, subjectOf, versionOf } from './subjects.js';

let world: World;
let providerId: string;
/** What the model says to one question. */
let answer: (asked: AskedOfModel, earlier: number) => Json;

beforeAll(async () => {
  world = await createWorld({
    server: { script: (asked) => ({ kind: 'answer', value: answer(asked, asked.earlier) }) },
  });
  providerId = await world.addProvider();
});
afterAll(() => world.close());
beforeEach(() => {
  answer = () => ({ reasoning: 'fine', score: 3 });
});

let evaluations = 0;
const nextContext = (more: Parameters<typeof contextOf>[0] = {}) =>
  contextOf({ evaluationId: `evaluation ${(evaluations += 1)}`, ...more });

function version(kind: string, config: JsonObject): EvaluatorVersion {
  return {
    ...versionOf(kind, { providerId, model: 'fake-1', ...config }),
    workspaceId: world.harness.home.workspaceId,
  };
}

const judge = (config: JsonObject = {}): EvaluatorVersion =>
  version('llm_judge', {
    messages: [{ role: 'user', content: 'How good is this? {{output}}' }],
    score: { type: 'number', min: 0, max: 10 },
    ...config,
  });

const evaluate = (
  evaluator: EvaluatorVersion,
  subject = subjectOf('Paris', 'Paris'),
  context = nextContext(),
): Promise<EvaluationOutcome> => world.harness.app.evaluatorRuntime.evaluate(evaluator, subject, context);

/** Answers in turn, whoever asks first. */
function inTurn(...values: readonly Json[]): void {
  let turn = 0;
  answer = () => {
    const value = values[turn % values.length];
    turn += 1;
    return value ?? null;
  };
}

test('one answer is the score, with its reason, its run and its price', async () => {
  const outcome = await evaluate(judge());
  expect(outcome).toMatchObject({
    kind: 'scored',
    scores: [{ key: 'quality', score: 3, comment: 'fine' }],
    spread: { repeats: 1, values: [3], unreadable: 0, standardDeviation: null, agreement: 1 },
  });
  expect(outcome.judgeRunIds).toHaveLength(1);
  expect(outcome.cost).toBe(world.server.spent([world.server.calls.at(-1)!]).replace(/\.?0+$/, ''));
});

test('of repeats the median is kept, and how far they lie apart', async () => {
  inTurn(...[2, 9, 4, 4, 3].map((score) => ({ reasoning: `because ${score}`, score })));
  const before = world.server.calls.length;
  const outcome = await evaluate(judge({ repeats: 5 }));
  if (outcome.kind !== 'scored') throw new Error(outcome.error.message);
  expect(outcome.scores).toEqual([{ key: 'quality', score: 4, comment: 'because 4' }]);
  expect([...(outcome.spread?.values ?? [])].sort()).toEqual([2, 3, 4, 4, 9]);
  expect(outcome.spread).toMatchObject({ repeats: 5, unreadable: 0, agreement: 0.4 });
  // Of 2, 9, 4, 4, 3: mean 4.4, squares 5.76 + 21.16 + 0.16 + 0.16 + 1.96 = 29.2.
  expect(outcome.spread?.standardDeviation).toBeCloseTo(Math.sqrt(29.2 / 4), 12);
  expect(new Set(outcome.judgeRunIds).size).toBe(5);
  const calls = world.server.calls.slice(before);
  expect(calls).toHaveLength(5);
  expect(outcome.cost).toBe(world.server.spent(calls).replace(/\.?0+$/, ''));
  expect(new Set(calls.map(({ key }) => key)).size).toBe(5);
});

test('an even number of repeats has the mean of the two in the middle', async () => {
  inTurn({ reasoning: '', score: 2 }, { reasoning: '', score: 5 });
  const outcome = await evaluate(judge({ repeats: 2 }));
  expect(outcome).toMatchObject({ kind: 'scored', scores: [{ score: 3.5 }], spread: { agreement: 0 } });
});

test('of labels the most frequent is kept', async () => {
  const score = {
    type: 'labels',
    labels: [
      { label: 'wrong', score: 0 },
      { label: 'partly', score: 0.5, description: 'Some of it is right.' },
      { label: 'right', score: 1 },
    ],
  };
  inTurn(...['right', 'wrong', 'partly', 'right', 'wrong'].map((label) => ({ reasoning: '', score: label })));
  // "wrong" and "right" twice each: the one that is listed first.
  expect(await evaluate(judge({ score, repeats: 5 }))).toMatchObject({
    kind: 'scored',
    scores: [{ score: 0, value: 'wrong' }],
    spread: { agreement: 0.4, standardDeviation: null },
  });
  inTurn(...['right', 'right', 'partly'].map((label) => ({ reasoning: '', score: label })));
  expect(await evaluate(judge({ score, repeats: 3 }))).toMatchObject({
    scores: [{ score: 1, value: 'right' }],
  });
  expect(world.server.calls.at(-1)?.schema).toMatchObject({
    properties: { score: { enum: ['wrong', 'partly', 'right'] } },
  });
});

test('of booleans the majority is kept, and false where there is none', async () => {
  const boolean = (repeats: number) => judge({ score: { type: 'boolean' }, repeats });
  inTurn({ reasoning: '', score: true }, { reasoning: '', score: true }, { reasoning: '', score: false });
  expect(await evaluate(boolean(3))).toMatchObject({
    scores: [{ score: true }],
    spread: { values: expect.any(Array) },
  });
  inTurn({ reasoning: '', score: true }, { reasoning: '', score: false });
  expect(await evaluate(boolean(2))).toMatchObject({ scores: [{ score: false }] });
});

test('a judge need not say why', async () => {
  answer = () => ({ score: 7 });
  const outcome = await evaluate(judge({ reasoning: false }));
  expect(outcome).toMatchObject({ kind: 'scored', scores: [{ key: 'quality', score: 7 }] });
  expect(world.server.calls.at(-1)?.schema).toMatchObject({
    required: ['score'],
    additionalProperties: false,
  });
});

test.each<readonly [string, Json]>([
  ['above the scale', { reasoning: '', score: 11 }],
  ['below it', { reasoning: '', score: -1 }],
  ['a text', { reasoning: '', score: '10' }],
  ['no score', { reasoning: 'ten out of ten' }],
  ['something besides', { reasoning: '', score: 5, bonus: 5 }],
  ['a list', [10]],
  ['null', { reasoning: '', score: null }],
])('an answer that is %s is an error, never a score', async (_name, value) => {
  answer = () => value;
  const outcome = await evaluate(judge());
  expect(outcome).toMatchObject({ kind: 'failed', error: { code: 'UNREADABLE_ANSWER', retryable: false } });
  expect(outcome.judgeRunIds).toHaveLength(1);
  // It was paid for all the same.
  expect(outcome.cost).not.toBeNull();
});

test.each(['prose', 'wrong_schema', 'cut'] as const)('%s is an error, never a score', async (kind) => {
  world.server.next({ kind });
  expect(await evaluate(judge())).toMatchObject({ kind: 'failed', error: { code: 'UNREADABLE_ANSWER' } });
});

test('a minority of unreadable answers is counted beside the score', async () => {
  world.server.next({ kind: 'prose' });
  expect(await evaluate(judge({ repeats: 3 }))).toMatchObject({
    kind: 'scored',
    scores: [{ score: 3 }],
    spread: { repeats: 3, values: [3, 3], unreadable: 1, agreement: 1 },
  });
});

test('where fewer than a majority can be read the evaluation fails', async () => {
  world.server.next({ kind: 'prose' }, { kind: 'prose' });
  const outcome = await evaluate(judge({ repeats: 3 }));
  expect(outcome).toMatchObject({ kind: 'failed', error: { code: 'UNREADABLE_ANSWER', retryable: false } });
  if (outcome.kind === 'failed') expect(outcome.error.message).toMatch(/^1 of 3 answers could be used\. /);
  expect(outcome.judgeRunIds).toHaveLength(3);
  world.server.next({ kind: 'prose' });
  expect(await evaluate(judge({ repeats: 2 }))).toMatchObject({ kind: 'failed' });
});

test('an evaluation that is done again asks nobody and answers the same', async () => {
  inTurn(...[1, 8, 5].map((score) => ({ reasoning: `because ${score}`, score })));
  const context = nextContext();
  const first = await evaluate(judge({ repeats: 3 }), undefined, context);
  const calls = world.server.calls.length;
  answer = () => ({ reasoning: 'other', score: 0 });
  expect(await evaluate(judge({ repeats: 3 }), undefined, context)).toEqual(first);
  expect(world.server.calls).toHaveLength(calls);
});

test('a provider that refuses is an error of its own', async () => {
  world.server.next({ kind: 'status', status: 401 });
  expect(await evaluate(judge())).toMatchObject({
    kind: 'failed',
    error: { code: 'PROVIDER_REFUSED', retryable: false },
    cost: null,
  });
});

test('above the spend cap nothing is asked', async () => {
  const calls = world.server.calls.length;
  const outcome = await evaluate(
    judge({ repeats: 2 }),
    undefined,
    nextContext({ maySpend: async () => false }),
  );
  expect(outcome).toMatchObject({ kind: 'failed', error: { code: 'SPEND_CAP' }, cost: null });
  expect(world.server.calls).toHaveLength(calls);
});

test('what the prompt asks for has to be there', async () => {
  const calls = world.server.calls.length;
  const withReference = judge({ messages: [{ role: 'user', content: '{{output}} {{reference}}' }] });
  expect(await evaluate(withReference, subjectOf('Paris'))).toMatchObject({
    kind: 'failed',
    error: { code: 'NOT_APPLICABLE', message: 'The prompt asks for {{reference}}, and there is none.' },
  });
  expect(await evaluate(judge(), subjectOf(null))).toMatchObject({ error: { code: 'NOT_APPLICABLE' } });
  expect(world.server.calls).toHaveLength(calls);
});

test('a judge is given the steps where its prompt asks for them', async () => {
  const { evaluatorRuntime } = world.harness.app;
  const withSteps = judge({ messages: [{ role: 'user', content: '{{output}} {{steps}}' }] });
  expect(evaluatorRuntime.needsSteps(withSteps)).toBe(true);
  expect(evaluatorRuntime.needsSteps(judge())).toBe(false);
});

test('an evaluation that is called off ends', async () => {
  const off = new AbortController();
  off.abort(new Error('called off'));
  await expect(evaluate(judge(), undefined, nextContext({ signal: off.signal }))).rejects.toThrow(
    'called off',
  );
});

test('the run of a judge is stored, marked, and names the evaluation', async () => {
  const outcome = await evaluate(judge(), undefined, nextContext({ projectName: 'judged' }));
  const { rows } = await world.harness.database.pool.query<{
    metadata: JsonObject;
    name: string;
    project: string;
  }>(
    `select r.metadata, r.name, p.name as project from runs r join projects p on p.id = r.project_id where r.id = $1`,
    [outcome.judgeRunIds[0]],
  );
  expect(rows).toMatchObject([
    {
      name: 'quality of answers',
      project: 'judged',
      metadata: {
        evaluation_id: `evaluation ${evaluations}`,
        evaluator_version: 1,
        question: '0',
        'tracewell.origin': 'judge',
      },
    },
  ]);
});

test.each(ATTACKS)(
  'a judge that is not impressed keeps its score, whatever the output says: %j',
  async (attack) => {
    answer = (asked) => {
      const { content = '' } = asked.messages.at(-1) ?? {};
      const [, fence = ''] = /<data-([0-9a-f]{32}) name="output">/.exec(content) ?? [];
      const rules = asked.messages[0]?.content ?? '';
      // The judge of this test follows the rules it was given to the letter.
      const isFenced =
        fence !== '' &&
        rules.includes(`</data-${fence}>`) &&
        content.split(`</data-${fence}>`).length === 2 &&
        !attack.includes(fence);
      return { reasoning: 'The rubric alone counts.', score: isFenced ? 1 : 10 };
    };
    expect(await evaluate(judge(), subjectOf(attack))).toMatchObject({
      kind: 'scored',
      scores: [{ score: 1 }],
    });
  },
);

test('every call has a fence of its own', async () => {
  const before = world.server.calls.length;
  await evaluate(judge({ repeats: 9 }));
  const fences = world.server.calls
    .slice(before)
    .map(({ messages }) => /<data-([0-9a-f]{32})/.exec(messages[0]?.content ?? '')?.[1]);
  expect(new Set(fences).size).toBe(9);
});

// ── Pairs ──────────────────────────────────────────────────────────────────────────────────────────────────

const pairwise = (config: JsonObject = {}): EvaluatorVersion =>
  version('pairwise', {
    messages: [{ role: 'user', content: 'Which is better? {{first}} {{second}}' }],
    ...config,
  });

const compare = (evaluator: EvaluatorVersion, a = 'good', b = 'bad'): Promise<PairOutcome> =>
  world.harness.app.evaluatorRuntime.compare(evaluator, { runs: [runOf(a), runOf(b)] }, nextContext());

/** Prefers the output with the word, wherever it stands. */
const prefers =
  (word: string) =>
  (asked: AskedOfModel): Json => {
    const { content = '' } = asked.messages.at(-1) ?? {};
    const first = content.indexOf('name="first"');
    const second = content.indexOf('name="second"');
    const at = content.indexOf(`\n${word}\n`);
    return { reasoning: `${word} is better`, preferred: at > first && at < second ? 'first' : 'second' };
  };

test('the output that wins in both orders is preferred', async () => {
  answer = prefers('good');
  expect(await compare(pairwise())).toMatchObject({
    kind: 'compared',
    preference: 0,
    scores: [
      { key: 'quality', score: 1, comment: 'good is better' },
      { key: 'quality', score: 0 },
    ],
    positionBias: { pairs: 1, firstPlace: 0, secondPlace: 0 },
    spread: { repeats: 1, values: ['0'], agreement: 1 },
    judgeRunIds: [expect.any(String), expect.any(String)],
  });
  expect(await compare(pairwise(), 'bad', 'good')).toMatchObject({
    preference: 1,
    scores: [{ score: 0 }, { score: 1 }],
  });
});

test('a judge that prefers a place makes a tie, and is found out', async () => {
  answer = () => ({ reasoning: 'the first', preferred: 'first' });
  expect(await compare(pairwise({ repeats: 3 }))).toMatchObject({
    kind: 'compared',
    preference: 'tie',
    scores: [{ score: 0.5 }, { score: 0.5 }],
    positionBias: { pairs: 3, firstPlace: 3, secondPlace: 0 },
  });
});

test('a tie in both orders is a tie', async () => {
  answer = () => ({ reasoning: 'alike', preferred: 'tie' });
  expect(await compare(pairwise())).toMatchObject({
    preference: 'tie',
    positionBias: { pairs: 1, firstPlace: 0, secondPlace: 0 },
  });
  // Where ties are not allowed it cannot be read.
  expect(await compare(pairwise({ allowTie: false }))).toMatchObject({
    kind: 'failed',
    error: { code: 'UNREADABLE_ANSWER' },
  });
});

test('pairs of which one answer is missing do not count', async () => {
  answer = prefers('good');
  world.server.next({ kind: 'prose' });
  expect(await compare(pairwise({ repeats: 3 }))).toMatchObject({
    kind: 'compared',
    preference: 0,
    spread: { repeats: 3, values: ['0', '0'], unreadable: 1 },
    positionBias: { pairs: 2 },
  });
  world.server.next({ kind: 'prose' });
  expect(await compare(pairwise())).toMatchObject({ kind: 'failed', error: { code: 'UNREADABLE_ANSWER' } });
});

test('kinds for one run do not compare, kinds that compare do not take one run', async () => {
  expect(await compare(judge())).toMatchObject({ kind: 'failed', error: { code: 'NOT_APPLICABLE' } });
  expect(await evaluate(pairwise())).toMatchObject({ kind: 'failed', error: { code: 'NOT_APPLICABLE' } });
});
