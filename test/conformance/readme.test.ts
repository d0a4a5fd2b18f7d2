import { expect, test } from '@jest/globals';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { DOCUMENTS, readDocument, TABLES, withTables } from '../../scripts/document-tables.js';
import { parseFilter } from '../../src/filters/filter-text.js';

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };

test.each(DOCUMENTS)('the tables of %s say what the code says', (name) => {
  expect(readDocument(name)).toBe(withTables(readDocument(name)));
});

test('every table stands in a document', () => {
  const text = DOCUMENTS.map(readDocument).join('\n');
  expect(Object.keys(TABLES).filter((name) => !text.includes(`<!-- table: ${name} -->`))).toEqual([]);
});

test('every script the README names exists', () => {
  const named = [...readDocument('README.md').matchAll(/npm run ([a-z:]+)/g)].map(([, script]) => script!);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((script) => !(script in scripts))).toEqual([]);
});

test.each(['README.md', 'docs/filters.md', 'docs/operation.md'])('the links of %s lead somewhere', (name) => {
  const targets = [...readFileSync(name, 'utf8').matchAll(/\]\(([^)#]+)\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !target.startsWith('http'))
    .map((target) => path.join(path.dirname(name), target));
  expect(targets.filter((target) => !existsSync(target))).toEqual([]);
});

test('the example filters of the README are filters', () => {
  const block = /^## Filter\n+```\n([\s\S]*?)```/m.exec(readDocument('README.md'))?.[1] ?? '';
  const filters = block.trim().split('\n');
  expect(filters.length).toBe(5);
  for (const filter of filters) expect(() => parseFilter(filter)).not.toThrow();
});

test('the README shows itself in one sitting', () => {
  expect(readDocument('README.md').split('\n').length).toBeLessThanOrEqual(201);
});

test('every installed version in the lock file can be fetched from any registry', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { version?: string; resolved?: string; optionalDependencies?: object }>;
  };
  expect(Object.keys(packages).filter((name) => packages[name]!.resolved !== undefined)).toEqual([]);
  // npm refuses a lock file that lacks the other platforms' optional packages.
  const missing = Object.entries(packages).flatMap(([name, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (wanted) => !(`node_modules/${wanted}` in packages) && !(`${name}/node_modules/${wanted}` in packages),
    ),
  );
  expect(missing).toEqual([]);
});
