/**
 * Runs JavaScript of strangers. Three walls: an interpreter in WebAssembly without a single host function, limits on
 * time and memory inside it, and around it a process without environment, files and rights that is killed when it
 * does not answer. What one evaluation does is gone before the next begins.
 *
 *   run ─▶ queue (bounded, workspaces take turns) ─▶ idle child ─▶ answer, or a reason
 *                                                    │ no answer after twice the deadline ─▶ killed, replaced
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../platform/log.js';
import { FairQueue } from './fair-queue.js';

export interface SandboxLimits {
  readonly timeoutMs: number;
  readonly memoryBytes: number;
  readonly stackBytes: number;
  /** Of the input as JSON text, in UTF-8. */
  readonly maxInputBytes: number;
  /** Of the answer as JSON text, in characters. */
  readonly maxAnswer: number;
  /** Of what is printed, in characters. */
  readonly maxLog: number;
}

export const SANDBOX_LIMITS: SandboxLimits = {
  timeoutMs: 500,
  memoryBytes: 64 * 1024 * 1024,
  stackBytes: 256 * 1024,
  maxInputBytes: 1024 * 1024,
  maxAnswer: 65_536,
  maxLog: 4_000,
};

export interface SandboxTask {
  /** Whose it is, such as a workspace: owners take turns. */
  readonly owner: string;
  /** A script that declares a function `evaluate`. */
  readonly code: string;
  /** JSON text of the function's argument. */
  readonly input: string;
  /** Of Math.random. */
  readonly seed: number;
  /** What the clock shows, milliseconds since the epoch. It stands still. */
  readonly now: number;
}

/**
 * timeout, memory: a limit was met. threw: the code failed. answer: what came back cannot be passed on. input: it is too
 * large. crashed: the interpreter broke. killed: no answer at all. busy: too much waits already. unavailable: no process
 * can be started.
 */
export type StopReason =
  'timeout' | 'memory' | 'threw' | 'answer' | 'input' | 'crashed' | 'killed' | 'busy' | 'unavailable';

export type SandboxOutcome =
  | { readonly kind: 'answered'; /** JSON. */ readonly text: string; readonly log: string }
  | {
      readonly kind: 'stopped';
      readonly reason: StopReason;
      readonly message: string;
      readonly log: string;
    };

export interface SandboxOptions {
  readonly log: Logger;
  /** Evaluations at a time. */
  readonly processes: number;
  /** Evaluations that may wait. Default 1,000. */
  readonly queue?: number;
  readonly limits?: Partial<SandboxLimits>;
  /** Children that have had nothing to do for so long are stopped. Default a minute. */
  readonly idleMs?: number;
}

interface Waiting {
  readonly owner: string;
  readonly task: SandboxTask;
  readonly finish: (outcome: SandboxOutcome) => void;
}

interface Child {
  readonly process: ChildProcess;
  state: 'starting' | 'idle' | 'busy' | 'ended';
  current: Waiting | undefined;
  /** Of the start, then of each task. */
  timer: NodeJS.Timeout | undefined;
  served: number;
}

interface Reply {
  readonly text?: string;
  readonly stopped?: StopReason;
  readonly message?: string;
  readonly log: string;
}

const CHILD = fileURLToPath(new URL('sandbox-child.js', import.meta.url));
const START_TIMEOUT_MS = 30_000;
/** Deadlines a child that gets no processor is waited for. */
const LONGEST_WAIT = 20;
const CLOCK_TICK_MS = 10;
/** After so many evaluations a child is replaced: a slow leak in the interpreter has no time to matter. */
const MAX_SERVED = 1_000;
/** Starts that may fail in a row before those who wait are told. */
const MAX_FAILED_STARTS = 3;

export class Sandbox {
  readonly limits: SandboxLimits;
  readonly #log: Logger;
  readonly #processes: number;
  readonly #idleMs: number;
  readonly #children = new Set<Child>();
  readonly #queue: FairQueue<Waiting>;
  #folder: string | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #failedStarts = 0;
  #closed = false;

  constructor(options: SandboxOptions) {
    this.limits = { ...SANDBOX_LIMITS, ...options.limits };
    this.#log = options.log;
    this.#processes = options.processes;
    this.#queue = new FairQueue(options.queue ?? 1_000);
    this.#idleMs = options.idleMs ?? 60_000;
  }

