/** A gateway that only has subscriptions: the real schema, gate, keys and live part behind a port of its own. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient } from 'graphql-ws';
import type { Client, ClientOptions, FormattedExecutionResult } from 'graphql-ws';
import { Registry } from 'prom-client';
import { WebSocket } from 'ws';
import { ErrorPresenter } from '../../../src/graphql/errors.js';
import { OperationGate } from '../../../src/graphql/gate.js';
import { NodeResolver, NodeTypes } from '../../../src/graphql/node.resolver.js';
import { buildTracewellSchema } from '../../../src/graphql/schema.js';
import { LiveResolver } from '../../../src/live/live.resolver.js';
import { LiveRunStore } from '../../../src/live/live-run.store.js';
import { LiveService } from '../../../src/live/live.service.js';
import type { HubDeps } from '../../../src/live/hub.js';
import { SocketServer } from '../../../src/graphql/socket-server.js';
import type { SocketServerDeps } from '../../../src/graphql/socket-server.js';
import { systemIds } from '../../../src/platform/ids.js';
import { RunDayStore } from '../../../src/runs/run-day.store.js';
import { RunStore } from '../../../src/runs/run.store.js';
import type { TenancyWorld } from '../../tenancy/world.js';
import { doorbells, log, startNode } from './live-node.js';
import type { LiveNode } from './live-node.js';

export interface LiveGateway {
  readonly node: LiveNode;
  readonly sockets: SocketServer;
  readonly registry: Registry;
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

export interface GatewayOptions extends Partial<Pick<SocketServerDeps, 'limits' | 'allowedOrigins'>> {
  readonly hub?: Partial<Pick<HubDeps, 'limits' | 'patienceMs'>>;
  readonly port?: number;
}

export async function startGateway(
  tenancy: TenancyWorld,
  options: GatewayOptions = {},
): Promise<LiveGateway> {
  const { hub, port = 0, ...socketOptions } = options;
  const url = tenancy.database.url;
  const node = await startNode(url, doorbells.Postgres(url), {
    ...hub,
    runs: (db) =>
      new LiveRunStore({
        db,
        runs: new RunStore({ db }),
        days: new RunDayStore({ db }),
        search: { resolve: () => Promise.resolve(undefined) },
      }),
  });
  const resolvers = [
    new NodeResolver({ nodeTypes: new NodeTypes() }),
    new LiveResolver({ links: { presign: ({ name }) => `https://files.example/${name}` } }),
  ];
  const schema = buildTracewellSchema(resolvers, [NodeResolver, LiveResolver]);
  const registry = new Registry();
  const sockets = new SocketServer({
    schema,
    gate: new OperationGate({ schema }),
    presenter: new ErrorPresenter({ log, ids: systemIds }),
    authenticator: tenancy.authenticator(),
    live: new LiveService({ hub: node.hub, contentReads: { note: () => undefined } }),
    registry,
    clock: tenancy.clock,
    log,
    ...socketOptions,
  });
  const server = createServer((_request, response) => response.writeHead(404).end());
  sockets.attach(server);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const own = (server.address() as AddressInfo).port;
  return {
    node,
    sockets,
    registry,
    port: own,
    url: `ws://127.0.0.1:${own}/graphql`,
    close: async () => {
      await sockets.close();
      await new Promise((resolve) => server.close(resolve));
      await node.close();
    },
  };
}

export const connect = (url: string, key: string, options: Partial<ClientOptions> = {}): Client =>
  createClient({
    url,
    webSocketImpl: WebSocket,
    connectionParams: { 'X-Api-Key': key },
    retryAttempts: 0,
    ...options,
  });

export interface Events {
  /** `data` of the subscription's one field, Ready events left out. */
  readonly events: Record<string, unknown>[];
  readonly results: FormattedExecutionResult[];
  readonly errors: unknown[];
  readonly completed: () => boolean;
  /** The last cursor, Ready events included. */
  readonly cursor: () => string | undefined;
  stop(): void;
}

/** Subscribes and collects. With `resume`, a reconnecting client goes on behind the last cursor it saw. */
export function collect(
  client: Client,
  query: string,
  variables: Record<string, unknown> = {},
  { resume = false }: { resume?: boolean } = {},
): Events {
  const events: Record<string, unknown>[] = [];
  const results: FormattedExecutionResult[] = [];
  const errors: unknown[] = [];
  let completed = false;
  let cursor: string | undefined;
  // The client sends this object again when it reconnects, as it is by then.
  const current = { ...variables };
  const stop = client.subscribe<Record<string, Record<string, unknown>>>(
    { query, variables: current },
    {
      next: (result) => {
        results.push(result as FormattedExecutionResult);
        const [event] = Object.values(result.data ?? {});
        if (!event) return;
        if (typeof event['cursor'] === 'string') cursor = event['cursor'];
        if (resume && cursor !== undefined) current['after'] = cursor;
        if (event['__typename'] !== 'Ready') events.push(event);
      },
      error: (error) => errors.push(error),
      complete: () => {
        completed = true;
      },
    },
  );
  return { events, results, errors, completed: () => completed, cursor: () => cursor, stop };
}

export const RUN_EVENTS = /* GraphQL */ `
  subscription ($project: ID!, $where: RunWhereInput, $after: String) {
    runEvents(project: $project, where: $where, after: $after) {
      __typename
      ... on FeedEvent {
        cursor
      }
      ... on RunChange {
        run {
          id
          uuid
          name
          inputs
          revision
          contentVisible
        }
      }
      ... on FeedbackChanged {
        feedbackId
      }
      ... on RunDeleted {
        runId
        traceId
      }
      ... on Gap {
        from
        to
      }
    }
  }
`;
