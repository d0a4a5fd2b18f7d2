import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readDefinition, windowOf } from '../../src/harvest/harvest.js';
import { comparableText, NearIndex, signatureOf, similarity } from '../../src/harvest/near-duplicates.js';
import type { Signature } from '../../src/harvest/near-duplicates.js';
import { MAX_REDACTED_CHARS, Redactor, TooMuchToRedact } from '../../src/harvest/redaction.js';
import type { RedactionRules } from '../../src/harvest/redaction.js';
import { REDACTION_KINDS } from '../../src/harvest/secret-patterns.js';
import { evenShares } from '../../src/harvest/shares.js';

const redactor = (rules: Partial<RedactionRules> = {}): Redactor =>
  new Redactor({ patterns: REDACTION_KINDS, custom: [], drop: [], ...rules });

/** A text after redaction. */
const hide = (text: string, rules?: Partial<RedactionRules>): string => {
  const { inputs } = redactor(rules).redact({ inputs: JSON.stringify(text), outputs: null, metadata: '{}' });
  return JSON.parse(inputs) as string;
};

describe('what is redacted', () => {
  test.each([
    ['write to jane.doe+x@mail.example.co.uk.', 'write to [EMAIL_1].'],
    ['jürgen@müller.example and A@b.io', '[EMAIL_1] and [EMAIL_2]'],
    ['call +49 (30) 1234-5678 now', 'call [PHONE_1] now'],
    ['call (415) 555-2671, or 030 1234567', 'call [PHONE_1], or [PHONE_2]'],
    ['appelez 01 23 45 67 89!', 'appelez [PHONE_1]!'],
    ['card 4111 1111 1111 1111 please', 'card [CREDIT_CARD_1] please'],
    ['order 12 4111-1111-1111-1111 7', 'order 12 [CREDIT_CARD_1] 7'],
    ['378282246310005', '[CREDIT_CARD_1]'],
    ['to DE89 3704 0044 0532 0130 00 please today', 'to [IBAN_1] please today'],
    ['gb29nwbk60161331926819', '[IBAN_1]'],
    ['from 192.168.0.1 and 2001:db8::ff00:42:8329.', 'from [IP_1] and [IP_2].'],
    ['key sk-proj-abcdefghijklmnopqrstuvwx ok', 'key [SECRET_1] ok'],
    ['ghp_abcdefghijklmnopqrstuvwxyz0123 AKIAIOSFODNN7EXAMPLE', '[SECRET_1] [SECRET_2]'],
    ['Authorization: Bearer abc123def456ghi789', 'Authorization: Bearer [SECRET_1]'],
    ['password = "hunter22!"', 'password = "[SECRET_1]"'],
    ['postgres://me:s3cr3t@db/x', 'postgres://me:[SECRET_1]@db/x'],
    ['-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc', '[SECRET_1]'],
    ['lsv2_sk_0123456789abcdefghijklmnopqrstuvwxyz', '[SECRET_1]'],
  ])('%j', (text, expected) => {
    expect(hide(text)).toBe(expected);
  });

  test.each([
    'on 2026-11-21 at 10:30:45 for 1,234.50 in version 1.2.3',
    'std::vector<int> of 12345678 items, 0.5 of them',
    'a basic understanding of tokens: 512',
    '1234567890123456 is no card',
    'ratio 01-02-2026',
  ])('and what is left: %j', (text) => {
    expect(hide(text)).toBe(text);
  });

  test('the same value has the same placeholder throughout an example, names of members included', () => {
    const redacted = redactor().redact({
      inputs: '{"a@b.io": "a@b.io", "to": ["c@d.io", 1.0]}',
      outputs: '"c@d.io or a@b.io"',
      metadata: '{"user":"a@b.io"}',
    });
    expect(redacted).toEqual({
      inputs: '{"[EMAIL_1]": "[EMAIL_1]", "to": ["[EMAIL_2]", 1.0]}',
      outputs: '"[EMAIL_2] or [EMAIL_1]"',
      metadata: '{"user":"[EMAIL_1]"}',
      found: { EMAIL: 6 },
    });
  });

  test('values of members named like secrets, and numbers', () => {
    const { inputs } = redactor().redact({
      inputs: '{"password":"x","api_key" : 12, "tokens":5, "card":4111111111111111, "n":9999999999999999}',
      outputs: null,
      metadata: '{}',
    });
    expect(JSON.parse(inputs)).toEqual({
      password: '[SECRET_1]',
      api_key: '[SECRET_2]',
      tokens: 5,
      card: '[CREDIT_CARD_1]',
      n: '[CREDIT_CARD_2]',
    });
  });

  test('patterns of users, and parts that are dropped', () => {
    const rules = {
      custom: [{ name: 'TICKET', pattern: 'T-\\d+' }],
      drop: ['/inputs/m/*/by', '/metadata/x~1y'],
    };
    expect(
      redactor(rules).redact({
        inputs: '{"m":[{"by":"me","t":"T-1 T-2 T-1"},{"by":"you"}],"by":1}',
        outputs: '{"by": 2.50}',
        metadata: '{"x/y":1,"z":2}',
      }),
    ).toEqual({
      inputs: '{"m":[{"t":"[TICKET_1] [TICKET_2] [TICKET_1]"},{}],"by":1}',
      outputs: '{"by": 2.50}',
      metadata: '{"z":2}',
      found: { TICKET: 3 },
    });
  });

  test('what is too large is refused, not let through', () => {
    const inputs = JSON.stringify('x'.repeat(MAX_REDACTED_CHARS));
    expect(() => redactor().redact({ inputs, outputs: null, metadata: '{}' })).toThrow(TooMuchToRedact);
  });

  test('takes time in proportion to the text, whatever is in it', () => {
    for (const piece of [
      'a.',
      '1 ',
      '+1234567',
      'ab@',
      '0123 ',
      'AA00 ',
      '::',
      'password=',
      '4 ',
      'eyJ',
      '//a:',
    ]) {
      const text = piece.repeat(Math.floor(200_000 / piece.length));
      const began = performance.now();
      hide(text);
      expect({ piece, isFast: performance.now() - began < 3_000 }).toEqual({ piece, isFast: true });
    }
  });

  test('planted values never come through, wherever they stand; the rest is the same JSON', () => {
    const planted = fc.constantFrom(
      'someone@example.org',
      '4111 1111 1111 1111',
      'GB29 NWBK 6016 1331 9268 19',
      'sk-live-0123456789abcdefghij',
    );
    const filler = fc.stringMatching(/^[a-z ,;!\n"\\]{0,12}$/);
    const text = fc.tuple(filler, planted, filler).map(([a, b, c]) => `${a} ${b} ${c}`);
    const value = fc.letrec<{ tree: unknown }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 3 },
        text,
        fc.constantFrom(null, true, 1.5),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(text, tie('tree'), { maxKeys: 3 }),
      ),
    })).tree;
    fc.assert(
      fc.property(value, (tree) => {
        const inputs = JSON.stringify(tree);
        const hidden = redactor().redact({ inputs, outputs: inputs, metadata: '{}' });
        JSON.parse(hidden.inputs);
        expect(hidden.inputs).toBe(hidden.outputs);
        expect(hidden.inputs).not.toMatch(/someone@|4111 1111|NWBK|sk-live/);
      }),
      { numRuns: 200 },
    );
  });
});

