/**
 * The least a durable intake can do: parse the batch, COPY it in binary into one table with a primary key and
 * external payloads, commit, answer. No access, no merge, no feed, no limits.
 */
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { CopyBuffer } from '../../src/ingest/copy-binary.js';
import type { WireRun } from '../support/runs.js';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 2 });
await pool.query(`
  drop table if exists bare_runs;
  create table bare_runs (
    id uuid primary key, trace_id uuid, dotted_order text, project text, name text, run_type text, start_time text, end_time text,
    tags text, metadata json, inputs json, outputs json);
  alter table bare_runs alter column inputs set storage external, alter column outputs set storage external`);

async function store(runs: readonly WireRun[]): Promise<void> {
  const out = new CopyBuffer(runs.length * 6_000);
  for (const run of runs) {
    out.row(12);
    out.uuid(run.id);
    out.uuid(run.trace_id);
    out.text(run.dotted_order);
    out.text(run.session_name);
    out.text(run.name);
    out.text(run.run_type);
    out.text(run.start_time);
    out.text(run.end_time);
    out.text(JSON.stringify(run.tags));
    out.text(JSON.stringify(run.extra));
    out.text(JSON.stringify(run.inputs));
    out.text(JSON.stringify(run.outputs));
  }
  const client = await pool.connect();
  try {
    await pipeline(
      Readable.from([out.finish()]),
      client.query(copyFrom('copy bare_runs from stdin (format binary)')),
    );
  } finally {
    client.release();
  }
}

createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method === 'GET') {
      response.end('ready');
      return;
    }
    const batch = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { post: WireRun[] };
    void store(batch.post).then(
      () => response.writeHead(202, { 'content-type': 'application/json' }).end('{}'),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
}).listen(Number(process.env['PORT']), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
