/** What is remembered about documents stays within bounds, however many different ones come. */
import { expect, test } from '@jest/globals';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createContext } from '../../src/graphql/context.js';
import { MAX_TEXT_LENGTH } from '../../src/graphql/document-store.js';
import { Executor } from '../../src/graphql/executor.js';
import { OperationGate } from '../../src/graphql/gate.js';
import { demoSchema } from './demo.js';
import { principalWith } from './demo-server.js';

const schema = demoSchema();
const principal = principalWith(['read']);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** A document nobody sent before, of about `length` characters. */
const distinct = (index: number, length: number): string =>
  `query Q${index} { hello ${Array.from({ length: Math.floor(length / 12) }, (_, n) => `a${n}: hello`)
    .slice(0, 8)
    .join(' ')} } # ${'x'.repeat(length)}`;

async function serve(from: number, to: number, length: number, gate: OperationGate, executor: Executor) {
  const contextValue = createContext({ principal, signal: new AbortController().signal, requestId: 'test' });
  for (let index = from; index < to; index += 1) {
    const admission = await gate.prepare({ query: distinct(index, length), principal, kind: 'http' });
    if (!admission.ok) throw admission.errors[0];
    await executor.execute({ document: admission.document, contextValue });
  }
}

test('thousands of distinct documents, each compiled, leave memory flat', async () => {
  const gate = new OperationGate({ schema });
  const executor = new Executor({ schema, compileAfter: 0, maxCompiled: 50 });
  await serve(0, 2_500, 300, gate, executor);
  collect();
  const before = process.memoryUsage().heapUsed;
  await serve(2_500, 6_000, 300, gate, executor);
  collect();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(8 * 1024 * 1024);
  expect(gate.documents.size).toBeLessThanOrEqual(2_000);
  expect(executor.compiledCount).toBeLessThanOrEqual(50);
}, 60_000);

test('long documents count by their length, not by their number', async () => {
  const gate = new OperationGate({ schema });
  const executor = new Executor({ schema, compileAfter: 0, maxCompiledText: 100_000 });
  await serve(0, 60, 40_000, gate, executor);
  expect(gate.documents.textLength).toBeLessThanOrEqual(MAX_TEXT_LENGTH);
  expect(gate.documents.size).toBe(Math.floor(MAX_TEXT_LENGTH / distinct(50, 40_000).length));
  expect(executor.compiledCount).toBe(2);
});
