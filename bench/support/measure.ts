/** Timing: alternating rounds, medians, ratios taken round by round so that a machine whose speed drifts harms neither side. */
import { Agent, request } from 'node:http';

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** One request; resolves with status and body once the body has arrived. */
export function send(
  url: string,
  options: { method: string; headers?: Record<string, string>; body?: Buffer },
): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const req = request(
      url,
      {
        agent,
        method: options.method,
        headers: { ...options.headers, 'content-length': options.body?.length ?? 0 },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
        response.on('error', reject);
      },
    );
    req.on('error', reject);
    req.end(options.body);
  });
}

/** Runs `count` calls of `work`, `parallel` at a time; seconds it took and each call's milliseconds. */
export async function drive(
  count: number,
  parallel: number,
  work: (index: number) => Promise<void>,
): Promise<{ seconds: number; ms: number[] }> {
  const ms: number[] = [];
  let next = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (next < count) {
        const index = next++;
        const begun = performance.now();
        await work(index);
        ms.push(performance.now() - begun);
      }
    }),
  );
  return { seconds: (performance.now() - started) / 1_000, ms };
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export interface Comparison {
  readonly name: string;
  /** What the ratio should reach; `at most` for times. */
  readonly goal: string;
  readonly met: (ratio: number) => boolean;
  /** One figure per round, taken in turn. */
  readonly ours: number[];
  readonly baseline: number[];
  readonly unit: string;
}

/** Prints one row of docs/performance.md. */
export function report(comparison: Comparison): void {
  const ratios = comparison.ours.map((value, round) => value / (comparison.baseline[round] ?? Number.NaN));
  const ratio = median(ratios);
  const shown = (values: readonly number[]): string => {
    const figure = median(values);
    return figure >= 100 ? Math.round(figure).toLocaleString('en') : figure.toFixed(2);
  };
  const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`;
  const verdict = comparison.met(ratio) ? 'met' : 'MISSED';
  process.stdout.write(
    `| ${comparison.name} | ${shown(comparison.ours)} ${comparison.unit} | ${shown(comparison.baseline)} ${comparison.unit} | ${ratio.toFixed(2)} (${range}) | ${comparison.goal} | ${verdict} |\n`,
  );
}

export const HEADER = '| promise | ours | baseline | ratio (min–max) | goal | |\n|---|---|---|---|---|---|\n';
