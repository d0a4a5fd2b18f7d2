/**
 * Redis connections, to one server or to a cluster. Each kind of use has one of its own: a subscribed or blocked connection
 * can do nothing else.
 */
import { randomInt } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import type { RedisOptions } from 'ioredis';
import type { Logger } from './log.js';
import { parseClusterUrl } from './redis-url.js';
import type { ClusterAddress } from './redis-url.js';

export interface RedisConnectionOptions {
  readonly url: string;
  /** Shown in CLIENT LIST; fault tests pick their victims by it. */
  readonly name: string;
  readonly log: Logger;
}

export interface RedisNodeOptions extends RedisConnectionOptions {
  /**
   * commands: fails at once while the server is away, so that callers decide what that means.
   * subscriber: waits for the server and subscribes again; needs a PING now and then, or it is taken for dead.
   */
  readonly use: 'commands' | 'subscriber';
}

export interface RedisKeysOptions extends RedisConnectionOptions {
  /**
   * commands: as above.
   * jobs: waits without end, as BullMQ's blocking reads demand.
   */
  readonly use: 'commands' | 'jobs';
}

const USES = {
  commands: { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 5_000 },
  subscriber: { maxRetriesPerRequest: null, autoResubscribe: true },
  jobs: { maxRetriesPerRequest: null },
} satisfies Record<'commands' | 'subscriber' | 'jobs', RedisOptions>;

/** How a command is sent again while the cluster has no node for its key. */
const CLUSTER_USES = {
  commands: { enableOfflineQueue: false, maxRedirections: 5, retryDelayOnClusterDown: 0 },
  jobs: {
    maxRedirections: Infinity,
    retryDelayOnMoved: 50,
    retryDelayOnClusterDown: 500,
    retryDelayOnFailover: 500,
  },
};

/** A master that went silent is noticed by asking the others for the map of the cluster. */
const MAP_EVERY_MS = 10_000;
/** A node that is away is an error at every attempt. */
const NODE_TROUBLE_EVERY_MS = 5_000;

const backoff = (attempt: number): number => Math.min(100 * 2 ** Math.min(attempt, 6), 5_000);

const shared = (name: string) => ({
  connectionName: `tracewell-${name}`,
  connectTimeout: 2_000,
  // A half-open connection would never say goodbye.
  disconnectTimeout: 500,
  keepAlive: 10_000,
  retryStrategy: backoff,
});

const access = ({ username, password, tls }: ClusterAddress) => ({
  ...(username !== undefined && { username }),
  ...(password !== undefined && { password }),
  ...(tls && { tls: {} }),
});

/** For keys. Connects in the background and stays connected until `disconnect()` or `quit()`. */
export function createRedis(options: RedisKeysOptions): Redis | Cluster {
  const address = parseClusterUrl(options.url);
  if (address !== undefined) return createCluster(address, options);
  return watched(new Redis(options.url, { ...USES[options.use], ...shared(options.name) }), options);
}

/**
 * For publish/subscribe, which every node of a cluster passes on to every other: one connection, of a cluster to the next
 * node that was named, each time it has to connect again. A subscription of ioredis' cluster client has no PING, and asks for
 * a node without a pause while there is none.
 */
export function createRedisNode(options: RedisNodeOptions): Redis {
  const settings = { ...USES[options.use], ...shared(options.name) };
  const address = parseClusterUrl(options.url);
  if (address === undefined) return watched(new Redis(options.url, settings), options);
  let turn = randomInt(address.nodes.length);
  const redis: Redis = new Redis({
    ...settings,
    ...access(address),
    ...address.nodes[turn],
    retryStrategy: (attempt) => {
      turn = (turn + 1) % address.nodes.length;
      // Read anew for each connection.
      Object.assign(redis.options, address.nodes[turn]);
      return backoff(attempt);
    },
  });
  return watched(redis, options);
}

function createCluster(address: ClusterAddress, { use, name, log }: RedisKeysOptions): Cluster {
  const cluster = new Cluster([...address.nodes], {
    ...CLUSTER_USES[use],
    clusterRetryStrategy: backoff,
    // Otherwise a connection made while a node is down waits for a state that it does not ask for again; commands say
    // themselves what the state is.
    enableReadyCheck: false,
    slotsRefreshTimeout: 2_000,
    // Names stay names, as certificates have them.
    dnsLookup: (host, callback) => callback(null, host),
    redisOptions: { ...USES[use], ...shared(name), ...access(address) },
  });
  const refresh = setInterval(() => {
    if (cluster.status === 'ready') cluster.refreshSlotsCache();
  }, MAP_EVERY_MS);
  refresh.unref();
  cluster.once('end', () => clearInterval(refresh));
  let saidAt = -Infinity;
  cluster.on('node error', (error: Error, node: string) => {
    if (performance.now() - saidAt < NODE_TROUBLE_EVERY_MS) return;
    saidAt = performance.now();
    log.warn({ err: error, redis: name, node }, 'redis node trouble');
  });
  return watched(cluster, { name, log });
}

function watched<T extends Redis | Cluster>(redis: T, { name, log }: { name: string; log: Logger }): T {
  redis.on('error', (error: Error) => log.warn({ err: error, redis: name }, 'redis connection trouble'));
  return redis;
}
