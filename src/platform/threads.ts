/**
 * A pool of threads for work that would hold the event loop. A module for it exports functions; what goes in and
 * out of them must be data (structured clone).
 */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Piscina } from 'piscina';

export interface ThreadsOptions {
  /** The module as seen from the caller: `new URL('./compare.thread.js', import.meta.url)`. */
  readonly module: URL;
  readonly threads: number;
  /** Tasks that may wait; above it `run` is refused. */
  readonly queue: number;
}

/** All threads are busy and as many tasks wait as may. */
export class ThreadsBusy extends Error {
  override readonly name = 'ThreadsBusy';
}

/** `Tasks`: what the module exports. */
export class Threads<Tasks extends Record<keyof Tasks, (input: never) => unknown>> {
  private readonly options: ThreadsOptions;
  private pool: Piscina | undefined;

  constructor(options: ThreadsOptions) {
    this.options = options;
  }

  /**
   * @throws ThreadsBusy when too much waits already, and what the function throws.
   */
  async run<Name extends keyof Tasks & string>(
    name: Name,
    input: Parameters<Tasks[Name]>[0],
    signal?: AbortSignal,
  ): Promise<ReturnType<Tasks[Name]>> {
    // Not before it is needed: most processes never do.
    this.pool ??= this.open();
    if (this.pool.queueSize >= this.options.queue) throw new ThreadsBusy('Too many tasks wait.');
    return (await this.pool.run(input, { name, signal: signal ?? null })) as ReturnType<Tasks[Name]>;
  }

  async close(): Promise<void> {
    await this.pool?.destroy();
  }

  private open(): Piscina {
    const { module, threads } = this.options;
    const isSource = import.meta.url.endsWith('.ts');
    return new Piscina({
      filename: isSource ? module.href.replace(/\.js$/, '.ts') : module.href,
      execArgv: isSource ? ['--import', typescriptLoader()] : [],
      minThreads: 0,
      maxThreads: threads,
      idleTimeout: 30_000,
      // Nothing of the environment is needed there.
      env: {},
    });
  }
}

/** In development and in tests there is only source, and tsx as an import does nothing in a thread unless asked. */
function typescriptLoader(): string {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx/package.json'));
  const api = new URL('dist/esm/api/index.mjs', tsx);
  const code = `import { register } from ${JSON.stringify(api.href)}; register();`;
  return `data:text/javascript,${encodeURIComponent(code)}`;
}
