/**
 * Promise: durable, idempotent batch intake over HTTP reaches 0.7 of a bare server that parses the same batch and
 * COPYs it with the same durability. Batches of 100 runs, 8 requests in flight, both servers on one machine.
 */
import { send, drive, HEADER, report } from './support/measure.js';
import { wireRun } from './support/runs.js';
import type { Size } from './support/runs.js';
import { API_KEY, startSystem } from './support/system.js';

const ROUNDS = 5;
const RUNS_PER_BATCH = 100;
const BATCHES: Record<Size, number> = { big: 80, small: 160 };

const system = await startSystem();
try {
  const gateway = await system.gateway();
  const bare = await system.baseline('ingest-server.ts');
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };

  const window = async (url: string, size: Size): Promise<number> => {
    const bodies = Array.from({ length: BATCHES[size] }, () =>
      Buffer.from(
        JSON.stringify({ post: Array.from({ length: RUNS_PER_BATCH }, () => wireRun(size)), patch: [] }),
      ),
    );
    const { seconds } = await drive(bodies.length, 8, async (index) => {
      const { status, body } = await send(`${url}/runs/batch`, {
        method: 'POST',
        headers,
        body: bodies[index]!,
      });
      if (status !== 202) throw new Error(`${status} ${body.toString().slice(0, 500)}`);
    });
    return (bodies.length * RUNS_PER_BATCH) / seconds;
  };

  process.stdout.write(HEADER);
  for (const size of ['big', 'small'] as const) {
    await window(gateway.url, size);
    await window(bare.url, size);
    const ours: number[] = [];
    const baseline: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      ours.push(await window(gateway.url, size));
      baseline.push(await window(bare.url, size));
    }
    report({
      name: `batch intake over HTTP, ${size} runs`,
      unit: 'runs/s',
      goal: '≥ 0.70',
      met: (ratio) => ratio >= 0.7,
      ours,
      baseline,
    });
  }
} finally {
  await system.stop();
}
