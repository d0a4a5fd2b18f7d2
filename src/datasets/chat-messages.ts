/**
 * Inputs and outputs of examples and runs as chat messages in OpenAI's form, for training files. Knows the shapes that
 * tracing clients and LangChain write; anything else becomes text. Pure.
 */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';

export interface ChatMessage {
  readonly role: string;
  readonly content: JsonValue;
  readonly [key: string]: JsonValue;
}

const ROLES: Readonly<Record<string, string>> = {
  human: 'user',
  humanmessage: 'user',
  humanmessagechunk: 'user',
  user: 'user',
  ai: 'assistant',
  aimessage: 'assistant',
  aimessagechunk: 'assistant',
  assistant: 'assistant',
  system: 'system',
  systemmessage: 'system',
  developer: 'developer',
  tool: 'tool',
  toolmessage: 'tool',
  function: 'function',
  functionmessage: 'function',
};

/** Keys under which one text of an answer is found, the likeliest first. */
const TEXT_KEYS = ['output', 'answer', 'content', 'text', 'response', 'result', 'completion'];
const KEPT_KEYS = ['name', 'tool_calls', 'tool_call_id', 'function_call', 'weight'];

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What the model was asked; empty where there is nothing. */
export function promptOf(inputs: JsonValue): ChatMessage[] {
  const messages = messageList(isObject(inputs) ? (inputs['messages'] ?? inputs['input']) : inputs);
  if (messages !== undefined) return messages;
  const text = textOf(inputs, ['input', 'question', 'prompt', 'query']);
  return text === '' ? [] : [{ role: 'user', content: text }];
}

/** What the model answered, as one message or several; empty where there is nothing. */
export function answerOf(outputs: JsonValue): ChatMessage[] {
  if (outputs === null) return [];
  const said = isObject(outputs) ? outputs : {};
  const [choice] = Array.isArray(said['choices']) ? said['choices'] : [];
  const candidates = [
    said['message'],
    isObject(choice) ? choice['message'] : undefined,
    generation(said['generations']),
    outputs,
    said['output'],
  ];
  for (const candidate of candidates) {
    const message = toMessage(candidate);
    if (message !== undefined) {
      return [{ ...message, role: message.role === 'user' ? 'assistant' : message.role }];
    }
  }
  const messages = messageList(said['messages'] ?? outputs)?.slice(-1);
  if (messages !== undefined) return messages;
  const text = textOf(outputs, TEXT_KEYS);
  return text === '' ? [] : [{ role: 'assistant', content: text }];
}

/** The first of LangChain's generations: a list, or one list for each prompt. */
function generation(value: JsonValue | undefined): JsonValue | undefined {
  const first: JsonValue | undefined = Array.isArray(value) ? value[0] : undefined;
  const one: JsonValue | undefined = Array.isArray(first) ? first[0] : first;
  if (!isObject(one)) return undefined;
  return (
    one['message'] ??
    (typeof one['text'] === 'string' ? { role: 'assistant', content: one['text'] } : undefined)
  );
}

/** All of a list that is messages and nothing else; of a list of lists, the first. */
function messageList(value: JsonValue | undefined): ChatMessage[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const list = value.length === 1 && Array.isArray(value[0]) && !isPair(value[0]) ? value[0] : value;
  const messages = list.map(toMessage);
  return messages.every((message) => message !== undefined) ? messages : undefined;
}

const isPair = (value: JsonValue): value is [string, string] =>
  Array.isArray(value) &&
  value.length === 2 &&
  typeof value[0] === 'string' &&
  typeof value[1] === 'string' &&
  Object.hasOwn(ROLES, value[0].toLowerCase());

/** `{role, content}`, `{type, content}`, `{type, data}`, LangChain's serialised form, or `[role, text]`. */
function toMessage(value: JsonValue | undefined): ChatMessage | undefined {
  if (value === undefined || value === null) return undefined;
  if (isPair(value)) return { role: ROLES[value[0].toLowerCase()] ?? 'user', content: value[1] };
  if (!isObject(value)) return undefined;
  const inner = [value['data'], value['kwargs']].find(isObject) ?? value;
  const id = Array.isArray(value['id']) ? value['id'].at(-1) : undefined;
  const said = value['role'] ?? (inner['role'] || undefined) ?? value['type'];
  const name = typeof said === 'string' && said !== 'constructor' ? said : id;
  if (typeof name !== 'string' || !Object.hasOwn(ROLES, name.toLowerCase())) return undefined;
  const content = inner['content'] ?? null;
  const calls = inner['additional_kwargs'];
  const kept = { ...(isObject(calls) ? pick(calls) : {}), ...pick(inner) };
  if (content === null && Object.keys(kept).length === 0) return undefined;
  return { role: ROLES[name.toLowerCase()] ?? 'user', content, ...kept };
}

function pick(value: JsonObject): JsonObject {
  return Object.fromEntries(
    KEPT_KEYS.flatMap((key) => {
      const found = value[key];
      const empty = found === undefined || found === null || (Array.isArray(found) && found.length === 0);
      return empty ? [] : [[key, found] as const];
    }),
  );
}

/** A text, the only text of an object, one under a known key, or the whole as JSON. */
function textOf(value: JsonValue, keys: readonly string[]): string {
  if (typeof value === 'string') return value;
  if (value === null) return '';
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return '';
  const [only] = entries;
  if (entries.length === 1 && typeof only?.[1] === 'string') return only[1];
  for (const key of keys) {
    const text = value[key];
    if (typeof text === 'string') return text;
  }
  return JSON.stringify(value);
}
