/** The multipart parser under every way a body can be cut into chunks. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { boundaryOf, MultipartParser } from '../../src/http/multipart.js';

interface Part {
  name: string;
  contentType: string | undefined;
  data: string;
}

function parse(boundary: string, chunks: readonly Buffer[]): Part[] {
  const parts: Part[] = [];
  let current: { name: string; contentType: string | undefined; data: Buffer[] } | undefined;
  const parser = new MultipartParser(boundary, {
    onPart: ({ name, contentType }) => (current = { name, contentType, data: [] }),
    onData: (data) => current?.data.push(Buffer.from(data)),
    onPartEnd: () => {
      if (current !== undefined) {
        parts.push({ ...current, data: Buffer.concat(current.data).toString('latin1') });
      }
    },
  });
  for (const chunk of chunks) parser.write(chunk);
  parser.end();
  return parts;
}

function encode(boundary: string, parts: readonly Part[], preamble = ''): Buffer {
  const body = parts.map(
    ({ name, contentType, data }) =>
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n` +
      `${contentType === undefined ? '' : `Content-Type: ${contentType}; length=${data.length}\r\n`}\r\n${data}\r\n`,
  );
  return Buffer.from(`${preamble}${body.join('')}--${boundary}--\r\n`, 'latin1');
}

function cut(body: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [...new Set(at.map((position) => position % (body.length + 1)))].sort((a, b) => a - b);
  return [...cuts, body.length].map((end, index) => body.subarray(index === 0 ? 0 : cuts[index - 1], end));
}

test('parts survive any cutting, whatever their bytes look like', () => {
  const boundary = '--b';
  // Pieces of boundaries, so that false starts are common.
  const data = fc
    .array(
      fc.oneof(
        fc.constantFrom('\r', '\n', '\r\n', '-', '--', '\r\n--', '\r\n----', 'x'),
        fc.string({ maxLength: 4 }),
      ),
    )
    .map((pieces) =>
      Buffer.from(pieces.join(''), 'utf8').toString('latin1').replaceAll(`\r\n--${boundary}`, ''),
    )
    .filter((text) => !text.includes(`\r\n--${boundary}`) && !`${text}\r\n`.includes(`\r\n--${boundary}`));
  const part = fc.record({
    name: fc.constantFrom('post.1', 'post.1.inputs', 'attachment.1.a b'),
    contentType: fc.constantFrom(undefined, 'application/json', 'text/plain'),
    data,
  });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 30 }), (parts, cuts) => {
      expect(parse(boundary, cut(encode(boundary, parts), cuts))).toEqual(parts);
    }),
    { numRuns: 300 },
  );
});

test('a body is the same byte by byte', () => {
  const parts: Part[] = [
    { name: 'post.a', contentType: 'application/json', data: '{"a":1}' },
    { name: 'empty', contentType: undefined, data: '' },
  ];
  const body = encode('----LangSmithFormBoundary2dbl18dsbah', parts, 'to be ignored\r\n');
  const bytes = [...body].map((byte) => Buffer.from([byte]));
  expect(parse('----LangSmithFormBoundary2dbl18dsbah', bytes)).toEqual(parts);
});

test('a body that ends early is refused, wherever it ends', () => {
  const body = encode('b', [{ name: 'p', contentType: undefined, data: 'data' }]);
  for (let length = 0; length < body.length - 2; length += 1) {
    expect(() => parse('b', [body.subarray(0, length)])).toThrow(/ends before its closing boundary/);
  }
});

test.each([
  [`--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--`, /no name/],
  [`--bad\r\n\r\nx`, /followed by something else/],
  [`--b\r\n${'x'.repeat(17_000)}`, /longer than/],
  [
    `--b\r\nContent-Disposition: form-data; name="a"\r\nContent-Encoding: gzip\r\n\r\nx\r\n--b--`,
    /encoding of their own/,
  ],
])('%p is refused', (text, message) => {
  expect(() => parse('b', [Buffer.from(text)])).toThrow(message);
});

test('names are read quoted, escaped, bare and beside a file name', () => {
  const names = ['name="a\\"b"', 'name="a%22b"', 'filename="x"; name=plain', 'name="n"; filename="blob"'];
  const found = names.map(
    (parameter) =>
      parse('b', [Buffer.from(`--b\r\nContent-Disposition: form-data; ${parameter}\r\n\r\n\r\n--b--`)])[0]
        ?.name,
  );
  expect(found).toEqual(['a"b', 'a"b', 'plain', 'n']);
});

test('the boundary is found among other parameters', () => {
  expect(boundaryOf('multipart/form-data; boundary=----X')).toBe('----X');
  expect(boundaryOf('multipart/form-data; charset=utf-8; boundary="a b"')).toBe('a b');
  expect(() => boundaryOf('application/json')).toThrow(/multipart/);
  expect(() => boundaryOf(undefined)).toThrow(/multipart/);
});
