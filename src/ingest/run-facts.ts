/**
 * What is read out of payloads and metadata at intake, because nothing is ever filtered or summed on payload
 * JSON: token usage, thread, tenant, model, flat attributes, previews, first-token time. Pure.
 */
import { THREAD_KEYS } from '../runs/run.js';
import type { Usage } from '../runs/run.js';
import type { JsonObject, JsonValue } from './run-event.js';

/** Bounds of what is indexed; beyond them metadata is stored, not filterable. */
const MAX_ATTRIBUTES = 1_000;
const MAX_ATTRIBUTE_KEY = 256;
const MAX_ATTRIBUTE_VALUE = 8_192;
const PREVIEW_LENGTH = 200;
/** An index row holds some 2,700 bytes; nobody names a conversation with more. */
const MAX_THREAD_LENGTH = 512;

export const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const textOf = (value: JsonValue | undefined): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;

/** First non-empty value among the thread keys; explicit nulls are passed over. */
export function threadOf(metadata: JsonObject): string | undefined {
  for (const key of THREAD_KEYS) {
    const value = textOf(metadata[key]);
    if (value !== undefined) return cutAt(value, MAX_THREAD_LENGTH);
  }
  return undefined;
}

export const tenantOf = (metadata: JsonObject): string | undefined => textOf(metadata['tenant_id']);
export const providerOf = (metadata: JsonObject): string | undefined => textOf(metadata['ls_provider']);

export function modelOf(metadata: JsonObject, extra: JsonObject): string | undefined {
  const params = extra['invocation_params'];
  return (
    textOf(metadata['ls_model_name']) ??
    (isObject(params) ? (textOf(params['model']) ?? textOf(params['model_name'])) : undefined)
  );
}

/**
 * Metadata as path -> text: nested keys joined with dots, arrays transparent, scalars as text. A path met more
 * than once becomes a list of its distinct values. Nulls are left out.
 */
export function flattenMetadata(metadata: JsonObject): Record<string, string | string[]> {
  const flat = Object.create(null) as Record<string, string | string[]>;
  let count = 0;
  const visit = (path: string, value: JsonValue, depth: number): void => {
    if (value === null || depth > 20 || count >= MAX_ATTRIBUTES) return;
    if (Array.isArray(value)) {
      for (const item of value) visit(path, item, depth + 1);
    } else if (typeof value === 'object') {
      for (const [key, inner] of Object.entries(value)) {
        visit(path === '' ? key : `${path}.${key}`, inner, depth + 1);
      }
    } else {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      if (path === '' || path.length > MAX_ATTRIBUTE_KEY || text.length > MAX_ATTRIBUTE_VALUE) return;
      const present = flat[path];
      if (present === undefined) flat[path] = text;
      else if (typeof present === 'string') {
        if (present === text) return;
        flat[path] = [present, text];
      } else if (present.includes(text)) return;
      else present.push(text);
      count += 1;
    }
  };
  visit('', metadata, 0);
  return flat;
}

/** Whether metadata is flat already, as most is, so that its own JSON is that of its flattened form. */
export function isFlat(metadata: JsonObject): boolean {
  const keys = Object.keys(metadata);
  return (
    keys.length <= MAX_ATTRIBUTES &&
    keys.every((key) => {
      const value = metadata[key];
      return (
        typeof value === 'string' &&
        value.length <= MAX_ATTRIBUTE_VALUE &&
        key !== '' &&
        key.length <= MAX_ATTRIBUTE_KEY
      );
    })
  );
}

const count = (value: JsonValue | undefined): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;

const money = (value: JsonValue | undefined): string | undefined => {
  if (typeof value === 'number' && Number.isFinite(value) && Math.abs(value) < 1e12) return String(value);
  if (typeof value === 'string' && /^-?\d{1,12}(\.\d{1,30})?$/.test(value)) return value;
  return undefined;
};

