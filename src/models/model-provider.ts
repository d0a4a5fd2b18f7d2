/** A provider of language models as a workspace has set it up, and what a call of it costs. Pure. */
import { problem } from '../platform/result.js';
import type { Problem } from '../platform/result.js';

export const PROVIDER_KINDS = ['openai_compatible', 'anthropic'] as const;
export type ProviderKind = (typeof PROVIDER_KINDS)[number];

/** json_schema: as a response format. tool_call: as the input of a tool, for servers that know no response formats. */
export const STRUCTURED_OUTPUTS = ['json_schema', 'tool_call'] as const;
export type StructuredOutput = (typeof STRUCTURED_OUTPUTS)[number];

/** US dollars per million tokens, decimal text. */
export interface ModelPrice {
  /** `*` stands for every model that is not listed. */
  readonly model: string;
  readonly input: string;
  readonly output: string;
}

/** As it is shown: without its secrets. */
export interface ModelProvider {
  readonly uuid: string;
  readonly name: string;
  readonly kind: ProviderKind;
  readonly baseUrl: string;
  /** The last four characters of the secret; null where there is none, or where it is too short to show any. */
  readonly secretHint: string | null;
  readonly headerNames: readonly string[];
  readonly maxConcurrency: number;
  readonly requestsPerMinute: number | null;
  readonly timeoutMs: number;
  readonly structuredOutput: StructuredOutput;
  readonly defaultModel: string | null;
  readonly prices: readonly ModelPrice[];
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** Equal where calls for the same model reach the same service in the same form. */
export const endpointOf = ({ kind, baseUrl, structuredOutput }: ModelProvider): string =>
  [kind, structuredOutput, baseUrl].join(' ');

/** What is sealed: never shown, never logged. */
export interface ProviderCredentials {
  readonly secret: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** What can be set. */
export interface ProviderSettings {
  readonly name: string;
  readonly kind: ProviderKind;
  readonly baseUrl: string;
  readonly secret: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly maxConcurrency: number;
  readonly requestsPerMinute: number | null;
  readonly timeoutMs: number;
  readonly structuredOutput: StructuredOutput;
  readonly defaultModel: string | null;
  readonly prices: readonly ModelPrice[];
}

export const PROVIDER_DEFAULTS = {
  maxConcurrency: 8,
  requestsPerMinute: null,
  timeoutMs: 60_000,
  structuredOutput: 'json_schema',
  defaultModel: null,
  secret: null,
} as const satisfies Partial<ProviderSettings>;

export const PROVIDER_LIMITS = {
  nameLength: 100,
  urlLength: 2_000,
  secretLength: 10_000,
  headers: 20,
  maxConcurrency: 1_000,
  requestsPerMinute: 1_000_000,
  leastTimeoutMs: 1_000,
  mostTimeoutMs: 600_000,
  modelLength: 200,
  prices: 50,
} as const;

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/;
/** Printable ASCII: anything else in a header is a way to smuggle another one. */
const HEADER_VALUE = /^[\x20-\x7e]{0,8000}$/;
/** These belong to the connection or are set by the protocol. */
const OWN_HEADERS = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'content-type',
  'host',
  'idempotency-key',
  'transfer-encoding',
]);
/** Below a million dollars, to the millionth. */
const PRICE = /^\d{1,6}(\.\d{1,6})?$/;

/** Problems of settings, relative to them; the address itself is judged by the outbound guard. */
export function settingsProblems(settings: Partial<ProviderSettings>): Problem[] {
  const { name, baseUrl, secret, headers, defaultModel, prices } = settings;
  const found: Problem[] = [];
  const invalid = (message: string, ...path: string[]): unknown =>
    found.push(problem('INVALID', message, path));
  const limits = PROVIDER_LIMITS;
  if (name !== undefined && (name.trim() === '' || name.length > limits.nameLength)) {
    invalid(`A name has 1 to ${limits.nameLength} characters.`, 'name');
  }
  if (baseUrl !== undefined && baseUrl.length > limits.urlLength) {
    invalid(`A base URL has at most ${limits.urlLength} characters.`, 'baseUrl');
  }
  if (typeof secret === 'string' && (secret === '' || !HEADER_VALUE.test(secret))) {
    invalid('A secret is printable ASCII, 1 to 8000 characters.', 'secret');
  }
  if (headers !== undefined) headerProblems(headers, invalid);
  for (const [field, least, most] of [
    ['maxConcurrency', 1, limits.maxConcurrency],
    ['requestsPerMinute', 1, limits.requestsPerMinute],
  ] as const) {
    const value = settings[field];
    if (typeof value !== 'number') continue;
    if (!Number.isInteger(value) || value < least || value > most) {
      invalid(`${field} is a whole number from ${least} to ${most}.`, field);
    }
  }
  const { timeoutMs } = settings;
  if (timeoutMs !== undefined && !(timeoutMs >= limits.leastTimeoutMs && timeoutMs <= limits.mostTimeoutMs)) {
    invalid(
      `A timeout is ${limits.leastTimeoutMs / 1_000} to ${limits.mostTimeoutMs / 1_000} seconds.`,
      'timeout',
    );
  }
  if (typeof defaultModel === 'string' && !isModelName(defaultModel)) {
    invalid(`A model name has 1 to ${limits.modelLength} characters.`, 'defaultModel');
  }
  if (prices !== undefined) priceProblems(prices, invalid);
  return found;
}

