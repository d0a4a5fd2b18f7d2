/**
 * Every statement on jobs, their outbox and the list of workers. All times are the database's: clocks of
 * processes differ. An update by an execution names its claim, so that an older one changes nothing.
 */
import type { Queryable } from '../db.js';
import type { Delivery, JobState } from './job.js';

export interface JobProgress {
  readonly done?: number;
  readonly total?: number;
  readonly note?: string;
}

/** Column aliases are the names the API shows. */
export interface JobRow {
  readonly id: string;
  readonly workspaceId: string | null;
  readonly name: string;
  readonly queue: string;
  readonly payload: unknown;
  readonly state: JobState;
  readonly progress: JobProgress | null;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly crashes: number;
  readonly claim: number;
  readonly delivery: number;
  readonly priority: number;
  readonly waitingReason: 'scheduled' | 'retry' | null;
  readonly error: string | null;
  readonly actor: string | null;
  readonly runAt: string;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export const JOB_COLUMNS = `id, workspace_id as "workspaceId", name, queue, payload, state, progress, attempts,
  max_attempts as "maxAttempts", crashes, claim, delivery, priority, waiting_reason as "waitingReason", error, actor,
  run_at as "runAt", created_at as "createdAt", started_at as "startedAt", finished_at as "finishedAt"`;

export interface NewJob {
  readonly id: string;
  readonly workspaceId: string | null;
  readonly name: string;
  readonly queue: string;
  readonly dedupeKey: string | null;
  readonly payload: string;
  readonly maxAttempts: number;
  /** ISO time; null is now. */
  readonly runAt: string | null;
  readonly actor: string | null;
  /** Of the span that asks for it. */
  readonly traceparent: string | null;
}

export interface ClaimedJob extends JobRow {
  readonly traceparent: string | null;
}

type DeliveryRow = Delivery & { readonly id: string };

/** A row's next delivery, due at its run_at. */
const DELIVERY_COLUMNS = `id, id as "jobId", delivery, queue, priority,
  greatest(extract(epoch from run_at - clock_timestamp()) * 1000, 0)::float8 as "delayMs"`;

/** A heartbeat older than this is taken for a dead execution; heartbeats come every 3 s. */
export const HEARTBEAT_LOST_SECONDS = 15;
/** A worker not seen for this long is gone; they report every 5 s. */
const WORKER_LOST_SECONDS = 20;
/** Workspaces take turns among this many of their queued jobs; what is beyond waits behind all. */
const FAIR_DEPTH = 1_000;

export class JobStore {
  /** undefined: an active job of the same name, workspace and dedupe key absorbed it. */
  async insert(tx: Queryable, job: NewJob): Promise<Delivery | undefined> {
    const { rows } = await tx.query<DeliveryRow>(
      `/* jobs.insert */
      insert into jobs (id, workspace_id, name, queue, dedupe_key, payload, max_attempts, actor, traceparent, state,
        waiting_reason, run_at, priority)
      select $1::uuid, $2::uuid, $3, $4::text, $5, $6::jsonb, $7, $8, $10,
        case when $9::timestamptz > now() then 'waiting' else 'queued' end,
        case when $9::timestamptz > now() then 'scheduled' end,
        coalesce($9::timestamptz, now()),
        case when $2::uuid is null then 0 else (
          select count(*) from (
            select from jobs where workspace_id = $2::uuid and queue = $4::text and state = 'queued' limit ${FAIR_DEPTH}
          ) line
        ) end
      on conflict do nothing
      returning ${DELIVERY_COLUMNS}`,
      [
        job.id,
        job.workspaceId,
        job.name,
        job.queue,
        job.dedupeKey,
        job.payload,
        job.maxAttempts,
        job.actor,
        job.runAt,
        job.traceparent,
      ],
    );
    return rows[0];
  }

  /** The active job that absorbs another of the same key. */
  async findActive(
    tx: Queryable,
    name: string,
    workspaceId: string | null,
    key: string,
  ): Promise<string | undefined> {
    const { rows } = await tx.query<{ id: string }>(
      `/* jobs.find_active */
      select id from jobs
      where name = $1 and workspace_id is not distinct from $2::uuid and dedupe_key = $3
        and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)
          = coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'::uuid)
        and state in ('queued', 'running', 'waiting')`,
      [name, workspaceId, key],
    );
    return rows[0]?.id;
  }

