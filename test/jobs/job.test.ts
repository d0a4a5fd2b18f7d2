import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import {
  afterFailure,
  backoffMs,
  defineJob,
  deliveryId,
  PermanentFailure,
} from '../../src/platform/jobs/job.js';
import { whyWaiting } from '../../src/jobs/job.js';
import type { Job } from '../../src/jobs/job.js';

const base = {
  name: 'domain.verb',
  queue: 'work',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'fixed', delayMs: 10 },
  timeoutMs: 1,
} as const;

test('a contract that could never work is refused where it is written', () => {
  for (const wrong of [
    { name: 'verb' },
    { name: 'Domain.verb' },
    { queue: 'schedules' },
    { queue: 'a:b' },
    { attempts: 0 },
    { timeoutMs: 0 },
  ]) {
    expect(() => defineJob({ ...base, ...wrong })).toThrow();
  }
  expect(defineJob(base)).toMatchObject({ keep: { succeededMs: 86_400_000, failedMs: 7 * 86_400_000 } });
});

test('a failure is final on the last attempt, or when it cannot get better', () => {
  const job = (attempts: number) => ({ id: 'x', attempts });
  expect(afterFailure(base, job(1), new Error())).toEqual({ kind: 'retry', delayMs: 10 });
  expect(afterFailure(base, job(2), new Error())).toEqual({ kind: 'retry', delayMs: 10 });
  expect(afterFailure(base, job(3), new Error())).toEqual({ kind: 'fail' });
  expect(afterFailure(base, job(1), new PermanentFailure('gone'))).toEqual({ kind: 'fail' });
});

test('an exponential backoff doubles, stays below its limit, and spreads by at most half', () => {
  const backoff = { kind: 'exponential', baseMs: 1_000, maxMs: 60_000 } as const;
  fc.assert(
    fc.property(fc.uuid(), fc.integer({ min: 1, max: 1_000 }), (id, attempt) => {
      const full = Math.min(1_000 * 2 ** (attempt - 1), 60_000);
      const delay = backoffMs(backoff, id, attempt);
      expect(delay).toBeGreaterThanOrEqual(full / 2);
      expect(delay).toBeLessThanOrEqual(full);
      expect(backoffMs(backoff, id, attempt)).toBe(delay);
    }),
  );
});

test('the id of a delivery is one BullMQ takes', () => {
  const id = deliveryId({ jobId: '01900000-0000-7000-8000-000000000000', delivery: 3 });
  expect(id).toBe('job-01900000-0000-7000-8000-000000000000-3');
});

test('the place in line is told in words', () => {
  const job = { state: 'queued', waitingReason: null } as Job;
  const inLine = (ahead: number) => whyWaiting(job, { hasWorker: true, inOutbox: false, ahead })?.reason;
  expect([0, 1, 2, 1_000].map(inLine)).toEqual([
    'It is queued behind 0 jobs.',
    'It is queued behind 1 job.',
    'It is queued behind 2 jobs.',
    'It is queued behind 1000 or more jobs.',
  ]);
  expect(whyWaiting({ ...job, state: 'running' }, undefined)).toBeNull();
});