describe('near duplicates', () => {
  const sign = (text: string): Signature => signatureOf(comparableText(text)) ?? new Uint32Array(64);
  const sentence =
    'The customer would like to know why the invoice of last month shows a higher amount than agreed upon';

  test('a changed word is near, another text is not', () => {
    const index = new NearIndex(0.7);
    index.add('first', sign(sentence));
    expect(index.find(sign(sentence.replace('invoice', 'invoices')))).toBe('first');
    expect(index.find(sign(`${sentence.toUpperCase()}!!!`))).toBe('first');
    expect(index.find(sign('How do I change the colour of the button on the second page?'))).toBeUndefined();
  });

  test('estimates the share of common pieces', () => {
    const words = fc.array(fc.stringMatching(/^[a-z]{3,8}$/), { minLength: 20, maxLength: 60 });
    fc.assert(
      fc.property(words, words, (one, other) => {
        const [a, b] = [one.join(' '), [...one.slice(10), ...other.slice(0, 10)].join(' ')];
        const pieces = (text: string) =>
          new Set(Array.from({ length: text.length - 4 }, (_, at) => text.slice(at, at + 5)));
        const [left, right] = [pieces(a), pieces(b)];
        const common = [...left].filter((piece) => right.has(piece)).length;
        const exact = common / (left.size + right.size - common);
        expect(Math.abs(similarity(sign(a), sign(b)) - exact)).toBeLessThan(0.3);
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  test('equal texts are always found, in any case, order of members and punctuation', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string({ minLength: 1 })), (members) => {
        const text = comparableText(members);
        const signature = signatureOf(text);
        if (signature === undefined) return;
        const index = new NearIndex(1);
        index.add('same', signature);
        const turned = Object.fromEntries(Object.entries(members).reverse());
        const again = signatureOf(comparableText(turned));
        expect(again && index.find(again)).toBe('same');
      }),
    );
  });

  test('says nothing of texts without a word', () => {
    expect(signatureOf(comparableText({ a: '?!', b: [null] }))).toBeUndefined();
  });
});

test('shares are even, complete, and the same in any order', () => {
  const counts = fc.uniqueArray(fc.tuple(fc.string({ maxLength: 3 }), fc.nat(50)), {
    selector: ([name]) => name,
    maxLength: 8,
  });
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 100 }), (entries, cap) => {
      const shares = evenShares(new Map(entries), cap);
      const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);
      const total = sum(entries.map(([, count]) => count));
      expect(sum(shares.values())).toBe(Math.min(cap, total));
      const full = entries.flatMap(([name, count]) =>
        shares.get(name) === count ? [] : [shares.get(name) ?? 0],
      );
      expect(Math.max(...full, 0) - Math.min(...full, Infinity)).toBeLessThanOrEqual(1);
      for (const share of shares.values()) {
        if (full.length > 0) expect(share).toBeLessThanOrEqual(Math.max(...full));
      }
      expect(evenShares(new Map([...entries].reverse()), cap)).toEqual(shares);
    }),
  );
});

