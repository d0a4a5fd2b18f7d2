/** Bodies at and beyond their limits: sizes, encodings, bombs, and the budget of the process. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import http from 'node:http';
import fc from 'fast-check';
import type { RouteModule } from '../../src/http/ports.js';
import { ZstdDecoder } from '../../src/http/zstd.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { startEdge } from './edge.js';
import type { Edge } from './edge.js';
import { block, bomb, frameHeader, storedFrame } from './zstd-frames.js';

const MB = 1024 * 1024;
const LIMITS = { maxEncodedBytes: 1_000, maxDecodedBytes: 3_000 };

const sizes: RouteModule = {
  name: 'sizes',
  mount: 'v1',
  register(app) {
    const options = { config: { access: 'public', body: 'stream' } } as const;
    const counted = (path: string, limits: typeof LIMITS | undefined): void => {
      app.post(path, options, async (request) => {
        const lease = app.bodies.lease();
        try {
          return { bytes: (await app.bodies.bytes(request.raw, lease, limits)).length };
        } finally {
          lease.release();
        }
      });
    };
    counted('/small', LIMITS);
    counted('/large', undefined);
  },
};

let database: TestDatabase;
let edge: Edge;
beforeAll(async () => {
  database = await createTestDatabase();
  edge = await startEdge({ database, routes: [sizes], maxInFlightBytes: 200 * MB });
});
afterAll(async () => {
  await edge.close();
  await database.drop();
});

async function send(path: string, body: Buffer, encoding?: string): Promise<[number, unknown]> {
  const response = await edge.fetch(path, {
    method: 'POST',
    headers: encoding === undefined ? {} : { 'content-encoding': encoding },
    body,
  });
  const answer = (await response.json()) as { bytes?: number; error?: string };
  return [response.status, answer.bytes ?? answer.error];
}

test('the encoded limit holds at -1, 0 and +1', async () => {
  const answers = await Promise.all(
    [999, 1_000, 1_001].map((bytes) => send('/small', Buffer.alloc(bytes, 97))),
  );
  expect(answers).toEqual([
    [200, 999],
    [200, 1_000],
    [413, 'PAYLOAD_TOO_LARGE'],
  ]);
});

test.each([
  ['gzip', gzipSync],
  [
    'zstd',
    (data: Buffer) =>
      Buffer.concat([frameHeader(10), block('repeated', data.length, data.subarray(0, 1), true)]),
  ],
])('the decoded limit holds at -1, 0 and +1 with %s', async (encoding, encode) => {
  const answers = await Promise.all(
    [2_999, 3_000, 3_001].map((bytes) => send('/small', encode(Buffer.alloc(bytes, 97)), encoding)),
  );
  expect(answers).toEqual([
    [200, 2_999],
    [200, 3_000],
    [413, 'PAYLOAD_TOO_LARGE'],
  ]);
});

test('a body without a length is counted as it comes', async () => {
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const request = http.request(`${edge.url}/small`, { method: 'POST' }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on('error', reject);
    request.write(Buffer.alloc(900, 97));
    request.end(Buffer.alloc(900, 97));
  });
  expect(status).toBe(413);
});

test.each(['gzip, gzip', 'br', 'deflate', 'zstd, gzip'])('the encoding "%s" is refused', async (encoding) => {
  expect(await send('/small', Buffer.from('x'), encoding)).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
});

test.each(['gzip', 'zstd'])('what is no %s is refused, as is what ends early', async (encoding) => {
  expect(await send('/small', Buffer.from('certainly not compressed'), encoding)).toEqual([
    400,
    'BAD_USER_INPUT',
  ]);
  const whole = encoding === 'gzip' ? gzipSync(Buffer.alloc(500, 97)) : storedFrame(Buffer.alloc(500, 97));
  expect(await send('/small', whole.subarray(0, whole.length - 6), encoding)).toEqual([
    400,
    'BAD_USER_INPUT',
  ]);
});

test('zstd from the reference encoder is read', async () => {
  const frame = Buffer.from(
    'KLUv/QRY3QgA0kgcGoC3OgAL0cjm/4VKGMdMSNhyG5FSzGrJZERBMRDjWkqlhNA53cy7qmbNrqVUSgid0828q6prKZUSQud0M++qJhGjSfZ8LTkK2dx7LkGKY/BkhwYHvyT7gwpiEJ7ETRpKkg2+w5PdFQLjCyDZ4TuQLwFoqMHxdvY/AzBDETodEkgQqDAJHilACGyyRMJjQk0iE6oHKn80Th9aGmSaECOykuElIEVECLiDHcAkRG4fnKyo3KM77VK6aQYPrTFHWiXBSUSBBA4gOiMOkyA5ffXpU7lHc9qh0wDXhBgRmwxPQrCUBMj2VZJSJXFFmyWPbNuQHad/lqf14zvL1y7Z1i4zdJJqhITo9fz1AwK62lzATrvpMwyvGgtQqz4af/Y=',
    'base64',
  );
  expect(await send('/large', frame, 'zstd')).toEqual([200, 3_685]);
  // A second frame follows where a client flushed between.
  expect(await send('/large', Buffer.concat([frame, frame]), 'zstd')).toEqual([200, 7_370]);
});

test('zstd frames survive any cutting', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      (frames, cuts) => {
        const data = frames.map((frame) => Buffer.from(frame));
        const encoded = Buffer.concat(data.map(storedFrame));
        const at = [...new Set(cuts.map((cut) => cut % encoded.length))].sort((a, b) => a - b);
        const out: Buffer[] = [];
        const decoder = new ZstdDecoder((piece) => out.push(Buffer.from(piece)));
        for (const [index, end] of [...at, encoded.length].entries()) {
          decoder.push(encoded.subarray(at[index - 1] ?? 0, end), false);
        }
        decoder.push(Buffer.alloc(0), true);
        expect(Buffer.concat(out)).toEqual(Buffer.concat(data));
      },
    ),
  );
});

test('a zstd window above 8 MB is refused before it is allocated, in later frames too', async () => {
  const tail = block('repeated', 10, Buffer.from('a'), true);
  const window = (exponent: number): Buffer => Buffer.concat([frameHeader(exponent), tail]);
  expect(await send('/large', window(13), 'zstd')).toEqual([200, 10]);
  expect(await send('/large', window(14), 'zstd')).toEqual([413, 'PAYLOAD_TOO_LARGE']);
  expect(await send('/large', Buffer.concat([window(10), window(17)]), 'zstd')).toEqual([
    413,
    'PAYLOAD_TOO_LARGE',
  ]);
});

test('a stream of empty zstd blocks is given up', async () => {
  const empty = Buffer.alloc(4 * 2_000);
  for (let at = 0; at < empty.length; at += 4) block('repeated', 1, Buffer.from(' '), false).copy(empty, at);
  expect(await send('/large', Buffer.concat([frameHeader(13), empty]), 'zstd')).toEqual([
    413,
    'PAYLOAD_TOO_LARGE',
  ]);
});

test('what a client sends at once may be as repetitive as it likes', async () => {
  expect(await send('/large', gzipSync(Buffer.alloc(40 * MB, 120)), 'gzip')).toEqual([200, 40 * MB]);
  expect(await send('/large', gzipSync(Buffer.alloc(60 * MB, 120)), 'gzip')).toEqual([
    413,
    'PAYLOAD_TOO_LARGE',
  ]);
});

test('bombs cost little memory and no other request', async () => {
  const gzip = gzipSync(Buffer.alloc(200 * MB, 32));
  const zstd = bomb(200 * MB);
  expect([gzip.length < 210_000, zstd.length < 7_000]).toEqual([true, true]);
  global.gc?.();
  const before = process.memoryUsage().rss;
  let slowest = 0;
  let pinging = true;
  const pings = (async () => {
    while (pinging) {
      const startedAt = performance.now();
      await (await edge.fetch('/ok')).text();
      slowest = Math.max(slowest, performance.now() - startedAt);
    }
  })();
  const answers = await Promise.all([
    send('/large', gzip, 'gzip'),
    send('/large', zstd, 'zstd'),
    send('/large', gzip, 'gzip'),
    send('/large', zstd, 'zstd'),
  ]);
  pinging = false;
  await pings;
  expect(answers).toEqual(Array.from({ length: 4 }, () => [413, 'PAYLOAD_TOO_LARGE']));
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * MB);
  expect(slowest).toBeLessThan(1_000);
});

test('more than the process may hold is turned away with 503 and a time to come back', async () => {
  const tight = await startEdge({ database, routes: [sizes], maxInFlightBytes: 5 * MB });
  const turned = await tight.fetch('/large', { method: 'POST', body: Buffer.alloc(6 * MB, 97) });
  expect([turned.status, turned.headers.get('retry-after')]).toEqual([503, '10']);
  // What was held is given back, by answers and by clients that go away.
  expect((await tight.fetch('/large', { method: 'POST', body: Buffer.alloc(4 * MB, 97) })).status).toBe(200);
  const aborted = http.request(`${tight.url}/large`, {
    method: 'POST',
    headers: { 'content-length': 4 * MB },
  });
  aborted.on('error', () => undefined);
  aborted.write(Buffer.alloc(3 * MB, 97));
  const inFlight = async (): Promise<number> =>
    (await tight.metrics.ingestInFlightBytes.get()).values[0]?.value ?? 0;
  await eventually(async () => expect(await inFlight()).toBe(3 * MB));
  aborted.destroy();
  await eventually(async () => expect(await inFlight()).toBe(0));
  expect((await tight.metrics.ingestShed.get()).values).toEqual([{ labels: { reason: 'bytes' }, value: 1 }]);
  await tight.close();
});
