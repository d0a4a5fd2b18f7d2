/** What a process says, and how it ends, where its settings cannot work. */
import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';

test.each(['dist/src/main.js', 'dist/workers/main.js'])(
  '%s ends with 78 without a database, and names that with everything else that is wrong',
  (file) => {
    const env = { ...process.env, NODE_OPTIONS: '', DATABASE_URL: '', LOG_LEVEL: 'loud' };
    const { status, stdout, stderr } = spawnSync(process.execPath, [file], { env, encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({
      status: 78,
      stdout: '',
      stderr: `The configuration has 2 problem(s):
  DATABASE_URL: must be set; \`npm start\` brings a database of its own.
  LOG_LEVEL: Invalid option: expected one of "fatal"|"error"|"warn"|"info"|"debug"|"trace"|"silent"
`,
    });
  },
);
