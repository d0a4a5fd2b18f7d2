/**
 * The wire forms of the fake model server: OpenAI chat completions and Anthropic messages, whole and streamed, as
 * the vendors document them. Requests are read into one form, answers are written from one.
 */
import type { IncomingHttpHeaders } from 'node:http';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonMap = { [key: string]: Json };
export type ModelProtocol = 'openai' | 'anthropic';

export interface AskedMessage {
  readonly role: string;
  readonly content: string;
}

/** A request of either protocol. */
export interface AskedOfModel {
  readonly protocol: ModelProtocol;
  readonly model: string;
  readonly messages: readonly AskedMessage[];
  /** What the answer has to satisfy, whether asked for as a response format or as the input of a tool. */
  readonly schema: JsonMap | undefined;
  /** The tool to be called with the answer. */
  readonly tool: string | undefined;
  readonly stream: boolean;
  /** The body as it came. */
  readonly body: JsonMap;
}

export interface TokenUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface Reply {
  readonly id: string;
  readonly text: string;
  readonly usage: TokenUsage;
  /** The provider declined to answer. */
  readonly refused: boolean;
  /** The answer was cut at the limit of tokens. */
  readonly cut: boolean;
}

/** What is wrong with a request, in the words and status of the protocol. */
export class RequestProblem extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

export function protocolOf(path: string): ModelProtocol | undefined {
  const { pathname } = new URL(path, 'http://model');
  if (pathname.endsWith('/chat/completions')) return 'openai';
  return pathname.endsWith('/messages') ? 'anthropic' : undefined;
}

export const secretOf = (headers: IncomingHttpHeaders): string | undefined => {
  const key = headers['x-api-key'];
  return typeof key === 'string' ? key : headers.authorization?.replace(/^Bearer /, '');
};

/** @throws RequestProblem for what the real service would refuse. */
export function readRequest(
  protocol: ModelProtocol,
  text: string,
  headers: IncomingHttpHeaders,
): AskedOfModel {
  let body: JsonMap;
  try {
    body = JSON.parse(text) as JsonMap;
  } catch {
    throw new RequestProblem(
      400,
      'invalid_request_error',
      'We could not parse the JSON body of your request.',
    );
  }
  const invalid = (message: string) => new RequestProblem(400, 'invalid_request_error', message);
  if (typeof body['model'] !== 'string') throw invalid('you must provide a model parameter');
  if (!Array.isArray(body['messages']) || body['messages'].length === 0) {
    throw invalid("[] is too short - 'messages'");
  }
  if (protocol === 'anthropic') {
    if (headers['anthropic-version'] === undefined) throw invalid('anthropic-version: header is required');
    if (!Number.isInteger(body['max_tokens'])) throw invalid('max_tokens: Field required');
  }
  const tool = toolOf(protocol, body);
  return {
    protocol,
    model: body['model'],
    messages: [
      ...(protocol === 'anthropic' && body['system'] !== undefined
        ? [{ role: 'system', content: contentText(body['system']) }]
        : []),
      ...body['messages'].map((message) => ({
        role: stringOf(asMap(message)['role']),
        content: contentText(asMap(message)['content'] ?? ''),
      })),
    ],
    schema: tool?.schema ?? formatSchema(protocol, body),
    tool: tool?.name,
    stream: body['stream'] === true,
    body,
  };
}

const asMap = (value: Json | undefined): JsonMap =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
const stringOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '');

/** Content is a text or a list of parts. */
function contentText(content: Json): string {
  if (!Array.isArray(content)) return stringOf(content);
  return content.map((part) => stringOf(asMap(part)['text'])).join('');
}

function toolOf(protocol: ModelProtocol, body: JsonMap): { name: string; schema: JsonMap } | undefined {
  const [first] = Array.isArray(body['tools']) ? body['tools'] : [];
  if (first === undefined) return undefined;
  const tool = protocol === 'openai' ? asMap(asMap(first)['function']) : asMap(first);
  return {
    name: stringOf(tool['name']),
    schema: asMap(protocol === 'openai' ? tool['parameters'] : tool['input_schema']),
  };
}

function formatSchema(protocol: ModelProtocol, body: JsonMap): JsonMap | undefined {
  const format =
    protocol === 'openai'
      ? asMap(body['response_format'])
      : asMap(body['output_format'] ?? asMap(body['output_config'])['format']);
  if (format['type'] !== 'json_schema') return undefined;
  return protocol === 'openai' ? asMap(asMap(format['json_schema'])['schema']) : asMap(format['schema']);
}

export function problemBody(protocol: ModelProtocol, type: string, message: string): JsonMap {
  return protocol === 'openai'
    ? { error: { message, type, param: null, code: null } }
    : { type: 'error', error: { type, message } };
}

// ── Answers ────────────────────────────────────────────────────────────────────────────────────────────────

export function replyBody(asked: AskedOfModel, reply: Reply): JsonMap {
  return asked.protocol === 'openai' ? openAiBody(asked, reply) : anthropicBody(asked, reply);
}