  /** Process ids of the children, for whoever watches them. */
  get pids(): readonly number[] {
    return [...this.#children].flatMap(({ process: { pid } }) => pid ?? []);
  }

  /**
   * Never rejects for what the code does. The first call starts the children.
   * @throws the signal's reason when it is aborted; what runs by then runs to its end for nothing.
   */
  async run(task: SandboxTask, signal?: AbortSignal): Promise<SandboxOutcome> {
    signal?.throwIfAborted();
    const { maxInputBytes } = this.limits;
    const bytes = Buffer.byteLength(task.input);
    if (bytes > maxInputBytes) {
      return stopped('input', `The input has ${bytes} bytes as JSON; ${maxInputBytes} are the most.`);
    }
    if (this.#closed) return stopped('unavailable', 'The sandbox is closed.');
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        owner: task.owner,
        task,
        finish: (outcome) => {
          signal?.removeEventListener('abort', give);
          resolve(outcome);
        },
      };
      const give = (): void => {
        this.#queue.remove(waiting);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', give, { once: true });
      this.#queue
        .push(waiting)
        ?.finish(stopped('busy', 'Too many evaluations wait for the sandbox already.'));
      this.#dispatch();
    });
  }

  /** Kills what runs; those who wait are told. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    for (const { finish } of this.#queue.drain()) finish(stopped('unavailable', 'The sandbox is closed.'));
    await Promise.all([...this.#children].map((child) => end(child)));
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  #dispatch(): void {
    clearTimeout(this.#idleTimer);
    for (const child of this.#children) {
      if (child.state !== 'idle') continue;
      const waiting = this.#queue.shift();
      if (waiting === undefined) break;
      this.#give(child, waiting);
    }
    // All of them at once: whoever sends one evaluation mostly sends many, and a killed child must leave one behind.
    while (!this.#closed && this.#queue.length > 0 && this.#children.size < this.#processes) this.#start();
    if ([...this.#children].every(({ state }) => state === 'idle')) this.#stopWhenIdle();
  }

  #give(child: Child, waiting: Waiting): void {
    const { timeoutMs, memoryBytes, stackBytes, maxAnswer, maxLog } = this.limits;
    child.state = 'busy';
    child.current = waiting;
    child.served += 1;
    this.#killAfter(child, 2 * timeoutMs, performance.now());
    const { code, input, seed, now } = waiting.task;
    child.process.send({
      code,
      input,
      seed,
      now,
      timeoutMs,
      memoryBytes,
      stackBytes,
      maxAnswer,
      maxLog,
    });
  }

  /**
   * Kills a child that does not answer. One that was hardly given the processor is let be for a while: it is the
   * machine that is slow, not the code.
   */
  #killAfter(child: Child, waitMs: number, since: number): void {
    const { timeoutMs } = this.limits;
    const usedBefore = cpuMs(child.process.pid);
    child.timer = setTimeout(() => {
      const elapsedMs = performance.now() - since;
      const used = cpuMs(child.process.pid);
      const isStarved = used !== undefined && usedBefore !== undefined && used - usedBefore < waitMs / 2;
      if (isStarved && elapsedMs < LONGEST_WAIT * timeoutMs) {
        this.#killAfter(child, timeoutMs, since);
        return;
      }
      const message = `It did not end in time and was killed after ${Math.round(elapsedMs)} ms.`;
      this.#settle(child, stopped('killed', message));
      child.process.kill('SIGKILL');
    }, waitMs);
  }

  #settle(child: Child, outcome: SandboxOutcome): void {
    clearTimeout(child.timer);
    const waiting = child.current;
    child.current = undefined;
    waiting?.finish(outcome);
  }

  #start(): void {
    this.#folder ??= mkdtempSync(path.join(tmpdir(), 'tracewell-sandbox-'));
    const started = spawn(process.execPath, [...flags(), CHILD], {
      cwd: this.#folder,
      // Nothing but the zone: what a date prints must not depend on the machine.
      env: { TZ: 'UTC' },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const child: Child = {
      process: started,
      state: 'starting',
      current: undefined,
      timer: undefined,
      served: 0,
    };
    this.#children.add(child);
    child.timer = setTimeout(() => started.kill('SIGKILL'), START_TIMEOUT_MS);
    started.on('message', (message) => this.#hear(child, message));
    started.once('error', (error) => {
      this.#log.error({ err: error }, 'a sandbox process could not be started');
      this.#gone(child);
    });
    started.once('exit', () => this.#gone(child));
  }

  #hear(child: Child, message: unknown): void {
    if (typeof message !== 'object' || message === null || child.state === 'ended') return;
    if (child.state === 'starting') {
      if ('unprivileged' in message && message.unprivileged !== true) {
        this.#log.warn('a sandbox process could not give up the rights of root');
      }
      clearTimeout(child.timer);
      this.#failedStarts = 0;
      child.state = 'idle';
      this.#dispatch();
      return;
    }
    // A child that is being killed may still answer.
    if (child.current === undefined) return;
    const reply = message as Reply;
    this.#settle(child, toOutcome(reply));
    if (reply.stopped === 'crashed' || child.served >= MAX_SERVED) {
      child.process.kill('SIGKILL');
      return;
    }
    child.state = 'idle';
    this.#dispatch();
  }

  #gone(child: Child): void {
    if (!this.#children.delete(child)) return;
    const hadStarted = child.state !== 'starting';
    child.state = 'ended';
    clearTimeout(child.timer);
    this.#settle(child, stopped('crashed', 'The process it ran in ended.'));
    if (this.#closed) return;
    if (!hadStarted) this.#failedStarts += 1;
    if (this.#failedStarts >= MAX_FAILED_STARTS) {
      this.#failedStarts = 0;
      this.#log.error('sandbox processes do not start');
      for (const { finish } of this.#queue.drain()) {
        finish(stopped('unavailable', 'The sandbox cannot be started.'));
      }
      return;
    }
    // The others may all be busy, and the next evaluation must not wait for a start.
    if (hadStarted && this.#children.size < this.#processes) this.#start();
    this.#dispatch();
  }

  #stopWhenIdle(): void {
    clearTimeout(this.#idleTimer);
    if (this.#children.size === 0) return;
    this.#idleTimer = setTimeout(() => {
      for (const child of this.#children) {
        this.#children.delete(child);
        void end(child);
      }
    }, this.#idleMs);
    this.#idleTimer.unref();
  }
}

const stopped = (reason: StopReason, message: string, log = ''): SandboxOutcome => ({
  kind: 'stopped',
  reason,
  message,
  log,
});

function toOutcome({ text, stopped: reason, message, log }: Reply): SandboxOutcome {
  if (text !== undefined) return { kind: 'answered', text, log };
  return stopped(reason ?? 'crashed', message ?? '', log);
}

function flags(): string[] {
  const common = ['--max-old-space-size=128', '--disallow-code-generation-from-strings', '--no-addons'];
  if (!process.allowedNodeEnvironmentFlags.has('--permission')) return common;
  // It reads its own modules while it starts. The thread is its watchdog.
  const readable = [path.dirname(CHILD), ...packageFolders()].map((folder) => `--allow-fs-read=${folder}/*`);
  return [...common, '--permission', '--allow-worker', ...readable];
}

/** Where the interpreter's packages are looked for, and where they really are: either may be a link. */
function packageFolders(): string[] {
  const folders: string[] = [];
  for (let folder = path.dirname(CHILD); ; folder = path.dirname(folder)) {
    folders.push(path.join(folder, 'node_modules'));
    if (folder === path.dirname(folder)) break;
  }
  const file = fileURLToPath(import.meta.resolve('quickjs-emscripten-core'));
  const marker = `${path.sep}node_modules${path.sep}`;
  return [...new Set([...folders, file.slice(0, file.indexOf(marker) + marker.length - 1)])];
}

/** Processor time a process has had; undefined where the system does not tell. */
function cpuMs(pid: number | undefined): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid ?? ''}/stat`, 'latin1');
    // The name of the program comes before and may hold anything.
    const [user, system] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 13)
      .map(Number);
    return ((user ?? 0) + (system ?? 0)) * CLOCK_TICK_MS;
  } catch {
    return undefined;
  }
}

async function end(child: Child): Promise<void> {
  const { process: ending } = child;
  if (ending.exitCode !== null || ending.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    ending.once('exit', () => resolve());
    ending.once('error', () => resolve());
    ending.kill('SIGKILL');
  });
}
