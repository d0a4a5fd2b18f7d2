/** Writes schema.graphql (`--write`) or fails when it is not what the code says (`--check`). */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { printTracewellSchema } from '../src/graphql/schema.js';

const file = fileURLToPath(new URL('../schema.graphql', import.meta.url));
const mode = process.argv[2];
const printed = printTracewellSchema();

if (mode === '--write') {
  writeFileSync(file, printed);
} else if (mode === '--check') {
  if (readFileSync(file, 'utf8') !== printed) {
    process.stderr.write('schema.graphql is stale: run "npm run schema" and commit the difference.\n');
    process.exitCode = 1;
  }
} else {
  process.stderr.write('usage: print-schema.ts --write | --check\n');
  process.exitCode = 64;
}