  /**
   * Takes the row for a new execution, which fences every older one. Refused while another execution is alive: a
   * second delivery of a running job counts only if it is the engine's own (it saw the lock expire) or the heartbeat
   * stopped. An execution that ended without a word gives its attempt back and counts as a crash.
   */
  async claim(db: Queryable, jobId: string, delivery: number): Promise<ClaimedJob | undefined> {
    const { rows } = await db.query<ClaimedJob & Record<string, unknown>>(
      `/* jobs.claim */
      update jobs set
        state = 'running',
        claim = claim + 1,
        attempts = attempts + case when state = 'running' then 0 else 1 end,
        crashes = crashes + case when state = 'running' then 1 else 0 end,
        waiting_reason = null,
        started_at = coalesce(started_at, clock_timestamp()),
        heartbeat_at = clock_timestamp()
      where id = $1
        and (
          state = 'queued'
          or (state = 'waiting' and run_at <= clock_timestamp() + interval '1 second')
          or (state = 'running' and (delivery = $2 or heartbeat_at < clock_timestamp() - $3 * interval '1 second'))
        )
      returning ${JOB_COLUMNS}, traceparent`,
      [jobId, delivery, HEARTBEAT_LOST_SECONDS],
    );
    return rows[0];
  }

  /** Whether an execution of the job died with its process. */
  async isSuspect(db: Queryable, jobId: string): Promise<boolean> {
    const { rows } = await db.query<{ suspect: boolean }>(
      `/* jobs.is_suspect */ select state = 'running' or crashes > 0 as suspect from jobs where id = $1`,
      [jobId],
    );
    return rows[0]?.suspect ?? false;
  }

