/**
 * Promises: 50 runs × 25 fields over GraphQL reach 0.75 of the requests of a hand-written Postgres endpoint that
 * returns the same data, and 1.8 of Apollo Server's defaults; the tree of a 200-run trace takes at most twice its SQL.
 */
import pg from 'pg';
import { DOCUMENT } from './baselines/runs-query.js';
import { drive, HEADER, median, report, send } from './support/measure.js';
import { idAt, wireRun } from './support/runs.js';
import { API_KEY, startSystem } from './support/system.js';
import type { BenchProcess } from './support/system.js';

const ROUNDS = 7;
const REQUESTS = 400;
/** Until code is optimised, statements are prepared and documents compiled: what a server that runs for days is like. */
const WARM_UP = 2_500;
const PROJECT = 'bench';
const TREE = `query Tree($id: ID!) {
  trace(id: $id) { runs { nodes { uuid parentRunId name runType status startTime endTime latencySeconds totalTokens } } }
}`;
const TREE_STATEMENT = `select id as "uuid", parent_run_id as "parentRunId", name, upper(run_type) as "runType", upper(status) as status, start_time as "startTime",
  end_time as "endTime", latency as "latencySeconds", total_tokens as "totalTokens"
from runs where workspace_id = $1 and trace_id = $2 order by dotted_order`;

const system = await startSystem();
try {
  const gateway = await system.gateway();
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };
  const post = async (path: string, payload: object): Promise<Buffer> => {
    const { status, body } = await send(`${gateway.url}${path}`, {
      method: 'POST',
      headers,
      body: Buffer.from(JSON.stringify(payload)),
    });
    if (status >= 300) throw new Error(`${status} ${body.toString().slice(0, 500)}`);
    return body;
  };
  for (let batch = 0; batch < 100; batch += 1) {
    await post('/runs/batch', {
      post: Array.from({ length: 100 }, () => wireRun('small', Date.now(), PROJECT)),
      patch: [],
    });
  }
  const traceId = await sendTrace(post, 200);

  const pool = new pg.Pool({ connectionString: system.databaseUrl, max: 1 });
  await pool.query('vacuum analyze runs');
  const { rows } = await pool.query<{ day: string; project: string }>(
    'select distinct day::text as day, project_id as project from run_days where workspace_id = $1',
    [system.workspaceId],
  );
  const project = rows[0]!.project;
  const plain = await system.baseline('list-server.ts', {
    WORKSPACE: system.workspaceId,
    PROJECT: project,
    DAYS: rows.map((row) => row.day).join(','),
  });

  const listBody = Buffer.from(JSON.stringify({ query: DOCUMENT, variables: { project } }));
  const perSecond = async (
    url: string,
    method: string,
    body?: Buffer,
    requests = REQUESTS,
  ): Promise<number> => {
    const { seconds } = await drive(requests, 10, async () => {
      const answer = await send(url, { method, headers, ...(body === undefined ? {} : { body }) });
      if (answer.status !== 200 || answer.body.length < 20_000) {
        throw new Error(`${answer.status} ${answer.body.toString().slice(0, 500)}`);
      }
    });
    return requests / seconds;
  };
  const ours: number[] = [];
  const raw: number[] = [];
  const apollo: number[] = [];
  await perSecond(`${gateway.url}/graphql`, 'POST', listBody, WARM_UP);
  await perSecond(`${plain.url}/raw`, 'GET', undefined, WARM_UP);
  await perSecond(`${plain.url}/graphql`, 'POST', listBody, WARM_UP);
  /** Processor seconds by server; unlike the rates, next to independent of who else uses the machine. */
  const cpu = {
    ours: { own: 0, postgres: 0 },
    raw: { own: 0, postgres: 0 },
    apollo: { own: 0, postgres: 0 },
  };
  const measured = async (
    name: keyof typeof cpu,
    server: BenchProcess,
    request: () => Promise<number>,
  ): Promise<number> => {
    const before = system.cpuSeconds(server);
    const rate = await request();
    const after = system.cpuSeconds(server);
    cpu[name].own += after.own - before.own;
    cpu[name].postgres += after.postgres - before.postgres;
    return rate;
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const figures = [
      await measured('ours', gateway, () => perSecond(`${gateway.url}/graphql`, 'POST', listBody)),
      await measured('raw', plain, () => perSecond(`${plain.url}/raw`, 'GET')),
      await measured('apollo', plain, () => perSecond(`${plain.url}/graphql`, 'POST', listBody)),
    ] as const;
    ours.push(figures[0]);
    raw.push(figures[1]);
    apollo.push(figures[2]);
  }
  process.stdout.write(HEADER);
  report({
    name: '50 runs × 25 fields, GraphQL against hand-written',
    unit: 'req/s',
    goal: '≥ 0.75',
    met: (ratio) => ratio >= 0.75,
    ours,
    baseline: raw,
  });
  report({
    name: '50 runs × 25 fields, against Apollo defaults',
    unit: 'req/s',
    goal: '≥ 1.80',
    met: (ratio) => ratio >= 1.8,
    ours,
    baseline: apollo,
  });
  const perRequest = ({ own, postgres }: { own: number; postgres: number }): string => {
    const micros = (seconds: number): string => ((seconds / (ROUNDS * REQUESTS)) * 1e6).toFixed(0);
    return `server ${micros(own)} µs + Postgres ${micros(postgres)} µs`;
  };
  process.stdout.write(
    `| CPU per list | ${perRequest(cpu.ours)} | hand-written ${perRequest(cpu.raw)} | Apollo ${perRequest(cpu.apollo)} | | |\n`,
  );

  const tree: number[] = [];
  const sql: number[] = [];
  // The first rounds warm up.
  for (let round = -5; round < ROUNDS; round += 1) {
    const overGraphql = await drive(100, 1, async () => {
      await post('/graphql', { query: TREE, variables: { id: traceId } });
    });
    const overSql = await drive(100, 1, async () => {
      const { rowCount } = await pool.query({
        name: 'tree',
        text: TREE_STATEMENT,
        values: [system.workspaceId, traceId],
      });
      if (rowCount !== 200) throw new Error(`${rowCount} runs`);
    });
    if (round < 0) continue;
    tree.push(median(overGraphql.ms));
    sql.push(median(overSql.ms));
  }
  report({
    name: 'tree of a 200-run trace, p50, GraphQL over HTTP against its SQL',
    unit: 'ms',
    goal: '≤ 2.0',
    met: (ratio) => ratio <= 2,
    ours: tree,
    baseline: sql,
  });
  await pool.end();
} finally {
  await system.stop();
}

/** A root with runs below it, three levels deep. */
async function sendTrace(
  post: (path: string, payload: object) => Promise<Buffer>,
  size: number,
): Promise<string> {
  const now = Date.now();
  const root = wireRun('small', now, PROJECT);
  const orders = [root.dotted_order];
  const children = Array.from({ length: size - 1 }, (_, index) => {
    const parent = orders[Math.floor(index / 4)]!;
    const id = idAt(now + index);
    const start = new Date(now + index).toISOString();
    const order = `${parent}.${start.replace(/[-:.]/g, '').replace('Z', '000Z')}${id}`;
    orders.push(order);
    return {
      ...wireRun('small', now, PROJECT),
      id,
      trace_id: root.id,
      parent_run_id: parent.slice(-36),
      dotted_order: order,
      start_time: start,
    };
  });
  for (let from = 0; from < children.length; from += 100) {
    await post('/runs/batch', {
      post: [...(from === 0 ? [root] : []), ...children.slice(from, from + 100)],
      patch: [],
    });
  }
  return root.id;
}
