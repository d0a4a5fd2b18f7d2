#!/usr/bin/env node
// The command line in a checkout, `npx tracewell …`: compiles first where nothing is compiled yet, so that npm finds
// the command before the first start, too.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const main = path.join(root, 'dist/src/cli/main.js');
if (!existsSync(main)) {
  const { build } = await import('./build.mjs');
  await build();
}
await import(pathToFileURL(main).href);
