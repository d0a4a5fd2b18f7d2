// Everything that judges the code without running it, two at a time: generation first, because the rest reads what
// it writes. Each step is a script of its own in package.json.
import { spawn } from 'node:child_process';

const STEPS = [
  'typecheck',
  'lint',
  'format:check',
  'deps',
  'dead',
  'schema:check',
  'schema:breaking',
  'docs:check',
];
const AT_ONCE = 2;

async function run(script) {
  const started = performance.now();
  const child = spawn('npm', ['run', '--silent', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk));
  const ok = await new Promise((resolve) => child.once('close', (code) => resolve(code === 0)));
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${script} (${seconds} s)`);
  if (!ok) process.stdout.write(Buffer.concat(output));
  return ok;
}

let ok = await run('generate');
if (ok) {
  const waiting = [...STEPS];
  const lane = async () => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) ok = (await run(step)) && ok;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}
process.exitCode = ok ? 0 : 1;
