// Compiles what is needed to run: the Prisma client, the filter parser and the TypeScript sources. Does nothing
// when nothing changed since the last time, so that a restart is quick. `--generate-only` stops before tsc.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

async function filesBelow(folder) {
  const entries = await readdir(path.join(root, folder), { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
}

async function digest(files) {
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(path.relative(root, file)).update(await readFile(file));
  return hash.digest('hex');
}

function run(args, env = {}) {
  const { status, stdout } = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  if (status === 0) return;
  // The compiler reports on its standard output.
  process.stderr.write(stdout);
  throw new Error(`${args[0]} failed with ${status}`);
}

/** Runs `step` unless the digest of its inputs is the one of the last run and its output is there. */
async function unlessFresh(name, inputs, output, step) {
  const stampFile = path.join(root, 'dist', `.${name}.stamp`);
  const stamp = await digest(inputs);
  const last = await readFile(stampFile, 'utf8').catch(() => '');
  if (last === stamp && existsSync(path.join(root, output))) return;
  await step();
  await mkdir(path.dirname(stampFile), { recursive: true });
  await writeFile(stampFile, stamp);
}

export async function generate() {
  const schema = [path.join(root, 'prisma/schema.prisma'), path.join(root, 'prisma/prisma.config.ts')];
  await unlessFresh('prisma', schema, 'src/generated/prisma/client.ts', () => {
    // Generation is WebAssembly; naming any executable as the schema engine keeps the tool from downloading one.
    run(['node_modules/prisma/build/index.js', 'generate', '--config', 'prisma/prisma.config.ts'], {
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
    });
  });
  const grammar = 'src/filters/filter.peggy';
  if (existsSync(path.join(root, grammar))) {
    await unlessFresh('grammar', [path.join(root, grammar)], 'src/generated/filter-parser.js', async () => {
      await mkdir(path.join(root, 'src/generated'), { recursive: true });
      run([
        'node_modules/peggy/bin/peggy.js',
        '--format',
        'es',
        '--dts',
        '-o',
        'src/generated/filter-parser.js',
        grammar,
      ]);
    });
  }
}

export async function build() {
  await generate();
  const sources = [
    ...(await filesBelow('src')),
    ...(await filesBelow('workers')),
    path.join(root, 'tsconfig.build.json'),
  ];
  await unlessFresh('compile', sources, 'dist/src/config.js', () =>
    run(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await (process.argv.includes('--generate-only') ? generate() : build());
}
