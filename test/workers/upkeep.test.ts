import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { AttachmentStore } from '../../src/attachments/attachment.store.js';
import { ContentReadPartitions } from '../../src/audit/content-read-partition.store.js';
import { FeedStore } from '../../src/live/feed.store.js';
import { JobStore } from '../../src/platform/jobs/job.store.js';
import { UpkeepService } from '../../src/upkeep/upkeep.service.js';
import { UpkeepStore } from '../../src/upkeep/upkeep.store.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const NOW = new Date('2026-11-21T12:00:00Z');
const database = await createTestDatabase();
const { pool } = database;
const signal = new AbortController().signal;
const deleted: string[] = [];
const upkeep = new UpkeepService({
  pool,
  store: new UpkeepStore({ pool }),
  jobs: new JobStore(),
  attachments: new AttachmentStore({ pool }),
  feed: new FeedStore({ pool }),
  runs: {
    deleteProjectRuns: (scope, projectId) => {
      deleted.push(`${scope.workspaceId}/${projectId}`);
      return Promise.resolve({ deleted: deleted.length < 3 ? 500 : 7, done: deleted.length === 3 });
    },
  },
  clock: { now: () => NOW },
  feedRetentionHours: 24,
  contentReads: new ContentReadPartitions({ pool }),
  contentReadRetentionDays: 30,
});
const [ORGANIZATION, ONE, TWO] = [v7(), v7(), v7()] as const;

beforeAll(async () => {
  await pool.query("insert into organizations (id, name) values ($1, 'o')", [ORGANIZATION]);
  for (const [index, id] of [ONE, TWO].entries()) {
    await pool.query("insert into workspaces (id, organization_id, name, handle) values ($1, $2, 'w', $3)", [
      id,
      ORGANIZATION,
      `w${index}`,
    ]);
  }
});
afterAll(() => database.drop());

test('partitions exist from yesterday to a week ahead', async () => {
  expect(await upkeep.ensurePartitions()).toEqual([
    '2026-11-20',
    '2026-11-21',
    '2026-11-22',
    '2026-11-23',
    '2026-11-24',
    '2026-11-25',
    '2026-11-26',
    '2026-11-27',
    '2026-11-28',
  ]);
  expect(await upkeep.ensurePartitions()).toEqual([]);
});

test('the feed loses what is older than its retention, and nothing else', async () => {
  await pool.query(
    `insert into feed (workspace_id, project_ids, entries, created_at)
     select $1, '{}', '[]', now() - n * interval '10 hours' from generate_series(5, 0, -1) n`,
    [ONE],
  );
  // Rows above the oldest open transaction of the whole server stay, and other test files have theirs open.
  let trimmed = 0;
  await eventually(async () => {
    trimmed += await upkeep.trimFeed(signal);
    expect(trimmed).toBe(3);
  });
  expect(await upkeep.trimFeed(signal)).toBe(0);
  const { rows } = await pool.query('select count(*)::int as n from feed');
  expect(rows).toEqual([{ n: 3 }]);
});

test('answers of repeated calls go after 24 hours', async () => {
  for (const hours of [23, 24, 25]) {
    await pool.query(
      `insert into idempotency_records (workspace_id, id, mutation, request_hash, result, created_at)
       values ($1, $2, 'createProject', '', '', $3)`,
      [ONE, Buffer.from([hours]), new Date(NOW.getTime() - hours * 3_600_000)],
    );
  }
  expect(await upkeep.trimIdempotency(signal)).toBe(2);
  const { rows } = await pool.query<{ id: Buffer }>('select id from idempotency_records');
  expect(rows.map(({ id }) => [...id])).toEqual([[23]]);
});

test('records of model calls go after 90 days', async () => {
  for (const days of [89, 90, 91]) {
    await pool.query(
      `insert into model_calls (workspace_id, call_id, provider_id, model, state, claim, created_at)
       values ($1, $2, $1, 'm', 'answered', 1, $3)`,
      [ONE, `${days} days`, new Date(NOW.getTime() - days * 86_400_000)],
    );
  }
  expect(await upkeep.trimModelCalls(signal)).toBe(2);
  const { rows } = await pool.query('select call_id as id from model_calls');
  expect(rows).toEqual([{ id: '89 days' }]);
});

test('the record of content reads loses months that are past its retention as a whole', async () => {
  const months = new ContentReadPartitions({ pool });
  // 30 days before NOW is the 22nd of October: September is past, October is not.
  expect(await months.ensure(new Date('2026-09-15T00:00:00Z'))).toEqual([
    'content_reads_202609',
    'content_reads_202610',
  ]);
  expect(await upkeep.expireContentReads()).toBe(1);
  const { rows } = await pool.query<{ name: string }>(
    "select relname as name from pg_class where relname ~ '^content_reads_2026(09|10)$' and relkind = 'r'",
  );
  expect(rows).toEqual([{ name: 'content_reads_202610' }]);
});

