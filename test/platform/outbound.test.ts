import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { isPublicAddress } from '../../src/platform/outbound-guard.js';
import type { Lookup } from '../../src/platform/outbound-guard.js';
import { OutboundClient, OutboundError } from '../../src/platform/outbound.js';
import type { OutboundFailure } from '../../src/platform/outbound.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});

interface Place {
  readonly host: string;
  readonly url: string;
  readonly requests: IncomingMessage[];
}

async function serve(answer: RequestListener): Promise<Place> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { host, url: `http://${host}`, requests };
}

function client(allowedHosts: readonly string[] = [], lookup?: Lookup): OutboundClient {
  const made = new OutboundClient({ allowedHosts, ...(lookup && { lookup }) });
  closing.push(() => made.close());
  return made;
}

const LIMITS = { timeoutMs: 5_000 };

async function failureOf(attempt: Promise<unknown>): Promise<OutboundFailure | undefined> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error !== undefined && !(error instanceof OutboundError)) throw error;
  return error?.failure;
}

const redirect = (response: ServerResponse, status: number, location: string): void => {
  response.writeHead(status, { location }).end();
};

test.each([
  '127.0.0.1',
  '127.1',
  '127.0.1',
  '127.255.255.254',
  '0x7f000001',
  '0x7f.0.0.1',
  '2130706433',
  '017700000001',
  '0177.0.0.1',
  '127.0.0.1.',
  '①②⑦.⓪.⓪.①',
  '127。0。0。1',
  '%31%32%37.0.0.1',
  '0.0.0.0',
  '0',
  '[::1]',
  '[::]',
  '[0:0:0:0:0:0:0:1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::127.0.0.1]',
  '[64:ff9b::127.0.0.1]',
  '[::ffff:0:127.0.0.1]',
  '[2002:7f00:1::]',
  'localhost',
  'LOCALHOST',
])('this machine is not reached as %s', async (host) => {
  const outbound = client();
  expect(await failureOf(outbound.request({ url: `http://${host}/`, ...LIMITS }))).toBe('refused');
  expect(await failureOf(outbound.request({ url: `https://${host}/`, ...LIMITS }))).toBe('refused');
});

test.each([
  '10.0.0.1',
  '172.16.0.1',
  '192.168.1.1',
  '169.254.169.254',
  '100.100.100.200',
  '192.0.0.192',
  '198.18.0.1',
  '224.0.0.1',
  '255.255.255.255',
  'fd00:ec2::254',
  'fe80::1',
  'fec0::1',
  'ff02::1',
  '64:ff9b:1::a00:1',
  '2001::1',
  '2001:db8::1',
  'no address',
])('%s is no public address', (address) => {
  expect(isPublicAddress(address)).toBe(false);
});

test('public addresses are public in all their spellings', () => {
  expect(['8.8.8.8', '::ffff:8.8.8.8', '2606:4700::1111'].map(isPublicAddress)).toEqual([true, true, true]);
});

test.each([
  ['ftp://example.com/', 'Only http:// and https:// addresses can be reached.'],
  ['file:///etc/passwd', 'Only http:// and https:// addresses can be reached.'],
  ['http://user:word@example.com/', 'A URL must not hold a user name or password.'],
  ['not a url', 'This is not a URL.'],
  [
    'https://example.com:8443/',
    'example.com:8443 cannot be reached: ports other than 80 and 443 have to be allowed by the operator.',
  ],
])('%s cannot be set', (url, problem) => {
  expect(client().urlProblem(url)).toBe(problem);
});

test('an address that may be tried is no problem', () => {
  const outbound = client(['ollama:11434', '[::1]:8000']);
  expect(
    ['https://example.com/v1', 'http://ollama:11434', 'http://[::1]:8000'].map((url) =>
      outbound.urlProblem(url),
    ),
  ).toEqual([undefined, undefined, undefined]);
  expect(outbound.urlProblem('http://ollama:11435')).toContain('ports other than');
});

test('a name that turns to a private address, or has one among public ones, is refused before anything is sent', async () => {
  const place = await serve((_, response) => response.end('secret'));
  const answers = [['127.0.0.1'], ['93.184.216.34', '127.0.0.1'], ['::ffff:127.0.0.1'], ['fd00::1']];
  const asked: string[] = [];
  const outbound = client([], (hostname, _, callback) => {
    asked.push(hostname);
    const addresses = (answers.shift() ?? []).map((address) => ({
      address,
      family: address.includes(':') ? 6 : 4,
    }));
    callback(null, addresses);
  });
  for (let attempt = 0; attempt < 4; attempt += 1) {
    expect(await failureOf(outbound.request({ url: 'http://rebound.example/', ...LIMITS }))).toBe('refused');
  }
  expect(asked).toEqual(Array.from({ length: 4 }, () => 'rebound.example'));
  expect(place.requests).toHaveLength(0);
});

test('what the operator allows is reached on that host and port only', async () => {
  const allowed = await serve((_, response) => response.end('hello'));
  const other = await serve((_, response) => response.end('secret'));
  const outbound = client([allowed.host]);
  const answer = await outbound.request({
    url: `${allowed.url}/a?b=c`,
    headers: { 'X-Key': 'k' },
    ...LIMITS,
  });
  expect([answer.status, Buffer.from(answer.body).toString()]).toEqual([200, 'hello']);
  expect([allowed.requests[0]?.url, allowed.requests[0]?.headers['x-key']]).toEqual(['/a?b=c', 'k']);
  expect(await failureOf(outbound.request({ url: other.url, ...LIMITS }))).toBe('refused');
  expect(other.requests).toHaveLength(0);
});

