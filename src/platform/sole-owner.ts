/**
 * One process per folder: a claim on a data directory that ends with its owner, however it ends. It is a socket
 * the owner listens on: who else comes finds it answering. A file with a process id would not do, because after a
 * crash the id may be another program's, in a container usually is.
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import os from 'node:os';
import path from 'node:path';

/** Socket paths end at 104 bytes on some systems. */
const MAX_SOCKET_PATH = 100;

export interface Claim {
  /** Whether the last owner left without releasing: it was killed, and what it started may still be running. */
  readonly inherited: boolean;
  /** Idempotent. */
  release(): Promise<void>;
}

/** Undefined where another living process has the folder, which must exist. */
export async function claimFolder(folder: string): Promise<Claim | undefined> {
  const address = socketFor(path.resolve(folder));
  let server = await listen(address);
  const inherited = server === undefined;
  if (server === undefined) {
    if (await answers(address)) return undefined;
    await rm(address, { force: true });
    server = await listen(address);
    if (server === undefined) return undefined;
  }
  const held = server;
  held.unref();
  return {
    inherited,
    release: () => new Promise((resolve) => held.close(() => resolve())),
  };
}

function socketFor(folder: string): string {
  const name = `tracewell-${createHash('sha256').update(folder).digest('hex').slice(0, 24)}`;
  if (process.platform === 'win32') return `\\\\.\\pipe\\${name}`;
  const inside = path.join(folder, 'owner.sock');
  return Buffer.byteLength(inside) <= MAX_SOCKET_PATH ? inside : path.join(os.tmpdir(), `${name}.sock`);
}

/** Undefined where the address is taken, by a living process or by the file a dead one left. */
async function listen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(address, () => resolve(server));
  });
}

async function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Anything else, such as a socket of another user, is no proof of death.
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}