function mapValues<T>(
  value: JsonValue | undefined,
  read: (value: JsonValue) => T | undefined,
): Record<string, T> | undefined {
  if (!isObject(value)) return undefined;
  const entries = Object.entries(value).flatMap(([key, inner]) => {
    const parsed = read(inner);
    return parsed === undefined ? [] : [[key, parsed] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function usageSource(outputs: JsonValue | undefined, metadata: JsonObject): JsonObject | undefined {
  if (isObject(outputs) && isObject(outputs['usage_metadata'])) return outputs['usage_metadata'];
  if (isObject(metadata['usage_metadata'])) return metadata['usage_metadata'];
  if (!isObject(outputs)) return undefined;
  if (isObject(outputs['usage'])) return outputs['usage'];
  const legacy = outputs['llm_output'];
  return isObject(legacy) && isObject(legacy['token_usage']) ? legacy['token_usage'] : undefined;
}

const sum = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined && b === undefined ? undefined : (a ?? 0) + (b ?? 0);

/**
 * Token usage and money of one model call. `outputs.usage_metadata` wins over `metadata.usage_metadata` (the
 * wrappers send both; they are one call), then the providers' own shapes. Buckets are disjoint: prompt and
 * completion sum to total. A total that disagrees is replaced by the sum, because sums of sums must hold.
 */
export function usageOf(outputs: JsonValue | undefined, metadata: JsonObject): Usage | undefined {
  const source = usageSource(outputs, metadata);
  if (source === undefined) return undefined;
  const promptTokens = count(source['input_tokens']) ?? count(source['prompt_tokens']);
  const completionTokens = count(source['output_tokens']) ?? count(source['completion_tokens']);
  const totalTokens = sum(promptTokens, completionTokens) ?? count(source['total_tokens']);
  const promptCost = money(source['input_cost']);
  const completionCost = money(source['output_cost']);
  const totalCost = money(source['total_cost']) ?? addDecimals(promptCost, completionCost);
  return definedOnly({
    promptTokens,
    completionTokens,
    totalTokens,
    promptTokenDetails: mapValues(source['input_token_details'] ?? source['prompt_tokens_details'], count),
    completionTokenDetails: mapValues(
      source['output_token_details'] ?? source['completion_tokens_details'],
      count,
    ),
    promptCost,
    completionCost,
    totalCost,
    promptCostDetails: mapValues(source['input_cost_details'], money),
    completionCostDetails: mapValues(source['output_cost_details'], money),
  });
}

function definedOnly(usage: { [K in keyof Usage]: Usage[K] | undefined }): Usage | undefined {
  let found: Record<string, unknown> | undefined;
  for (const key of Object.keys(usage) as (keyof Usage)[]) {
    if (usage[key] !== undefined) (found ??= {})[key] = usage[key];
  }
  return found;
}

/** Exact sum of two decimal texts; twelve places, as the columns keep. */
export function addDecimals(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  const units = toUnits(a) + toUnits(b);
  const digits = (units < 0n ? -units : units).toString().padStart(13, '0');
  const text = `${digits.slice(0, -12)}.${digits.slice(-12)}`.replace(/\.?0+$/, '');
  return units < 0n ? `-${text}` : text;
}

function toUnits(text: string): bigint {
  const plain = text.includes('e') ? Number(text).toFixed(12) : text;
  const [whole = '0', fraction = ''] = plain.replace('-', '').split('.');
  const units = BigInt(whole) * 10n ** 12n + BigInt(fraction.slice(0, 12).padEnd(12, '0'));
  return plain.startsWith('-') ? -units : units;
}

/** Microseconds since the epoch of the first streamed token; undefined where nothing was streamed. */
export function firstTokenUs(
  events: JsonValue | undefined,
  parseTime: (value: JsonValue) => number | undefined,
): number | undefined {
  if (!Array.isArray(events)) return undefined;
  for (const event of events) {
    if (isObject(event) && event['name'] === 'new_token' && event['time'] !== undefined) {
      return parseTime(event['time']);
    }
  }
  return undefined;
}

/** What a list shows of a payload: the last message's text, the only string, or the JSON's beginning. */
export function previewOf(value: JsonValue, text: string): string {
  const shown = messageText(value) ?? text;
  return cutAt(shown, PREVIEW_LENGTH);
}

/** Never between the halves of a surrogate pair. */
function cutAt(text: string, length: number): string {
  if (text.length <= length) return text;
  const code = text.charCodeAt(length - 1);
  return text.slice(0, code >= 0xd800 && code <= 0xdbff ? length - 1 : length);
}

function messageText(value: JsonValue): string | undefined {
  if (typeof value === 'string') return value;
  if (!isObject(value)) return undefined;
  const messages = value['messages'];
  if (Array.isArray(messages) && messages.length > 0) {
    const last = messages.at(-1);
    if (isObject(last) && typeof last['content'] === 'string') return last['content'];
  }
  const keys = Object.keys(value);
  const only = keys.length === 1 ? value[keys[0] ?? ''] : undefined;
  return typeof only === 'string'
    ? only
    : typeof value['content'] === 'string'
      ? value['content']
      : undefined;
}
