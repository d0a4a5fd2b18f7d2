import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from '@jest/globals';
import type { JobContract } from '../../src/platform/jobs/job.js';
import { concurrency, implementations } from '../../workers/registry.js';

async function allContracts(): Promise<JobContract[]> {
  const entries = await readdir('src', { recursive: true });
  const files = entries.filter((file) => file.endsWith('.jobs.ts'));
  expect(files.length).toBeGreaterThan(0);
  const modules = await Promise.all(
    files.map(
      (file) => import(pathToFileURL(path.resolve('src', file)).href) as Promise<Record<string, unknown>>,
    ),
  );
  return modules.flatMap((module) =>
    Object.values(module).filter(
      (value): value is JobContract => typeof value === 'object' && value !== null && 'backoff' in value,
    ),
  );
}

test('every contract has exactly one handler and a queue with workers', async () => {
  const contracts = (await allContracts()).map(({ name }) => name).sort();
  expect(implementations.map(({ contract }) => contract.name).sort()).toEqual(contracts);
  expect(new Set(contracts).size).toBe(contracts.length);
  const queues = [...new Set(implementations.map(({ contract }) => contract.queue))].sort();
  expect(Object.keys(concurrency).sort()).toEqual(queues);
});

test('a scheduled job never piles up', () => {
  for (const { contract } of implementations) {
    if (contract.schedule === undefined) continue;
    expect([contract.name, contract.dedupeId?.(contract.schedule.payload)]).toEqual([contract.name, 'all']);
    expect(contract.timeoutMs).toBeLessThanOrEqual(contract.schedule.everyMs * 3);
  }
});
