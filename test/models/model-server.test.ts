import { afterEach, expect, test } from '@jest/globals';
import { startModelServer } from '../support/model-server.js';
import type { ModelServer, ModelServerOptions } from '../support/model-server.js';

const servers: ModelServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function start(options: ModelServerOptions = {}): Promise<ModelServer> {
  const server = await startModelServer(options);
  servers.push(server);
  return server;
}

const SCORE = {
  type: 'object',
  properties: { score: { type: 'integer', minimum: 1, maximum: 5 }, reason: { type: 'string' } },
  required: ['score', 'reason'],
  additionalProperties: false,
};
const question = (content: string) => ({ model: 'm-1', messages: [{ role: 'user', content }] });
const chat = (server: ModelServer, body: object, headers: Record<string, string> = {}) =>
  fetch(`${server.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer s', ...headers },
    body: JSON.stringify(body),
  });
const messages = (server: ModelServer, body: object) =>
  fetch(`${server.baseUrl}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': 's', 'anthropic-version': '2023-06-01' },
    body: JSON.stringify({ max_tokens: 100, ...body }),
  });

test('both protocols answer a schema with a value of it, bill it and count the call', async () => {
  const server = await start();
  const asked = question('How good?');
  const openAi = await chat(server, {
    ...asked,
    response_format: { type: 'json_schema', json_schema: { name: 'score', schema: SCORE } },
  });
  const body = (await openAi.json()) as { choices: { message: { content: string } }[]; usage: object };
  const { score } = JSON.parse(body.choices[0]?.message.content ?? '') as { score: number };
  expect([1, 2, 3, 4, 5]).toContain(score);
  expect(body.usage).toEqual({ prompt_tokens: 7, completion_tokens: 12, total_tokens: 19 });

  const anthropic = await messages(server, {
    ...asked,
    tools: [{ name: 'answer', input_schema: SCORE }],
    tool_choice: { type: 'tool', name: 'answer' },
  });
  const answer = (await anthropic.json()) as { content: { type: string; input: { score: number } }[] };
  expect(answer.content[0]?.type).toBe('tool_use');
  expect([1, 2, 3, 4, 5]).toContain(answer.content[0]?.input.score);

  expect(server.calls.map(({ protocol, secret }) => [protocol, secret])).toEqual([
    ['openai', 's'],
    ['anthropic', 's'],
  ]);
  // (7 × 2.50 + 12 × 10) / 10^6, twice.
  expect(server.spent()).toBe('0.000275000000');
});

test('the same seed meets the same faults in any order of arrival', async () => {
  const faults = { rateLimited: 0.3, serverError: 0.3, brokenJson: 0.2 };
  const statuses = async (seed: number, order: readonly string[]) => {
    const server = await start({ seed, faults });
    const seen: [string, number, string][] = [];
    for (const content of order) {
      const response = await chat(server, question(content));
      seen.push([content, response.status, await response.text()]);
    }
    return seen.sort(([a], [b]) => (a < b ? -1 : 1));
  };
  const order = Array.from({ length: 20 }, (_, index) => `question ${index}`);
  const first = await statuses(7, order);
  expect(await statuses(7, order.toReversed())).toEqual(first);
  expect(await statuses(8, order)).not.toEqual(first);
  expect(new Set(first.map(([, status]) => status))).toEqual(new Set([200, 429, 500]));
});

test('scripted behaviours come in order, and only what was answered is billed', async () => {
  const server = await start();
  server.next(
    { kind: 'status', status: 429, retryAfter: '2' },
    { kind: 'status', status: 500 },
    { kind: 'broken_json' },
    { kind: 'truncated' },
    { kind: 'prose' },
  );
  const limited = await chat(server, question('a'));
  expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '2']);
  expect((await chat(server, question('a'))).status).toBe(500);
  await expect((await chat(server, question('a'))).json()).rejects.toThrow('JSON');
  await expect((await chat(server, question('a'))).text()).rejects.toThrow('terminated');
  expect(await (await chat(server, question('a'))).text()).toContain('out of 10');
  expect(server.calls.map(({ usage }) => usage !== null)).toEqual([false, false, false, false, true]);
});

test('a hanging request ends with its client, and so does a reset one', async () => {
  const server = await start();
  server.next({ kind: 'hang' }, { kind: 'reset' });
  await expect(
    fetch(`${server.baseUrl}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify(question('a')),
      signal: AbortSignal.timeout(50),
    }),
  ).rejects.toThrow('timeout');
  await expect(chat(server, question('a'))).rejects.toThrow('fetch failed');
  expect(server.peak).toBe(1);
});

test('both protocols stream their events and end', async () => {
  const server = await start({ answer: () => 'a text long enough for more than one event' });
  const openAi = await (await chat(server, { ...question('a'), stream: true })).text();
  expect(openAi.endsWith('data: [DONE]\n\n')).toBe(true);
  const anthropic = await (await messages(server, { ...question('a'), stream: true })).text();
  expect(anthropic.match(/^event: .*$/gm)).toEqual([
    'event: message_start',
    'event: content_block_start',
    ...Array.from({ length: 3 }, () => 'event: content_block_delta'),
    'event: content_block_stop',
    'event: message_delta',
    'event: message_stop',
  ]);
});

test('a remembered key is answered again and billed once', async () => {
  const server = await start({ remembersKeys: true, secret: 's' });
  const first = await (await chat(server, question('a'), { 'idempotency-key': 'k' })).text();
  expect(await (await chat(server, question('a'), { 'idempotency-key': 'k' })).text()).toBe(first);
  expect(server.calls.map(({ cost }) => cost > 0n)).toEqual([true, false]);
  expect(server.answeredByKey().size).toBe(1);
  expect((await chat(server, question('a'), { authorization: 'Bearer wrong' })).status).toBe(401);
});
