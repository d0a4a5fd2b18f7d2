import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingHttpHeaders, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type {
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorVersion,
} from '../../src/evaluators/evaluation.js';
import { WebhookSecrets } from '../../src/evaluators/webhook.js';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { adminOf } from '../support/model-provider.js';
import { contextOf, subjectOf, toolStep, versionOf } from './subjects.js';

interface Hooked {
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: JsonObject;
}

let server: Server;
let url: string;
let harness: Harness;
const hooked: Hooked[] = [];
let respond: (response: ServerResponse) => void;

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      hooked.push({ headers: request.headers, text, body: JSON.parse(text) as JsonObject });
      respond(response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  url = `http://127.0.0.1:${port}/score`;
  harness = await startHarness({ env: { OUTBOUND_ALLOWED_PRIVATE_HOSTS: `127.0.0.1:${port}` } });
});
afterAll(async () => {
  await harness.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  hooked.length = 0;
  respond = (response) => response.end('{"score": 0.5}');
});

const evaluate = (
  evaluator: EvaluatorVersion,
  subject: EvaluationSubject = subjectOf('Paris', 'Paris'),
  context = contextOf(),
): Promise<EvaluationOutcome> => harness.app.evaluatorRuntime.evaluate(evaluator, subject, context);

describe('a webhook', () => {
  const hook = (config: JsonObject = {}): EvaluatorVersion => versionOf('webhook', { url, ...config });
  const answers = (status: number, text: string, headers: Readonly<Record<string, string>> = {}) => {
    respond = (response) => response.writeHead(status, headers).end(text);
  };

  test('is sent the subject and answers with a score', async () => {
    const subject = { ...subjectOf('Paris', 'Paris'), steps: [toolStep('search')] };
    expect(await evaluate(hook(), subject)).toEqual({
      kind: 'scored',
      scores: [{ key: 'quality', score: 0.5 }],
      judgeRunIds: [],
      cost: null,
    });
    const { run, example } = subject;
    expect(hooked[0]?.body).toEqual({
      type: 'evaluation.requested',
      evaluation_id: contextOf().evaluationId,
      evaluator: { id: hook().evaluatorId, name: 'quality of answers', version: 1, key: 'quality' },
      run,
      example,
    });
    await evaluate(hook({ steps: true }), subject);
    expect(hooked[1]?.body['steps']).toEqual(subject.steps);
  });

  test('can tell that the request is ours', async () => {
    const { app, home } = harness;
    const caller = adminOf(home);
    const { version, secret = '' } = await inWorkspace(home.workspaceId, async () => {
      const definition = { kind: 'webhook', feedbackKey: 'hook', config: { url } };
      const made = await app.evaluators.create(caller, { name: 'signed', ...definition });
      if (!made.ok) throw new Error(made.problems[0]?.message);
      const [found] = await app.evaluators.findVersionsAt(caller, [{ evaluatorId: made.value.uuid }]);
      return { version: found!, secret: await app.evaluators.webhookSecret(caller, made.value) };
    });
    await evaluate(version);
    const [{ headers, text }] = hooked as [Hooked];
    const id = String(headers['webhook-id']);
    const timestamp = String(headers['webhook-timestamp']);
    expect(id).toBe(contextOf().evaluationId);
    expect(Math.abs(Date.now() / 1_000 - Number(timestamp))).toBeLessThan(60);
    // The recipe of Standard Webhooks, as a receiver follows it.
    const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.${text}`).digest('base64');
    expect(headers['webhook-signature']).toBe(`v1,${mac}`);
  });

  test('has a secret of its own', () => {
    const secrets = new WebhookSecrets({ pepper: 'a pepper' });
    const all = [secrets.of('w1', 'e1'), secrets.of('w1', 'e2'), secrets.of('w2', 'e1')];
    expect(new Set([...all, new WebhookSecrets({ pepper: 'another' }).of('w1', 'e1')]).size).toBe(4);
  });

  test.each<readonly [string, readonly unknown[]]>([
    ['1', [{ key: 'quality', score: 1 }]],
    ['true', [{ key: 'quality', score: true }]],
    ['{"value": "good", "comment": "why"}', [{ key: 'quality', score: null, value: 'good', comment: 'why' }]],
    [
      '[{"key": "a", "score": 1}, {"key": "b", "score": false, "extra": 1}]',
      [
        { key: 'a', score: 1 },
        { key: 'b', score: false },
      ],
    ],
    ['{"score": 1, "__proto__": {"key": "polluted"}}', [{ key: 'quality', score: 1 }]],
  ])('that answers %s is read', async (text, scores) => {
    answers(200, text);
    expect(await evaluate(hook())).toMatchObject({ kind: 'scored', scores });
  });

  test.each([
    'null',
    '"good"',
    '',
    '<html>',
    '[]',
    '{}',
    '{"score": null}',
    '{"score": "1"}',
    '{"score": [1]}',
    '{"score": 1, "key": ""}',
    '{"score": 1, "key": 7}',
    '[1]',
    '[{"score": 1}, {"score": 0}]',
    '{"scor": 1}',
    '{"score": 1e999}',
    JSON.stringify(Array.from({ length: 21 }, (_, index) => ({ key: String(index), score: 1 }))),
    JSON.stringify({ score: 1, comment: 'x'.repeat(20_000) }),
    `{"score": 1, "value": ${'['.repeat(100)}${']'.repeat(100)}}`,
  ])('that answers %j is an error', async (text) => {
    answers(200, text);
    expect(await evaluate(hook())).toMatchObject({
      kind: 'failed',
      error: { code: 'UNREADABLE_ANSWER', retryable: false },
    });
  });

  test.each([
    [400, 'PROVIDER_REFUSED', false],
    [401, 'PROVIDER_REFUSED', false],
    [500, 'PROVIDER_UNAVAILABLE', true],
    [503, 'PROVIDER_UNAVAILABLE', true],
  ] as const)('that answers with status %i is an error', async (status, code, retryable) => {
    answers(status, '{"score": 1}');
    expect(await evaluate(hook())).toMatchObject({ kind: 'failed', error: { code, retryable } });
  });

  test('that asks to wait is told apart', async () => {
    answers(429, '', { 'retry-after': '7' });
    expect(await evaluate(hook())).toMatchObject({
      kind: 'failed',
      error: { code: 'RATE_LIMITED', retryable: true, retryAfterMs: 7_000 },
    });
  });

  test('that does not answer in time is an error', async () => {
    respond = () => undefined;
    expect(await evaluate(hook({ timeoutMs: 200 }))).toMatchObject({
      kind: 'failed',
      error: { code: 'TIMEOUT', retryable: true },
    });
  });

  test('that breaks off is an error', async () => {
    respond = (response) => response.destroy();
    expect(await evaluate(hook())).toMatchObject({
      kind: 'failed',
      error: { code: 'PROVIDER_UNAVAILABLE', retryable: true },
    });
  });

  test('that answers without end is an error', async () => {
    answers(200, `{"score": 1, "comment": "${'x'.repeat(300_000)}"}`);
    expect(await evaluate(hook())).toMatchObject({ kind: 'failed', error: { code: 'UNREADABLE_ANSWER' } });
  });

  test.each([
    'http://127.0.0.1:9/',
    'http://169.254.169.254/latest/meta-data',
    'http://[::1]/',
    'http://10.0.0.1/',
  ])('at %s is not called', async (address) => {
    expect(await evaluate(hook({ url: address }))).toMatchObject({
      kind: 'failed',
      error: { code: 'PROVIDER_REFUSED', retryable: false },
    });
    expect(hooked).toEqual([]);
  });

  test('is not called for what was called off', async () => {
    const off = new AbortController();
    respond = () => off.abort(new Error('called off'));
    await expect(evaluate(hook(), undefined, contextOf({ signal: off.signal }))).rejects.toThrow(
      'called off',
    );
  });
});

describe('code', () => {
  const code = (text: string, config: JsonObject = {}): EvaluatorVersion =>
    versionOf('code', { code: text, ...config });

  test('is given run, example and steps', async () => {
    const subject = { ...subjectOf('Paris', 'Paris'), steps: [toolStep('search')] };
    const outcome = await evaluate(
      code(`function evaluate({run, example, steps}) {
        console.log(run.name, example.metadata.topic);
        return {score: run.outputs === example.reference, value: steps.map(({name}) => name), comment: "seen"};
      }`),
      subject,
    );
    expect(outcome).toEqual({
      kind: 'scored',
      scores: [{ key: 'quality', score: true, value: ['search'], comment: 'seen' }],
      judgeRunIds: [],
      cost: null,
      log: 'agent geography\n',
    });
    const without = await evaluate(
      code('const evaluate = ({example, steps}) => example === null && steps === null'),
      subjectOf('x'),
    );
    expect(without).toMatchObject({ kind: 'scored', scores: [{ score: true }] });
  });

  test('asks for steps where its config says so', () => {
    const { evaluatorRuntime } = harness.app;
    expect(evaluatorRuntime.needsSteps(code('x', { steps: true }))).toBe(true);
    expect(evaluatorRuntime.needsSteps(code('x'))).toBe(false);
    expect(evaluatorRuntime.needsSteps(versionOf('tool_trajectory', {}))).toBe(true);
    expect(evaluatorRuntime.needsSteps(versionOf('exact_match', {}))).toBe(false);
    expect(evaluatorRuntime.needsSteps(versionOf('unheard of', {}))).toBe(false);
  });

  test('gives several scores at a time', async () => {
    expect(
      await evaluate(
        code('async function evaluate() { return [{key: "a", score: 1}, {key: "b", score: 0.25}] }'),
      ),
    ).toMatchObject({
      kind: 'scored',
      scores: [
        { key: 'a', score: 1 },
        { key: 'b', score: 0.25 },
      ],
    });
  });

  test('gives the same for the same seed', async () => {
    const random = code('const evaluate = () => Math.random()');
    const first = await evaluate(random, undefined, contextOf({ seed: 3 }));
    expect(await evaluate(random, undefined, contextOf({ seed: 3 }))).toEqual(first);
    expect(await evaluate(random, undefined, contextOf({ seed: 4 }))).not.toEqual(first);
    expect(await evaluate(random, undefined, contextOf({ seed: -1.5 }))).toMatchObject({ kind: 'scored' });
  });

  test.each([
    ['for (;;);', 'TIMEOUT'],
    ['throw new Error("no")', 'EVALUATOR_FAILED'],
    ['return "good"', 'EVALUATOR_FAILED'],
    ['return {}', 'EVALUATOR_FAILED'],
    ['return undefined', 'EVALUATOR_FAILED'],
    ['return 0 / 0', 'EVALUATOR_FAILED'],
    ['return [{score: 1}, {score: 2}]', 'EVALUATOR_FAILED'],
    ['return process.env', 'EVALUATOR_FAILED'],
    ['return "x".repeat(1e5)', 'EVALUATOR_FAILED'],
  ])('that does %j is an error', async (body, errorCode) => {
    expect(await evaluate(code(`function evaluate() { ${body} }`))).toMatchObject({
      kind: 'failed',
      error: { code: errorCode, message: expect.stringMatching(/\S/) },
    });
    expect(await evaluate(code('const evaluate = () => 1'))).toMatchObject({ kind: 'scored' });
  });

  test('is not run on more than a megabyte', async () => {
    expect(await evaluate(code('const evaluate = () => 1'), subjectOf('x'.repeat(1_100_000)))).toMatchObject({
      kind: 'failed',
      error: { code: 'NOT_APPLICABLE', retryable: false },
    });
  });
});

test('a kind or a config that is not known is an error', async () => {
  expect(await evaluate(versionOf('unheard of', {}))).toMatchObject({
    kind: 'failed',
    error: { code: 'NOT_APPLICABLE', retryable: false },
  });
  expect(await evaluate(versionOf('regex', {}))).toMatchObject({
    kind: 'failed',
    error: { code: 'NOT_APPLICABLE' },
  });
});
