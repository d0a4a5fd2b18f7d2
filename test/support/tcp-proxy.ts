/** A TCP proxy that can swallow bytes or cut its connections, to play a balancer that forgets them. */
import net from 'node:net';
import type { AddressInfo } from 'node:net';

export interface TcpProxy {
  /** `url` with the proxy's host and port. */
  url(url: string): string;
  /** While true, bytes of connections that exist go nowhere, in both directions, and nobody is told. New ones work. */
  swallow(existing: boolean): void;
  /** The same for connections that listen for Postgres notifications only. Returns how many there are. */
  swallowListeners(): number;
  /** Resets every connection. */
  cut(): void;
  /** While true, nobody gets through: connections are reset, new ones too. */
  refuse(all: boolean): void;
  readonly connections: number;
  close(): Promise<void>;
}

export async function createTcpProxy(target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const pairs = new Set<{ client: net.Socket; upstream: net.Socket; swallowed: boolean; listens: boolean }>();
  let refusing = false;
  const server = net.createServer((client) => {
    if (refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = net.connect(Number(port), hostname);
    const pair = { client, upstream, swallowed: false, listens: false };
    pairs.add(pair);
    client.on('data', (chunk: Buffer) => {
      pair.listens ||= /\blisten\s/i.test(chunk.toString('latin1'));
      if (!pair.swallowed) upstream.write(chunk);
    });
    upstream.on('data', (chunk) => pair.swallowed || client.write(chunk));
    for (const socket of [client, upstream]) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const own = (server.address() as AddressInfo).port;
  const cut = () => pairs.forEach(({ client }) => client.resetAndDestroy());
  return {
    url: (url) => Object.assign(new URL(url), { hostname: '127.0.0.1', port: String(own) }).href,
    swallow: (swallowed) => pairs.forEach((pair) => (pair.swallowed = swallowed)),
    swallowListeners: () => {
      const listeners = [...pairs].filter((pair) => pair.listens);
      for (const pair of listeners) pair.swallowed = true;
      return listeners.length;
    },
    cut,
    refuse: (all) => {
      refusing = all;
      if (all) cut();
    },
    get connections() {
      return pairs.size;
    },
    close: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
