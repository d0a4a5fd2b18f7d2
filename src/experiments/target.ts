/**
 * What an experiment asks for each row: a model, an address, or nothing because the runs are there already. Pure. A
 * target is stored as it is here; secrets in it are sealed.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { ModelMessage } from '../models/model-call.js';
import { canonicalJson } from '../platform/canonical-json.js';

const json: z.ZodType<JsonValue> = z.lazy(() =>
  z.union([z.null(), z.boolean(), z.number(), z.string(), z.array(json), z.record(z.string(), json)]),
);
const object = z.record(z.string(), json);

const MAX_TEMPLATE = 200_000;

const modelTarget = z.strictObject({
  kind: z.literal('model'),
  providerId: z.uuid(),
  model: z.string().min(1).max(500),
  messages: z
    .array(
      z.strictObject({
        role: z.enum(['system', 'user', 'assistant']),
        content: z.string().max(MAX_TEMPLATE),
      }),
    )
    .min(1)
    .max(100),
  parameters: object,
  schema: object.optional(),
});

const httpTarget = z.strictObject({
  kind: z.literal('http'),
  url: z.string().min(1).max(2_000),
  method: z.enum(['POST', 'PUT', 'GET']),
  headers: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/),
        /** As it is sent ... */
        value: z.string().max(8_000).optional(),
        /** ... or sealed, opened only to be sent. */
        sealed: z.string().max(40_000).optional(),
      }),
    )
    .max(50),
  /** A JSON value whose texts may hold placeholders. Absent: the example's inputs as they are. */
  body: json.optional(),
  /** JSON pointer to the output in the answer. */
  outputPath: z.string().max(1_000),
  /** Names what stands behind the address, such as a commit. Without it nobody knows whether that is still the same. */
  version: z.string().min(1).max(200).optional(),
});

/** The runs of the experiment itself: only scores are made. */
const runsTarget = z.strictObject({ kind: z.literal('runs') });

/** The runs of two experiments, judged pair by pair. What carries it out is no experiment but a comparative one. */
const pairsTarget = z.strictObject({
  kind: z.literal('pairs'),
  experimentIds: z.tuple([z.uuid(), z.uuid()]),
});

/** What an experiment can be started with. */
export const startTarget = z.discriminatedUnion('kind', [modelTarget, httpTarget, runsTarget]);
export const targetSchema = z.discriminatedUnion('kind', [modelTarget, httpTarget, runsTarget, pairsTarget]);
export type ModelTarget = z.infer<typeof modelTarget>;
export type HttpTarget = z.infer<typeof httpTarget>;
export type Target = z.infer<typeof targetSchema>;

/** What callers are shown: no secret, not even sealed. */
export function shownTarget(target: JsonObject): JsonObject {
  const headers = target['headers'];
  if (!Array.isArray(headers)) return target;
  return {
    ...target,
    headers: headers.map((header) =>
      isObject(header) && 'sealed' in header ? { name: header['name'] ?? '', value: '***' } : header,
    ),
  };
}

/**
 * Equal for targets that are asked the same. Values of sealed headers do not count: they say who asks, not what.
 */
export function targetHash(target: Target): Buffer {
  const asked =
    target.kind === 'http'
      ? { ...target, headers: target.headers.map(({ name, value }) => ({ name, value: value ?? null })) }
      : target;
  return createHash('sha256').update(canonicalJson(asked)).digest();
}

/** Whether an answer of it can stand for another: an address says nothing about the code behind it. */
export const isReusableTarget = (target: Target): boolean =>
  target.kind === 'model' || (target.kind === 'http' && target.version !== undefined);

const PLACEHOLDER = /\{\{\s*(inputs|metadata)((?:\.[\w-]+)*)\s*\}\}/g;
const ONLY_PLACEHOLDER = /^\{\{\s*(inputs|metadata)((?:\.[\w-]+)*)\s*\}\}$/;

export interface TemplateValues {
  readonly inputs: JsonValue;
  readonly metadata: JsonValue;
}

/** The example has nothing where a template asks for something: trying again cannot help. */
export class MissingInput extends Error {}

/** @throws MissingInput */
export function renderMessages(messages: readonly ModelMessage[], values: TemplateValues): ModelMessage[] {
  return messages.map(({ role, content }) => ({ role, content: renderText(content, values) }));
}

/**
 * A template of JSON with everything filled in. A text that is nothing but a placeholder becomes the value itself, so
 * that no value can change the form of what is around it.
 * @throws MissingInput
 */
export function renderBody(template: JsonValue, values: TemplateValues): JsonValue {
  if (typeof template === 'string') {
    const [, root, path] = ONLY_PLACEHOLDER.exec(template) ?? [];
    return root === undefined
      ? renderText(template, values)
      : valueOf(values, root as keyof TemplateValues, path ?? '');
  }
  if (Array.isArray(template)) return template.map((item) => renderBody(item, values));
  if (!isObject(template)) return template;
  return Object.fromEntries(Object.entries(template).map(([key, item]) => [key, renderBody(item, values)]));
}

function renderText(template: string, values: TemplateValues): string {
  return template.replace(PLACEHOLDER, (_whole, root: keyof TemplateValues, path: string) => {
    const value = valueOf(values, root, path);
    return typeof value === 'string' ? value : JSON.stringify(value);
  });
}

function valueOf(values: TemplateValues, root: keyof TemplateValues, path: string): JsonValue {
  let value: JsonValue | undefined = values[root];
  for (const key of path.split('.').slice(1)) {
    if (Array.isArray(value)) value = /^\d{1,9}$/.test(key) ? value[Number(key)] : undefined;
    else value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
    if (value === undefined) {
      throw new MissingInput(`The target asks for {{${root}${path}}}, and the example has none.`);
    }
  }
  return value;
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
