/**
 * How many connections one address may hold open, before anything is read from them: a client that opens thousands and
 * says nothing takes none of the others' place. Behind a balancer every connection is the balancer's: those of trusted
 * proxies are not counted, since nothing says yet whose they are.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { RETRY_AFTER_SECONDS } from '../platform/errors.js';
import type { Trust } from '../platform/network.js';

type Accept = (this: Server, socket: Socket) => void;

/** What a refused client gets to read its answer. */
const FAREWELL_MS = 1_000;
const ANSWER = `HTTP/1.1 503 Service Unavailable\r\nRetry-After: ${RETRY_AFTER_SECONDS}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;

export interface ConnectionLimit {
  readonly perAddress: number;
  readonly isExempt: Trust;
  readonly onRefused: () => void;
}

/** Call before the server listens and before anybody else listens for its connections. */
export function limitConnections(server: Server, { perAddress, isExempt, onRefused }: ConnectionLimit): void {
  const open = new Map<string, number>();
  // In the place of the server's own listeners, not before them: they would read requests from what is refused.
  const accept = server.listeners('connection') as Accept[];
  server.removeAllListeners('connection');
  server.on('connection', (socket) => {
    const { remoteAddress = '' } = socket;
    const address = addressGroup(remoteAddress);
    const before = open.get(address) ?? 0;
    if (before >= perAddress && !isExempt(remoteAddress)) {
      onRefused();
      refuse(socket);
      return;
    }
    open.set(address, before + 1);
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1;
      if (left === 0) open.delete(address);
      else open.set(address, left);
    });
    for (const listener of accept) listener.call(server, socket);
  });
}

/** What was sent is read and thrown away: a reset on top of the answer would destroy it. */
function refuse(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.resume();
  socket.end(ANSWER);
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}

/** One customer's IPv6 addresses are a /64; IPv4 counts the same when mapped into IPv6. Takes addresses as Node writes them. */
export function addressGroup(address: string): string {
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  const [left = '', right] = address.split('::');
  const groupsOf = (text: string): string[] => text.split(':').filter((group) => group !== '');
  const [head, tail] = [groupsOf(left), groupsOf(right ?? '')];
  const zeros = Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0');
  return [...head, ...zeros, ...tail].slice(0, 4).join(':');
}
