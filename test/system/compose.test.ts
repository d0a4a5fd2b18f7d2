/** docker-compose.yml against the settings there are. */
import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { describeSettings, loadConfig } from '../../src/config.js';

const compose = readFileSync('docker-compose.yml', 'utf8');

/** Given by the file itself. */
const FIXED = ['DATABASE_URL', 'HOST', 'PORT', 'REDIS_URL', 'WORKER_PORT'];
/** Of the embedded Postgres, which is not used there. */
const UNUSED = ['TRACEWELL_DATA_DIR'];

test('every setting can be made in .env', () => {
  const missing = describeSettings()
    .map(({ name }) => name)
    .filter((name) => !FIXED.includes(name) && !UNUSED.includes(name))
    .filter((name) => !new RegExp(`^  ${name}: \\$\\{${name}:[-?]`, 'm').test(compose));
  expect(missing).toEqual([]);
});

test('and every variable it hands on is one, with its default where it is not set', () => {
  const passed = [...compose.matchAll(/^ {2}([A-Z_]+): \$\{\1:-(.*)\}$/gm)].map(([, name, value]) => [
    name!,
    value!,
  ]);
  const known = describeSettings().map(({ name }) => name);
  expect(passed.map(([name]) => name).filter((name) => !known.includes(name!))).toEqual([]);
  expect(loadConfig(Object.fromEntries(passed) as Record<string, string>)).toEqual(loadConfig({}));
});
