// Runs the benchmarks one after the other, each in a process of its own, and prints the rows of
// docs/performance.md. `npm run bench -- ingest` runs those whose name contains the word.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { build } from './build.mjs';

await build();
const wanted = process.argv[2] ?? '';
const files = readdirSync('bench').filter((name) => name.endsWith('.bench.ts') && name.includes(wanted));
let failed = 0;
for (const file of files) {
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', `bench/${file}`], { stdio: 'inherit' });
  if (status !== 0) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
