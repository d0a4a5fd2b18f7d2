/**
 * Promise: durable, idempotent batch intake over HTTP reaches 0.7 of a bare server that parses the same batch and
 * COPYs it with the same durability. Batches of 100 runs, 8 requests in flight, both servers on one machine.
 */
import { send, drive, HEADER, report } from './support/measure.js';
import { wireRun } from './support/runs.js';
import type { Size } from './support/runs.js';
import { API_KEY, startSystem } from './support/system.js';
import type { BenchProcess } from './support/system.js';

const ROUNDS = 5;
const RUNS_PER_BATCH = 100;
const BATCHES: Record<Size, number> = { big: 80, small: 160 };

const system = await startSystem();
try {
  const gateway = await system.gateway();
  const bare = await system.baseline('ingest-server.ts');
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };

  /** Processor microseconds per run; unlike the times, next to independent of who else uses the machine. */
  const cpu = new Map<BenchProcess, { own: number; postgres: number; runs: number }>();
  const window = async (server: BenchProcess, size: Size): Promise<number> => {
    const bodies = Array.from({ length: BATCHES[size] }, () =>
      Buffer.from(
        JSON.stringify({ post: Array.from({ length: RUNS_PER_BATCH }, () => wireRun(size)), patch: [] }),
      ),
    );
    const before = system.cpuSeconds(server);
    const { seconds } = await drive(bodies.length, 8, async (index) => {
      const { status, body } = await send(`${server.url}/runs/batch`, {
        method: 'POST',
        headers,
        body: bodies[index]!,
      });
      if (status !== 202) throw new Error(`${status} ${body.toString().slice(0, 500)}`);
    });
    const after = system.cpuSeconds(server);
    const runs = bodies.length * RUNS_PER_BATCH;
    const sum = cpu.get(server) ?? { own: 0, postgres: 0, runs: 0 };
    cpu.set(server, {
      own: sum.own + after.own - before.own,
      postgres: sum.postgres + after.postgres - before.postgres,
      runs: sum.runs + runs,
    });
    return runs / seconds;
  };
  const cpuPerRun = (server: BenchProcess): string => {
    const { own, postgres, runs } = cpu.get(server) ?? { own: 0, postgres: 0, runs: 1 };
    return `server ${((own / runs) * 1e6).toFixed(0)} µs + Postgres ${((postgres / runs) * 1e6).toFixed(0)} µs`;
  };

  process.stdout.write(HEADER);
  for (const size of ['big', 'small'] as const) {
    await window(gateway, size);
    await window(bare, size);
    cpu.clear();
    const ours: number[] = [];
    const baseline: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      ours.push(await window(gateway, size));
      baseline.push(await window(bare, size));
    }
    report({
      name: `batch intake over HTTP, ${size} runs`,
      unit: 'runs/s',
      goal: '≥ 0.70',
      met: (ratio) => ratio >= 0.7,
      ours,
      baseline,
    });
    process.stdout.write(`| CPU per run, ${size} | ${cpuPerRun(gateway)} | ${cpuPerRun(bare)} | | | |\n`);
  }
} finally {
  await system.stop();
}
