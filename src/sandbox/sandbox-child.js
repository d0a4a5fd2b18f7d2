// @ts-check
/**
 * The process user code runs in, one evaluation at a time: an interpreter inside WebAssembly that is given no host
 * function at all. JavaScript, not TypeScript, so that tests and development start the very file that is shipped.
 *
 * It speaks with its parent only (sandbox.ts): a task comes in, an answer goes out. When the interpreter itself breaks,
 * the process ends and a new one takes its place.
 */
import { Worker } from 'node:worker_threads';
import variant from '@jitl/quickjs-wasmfile-release-sync';
import { newQuickJSWASMModuleFromVariant } from 'quickjs-emscripten-core';
import { prepareGuest } from './guest.js';

/**
 * @typedef {{ code: string, input: string, seed: number, now: number, timeoutMs: number,
 *   memoryBytes: number, stackBytes: number, maxAnswer: number, maxLog: number }} Task
 * @typedef {{ text?: string, stopped?: string, message?: string, log: string }} Reply
 */

const MAX_MESSAGE = 1_000;
const JOBS_AT_ONCE = 1_000;
const NOBODY = 65_534;

const quickjs = await newQuickJSWASMModuleFromVariant(/** @type {never} */ (variant));
// The first evaluation pays for compiling the interpreter: better nobody's.
evaluate({
  code: 'const evaluate = async ({ text }) => JSON.parse(JSON.stringify({ score: /a+/.test(text) }));',
  input: '{"text":"aaa"}',
  seed: 0,
  now: 0,
  timeoutMs: 5_000,
  memoryBytes: 16_777_216,
  stackBytes: 262_144,
  maxAnswer: 1_000,
  maxLog: 0,
});
// Everything that has to be read from disk was read.
const unprivileged = dropPrivileges();

// Some loops inside the interpreter cannot be interrupted. Should the parent die just then, nobody else would end them.
// Who that is is asked here: by the time the thread runs, the parent may be gone.
const watchdog = new Worker(
  `setInterval(() => process.ppid === ${process.ppid} || process.kill(process.pid, 'SIGKILL'), 500);`,
  { eval: true, resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 } },
);
watchdog.unref();

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const task = /** @type {Task} */ (message);
  const reply = evaluate(task);
  process.send?.(reply, () => {
    if (reply.stopped === 'crashed') process.exit(1);
  });
});
process.send?.({ ready: true, unprivileged });

/** Whether this process has no special rights. */
function dropPrivileges() {
  if (process.getuid?.() !== 0) return true;
  try {
    process.setgroups?.([]);
    process.setgid?.(NOBODY);
    process.setuid?.(NOBODY);
    return process.getuid() === NOBODY;
  } catch {
    return false;
  }
}

/** @param {Task} task @returns {Reply} */
function evaluate(task) {
  const runtime = quickjs.newRuntime();
  try {
    const deadline = deadlineOf(task.timeoutMs);
    runtime.setMemoryLimit(task.memoryBytes);
    runtime.setMaxStackSize(task.stackBytes);
    runtime.setInterruptHandler(deadline.passed);
    const reply = runIn(runtime, task, deadline);
    runtime.dispose();
    return reply;
  } catch (error) {
    // The heap of the interpreter is in no known state: nothing is freed, the process ends.
    return {
      stopped: 'crashed',
      message: `It broke the interpreter, as values that nest very deep do: ${error instanceof Error ? error.message : ''}`,
      log: '',
    };
  }
}

/**
 * Time on the clock, unless the machine gave this process less than half of it.
 * @param {number} timeoutMs
 */
function deadlineOf(timeoutMs) {
  const started = performance.now();
  const used = process.cpuUsage();
  let isOver = false;
  const passed = () => {
    if (isOver || performance.now() - started < timeoutMs) return isOver;
    const { user, system } = process.cpuUsage(used);
    isOver = (user + system) / 1_000 >= timeoutMs / 2;
    return isOver;
  };
  return { passed };
}

