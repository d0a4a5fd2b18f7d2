/** The jobs that carry experiments out. Units are claimed inside of them; a job is only the right to work on some. */
import { z } from 'zod';
import type { Queryable } from '../platform/db.js';
import { defineJob } from '../platform/jobs/job.js';
import type { JobQueue } from '../platform/jobs/queue.js';

const MINUTE_MS = 60_000;
const id = z.object({ workspaceId: z.uuid(), experimentId: z.uuid() });

/** Lays out the units. Idempotent: every unit has a natural key. */
export const planExperimentJob = defineJob({
  name: 'experiments.plan',
  queue: 'experiments',
  payload: id,
  attempts: 5,
  backoff: { kind: 'exponential', baseMs: 1_000, maxMs: MINUTE_MS },
  timeoutMs: 15 * MINUTE_MS,
  dedupeId: ({ experimentId }) => experimentId,
});

/**
 * One lane of an experiment for a while. It hands over to a job of its own of the other turn, since one with its own
 * dedupe id would be absorbed by it.
 */
export const executeExperimentJob = defineJob({
  name: 'experiments.execute',
  queue: 'experiments',
  payload: id.extend({ lane: z.int().min(0), turn: z.int().min(0).max(1) }),
  attempts: 10,
  backoff: { kind: 'exponential', baseMs: 1_000, maxMs: 30_000 },
  // A call of a target may take ten minutes, and a lane ends when its last call has.
  timeoutMs: 30 * MINUTE_MS,
  dedupeId: ({ experimentId, lane, turn }) => `${experimentId}/${lane}/${turn}`,
  keep: { succeededMs: 10 * MINUTE_MS, failedMs: 24 * 60 * MINUTE_MS },
});

/** Gives every experiment that is open the jobs it should have, whatever became of them. */
export const sweepExperimentsJob = defineJob({
  name: 'experiments.sweep',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 1_000, maxMs: MINUTE_MS },
  timeoutMs: 30_000,
  dedupeId: () => 'all',
  schedule: { everyMs: 10_000, payload: {} },
  keep: { succeededMs: 5 * MINUTE_MS, failedMs: 24 * 60 * MINUTE_MS },
});

/** Removes what experiments of deleted projects have left, and what the cache has kept for too long. */
export const tidyExperimentsJob = defineJob({
  name: 'experiments.tidy',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 5_000, maxMs: MINUTE_MS },
  timeoutMs: 30 * MINUTE_MS,
  dedupeId: () => 'all',
  schedule: { everyMs: 60 * MINUTE_MS, payload: {} },
});

const SLOTS_PER_LANE = 8;

/** A lane works on so many units at once that one process can; several processes share what has several lanes. */
export const lanesOf = (concurrency: number): number => Math.ceil(concurrency / SLOTS_PER_LANE);

/** Of one lane: together they are the experiment's concurrency. */
export const slotsOf = (concurrency: number, lane: number): number =>
  Math.max(0, Math.min(SLOTS_PER_LANE, concurrency - lane * SLOTS_PER_LANE));

/** A job for each lane that has none, in the caller's transaction. Returns how many. */
export async function enqueueLanes(
  tx: Queryable,
  queue: JobQueue,
  experiment: { readonly workspaceId: string; readonly experimentId: string; readonly concurrency: number },
): Promise<number> {
  const { workspaceId, experimentId, concurrency } = experiment;
  const lanes = Array.from({ length: lanesOf(concurrency) }, (_, lane) => lane);
  const { rows } = await tx.query<{ key: string }>(
    `/* experiments.find_lanes */
    select dedupe_key as key
    from jobs
    where name = $1 and coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid) = $2
      and dedupe_key = any($3::text[]) and state in ('queued', 'running', 'waiting')
    limit $4`,
    [
      executeExperimentJob.name,
      workspaceId,
      lanes.flatMap((lane) => [`${experimentId}/${lane}/0`, `${experimentId}/${lane}/1`]),
      lanes.length * 2,
    ],
  );
  const busy = new Set(rows.map(({ key }) => Number(key.split('/')[1])));
  let made = 0;
  for (const lane of lanes) {
    if (busy.has(lane)) continue;
    const payload = { workspaceId, experimentId, lane, turn: 0 };
    await queue.enqueue(tx, executeExperimentJob, payload, { workspaceId, actor: 'experiment' });
    made += 1;
  }
  return made;
}
