// @ts-check
/**
 * What runs inside the interpreter before user code does: a clock that stands still, chance that is seeded, a console
 * that writes into a list, and a caller of `evaluate` that turns whatever comes back into text. Nothing of the host is
 * reachable from here, so nothing here has to be trusted; it only has to work after user code changed every prototype.
 *
 * Sent as source text (`Function.prototype.toString`), so it may use nothing from outside of itself.
 *
 * @typedef {{ seed: number, now: number, maxAnswer: number, maxLog: number, maxMessage: number }} GuestSettings
 * @typedef {{ done: boolean, text: string, problem: '' | 'threw' | 'memory' | 'answer', message: string }} GuestState
 * @typedef {{ state: GuestState, run: (evaluate: unknown, input: string) => void, log: () => string }} Guest
 *
 * @param {GuestSettings} settings
 * @returns {Guest}
 */
export function prepareGuest(settings) {
  'use strict';
  const { seed, now, maxAnswer, maxLog, maxMessage } = settings;
  const uncurried = Function.prototype.bind.bind(Function.prototype.call);
  const { parse, stringify } = JSON;
  const { construct } = Reflect;
  const { isFinite: isFiniteNumber } = Number;
  const text = String;
  const slice = uncurried(String.prototype.slice);
  const indexOf = uncurried(String.prototype.indexOf);
  const then = uncurried(Promise.prototype.then);
  const settled = Promise.resolve.bind(Promise);
  const ErrorType = Error;
  const define = Object.defineProperty;

  // mulberry32
  let chance = seed >>> 0;
  Math.random = () => {
    chance = (chance + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(chance ^ (chance >>> 15), chance | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };

  const RealDate = Date;
  /** @param {unknown[]} given */
  const StillDate = function (...given) {
    if (new.target === undefined) return text(new RealDate(now));
    return construct(RealDate, given.length === 0 ? [now] : given, new.target);
  };
  StillDate.prototype = RealDate.prototype;
  StillDate.now = () => now;
  StillDate.parse = RealDate.parse;
  StillDate.UTC = RealDate.UTC;
  define(StillDate, 'name', { value: 'Date' });
  define(RealDate.prototype, 'constructor', { value: StillDate, writable: true, configurable: true });
  define(globalThis, 'Date', { value: StillDate, writable: true, configurable: true });

  let log = '';
  /** @param {unknown} value */
  const printed = (value) => {
    if (typeof value === 'string') return value;
    try {
      const json = stringify(value);
      return json === undefined ? text(value) : json;
    } catch {
      return '[unprintable]';
    }
  };
  /** @param {unknown[]} values */
  const print = (...values) => {
    let line = '';
    for (let index = 0; index < values.length && line.length <= maxLog; index += 1) {
      line += (index === 0 ? '' : ' ') + slice(printed(values[index]), 0, maxLog);
    }
    if (log.length < maxLog) log = slice(log + line + '\n', 0, maxLog);
  };
  define(globalThis, 'console', {
    value: { log: print, info: print, debug: print, warn: print, error: print },
    writable: true,
    configurable: true,
  });

  // All of its properties from the start: one that is added later could meet a setter on Object.prototype.
  /** @type {GuestState} */
  const state = { done: false, text: '', problem: '', message: '' };
  /** @param {'threw' | 'memory' | 'answer'} problem @param {string} message */
  const fail = (problem, message) => {
    if (state.done) return;
    state.problem = problem;
    state.message = slice(message, 0, maxMessage);
    state.done = true;
  };
  /** @param {unknown} error */
  const failWith = (error) => {
    let message = 'It threw something that cannot be shown.';
    let isMemory = false;
    try {
      if (error instanceof ErrorType) {
        const { name, message: reason, stack } = error;
        isMemory = name === 'InternalError' && reason === 'out of memory';
        message = text(name) + ': ' + text(reason);
        const trace = text(stack);
        const at = indexOf(trace, 'evaluator.js:');
        if (at !== -1) {
          const rest = slice(trace, at, at + 40);
          const end = indexOf(rest, ')') === -1 ? indexOf(rest, '\n') : indexOf(rest, ')');
          message += ' (' + (end === -1 ? rest : slice(rest, 0, end)) + ')';
        }
      } else {
        message = 'It threw ' + printed(error);
      }
    } catch {
      // What was thrown throws when it is looked at.
    }
    fail(isMemory ? 'memory' : 'threw', message);
  };
  /** @param {unknown} answer */
  const succeed = (answer) => {
    if (state.done) return;
    try {
      if (typeof answer === 'number' && !isFiniteNumber(answer)) {
        fail('answer', 'The answer is ' + text(answer) + '.');
        return;
      }
      const json = stringify(answer);
      if (typeof json !== 'string') fail('answer', 'The answer is ' + typeof answer + ', which is no score.');
      else if (json.length > maxAnswer) {
        fail(
          'answer',
          'The answer has ' +
            text(json.length) +
            ' characters as JSON; ' +
            text(maxAnswer) +
            ' are the most.',
        );
      } else {
        state.text = json;
        state.done = true;
      }
    } catch (error) {
      failWith(error);
    }
  };

  /** @type {Guest['run']} */
  const run = (evaluate, input) => {
    try {
      if (typeof evaluate !== 'function') {
        fail('threw', 'There is no function named "evaluate".');
        return;
      }
      const answer = evaluate(parse(input));
      if (answer !== null && (typeof answer === 'object' || typeof answer === 'function')) {
        then(settled(answer), succeed, failWith);
      } else succeed(answer);
    } catch (error) {
      failWith(error);
    }
  };
  return { state, run, log: () => log };
}
