import fc from 'fast-check';
import { describe, expect, test } from '@jest/globals';
import { readAnswer } from '../../src/models/model-answer.js';
import { costOf, hintOf } from '../../src/models/model-provider.js';
import { callRunId } from '../../src/models/model-run.js';
import { backoffMs, retryAfterOf } from '../../src/models/retry.js';
import { Turnstile } from '../../src/models/turnstile.js';
import { isUuid, uuidTimeMs } from '../../src/platform/ids.js';
import { systemSleep } from '../../src/platform/sleep.js';
import { isInternalRun } from '../../src/runs/run-origin.js';
import { SCORE_SCHEMA } from './score-schema.js';

describe('costs', () => {
  test('are exact to the last of twelve decimals', () => {
    const price = fc.bigInt({ min: 0n, max: 10n ** 12n - 1n });
    const tokens = fc.integer({ min: 0, max: 2_000_000_000 });
    const text = (units: bigint) => `${units / 10n ** 6n}.${(units % 10n ** 6n).toString().padStart(6, '0')}`;
    const units = (decimal: string) => {
      const [whole = '', fraction = ''] = decimal.split('.');
      return BigInt(whole + fraction.padEnd(12, '0'));
    };
    fc.assert(
      fc.property(price, price, tokens, tokens, (input, output, promptTokens, completionTokens) => {
        const prices = [{ model: 'm', input: text(input), output: text(output) }];
        const cost = costOf(prices, 'm', { promptTokens, completionTokens });
        const expected = input * BigInt(promptTokens) + output * BigInt(completionTokens);
        expect(units(cost?.total ?? '')).toBe(expected);
        expect(units(cost?.prompt ?? '') + units(cost?.completion ?? '')).toBe(expected);
      }),
    );
  });

  test('use the price of the model, else that of all others, else there is none', () => {
    const usage = { promptTokens: 1_000_000, completionTokens: 500_000 };
    const named = { model: 'm', input: '2.5', output: '10' };
    const any = { model: '*', input: '1', output: '0.5' };
    expect(costOf([any, named], 'm', usage)).toEqual({ prompt: '2.5', completion: '5', total: '7.5' });
    expect(costOf([any, named], 'other', usage)?.total).toBe('1.25');
    expect(costOf([named], 'other', usage)).toBeNull();
    expect(costOf([named], 'm', { promptTokens: 0, completionTokens: 0 })?.total).toBe('0');
  });
});

describe('answers', () => {
  test.each([
    ['{"score": 4, "reason": "fine"}', { score: 4, reason: 'fine' }],
    ['\n {"score": 1, "reason": ""} \n', { score: 1, reason: '' }],
    ['```json\n{"score": 5, "reason": "x"}\n```', { score: 5, reason: 'x' }],
    ['```\n{"score": 5, "reason": "x"}\n```', { score: 5, reason: 'x' }],
  ])('%j is read', (text, value) => {
    expect(readAnswer(text, SCORE_SCHEMA)).toEqual({ kind: 'readable', value });
  });

  test.each([
    '',
    'The score is 4.',
    '4',
    'null',
    '[4]',
    '{"score": 4}',
    '{"score": "4", "reason": "x"}',
    '{"score": 4.5, "reason": "x"}',
    '{"score": 6, "reason": "x"}',
    '{"score": 0, "reason": "x"}',
    '{"score": 4, "reason": "x", "more": 1}',
    '{"score": 4, "reason": "x"',
    'Sure! {"score": 4, "reason": "x"}',
    '{"score": 4, "reason": "x"} I hope this helps.',
    '```json\n{"score": 4, "reason": "x"}\n``` and more',
    '{"score": 1, "reason": "x"}{"score": 5, "reason": "x"}',
    'NaN',
    '['.repeat(100_000),
    '{"a":'.repeat(100_000),
  ])('%# is not guessed at', (text) => {
    expect(readAnswer(text, SCORE_SCHEMA).kind).toBe('unreadable');
  });

  test('any text will do where no form was asked for', () => {
    expect(readAnswer('', undefined)).toEqual({ kind: 'readable', value: null });
  });

  test('a schema that is none is no reason to throw', () => {
    expect(readAnswer('{}', { type: 'nonsense' }).kind).toBe('unreadable');
  });
});

describe('retries', () => {
  const now = new Date('2026-11-21T10:00:00Z');

  test.each([
    ['7', 7_000],
    ['0', 0],
    [' 1.5 ', 1_500],
    ['Sat, 21 Nov 2026 10:00:30 GMT', 30_000],
    ['Sat, 21 Nov 2026 09:00:00 GMT', 0],
    ['soon', undefined],
    ['-1', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('Retry-After %j is %j ms', (header, ms) => {
    expect(retryAfterOf(header, now)).toBe(ms);
  });

  test('back off from half a second to thirty, with full jitter', () => {
    expect([1, 2, 3, 10].map((failed) => backoffMs(failed, 0.999999))).toEqual([500, 1_000, 2_000, 30_000]);
    expect(backoffMs(5, 0)).toBe(0);
  });
});

test('ids of runs are version 7 of their start, and differ by call and execution', () => {
  const ids = [
    callRunId('w', 'c', 1, 1_790_000_000_123),
    callRunId('w', 'c', 2, 1_790_000_000_123),
    callRunId('w', 'd', 1, 1_790_000_000_123),
    callRunId('v', 'c', 1, 1_790_000_000_123),
  ];
  expect(new Set(ids).size).toBe(4);
  for (const id of ids) expect([isUuid(id), uuidTimeMs(id)]).toEqual([true, 1_790_000_000_123]);
  expect(callRunId('w', 'c', 1, 1_790_000_000_123)).toBe(ids[0]);
});

test('only runs that are marked are internal', () => {
  const internal = [{ 'tracewell.origin': 'judge' }, { 'tracewell.origin': 'target' }];
  const others = [{}, { 'tracewell.origin': 'else' }, { 'tracewell.origin': null }, { origin: 'judge' }];
  expect([...internal, ...others].map((metadata) => isInternalRun({ metadata }))).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test('a hint of a secret is too little to be of use', () => {
  expect([null, 'short', 'elevenchars', 'twelve-chars'].map(hintOf)).toEqual([null, null, null, 'hars']);
});

describe('a turnstile', () => {
  const { signal } = new AbortController();

  test('lets one through at a time, in order', async () => {
    const turnstile = new Turnstile();
    const order: number[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await turnstile.enter(signal);
        inside += 1;
        expect(inside).toBe(1);
        order.push(index);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        turnstile.leave();
      }),
    );
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(turnstile.isEmpty).toBe(true);
  });

  test('forgets who gave up waiting', async () => {
    const turnstile = new Turnstile();
    await turnstile.enter(signal);
    const controller = new AbortController();
    const impatient = turnstile.enter(controller.signal);
    const patient = turnstile.enter(signal);
    controller.abort(new Error('no more'));
    await expect(impatient).rejects.toThrow('no more');
    turnstile.leave();
    await patient;
    turnstile.leave();
    expect(turnstile.isEmpty).toBe(true);
    await expect(turnstile.enter(controller.signal)).rejects.toThrow('no more');
  });

  test('whoever rests in it is woken from outside, if that may be, and by the signal', async () => {
    const turnstile = new Turnstile();
    const asleep = turnstile.rest(60_000, systemSleep, signal, true);
    turnstile.wake();
    await asleep;
    const controller = new AbortController();
    const deep = turnstile.rest(60_000, systemSleep, controller.signal, false);
    turnstile.wake();
    controller.abort(new Error('stop'));
    await expect(deep).rejects.toThrow('stop');
  });
});
