import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { AppError } from '../../src/platform/errors.js';
import {
  beforeXid,
  comparePositions,
  decodeCursor,
  encodeCursor,
  laterOf,
} from '../../src/live/feed-position.js';

const position = fc.record({
  xid: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  seq: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  index: fc.integer({ min: 0, max: 0xffff_ffff }),
});

function refusal(cursor: string): AppError {
  try {
    decodeCursor(cursor);
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error(`${cursor} was taken for a cursor`);
}

describe('cursors', () => {
  test('every position survives the way out and back', () => {
    fc.assert(fc.property(position, (given) => expect(decodeCursor(encodeCursor(given))).toEqual(given)));
  });

  test('are opaque text of one length without padding', () => {
    fc.assert(fc.property(position, (given) => expect(encodeCursor(given)).toMatch(/^[A-Za-z0-9_-]{31}$/)));
  });

  test('anything else is refused as bad input and never fails otherwise', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.base64String(), fc.string({ minLength: 31, maxLength: 31 })),
        (text) => {
          try {
            expect(encodeCursor(decodeCursor(text))).toBe(text);
          } catch (error) {
            expect(error).toMatchObject({ code: 'BAD_USER_INPUT', inputPath: ['after'] });
          }
        },
      ),
    );
  });

  test.each([
    ['empty', ''],
    ['cut short', encodeCursor(beforeXid(7n)).slice(0, -1)],
    ['too long', `${encodeCursor(beforeXid(7n))}A`],
    ['of another version', Buffer.from([2, ...Buffer.alloc(22)]).toString('base64url')],
    ['of another node', Buffer.from([1, 0, 1, ...Buffer.alloc(20)]).toString('base64url')],
    [
      'with a negative sequence',
      Buffer.from([1, 0, 0, ...Buffer.alloc(8), 255, ...Buffer.alloc(11)]).toString('base64url'),
    ],
    ['with characters of plain base64', `+${encodeCursor(beforeXid(7n)).slice(1)}`],
  ])('one that is %s is refused', (_what, cursor) => {
    expect(refusal(cursor).code).toBe('BAD_USER_INPUT');
  });
});

describe('order', () => {
  test('is that of transaction, then sequence, then entry', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        const key = ({ xid, seq, index }: typeof a) => (xid << 96n) | (seq << 32n) | BigInt(index);
        expect(Math.sign(comparePositions(a, b))).toBe(key(a) === key(b) ? 0 : key(a) < key(b) ? -1 : 1);
        expect(key(laterOf(a, b))).toBe(key(a) > key(b) ? key(a) : key(b));
      }),
    );
  });
});
