/**
 * Runs sent to gateways that are processes, the events subscribers must get for them, and what holding those costs.
 */
import { readFile } from 'node:fs/promises';
import { v7 } from 'uuid';
import type { FeedEntry } from '../../src/live/feed.js';
import { encodeCursor } from '../../src/live/feed-position.js';
import type { TestDatabase } from './database.js';
import { eventually } from './eventually.js';
import { API_KEY } from './processes.js';
import type { RunningGateway } from './processes.js';

/** A subscription to the runs of `$project`, for LiveClient. */
export const EVENTS = (fields: string): string => `
  subscription ($project: ID!, $where: RunWhereInput, $after: String) {
    it: runEvents(project: $project, where: $where, after: $after) {
      __typename ... on FeedEvent { cursor } ... on RunChange { run { ${fields} } }
    }
  }`;

export interface Sent {
  readonly id: string;
  readonly name: string;
}

async function post(url: string, path: string, body: unknown): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  return { status: response.status, body: await response.json() };
}

export async function gql(url: string, query: string, variables: unknown = {}): Promise<unknown> {
  const { body } = await post(url, '/graphql', { query, variables });
  const { data, errors } = body as { data?: unknown; errors?: unknown };
  if (data === undefined || errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}

/** Sends until acknowledged, to any gateway; half of the runs are even. */
export async function sendBatch(
  urls: readonly string[],
  random: () => number,
  count: number,
  filler: string,
): Promise<Sent[]> {
  const runs = Array.from({ length: count }, (_, index) => ({
    id: v7(),
    name: index % 2 === 0 ? 'even' : 'odd',
  }));
  const body = {
    post: runs.map(({ id, name }) => ({
      id,
      trace_id: id,
      name,
      run_type: 'chain',
      session_name: 'live',
      start_time: new Date().toISOString(),
      inputs: { filler },
    })),
  };
  await eventually(
    async () => {
      const url = urls[Math.floor(random() * urls.length)] ?? '';
      const { status } = await post(url, '/runs/batch', body);
      if (status !== 202) throw new Error(`status ${status}`);
    },
    { timeoutMs: 30_000 },
  );
  return runs;
}

/** Makes the project whose events are followed. Returns its UUID. */
export async function createProject(url: string, name: string): Promise<string> {
  const query = 'mutation ($name: String!) { createProject(input: { name: $name }) { project { uuid } } }';
  const made = (await gql(url, query, { name })) as { createProject: { project: { uuid: string } } };
  return made.createProject.project.uuid;
}

/** What the log holds of a project, in its order. Every event of it has to arrive. */
export async function logOf(
  { pool }: TestDatabase,
  projectId: string,
): Promise<{ kind: string; runId: string; cursor: string }[]> {
  const { rows } = await pool.query<{
    xid: string;
    seq: string;
    projects: string[];
    entries: FeedEntry[];
  }>('select xid::text, seq::text, project_ids as projects, entries from feed order by feed.xid, feed.seq');
  return rows.flatMap(({ xid, seq, projects, entries }) =>
    entries.flatMap(([kind, project, runId], index) =>
      projects[project] === projectId
        ? [{ kind, runId, cursor: encodeCursor({ xid: BigInt(xid), seq: BigInt(seq), index }) }]
        : [],
    ),
  );
}

/** Memory of the process that is in RAM; 0 while there is none. */
export async function residentBytes({ pid }: RunningGateway): Promise<number> {
  const id = pid();
  if (id === undefined) return 0;
  const status = await readFile(`/proc/${id}/status`, 'utf8').catch(() => '');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}
