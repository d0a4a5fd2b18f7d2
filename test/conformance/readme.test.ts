import { expect, test } from '@jest/globals';
import { buildSchema, parse, TypeInfo, validate, visit, visitWithTypeInfo } from 'graphql';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { DOCUMENTS, readDocument, TABLES, withTables } from '../../scripts/document-tables.js';
import { parseFilter } from '../../src/filters/filter-text.js';
import { gateRule } from '../../src/gates/gate.js';

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

test('the GraphQL documents that are shown fit the schema, and their lists say how long a page is', () => {
  const schema = buildSchema(readFileSync('schema.graphql', 'utf8'));
  const pages = [
    'README.md',
    'docs/graphql.md',
    'docs/evaluation.md',
    'docs/evaluators.md',
    'docs/experiments.md',
  ];
  const text = [...pages, 'docs/harvesting.md'].map(readDocument).join('\n');
  const documents = [
    ...[...text.matchAll(/```graphql\n([\s\S]*?)```/g)].map(([, shown]) => shown!),
    ...[...text.matchAll(/-d '(\{"query".*\})'/g)].map(
      ([, body]) => (JSON.parse(body!) as { query: string }).query,
    ),
    ...[...text.matchAll(/from (\{ projects.*\})$/gm)].map(([, shown]) => shown!),
  ];
  expect(documents.length).toBe(9);
  for (const shown of documents) {
    const document = parse(shown);
    expect(validate(schema, document)).toEqual([]);
    const types = new TypeInfo(schema);
    const unpaged: string[] = [];
    const Field = (): void => {
      const field = types.getFieldDef();
      if (field?.args.some(({ name }) => name === 'last') === true) unpaged.push(field.name);
    };
    const Argument = (): void => {
      if (types.getArgument()?.name === 'first' || types.getArgument()?.name === 'last') unpaged.pop();
    };
    visit(document, visitWithTypeInfo(types, { Field, Argument }));
    expect(unpaged).toEqual([]);
  }
});

test('the rules that are shown for gates are rules', () => {
  const block = /Rules are JSON[^`]*(?:`[^`]+`[^`]*)*```json\n([\s\S]*?)```/.exec(
    readDocument('docs/evaluation.md'),
  )?.[1];
  const rules = JSON.parse(block ?? '[]') as { kind: string }[];
  expect(rules.map((rule) => gateRule.parse(rule).kind).sort()).toEqual([
    'improvement',
    'label_spike',
    'no_regression',
    'threshold',
    'threshold',
  ]);
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
