/**
 * What personal data and secrets look like in text. Each finder gives half-open spans in order, none over another, in
 * time linear in the text; where it is not sure it rather finds too much. Pure.
 */
import { isIPv4, isIPv6 } from 'node:net';

export const REDACTION_KINDS = ['secret', 'email', 'iban', 'credit_card', 'ip', 'phone'] as const;
export type RedactionKind = (typeof REDACTION_KINDS)[number];

export type Span = readonly [from: number, to: number];
export type Finder = (text: string) => Span[];

function matches(pattern: RegExp, text: string): Span[] {
  return [...text.matchAll(pattern)].map(({ 0: found, index }) => [index, index + found.length]);
}

const EMAIL = /(?<![\p{L}\p{N}._%+'-])[\p{L}\p{N}._%+'-]+@(?:[\p{L}\p{N}-]+\.)+\p{L}{2,63}(?![\p{L}\p{N}])/gu;

// With a country code; in the groups of North America; or national, with the leading zero and in groups.
const PHONE =
  /(?<![\w.+])(?:(?:\+|00(?=[1-9]))\d(?:[ .\-/()]{0,3}\d){6,16}|\(?[2-9]\d{2}\)?[ .-]{1,2}\d{3}[ .-]\d{4}|\(?0\d{1,5}\)?[ \-/]{1,3}\d{3,9}(?:[ -]\d{2,5}){0,4}|0\d(?:[ .-]\d{2}){4})(?!\w)/g;

const PHONE_DIGITS = { least: 7, most: 15 };

function phones(text: string): Span[] {
  return matches(PHONE, text).filter(([from, to]) => {
    const digits = text.slice(from, to).replace(/\D/g, '').length;
    return digits >= PHONE_DIGITS.least && digits <= PHONE_DIGITS.most + 2;
  });
}

const DIGIT_GROUPS = /(?<!\d)\d(?:[ -]?\d){12,}/g;
const CARD_DIGITS = { least: 13, most: 19 };

/** The check digit of payment cards. */
function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let place = 0; place < digits.length; place += 1) {
    const digit = digits.charCodeAt(digits.length - 1 - place) - 48;
    const doubled = place % 2 === 0 ? digit : digit * 2;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/** Any neighbouring groups of digits that make a card's number: other numbers may stand right before and behind. */
function cards(text: string): Span[] {
  const found: Span[] = [];
  for (const [start, end] of matches(DIGIT_GROUPS, text)) {
    const groups = [...text.slice(start, end).matchAll(/\d+/g)].map(({ 0: digits, index }) => ({
      digits,
      from: start + index,
      to: start + index + digits.length,
    }));
    for (let first = 0; first < groups.length; first += 1) {
      let digits = '';
      let last: number | undefined;
      for (let next = first; next < groups.length && digits.length < CARD_DIGITS.most; next += 1) {
        digits += groups[next]?.digits ?? '';
        const fits = digits.length >= CARD_DIGITS.least && digits.length <= CARD_DIGITS.most;
        if (fits && passesLuhn(digits)) last = next;
      }
      if (last === undefined) continue;
      found.push([groups[first]?.from ?? start, groups[last]?.to ?? end]);
      first = last;
    }
  }
  return found;
}

const IBAN = /(?<![\p{L}\p{N}])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}/giu;
const IBAN_LEAST = 15;

/** The rest modulo 97 that valid ones have. */
function isIban(text: string): boolean {
  let rest = 0;
  for (const character of text.slice(4) + text.slice(0, 4)) {
    const value = Number.parseInt(character, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

/** Words may follow one, in letters that could belong to it: the longest beginning that holds is it. */
function ibans(text: string): Span[] {
  return matches(IBAN, text).flatMap(([from, to]): Span[] => {
    for (let end = to; end - from >= IBAN_LEAST; end -= 1) {
      if (/[ -]/.test(text[end - 1] ?? ' ') || /[\p{L}\p{N}]/u.test(text[end] ?? ' ')) continue;
      const compact = text.slice(from, end).replace(/[ -]/g, '');
      if (compact.length >= IBAN_LEAST && isIban(compact)) return [[from, end]];
    }
    return [];
  });
}

const IPV4 = /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)/g;
const IPV6 = /(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f.]{0,15}(?![\w:])/gi;

function addresses(text: string): Span[] {
  const six = matches(IPV6, text).flatMap(([from, to]): Span[] => {
    // A full stop may end the sentence.
    const end = text[to - 1] === '.' ? to - 1 : to;
    const found = text.slice(from, end);
    return /[0-9a-f]/i.test(found) && isIPv6(found) ? [[from, end]] : [];
  });
  const four = matches(IPV4, text).filter(([from, to]) => isIPv4(text.slice(from, to)));
  return merged([...six, ...four]);
}

/** Keys of known makers, tokens in headers, private keys, and whatever is said to be a password. */
const SECRETS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g,
  /(?<![\w-])(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}/g,
  /(?<!\w)gh[a-z]_[A-Za-z0-9]{20,}/g,
  /(?<!\w)github_pat_\w{20,}/g,
  /(?<!\w)glpat-[\w-]{16,}/g,
  /(?<!\w)xox[a-z]-[\w-]{10,}/g,
  /(?<!\w)(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?!\w)/g,
  /(?<!\w)AIza[\w-]{30,}/g,
  /(?<!\w)ya29\.[\w-]{20,}/g,
  /(?<!\w)(?:hf|npm|dop_v1|lsv2_[a-z]{2}|tws|twp|whsec)_[\w-]{16,}/g,
  /(?<!\w)SG\.[\w-]{16,}\.[\w-]{16,}/g,
  /(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?/g,
  /(?<=\b(?:bearer|basic)\s{1,4})(?=\S*\d)[\w.~+/-]{12,}={0,2}/gi,
  /(?<=\/\/[^\s/:@]{1,128}:)[^\s/@]{1,256}(?=@)/g,
  /(?<=\b(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret)["']?\s{0,4}[:=]\s{0,4}["']?)[^\s"',;]{4,}/gi,
];

const secrets: Finder = (text) => merged(SECRETS.flatMap((pattern) => matches(pattern, text)));

/** Spans in order, those that touch or overlap as one. */
export function merged(spans: readonly Span[]): Span[] {
  const found: [number, number][] = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

export const FINDERS: Readonly<Record<RedactionKind, Finder>> = {
  secret: secrets,
  email: (text) => matches(EMAIL, text),
  iban: ibans,
  credit_card: cards,
  ip: addresses,
  phone: phones,
};

const SECRET_NAME =
  /^(?:.*[_-])?(?:password|passwd|passphrase|secret|api[_-]?key|private[_-]?key|access[_-]?key|(?:access|auth|bearer|refresh|id)[_-]?token|authorization|client[_-]?secret)$/i;

/** Whether a member of this name holds a secret, whatever it looks like. */
export const namesSecret = (key: string): boolean => SECRET_NAME.test(key);
