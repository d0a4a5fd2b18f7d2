/**
 * Gives up connections that do not answer: a half-open one would otherwise be waited for without end. The driver's own
 * `query_timeout` does the same with a timer per query, whose closure keeps the query and all its rows until the old
 * generation is collected: a gateway that served lists spent a third of its processor time on moving dead rows about.
 */
import type pg from 'pg';

/** The driver's client as it is inside. It is pinned, and test/platform/query-watch.test.ts holds it. */
interface WatchedClient {
  readonly _activeQuery?: object | null;
  readonly connection: { readonly stream: { destroy(error: Error): void } };
}

const LOOKS_PER_TIMEOUT = 10;

/**
 * Destroys a connection of the pool once a query of it has run for `timeoutMs`, a tenth more at most. Its query fails
 * with "Query read timeout", and the pool makes another connection.
 */
export function watchQueries(pool: pg.Pool, timeoutMs: number): void {
  const running = new Map<WatchedClient, { query: object | undefined; sinceMs: number }>();
  const look = (): void => {
    const nowMs = performance.now();
    for (const [client, seen] of running) {
      const query = client._activeQuery ?? undefined;
      if (query === undefined || query !== seen.query) {
        seen.query = query;
        seen.sinceMs = nowMs;
      } else if (nowMs - seen.sinceMs >= timeoutMs) {
        client.connection.stream.destroy(new Error('Query read timeout'));
      }
    }
  };
  let timer: NodeJS.Timeout | undefined;
  pool.on('connect', (client) => {
    running.set(client, { query: undefined, sinceMs: 0 });
    timer ??= setInterval(look, timeoutMs / LOOKS_PER_TIMEOUT).unref();
  });
  pool.on('remove', (client) => {
    running.delete(client);
    if (running.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  });
}