/**
 * @param {import('quickjs-emscripten-core').QuickJSRuntime} runtime
 * @param {Task} task
 * @param {{ passed: () => boolean }} deadline
 * @returns {Reply}
 */
function runIn(runtime, { code, input, seed, now, maxAnswer, maxLog }, deadline) {
  const context = runtime.newContext();
  /** @type {{ dispose: () => void }[]} */
  const handles = [context];
  /** @template {{ dispose: () => void }} T @param {T} handle @returns {T} */
  const own = (handle) => {
    handles.push(handle);
    return handle;
  };
  try {
    const settings = JSON.stringify({ seed, now, maxAnswer, maxLog, maxMessage: MAX_MESSAGE });
    const guest = own(
      context.unwrapResult(context.evalCode(`(${prepareGuest.toString()})(${settings})`, 'guest.js')),
    );
    const logOf = () => {
      const log = own(
        context.unwrapResult(context.callFunction(own(context.getProp(guest, 'log')), context.undefined)),
      );
      return context.getString(log);
    };
    const stopped = (/** @type {string} */ reason, /** @type {string} */ message) => ({
      stopped: reason,
      message,
      // The interrupted interpreter may run again: the list of lines needs no more than an instant.
      log: quietly(() => {
        runtime.removeInterruptHandler();
        return logOf();
      }),
    });
    const overtime = () => stopped('timeout', 'It did not end in time.');
    /** @param {import('quickjs-emscripten-core').QuickJSHandle} error */
    const failed = (error) => {
      own(error);
      const message = quietly(() => describe(context, error, own));
      if (/out of memory/.test(message)) return stopped('memory', 'It needs more memory than it may have.');
      return deadline.passed() ? overtime() : stopped('threw', message);
    };

    const loaded = context.evalCode(code, 'evaluator.js');
    if (loaded.error) return failed(loaded.error);
    own(loaded.value);
    const found = context.evalCode('typeof evaluate === "undefined" ? undefined : evaluate', 'lookup.js');
    if (found.error) return failed(found.error);
    const ran = context.callFunction(
      own(context.getProp(guest, 'run')),
      context.undefined,
      own(found.value),
      own(context.newString(input)),
    );
    if (ran.error) return failed(ran.error);
    own(ran.value);

    const state = own(context.getProp(guest, 'state'));
    const isDone = () => context.dump(own(context.getProp(state, 'done'))) === true;
    while (!isDone()) {
      if (deadline.passed()) return overtime();
      const jobs = runtime.executePendingJobs(JOBS_AT_ONCE);
      if (jobs.error) return failed(jobs.error);
      if (jobs.value === 0 && !isDone()) return stopped('threw', 'The promise it returned is never settled.');
    }
    const reason = context.getString(own(context.getProp(state, 'problem')));
    if (reason !== '') {
      const message = context.getString(own(context.getProp(state, 'message')));
      if (reason === 'memory') return stopped(reason, 'It needs more memory than it may have.');
      return deadline.passed() ? overtime() : stopped(reason, message);
    }
    return { text: context.getString(own(context.getProp(state, 'text'))), log: logOf() };
  } finally {
    for (const handle of handles.reverse()) handle.dispose();
  }
}

/**
 * "SyntaxError: unexpected token". The error is the user's: its properties may be getters that throw.
 * @param {import('quickjs-emscripten-core').QuickJSContext} context
 * @param {import('quickjs-emscripten-core').QuickJSHandle} error
 * @param {<T extends { dispose: () => void }>(handle: T) => T} own
 */
function describe(context, error, own) {
  const part = (/** @type {string} */ name) => context.getString(own(context.getProp(error, name)));
  if (context.typeof(error) !== 'object') return `It threw ${context.getString(error)}`.slice(0, MAX_MESSAGE);
  return `${part('name')}: ${part('message')}`.slice(0, MAX_MESSAGE);
}

/** @param {() => string} read */
function quietly(read) {
  try {
    return read();
  } catch {
    return '';
  }
}