  /** Locks the row until the transaction ends, if the execution still owns it. */
  async fence(tx: Queryable, jobId: string, claim: number): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* jobs.fence */ select from jobs where id = $1 and claim = $2 and state = 'running' for update`,
      [jobId, claim],
    );
    return rowCount === 1;
  }

  async finish(
    tx: Queryable,
    jobId: string,
    claim: number,
    outcome: {
      state: 'succeeded' | 'failed';
      error: string | null;
      progress: JobProgress | undefined;
      keepMs: number;
    },
  ): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* jobs.finish */
      update jobs set state = $3, error = $4, progress = coalesce($5::jsonb, progress), waiting_reason = null,
        finished_at = clock_timestamp(), keep_until = clock_timestamp() + $6 * interval '1 millisecond'
      where id = $1 and claim = $2 and state = 'running'`,
      [jobId, claim, outcome.state, outcome.error, toJson(outcome.progress), outcome.keepMs],
    );
    return rowCount === 1;
  }

  /** Back into line with a new delivery; with `countsAsAttempt` false as if the execution had never been. */
  async retry(
    tx: Queryable,
    jobId: string,
    claim: number,
    again: {
      delayMs: number;
      error: string | null;
      progress: JobProgress | undefined;
      countsAsAttempt: boolean;
    },
  ): Promise<Delivery | undefined> {
    const { rows } = await tx.query<DeliveryRow>(
      `/* jobs.retry */
      update jobs set
        state = case when $3::float8 > 0 then 'waiting' else 'queued' end,
        waiting_reason = case when $3::float8 > 0 then 'retry' end,
        run_at = clock_timestamp() + $3 * interval '1 millisecond',
        error = coalesce($4, error),
        progress = coalesce($5::jsonb, progress),
        attempts = attempts - case when $6 then 0 else 1 end,
        delivery = delivery + 1,
        checked_at = null
      where id = $1 and claim = $2 and state = 'running'
      returning ${DELIVERY_COLUMNS}`,
      [jobId, claim, again.delayMs, again.error, toJson(again.progress), again.countsAsAttempt],
    );
    return rows[0];
  }

  /** Shows that executions live and what they did. Returns the ids that are still theirs. */
  async beat(
    db: Queryable,
    executions: readonly { jobId: string; claim: number; progress: JobProgress | undefined }[],
  ): Promise<Set<string>> {
    // A row that an effect holds locked is alive without a beat.
    const { rows } = await db.query<{ id: string }>(
      `/* jobs.beat */
      with mine as (
        select j.id, m.progress
        from unnest($1::uuid[], $2::bigint[], $3::jsonb[]) as m (id, claim, progress)
        join jobs j on j.id = m.id and j.claim = m.claim and j.state = 'running'
      ), free as (
        select id from jobs where id in (select id from mine) for update skip locked
      ), beat as (
        update jobs set heartbeat_at = clock_timestamp(), progress = coalesce(mine.progress, jobs.progress)
        from mine, free where jobs.id = mine.id and free.id = mine.id
      )
      select id from mine`,
      [
        executions.map((e) => e.jobId),
        executions.map((e) => e.claim),
        executions.map((e) => toJson(e.progress)),
      ],
    );
    return new Set(rows.map((row) => row.id));
  }

  // ── Outbox ───────────────────────────────────────────────────────────────────────────────────────────────

  async addToOutbox(tx: Queryable, deliveries: readonly Delivery[], ids: readonly string[]): Promise<void> {
    await tx.query(
      `/* jobs.outbox_add */
      insert into job_outbox (job_id, queue, delivery_id, delivery, priority, run_at)
      select job_id, queue, delivery_id, delivery, priority, clock_timestamp() + delay * interval '1 millisecond'
      from unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::integer[], $6::float8[])
        as d (job_id, queue, delivery_id, delivery, priority, delay)`,
      [
        deliveries.map((d) => d.jobId),
        deliveries.map((d) => d.queue),
        ids,
        deliveries.map((d) => d.delivery),
        deliveries.map((d) => d.priority),
        deliveries.map((d) => d.delayMs),
      ],
    );
  }

  /**
   * Takes the oldest deliveries for ten seconds. A lease instead of an open transaction: that would hold the change
   * feed back for as long as the engine takes to answer.
   */
  async leaseOutbox(db: Queryable, limit: number): Promise<(Delivery & { readonly outboxId: number })[]> {
    const { rows } = await db.query<Delivery & { readonly outboxId: number }>(
      `/* jobs.outbox_lease */
      update job_outbox set leased_until = clock_timestamp() + interval '10 seconds'
      where id in (
        select id from job_outbox
        where leased_until is null or leased_until < clock_timestamp()
        order by id
        limit $1
        for update skip locked
      )
      returning id as "outboxId", job_id as "jobId", queue, delivery, priority,
        greatest(extract(epoch from run_at - clock_timestamp()) * 1000, 0)::float8 as "delayMs"`,
      [limit],
    );
    return rows.sort((a, b) => a.outboxId - b.outboxId);
  }

  async removeFromOutbox(db: Queryable, ids: readonly number[]): Promise<void> {
    await db.query('/* jobs.outbox_remove */ delete from job_outbox where id = any($1::bigint[])', [ids]);
  }

  /** Age of the oldest delivery that has not reached the engine; 0 where there is none. */
  async outboxAgeSeconds(db: Queryable): Promise<number> {
    const { rows } = await db.query<{ age: number | null }>(
      `/* jobs.outbox_age */
      select extract(epoch from clock_timestamp() - created_at)::float8 as age from job_outbox order by id limit 1`,
    );
    return rows[0]?.age ?? 0;
  }

  // ── Sweeper ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Rows that should be in the engine and were not looked at lately: the longest unseen first. */
  async listUnchecked(db: Queryable, graceSeconds: number, limit: number): Promise<SweptJob[]> {
    const { rows } = await db.query<SweptJob>(
      `/* jobs.list_unchecked */
      select j.id, j.queue, j.delivery, j.claim, j.state, j.crashes
      from jobs j
      where (
          j.state in ('queued', 'waiting')
          and greatest(j.created_at, j.run_at - interval '1 hour', coalesce(j.checked_at, j.created_at))
            < clock_timestamp() - $1 * interval '1 second'
          or j.state = 'running' and j.heartbeat_at < clock_timestamp() - greatest($1, $3) * interval '1 second'
          and coalesce(j.checked_at, j.created_at) < clock_timestamp() - $1 * interval '1 second'
        )
        and not exists (select from job_outbox o where o.job_id = j.id)
      order by j.checked_at nulls first, j.run_at
      limit $2`,
      [graceSeconds, limit, HEARTBEAT_LOST_SECONDS],
    );
    return rows;
  }

  async markChecked(db: Queryable, ids: readonly string[]): Promise<void> {
    await db.query(
      '/* jobs.mark_checked */ update jobs set checked_at = clock_timestamp() where id = any($1::uuid[])',
      [ids],
    );
  }

  /** A new delivery for a job the engine lost. Nothing happens if somebody was faster. */
  async redeliver(tx: Queryable, job: SweptJob): Promise<Delivery | undefined> {
    const { rows } = await tx.query<DeliveryRow>(
      `/* jobs.redeliver */
      update jobs set
        state = case when state = 'running' then 'queued' else state end,
        crashes = crashes + case when state = 'running' then 1 else 0 end,
        attempts = attempts - case when state = 'running' then 1 else 0 end,
        delivery = delivery + 1,
        checked_at = clock_timestamp()
      where id = $1 and delivery = $2 and claim = $3 and state = $4
      returning ${DELIVERY_COLUMNS}`,
      [job.id, job.delivery, job.claim, job.state],
    );
    return rows[0];
  }

  /** Gives up a job whose executions keep dying. */
  async bury(
    tx: Queryable,
    job: Pick<SweptJob, 'id' | 'claim'>,
    error: string,
    keepMs: number,
  ): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* jobs.bury */
      update jobs set state = 'failed', error = $3, waiting_reason = null, finished_at = clock_timestamp(),
        keep_until = clock_timestamp() + $4 * interval '1 millisecond'
      where id = $1 and claim = $2 and state in ('queued', 'running', 'waiting')`,
      [job.id, job.claim, error, keepMs],
    );
    return rowCount === 1;
  }

  // ── Workers ──────────────────────────────────────────────────────────────────────────────────────────────

  async reportWorker(db: Queryable, id: string, queues: readonly string[]): Promise<void> {
    await db.query(
      `/* jobs.report_worker */
      insert into job_workers (id, queues, seen_at) values ($1, $2, clock_timestamp())
      on conflict (id) do update set seen_at = excluded.seen_at, queues = excluded.queues`,
      [id, queues],
    );
  }

  async removeWorker(db: Queryable, id: string): Promise<void> {
    await db.query(
      `/* jobs.remove_worker */
      delete from job_workers where id = $1 or seen_at < clock_timestamp() - interval '1 hour'`,
      [id],
    );
  }

  /** What keeps queued jobs from running, by job id; two statements' worth of facts in one. */
  async waitingFacts(db: Queryable, ids: readonly string[]): Promise<Map<string, WaitingFacts>> {
    const { rows } = await db.query<WaitingFacts & { id: string }>(
      `/* jobs.waiting_facts */
      select j.id,
        exists (select from job_outbox o where o.job_id = j.id) as "inOutbox",
        exists (
          select from job_workers w
          where j.queue = any(w.queues) and w.seen_at > clock_timestamp() - ${WORKER_LOST_SECONDS} * interval '1 second'
        ) as "hasWorker",
        (
          select count(*) from (
            select from jobs a
            where a.queue = j.queue and a.state = 'queued' and (a.priority, a.created_at) < (j.priority, j.created_at)
            limit 1000
          ) line
        )::integer as ahead
      from jobs j
      where j.id = any($1::uuid[])
      limit 1000`,
      [ids],
    );
    return new Map(rows.map(({ id, ...facts }) => [id, facts]));
  }

  /** Removes finished rows whose time is up. Returns how many; call again while it equals `batch`. */
  async trim(db: Queryable, batch: number): Promise<number> {
    const { rowCount } = await db.query(
      `/* jobs.trim */
      delete from jobs
      where id in (select id from jobs where keep_until < clock_timestamp() order by keep_until limit $1)`,
      [batch],
    );
    return rowCount ?? 0;
  }
}

export interface SweptJob {
  readonly id: string;
  readonly queue: string;
  readonly delivery: number;
  readonly claim: number;
  readonly state: 'queued' | 'waiting' | 'running';
  readonly crashes: number;
}

export interface WaitingFacts {
  readonly inOutbox: boolean;
  readonly hasWorker: boolean;
  /** Jobs of the queue that come first; 1,000 stands for that many or more. */
  readonly ahead: number;
}

const toJson = (progress: JobProgress | undefined): string | null =>
  progress === undefined ? null : JSON.stringify(progress);
