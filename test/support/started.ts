/** Gateways with settings of their own, closed after each test of the file that imports this. */
import { afterEach } from '@jest/globals';
import { startHarness } from './harness.js';
import type { Harness } from './harness.js';

/** What else is to be closed after the test, last first. */
export const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 40_000);

export async function started(env: Record<string, string>): Promise<Harness> {
  const harness = await startHarness({ env });
  closers.push(() => harness.close());
  return harness;
}