function openAiFinish({ tool }: AskedOfModel, { refused, cut }: Reply): string {
  if (refused) return 'content_filter';
  if (cut) return 'length';
  return tool === undefined ? 'stop' : 'tool_calls';
}

const openAiUsage = ({ promptTokens, completionTokens }: TokenUsage): JsonMap => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
});

const openAiCall = (id: string, name: string, text: string): JsonMap => ({
  id: `call_${id}`,
  type: 'function',
  function: { name, arguments: text },
});

function openAiBody(asked: AskedOfModel, reply: Reply): JsonMap {
  const { id, text, usage, refused } = reply;
  const message: JsonMap = refused
    ? { role: 'assistant', content: null, refusal: text }
    : asked.tool === undefined
      ? { role: 'assistant', content: text }
      : { role: 'assistant', content: null, tool_calls: [openAiCall(id, asked.tool, text)] };
  return {
    id: `chatcmpl-${id}`,
    object: 'chat.completion',
    created: 1_790_000_000,
    model: asked.model,
    choices: [{ index: 0, message, logprobs: null, finish_reason: openAiFinish(asked, reply) }],
    usage: openAiUsage(usage),
  };
}

function anthropicStop({ tool }: AskedOfModel, { refused, cut }: Reply): string {
  if (refused) return 'refusal';
  if (cut) return 'max_tokens';
  return tool === undefined ? 'end_turn' : 'tool_use';
}

/** A tool's input is JSON on this wire; text that is none goes out as a text block, as a confused model answers. */
function anthropicContent(asked: AskedOfModel, { id, text, refused }: Reply): JsonMap {
  if (asked.tool === undefined || refused) return { type: 'text', text };
  try {
    return { type: 'tool_use', id: `toolu_${id}`, name: asked.tool, input: JSON.parse(text) as Json };
  } catch {
    return { type: 'text', text };
  }
}

function anthropicBody(asked: AskedOfModel, reply: Reply): JsonMap {
  return {
    id: `msg_${reply.id}`,
    type: 'message',
    role: 'assistant',
    model: asked.model,
    content: [anthropicContent(asked, reply)],
    stop_reason: anthropicStop(asked, reply),
    stop_sequence: null,
    usage: { input_tokens: reply.usage.promptTokens, output_tokens: reply.usage.completionTokens },
  };
}

/** The same answer as server-sent events, one string per event. */
export function replyEvents(asked: AskedOfModel, reply: Reply): string[] {
  return asked.protocol === 'openai' ? openAiEvents(asked, reply) : anthropicEvents(asked, reply);
}

const pieces = (text: string): string[] => text.match(/[^]{1,16}/gu) ?? [''];

function openAiEvents(asked: AskedOfModel, reply: Reply): string[] {
  const chunk = (delta: JsonMap, finish: string | null, usage: JsonMap | null = null): string =>
    `data: ${JSON.stringify({
      id: `chatcmpl-${reply.id}`,
      object: 'chat.completion.chunk',
      created: 1_790_000_000,
      model: asked.model,
      choices: usage === null ? [{ index: 0, delta, finish_reason: finish }] : [],
      usage,
    })}\n\n`;
  const { tool } = asked;
  const deltas = pieces(reply.text).map((piece, index): JsonMap => {
    if (tool === undefined) return { content: piece };
    const call = index === 0 ? openAiCall(reply.id, tool, piece) : { function: { arguments: piece } };
    return { tool_calls: [{ index: 0, ...call }] };
  });
  return [
    chunk({ role: 'assistant' }, null),
    ...deltas.map((delta) => chunk(delta, null)),
    chunk({}, openAiFinish(asked, reply)),
    chunk({}, null, openAiUsage(reply.usage)),
    'data: [DONE]\n\n',
  ];
}

function anthropicEvents(asked: AskedOfModel, reply: Reply): string[] {
  const event = (type: string, fields: JsonMap): string =>
    `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
  const whole = anthropicBody(asked, reply);
  const block = anthropicContent(asked, reply);
  const isTool = block['type'] === 'tool_use';
  return [
    event('message_start', {
      message: {
        ...whole,
        content: [],
        stop_reason: null,
        usage: { ...asMap(whole['usage']), output_tokens: 1 },
      },
    }),
    event('content_block_start', {
      index: 0,
      content_block: isTool ? { ...block, input: {} } : { type: 'text', text: '' },
    }),
    ...pieces(reply.text).map((piece) =>
      event('content_block_delta', {
        index: 0,
        delta: isTool
          ? { type: 'input_json_delta', partial_json: piece }
          : { type: 'text_delta', text: piece },
      }),
    ),
    event('content_block_stop', { index: 0 }),
    event('message_delta', {
      delta: { stop_reason: anthropicStop(asked, reply), stop_sequence: null },
      usage: { output_tokens: reply.usage.completionTokens },
    }),
    event('message_stop', {}),
  ];
}