type Report = (message: string, ...path: string[]) => unknown;

function headerProblems(headers: Readonly<Record<string, string>>, invalid: Report): void {
  const entries = Object.entries(headers);
  if (entries.length > PROVIDER_LIMITS.headers) {
    invalid(`There can be ${PROVIDER_LIMITS.headers} headers.`, 'headers');
  }
  for (const [index, [name, value]] of entries.entries()) {
    const path = ['headers', String(index)];
    if (!HEADER_NAME.test(name)) invalid('This is no name of a header.', ...path, 'name');
    else if (OWN_HEADERS.has(name.toLowerCase())) {
      invalid(`The header ${name} cannot be set.`, ...path, 'name');
    }
    if (!HEADER_VALUE.test(value)) invalid('A header is printable ASCII.', ...path, 'value');
  }
}

function priceProblems(prices: readonly ModelPrice[], invalid: Report): void {
  if (prices.length > PROVIDER_LIMITS.prices) {
    invalid(`There can be ${PROVIDER_LIMITS.prices} prices.`, 'prices');
  }
  const seen = new Set<string>();
  for (const [index, { model, input, output }] of prices.entries()) {
    const path = ['prices', String(index)];
    if (!isModelName(model)) invalid('This is no name of a model.', ...path, 'model');
    if (seen.has(model)) invalid(`The model "${model}" has two prices.`, ...path, 'model');
    seen.add(model);
    for (const [field, price] of Object.entries({ inputPerMillion: input, outputPerMillion: output })) {
      if (!PRICE.test(price)) {
        invalid('A price is below 1000000 US dollars, with at most six decimals.', ...path, field);
      }
    }
  }
}

export const isModelName = (text: string): boolean =>
  text.trim() !== '' && text.length <= PROVIDER_LIMITS.modelLength;

/** Enough to tell two secrets apart, too little to be of use. */
export const hintOf = (secret: string | null): string | null =>
  secret === null || secret.length < 12 ? null : secret.slice(-4);

export interface TokenCounts {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface CallCost {
  /** US dollars, decimal text. */
  readonly prompt: string;
  readonly completion: string;
  readonly total: string;
}

const priceOf = (prices: readonly ModelPrice[], model: string): ModelPrice | undefined =>
  prices.find((known) => known.model === model) ?? prices.find((known) => known.model === '*');

export const hasPrice = ({ prices }: Pick<ModelProvider, 'prices'>, model: string): boolean =>
  priceOf(prices, model) !== undefined;

/** What a call cost; null where the provider has no price for the model. Exact: no number of it is ever a double. */
export function costOf(
  prices: readonly ModelPrice[],
  model: string,
  { promptTokens, completionTokens }: TokenCounts,
): CallCost | null {
  const price = priceOf(prices, model);
  if (price === undefined) return null;
  const prompt = BigInt(promptTokens) * millionths(price.input);
  const completion = BigInt(completionTokens) * millionths(price.output);
  return { prompt: dollars(prompt), completion: dollars(completion), total: dollars(prompt + completion) };
}

/** A price in millionths of a dollar per million tokens: 10^-12 dollars per token. */
function millionths(price: string): bigint {
  const [whole = '0', fraction = ''] = price.split('.');
  return BigInt(whole + fraction.padEnd(6, '0'));
}

function dollars(units: bigint): string {
  const digits = units.toString().padStart(13, '0');
  return `${digits.slice(0, -12)}.${digits.slice(-12)}`.replace(/\.?0+$/, '');
}
