/** The whole product as a user has it: a gateway and a worker process from the build, on a database of its own. */
import { Client } from 'langsmith';
import { createTestDatabase } from '../support/database.js';
import { API_KEY, installOn, startGateway, startWorker } from '../support/processes.js';

export type Engine = 'postgres' | 'redis';

export const ENGINES: readonly Engine[] =
  process.env['TEST_REDIS_URL'] === undefined ? ['postgres'] : ['postgres', 'redis'];

/** A Redis database only this file uses. */
function ownRedis(engine: Engine): string | undefined {
  if (engine === 'postgres') return undefined;
  const url = new URL(process.env['TEST_REDIS_URL'] ?? '');
  url.pathname = '/31';
  return url.href;
}

export interface Product {
  readonly url: string;
  readonly workspaceId: string;
  client(): Client;
  /** @throws Error with the first message where the answer has errors. */
  query<Data>(query: string, variables?: Readonly<Record<string, unknown>>): Promise<Data>;
  close(): Promise<void>;
}

export async function startProduct(
  engine: Engine = 'postgres',
  env: Readonly<Record<string, string>> = {},
): Promise<Product> {
  const database = await createTestDatabase();
  const { workspaceId } = await installOn(database.url);
  const redisUrl = ownRedis(engine);
  const options = {
    databaseUrl: database.url,
    redisUrl,
    env: { ...env, ...(redisUrl !== undefined && { ALLOW_VOLATILE_REDIS: 'true' }) },
  };
  const [gateway, worker] = await Promise.all([startGateway(options), startWorker(options)]);
  return {
    url: gateway.url,
    workspaceId,
    client: () => new Client({ apiUrl: gateway.url, apiKey: API_KEY, callerOptions: { maxRetries: 2 } }),
    query: async <Data>(query: string, variables: Readonly<Record<string, unknown>> = {}): Promise<Data> => {
      const response = await fetch(`${gateway.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
        body: JSON.stringify({ query, variables }),
      });
      const { data, errors } = (await response.json()) as { data?: Data; errors?: { message: string }[] };
      if (errors?.[0] !== undefined || data === undefined) {
        throw new Error(errors?.[0]?.message ?? `HTTP ${response.status}`);
      }
      return data;
    },
    close: async () => {
      await Promise.all([gateway.stop(), worker.stop()]);
      await database.drop();
    },
  };
}