describe('definitions', () => {
  const problemsOf = (draft: unknown): string[] => {
    const read = readDefinition(draft);
    return read.ok ? [] : read.problems.map(({ path }) => path.join('.'));
  };

  test('have defaults, and redact what is usually personal', () => {
    const read = readDefinition({});
    expect(read.ok && read.value).toMatchObject({
      rootsOnly: true,
      cap: 1_000,
      approval: false,
      redaction: { patterns: [...REDACTION_KINDS] },
      duplicates: { exact: true, nearThreshold: null },
    });
    const custom = readDefinition({ redaction: { drop: ['/inputs/a'] } });
    expect(custom.ok && custom.value.redaction.patterns).toEqual([...REDACTION_KINDS]);
  });

  test('say what is wrong with them', () => {
    expect(problemsOf({ cap: 0, pick: 'best', duplicates: { nearThreshold: 0.1 } })).toEqual([
      'definition.duplicates.nearThreshold',
      'definition.cap',
      'definition.pick',
    ]);
    expect(
      problemsOf({
        window: { kind: 'range', from: '2026-02-01T00:00:00Z', to: '2026-01-01T00:00:00Z' },
        redaction: {
          custom: [
            { name: 'A', pattern: '(' },
            { name: 'B', pattern: 'a*' },
          ],
        },
      }),
    ).toEqual([
      'definition.window.range.to',
      'definition.redaction.custom.0.pattern',
      'definition.redaction.custom.1.pattern',
    ]);
    expect(() => readDefinition({ where: { filter: 'nonsense' } })).toThrow(/Filter, line 1/);
  });

  test('windows reach back behind the last harvest', () => {
    const now = new Date('2026-11-21T10:00:00Z');
    const window = { kind: 'since_last', overlapHours: 2, firstDays: 3 } as const;
    expect(windowOf({ window }, null, now)).toEqual({
      from: '2026-11-18T10:00:00.000Z',
      to: '2026-11-21T10:00:00.000Z',
    });
    expect(windowOf({ window }, '2026-11-20 10:00:00+00', now).from).toBe('2026-11-20T08:00:00.000Z');
    const range = { kind: 'range', from: '2026-11-01T00:00:00Z', to: '2027-01-01T00:00:00Z' } as const;
    expect(windowOf({ window: range }, null, now).to).toBe('2026-11-21T10:00:00.000Z');
  });
});
