#!/usr/bin/env node
/** The command line: `npx tracewell <command>`. */
import { GATE_HELP, runGate } from './gate.js';

const [command, ...args] = process.argv.slice(2);
const io = {
  env: process.env,
  out: (text: string) => void process.stdout.write(text),
  err: (text: string) => void process.stderr.write(text),
};

if (command === 'gate') {
  process.exitCode = await runGate(args, io);
} else {
  const asked = command === undefined || command === 'help' || command === '--help' || command === '-h';
  (asked ? io.out : io.err)(`${asked ? '' : `There is no command "${command}".\n\n`}${GATE_HELP}`);
  process.exitCode = asked ? 0 : 3;
}
