/** Examples in Postgres' binary COPY format, into a version or onto the stage. */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { CopyBuffer } from '../ingest/copy-binary.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExampleRow } from './example.js';

/** What rows of a version and of the stage have in common. */
export const SHARED_COLUMNS = [
  'id',
  'name',
  'inputs',
  'outputs',
  'metadata',
  'splits',
  'source_run_id',
  'attachments',
  'inputs_hash',
  'content_hash',
  'created_at',
] as const;

const shared = SHARED_COLUMNS.join(', ');

/** Enough for nearly all: growing means copying. */
const roomFor = (rows: readonly ExampleRow[]): number =>
  rows.reduce((sum, { inputs, outputs }) => sum + inputs.length + (outputs?.length ?? 0) + 400, 1_024);

function encode(buffer: CopyBuffer, row: ExampleRow): void {
  buffer.uuid(row.id);
  buffer.text(row.name);
  buffer.text(row.inputs);
  buffer.text(row.outputs ?? undefined);
  buffer.jsonb(JSON.stringify(row.metadata));
  buffer.textArray(row.splits);
  buffer.uuid(row.sourceRunId ?? undefined);
  buffer.jsonb(row.attachments.length === 0 ? undefined : JSON.stringify(row.attachments));
  buffer.bytes(row.inputsHash);
  buffer.bytes(row.contentHash);
  buffer.timestamp(row.createdUs);
}

async function copy(client: pg.PoolClient, target: string, buffer: CopyBuffer): Promise<void> {
  const stream = client.query(copyFrom(`copy ${target} from stdin (format binary)`));
  await pipeline(Readable.from([buffer.finish()]), stream);
}

/** Rows of a new version, valid from it on. */
export async function copyIntoVersion(
  tx: pg.PoolClient,
  scope: WorkspaceScope,
  { datasetId, version, modifiedUs }: { datasetId: string; version: number; modifiedUs: number },
  rows: readonly ExampleRow[],
): Promise<void> {
  if (rows.length === 0) return;
  const buffer = new CopyBuffer(roomFor(rows));
  for (const row of rows) {
    buffer.row(SHARED_COLUMNS.length + 4);
    buffer.uuid(scope.workspaceId);
    buffer.uuid(datasetId);
    buffer.int4(version);
    buffer.timestamp(modifiedUs);
    encode(buffer, row);
  }
  await copy(tx, `examples (workspace_id, dataset_id, since_version, modified_at, ${shared})`, buffer);
}

export interface StagedRow extends ExampleRow {
  /** Line or row number in what was uploaded, from 1. */
  readonly position: number;
}

/** Rows that wait for their version. */
export async function copyOntoStage(
  pool: pg.Pool,
  scope: WorkspaceScope,
  stageId: string,
  rows: readonly StagedRow[],
): Promise<void> {
  if (rows.length === 0) return;
  const buffer = new CopyBuffer(roomFor(rows));
  for (const row of rows) {
    buffer.row(SHARED_COLUMNS.length + 3);
    buffer.uuid(scope.workspaceId);
    buffer.uuid(stageId);
    buffer.int8(row.position);
    encode(buffer, row);
  }
  const client = await pool.connect();
  let broken = true;
  try {
    await copy(client, `example_stage (workspace_id, stage_id, position, ${shared})`, buffer);
    broken = false;
  } finally {
    client.release(broken);
  }
}
