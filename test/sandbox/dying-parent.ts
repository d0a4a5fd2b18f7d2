/** Runs what cannot be interrupted, tells the process ids of its children, and waits to be killed. */
import { createLogger } from '../../src/platform/log.js';
import { Sandbox } from '../../src/sandbox/sandbox.js';

const sandbox = new Sandbox({
  log: createLogger('silent', 'test'),
  processes: 1,
  // The parent would otherwise kill it itself.
  limits: { timeoutMs: 600_000 },
});
const task = (code: string) => sandbox.run({ owner: 'one', code, input: '{}', seed: 0, now: 0 });
await task('function evaluate() { return 1 }');
void task('function evaluate() { return [].indexOf.call({ length: 2 ** 53 - 1 }, 1) }');
process.stdout.write(`${JSON.stringify(sandbox.pids)}\n`);