test('links end at their time, the moment itself included', async () => {
  const times = ['2026-11-21T11:59:59Z', '2026-11-21T12:00:00Z', '2026-11-21T12:00:01Z'];
  for (const at of times) {
    await pool.query(
      'insert into run_shares (token, workspace_id, run_id, trace_id, created_at, expires_at) values ($1, $2, $3, $3, now(), $4)',
      [v7(), ONE, v7(), at],
    );
    await pool.query(
      `insert into feedback_tokens (id, workspace_id, run_id, key, created_at, expires_at) values ($1, $2, $3, 'k', now(), $4)`,
      [v7(), TWO, v7(), at],
    );
  }
  await pool.query(
    'insert into run_shares (token, workspace_id, run_id, trace_id, created_at) values ($1, $2, $3, $3, now())',
    [v7(), ONE, v7()],
  );
  expect(await upkeep.expireLinks(signal)).toBe(4);
  const left = await pool.query<{ expires_at: Date | null }>(
    'select expires_at from run_shares order by expires_at',
  );
  expect(left.rows.map((row) => row.expires_at?.toISOString())).toEqual([
    '2026-11-21T12:00:01.000Z',
    undefined,
  ]);
  const tokens = await pool.query<{ expires_at: Date }>('select expires_at from feedback_tokens');
  expect(tokens.rows.map((row) => row.expires_at.toISOString())).toEqual(['2026-11-21T12:00:01.000Z']);
});

test('bytes without an attachment go after an hour, in whole attachments', async () => {
  const at = (time: string): string => v7({ msecs: Date.parse(`2026-11-21T${time}Z`) });
  const [orphan, fresh, kept] = [at('10:00:00'), at('11:30:00'), at('10:00:00')] as const;
  for (const [id, chunks] of [
    [orphan, 3],
    [fresh, 1],
    [kept, 2],
  ] as const) {
    for (let position = 0; position < chunks; position += 1) {
      await pool.query('insert into attachment_chunks values ($1, $2, $3, $4)', [TWO, id, position, 'bytes']);
    }
  }
  await storeRunWith(kept);
  expect(await upkeep.sweepAttachments(signal)).toBe(1);
  const { rows } = await pool.query(
    'select attachment_id, count(*)::int as chunks from attachment_chunks group by 1 order by 1',
  );
  expect(rows).toEqual([
    { attachment_id: kept, chunks: 2 },
    { attachment_id: fresh, chunks: 1 },
  ]);
});

test('attachments whose run never came go after an hour, in however many batches', async () => {
  const at = (time: string): string => v7({ msecs: Date.parse(`2026-11-21T${time}Z`) });
  const [fresh, kept] = [at('11:30:00'), at('10:30:00')] as const;
  await storeRunWith(kept);
  for (const id of [...Array.from({ length: 1_200 }, () => at('09:00:00')), fresh]) {
    await pool.query(ADD_ATTACHMENT, [TWO, v7(), id]);
  }
  expect(await upkeep.sweepAttachments(signal)).toBe(1_200);
  const { rows } = await pool.query<{ id: string }>(
    'select id from attachments where id = any($1::uuid[]) order by id',
    [[fresh, kept]],
  );
  expect(rows.map(({ id }) => id)).toEqual([kept, fresh]);
  expect(await upkeep.sweepAttachments(signal)).toBe(0);
});

const ADD_ATTACHMENT =
  "insert into attachments (workspace_id, run_id, name, id, mime_type, size, created_at) values ($1, $2, 'a', $3, 'b', 10, now())";

/** A run that has the attachment. */
async function storeRunWith(attachmentId: string): Promise<void> {
  const runId = v7({ msecs: NOW.getTime() });
  await pool.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, dotted_order, name, run_type, status, start_time, tags,
       metadata, attributes, extra, revision, merge_rank, created_at, updated_at)
     values ($1, $2, $3::timestamptz::date, $1, $2, '', 'n', 'tool', 'pending', $3::timestamptz, '{}', '{}', '{}', '{}', 1, 0, now(), now())`,
    [TWO, runId, NOW],
  );
  await pool.query(ADD_ATTACHMENT, [TWO, runId, attachmentId]);
}

test('finished jobs go when their time is up', async () => {
  for (const keep of ['-1 second', '1 hour', null]) {
    await pool.query(
      `insert into jobs (id, name, queue, payload, state, max_attempts, keep_until)
       values ($1, 'a.b', 'q', '{}', 'succeeded', 1, now() + $2::interval)`,
      [v7(), keep],
    );
  }
  expect(await upkeep.trimJobs(signal)).toBe(1);
  const { rows } = await pool.query('select count(*)::int as n from jobs');
  expect(rows).toEqual([{ n: 2 }]);
});

test('a project is emptied step by step, and a signal ends it between steps', async () => {
  const reports: number[] = [];
  const target = { workspaceId: ONE, projectId: TWO };
  expect(await upkeep.deleteProjectRuns(target, signal, (n) => reports.push(n))).toBe(1_007);
  expect(reports).toEqual([500, 1_000, 1_007]);
  expect(deleted).toEqual(Array.from({ length: 3 }, () => `${ONE}/${TWO}`));
  await expect(
    upkeep.deleteProjectRuns(target, AbortSignal.abort(new Error('enough')), () => undefined),
  ).rejects.toThrow('enough');
  expect(deleted).toHaveLength(3);
});