test('redirects are followed three times, each one checked', async () => {
  const place = await serve((request, response) => {
    const left = Number(request.url?.slice(1));
    if (left > 0) redirect(response, 302, `/${left - 1}`);
    else response.end('there');
  });
  const outbound = client([place.host]);
  const answer = await outbound.request({ url: `${place.url}/3`, ...LIMITS });
  expect(Buffer.from(answer.body).toString()).toBe('there');
  expect(await failureOf(outbound.request({ url: `${place.url}/4`, ...LIMITS }))).toBe('redirects');
});

test.each(['http://127.0.0.1/', 'http://169.254.169.254/latest', 'http://localhost/', 'file:///etc/passwd'])(
  'a redirect to %s is refused',
  async (location) => {
    const place = await serve((_, response) => redirect(response, 307, location));
    expect(await failureOf(client([place.host]).request({ url: place.url, ...LIMITS }))).toBe('refused');
  },
);

test('another host sees neither key nor cookie of the first, and a body only where the method stays', async () => {
  const second = await serve((_, response) => response.end('ok'));
  const first = await serve((request, response) =>
    redirect(response, request.url === '/keep' ? 307 : 302, `${second.url}/`),
  );
  const outbound = client([first.host, second.host]);
  const request = {
    method: 'POST',
    headers: { authorization: 'Bearer s', 'x-api-key': 's', cookie: 's', 'content-type': 'application/json' },
    body: '{}',
    ...LIMITS,
  };
  await outbound.request({ url: `${first.url}/keep`, ...request });
  await outbound.request({ url: `${first.url}/change`, ...request });
  expect(second.requests.map(({ method, headers }) => [method, headers['content-length']])).toEqual([
    ['POST', '2'],
    ['GET', undefined],
  ]);
  for (const { headers } of second.requests) {
    expect([headers.authorization, headers['x-api-key'], headers.cookie]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  }
});

test('an answer that is too large, announced or not, is given up', async () => {
  const place = await serve((request, response) => {
    if (request.url === '/announced') response.writeHead(200, { 'content-length': '2000000' });
    const chunk = Buffer.alloc(65_536);
    const write = (): void => {
      while (!response.destroyed && response.write(chunk));
      response.once('drain', write);
    };
    write();
  });
  const outbound = client([place.host]);
  const limits = { ...LIMITS, maxBytes: 1_000_000 };
  expect(await failureOf(outbound.request({ url: `${place.url}/announced`, ...limits }))).toBe('too_large');
  expect(await failureOf(outbound.request({ url: `${place.url}/endless`, ...limits }))).toBe('too_large');
});

test('an answer of exactly the limit is taken', async () => {
  const place = await serve((_, response) => response.end(Buffer.alloc(1_000)));
  const outbound = client([place.host]);
  const answer = await outbound.request({ url: place.url, maxBytes: 1_000, ...LIMITS });
  expect(answer.body).toHaveLength(1_000);
  expect(await failureOf(outbound.request({ url: place.url, maxBytes: 999, ...LIMITS }))).toBe('too_large');
});

test('a server that is silent, or drips its answer, meets the deadline', async () => {
  const place = await serve((request, response) => {
    if (request.url === '/silent') return;
    response.writeHead(200);
    const drip = setInterval(() => response.write('.'), 20);
    response.once('close', () => clearInterval(drip));
  });
  const outbound = client([place.host]);
  for (const path of ['/silent', '/dripping']) {
    const started = performance.now();
    expect(await failureOf(outbound.request({ url: place.url + path, timeoutMs: 150 }))).toBe('timeout');
    expect(performance.now() - started).toBeLessThan(2_000);
  }
});

test('the caller can call a request off, also one that has not begun', async () => {
  const place = await serve(() => undefined);
  const outbound = client([place.host]);
  const controller = new AbortController();
  const attempt = outbound.request({ url: place.url, signal: controller.signal, ...LIMITS });
  setTimeout(() => controller.abort(), 50);
  expect(await failureOf(attempt)).toBe('aborted');
  expect(await failureOf(outbound.request({ url: place.url, signal: controller.signal, ...LIMITS }))).toBe(
    'aborted',
  );
});

test('an answer that was packed unasked is not unpacked', async () => {
  const place = await serve((_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
  );
  const outbound = client([place.host]);
  expect(await failureOf(outbound.request({ url: place.url, ...LIMITS }))).toBe('connection');
  expect(place.requests[0]?.headers['accept-encoding']).toBe('identity');
});

test('nothing of a path or header is in an error', async () => {
  const outbound = client(['127.0.0.1:9']);
  const error = await outbound
    .request({ url: 'http://127.0.0.1:9/hush?key=hush', headers: { 'x-api-key': 'hush' }, ...LIMITS })
    .catch((reason: unknown) => reason);
  expect((error as OutboundError).message).toBe('The connection to 127.0.0.1:9 failed (ECONNREFUSED).');
  expect((error as OutboundError).retryable).toBe(true);
});

test('fetch for libraries has the same guard and gives a Response', async () => {
  const place = await serve((_, response) => response.writeHead(201, { 'x-a': 'b' }).end('{"a":1}'));
  const outbound = client([place.host]);
  const fetch = outbound.fetchWith(LIMITS);
  const response = await fetch(place.url, {
    method: 'POST',
    body: '{}',
    headers: { 'content-type': 'text/plain' },
  });
  expect([response.status, response.headers.get('x-a'), await response.json()]).toEqual([201, 'b', { a: 1 }]);
  expect(await failureOf(fetch('http://127.0.0.1/'))).toBe('refused');
});
