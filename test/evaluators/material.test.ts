import { expect, test } from '@jest/globals';
import type { EvaluationSubject } from '../../src/evaluators/evaluation.js';
import { KindRuntime } from '../../src/evaluators/evaluator-runtime.js';
import { subjectOf, toolStep, versionOf } from './subjects.js';

const runtime = new KindRuntime({} as ConstructorParameters<typeof KindRuntime>[0]);

const judge = (content: string) =>
  versionOf('llm_judge', {
    providerId: '018f0000-0000-7000-8000-0000000000a1',
    model: 'judge',
    messages: [{ role: 'user', content }],
    score: { type: 'boolean' },
  });

const subject = subjectOf('Paris', 'Paris', { metadata: { customer: 'acme' } });
const withRun = (more: Partial<EvaluationSubject['run']>): EvaluationSubject => ({
  ...subject,
  run: { ...subject.run, ...more },
});

test('rules are made from output, reference and steps, whatever else a run has', () => {
  const exact = versionOf('exact_match', {});
  const material = runtime.materialOf(exact, subject);
  expect(material).toBeDefined();
  const measuredElse = withRun({ id: 'other', latency: 9, totalCost: '1', tags: ['x'], metadata: { a: 1 } });
  expect(runtime.materialOf(exact, measuredElse)).toEqual(material);
  expect(runtime.materialOf(exact, withRun({ outputs: 'Rome' }))).not.toEqual(material);
  expect(runtime.materialOf(exact, subjectOf('Paris', 'Rome'))).not.toEqual(material);
  const calls = versionOf('tool_trajectory', { expected: [{ name: 'search' }] });
  const stepped = { ...subject, steps: [toolStep('search')] };
  // Ids of steps differ from run to run.
  expect(runtime.materialOf(calls, { ...subject, steps: [toolStep('search')] })).toEqual(
    runtime.materialOf(calls, stepped),
  );
  expect(runtime.materialOf(calls, { ...subject, steps: [toolStep('search', { q: 1 })] })).not.toEqual(
    runtime.materialOf(calls, stepped),
  );
});

test('judges are made from what their prompt shows, and from nothing else', () => {
  const plain = judge('Is {{output}} right?');
  expect(runtime.materialOf(plain, withRun({ metadata: { customer: 'other' }, latency: 9 }))).toEqual(
    runtime.materialOf(plain, subject),
  );
  const curious = judge('Is {{output}} right for {{metadata.customer}}?');
  expect(runtime.materialOf(curious, withRun({ metadata: { customer: 'other' } }))).not.toEqual(
    runtime.materialOf(curious, subject),
  );
  const stepwise = judge('Is {{output}} right after {{steps}}?');
  const step = toolStep('search');
  expect(runtime.materialOf(stepwise, { ...subject, steps: [{ ...step, latency: 5 }] })).not.toEqual(
    runtime.materialOf(stepwise, { ...subject, steps: [step] }),
  );
  expect(runtime.materialOf(judge('{{output}} {{metadata.absent}}'), subject)).toBeUndefined();
});

test('what is measured, and what others answer, is never the same twice', () => {
  for (const version of [
    versionOf('latency', {}),
    versionOf('cost', {}),
    versionOf('code', { code: 'const evaluate = ({ run }) => run.latency' }),
    versionOf('webhook', { url: 'https://scores.example.com/' }),
    versionOf('unheard of', {}),
  ]) {
    expect(runtime.materialOf(version, subject)).toBeUndefined();
  }
});
