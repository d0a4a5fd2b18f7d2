/**
 * A child process that is kept alive: started again when it ends by itself, stopped in order when asked. Parent and
 * child share a channel on which nothing is said: its end tells the child that the parent is gone (see lifecycle.ts).
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Logger } from './log.js';

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5_000;
/** A child that lived this long starts with the shortest delay again. */
const HEALTHY_AFTER_MS = 10_000;

export interface KeptProcessOptions {
  readonly name: string;
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
  /** Flags of the runtime. Default: the parent's, so that both run from sources or both from the build. */
  readonly execArgv?: readonly string[];
  readonly log: Logger;
  /** Before a child that keeps ending is started again; the first time it is 100 ms. Default: 5,000. */
  readonly longestDelayMs?: number;
  /** Exit codes after which starting again is pointless; reported instead. */
  readonly fatalCodes: readonly number[];
  readonly onFatal: (code: number) => void;
}

export class KeptProcess {
  readonly #options: KeptProcessOptions;
  #child: ChildProcess | undefined;
  #stopping = false;
  #delayMs = FIRST_DELAY_MS;
  #restart: NodeJS.Timeout | undefined;

  constructor(options: KeptProcessOptions) {
    this.#options = options;
    this.#start();
  }

  /** The running child's process id. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Signals the child and waits for its end. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      child.once('close', () => resolve());
      child.kill('SIGTERM');
    });
  }

  #start(): void {
    const { name, file, env, log, fatalCodes, onFatal, execArgv = process.execArgv } = this.#options;
    const { longestDelayMs = LONGEST_DELAY_MS } = this.#options;
    const started = performance.now();
    const child = spawn(process.execPath, [...execArgv, file], {
      env,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Ctrl-C in a terminal reaches the whole group; the parent stops its children one after the other.
      detached: true,
    });
    this.#child = child;
    child.once('error', (error) => log.error({ err: error, child: name }, 'could not be started'));
    child.once('close', (code, signal) => {
      if (this.#stopping) return;
      if (code !== null && fatalCodes.includes(code)) return onFatal(code);
      if (performance.now() - started > HEALTHY_AFTER_MS) this.#delayMs = FIRST_DELAY_MS;
      log.warn({ child: name, code, signal, delayMs: this.#delayMs }, 'ended by itself and is started again');
      this.#restart = setTimeout(() => this.#start(), this.#delayMs);
      this.#delayMs = Math.min(this.#delayMs * 2, longestDelayMs);
    });
  }
}
