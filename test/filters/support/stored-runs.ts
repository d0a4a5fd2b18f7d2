/** Stores random runs with their feedback and index rows, and gives them back as predicates see them. */
import type pg from 'pg';
import { flattenMetadata } from '../../../src/ingest/run-facts.js';
import type { JsonObject } from '../../../src/ingest/run-event.js';
import {
  filterableColumns,
  filterableRun,
  type FeedbackFacts,
  type FilterableRow,
  type FilterableRun,
} from '../../../src/filters/filterable-run.js';
import { workspaceWord } from '../../../src/filters/search-resolution.js';
import { textIndexOf } from '../../../src/filters/text-index.js';
import type { RandomRun } from './arbitraries.js';

const DAY = '1970-01-01';

export async function storeRuns(
  pool: pg.Pool,
  workspaceId: string,
  runs: readonly RandomRun[],
): Promise<void> {
  for (const run of runs) {
    const { metadata, feedback, inputs, outputs, ...plain } = run;
    const row: Record<string, unknown> = {
      ...plain,
      workspace_id: workspaceId,
      day: DAY,
      metadata: JSON.stringify(metadata),
      attributes: JSON.stringify(flattenMetadata(metadata as JsonObject)),
      extra: '{}',
      inputs: inputs === null ? null : JSON.stringify(inputs),
      outputs: outputs === null ? null : JSON.stringify(outputs),
      revision: 1,
      merge_rank: 0,
      created_at: '2026-01-01T00:00:00Z',
      updated_at: '2026-01-01T00:00:00Z',
    };
    const names = Object.keys(row);
    await pool.query(
      `insert into runs (${names.join(', ')}) values (${names.map((_, index) => `$${index + 1}`).join(', ')})`,
      Object.values(row),
    );
    for (const facts of feedback) {
      await pool.query(
        `insert into feedback (workspace_id, id, run_id, key, score, value, comment, source_type, source, created_at, updated_at)
         values ($1, gen_random_uuid(), $2, $3, $4, $5, $6, $7, '{}', now(), now())`,
        [
          workspaceId,
          run.id,
          facts.key,
          facts.score,
          facts.value === null ? null : JSON.stringify(facts.value),
          facts.comment,
          facts.source_type,
        ],
      );
    }
  }
}

export async function loadRuns(pool: pg.Pool, workspaceId: string): Promise<FilterableRun[]> {
  const { rows } = await pool.query<FilterableRow>(
    `select ${filterableColumns('r', true)} from runs r where r.workspace_id = $1 order by r.id`,
    [workspaceId],
  );
  const feedback = await pool.query<FeedbackFacts & { runId: string }>(
    `select run_id as "runId", key, score, value, comment, source_type as "sourceType" from feedback where workspace_id = $1`,
    [workspaceId],
  );
  return rows.map((row) =>
    filterableRun(
      row,
      feedback.rows.filter((facts) => facts.runId === row.id),
    ),
  );
}

export async function indexRuns(
  pool: pg.Pool,
  workspaceId: string,
  runs: readonly FilterableRun[],
): Promise<void> {
  for (const run of runs) {
    const index = textIndexOf(run);
    await pool.query(
      `insert into run_search (workspace_id, run_id, day, words, input_pairs, output_pairs, revision)
       values ($1, $2, $3, array_to_tsvector($4::text[]), $5, $6, 1)`,
      [
        workspaceId,
        run.id,
        DAY,
        [...index.words, workspaceWord(workspaceId)],
        JSON.stringify(index.inputs),
        JSON.stringify(index.outputs),
      ],
    );
  }
}
