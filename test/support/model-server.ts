/**
 * A language model provider for tests and benches: the OpenAI and Anthropic protocols over real HTTP, with the faults
 * real providers have. What happens to a request depends on the seed, on what is asked and on how often the same was
 * asked before, never on the order in which requests arrive. Every call is counted with what it would have cost.
 */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { seeded } from './seeded.js';
import {
  problemBody,
  protocolOf,
  readRequest,
  replyBody,
  replyEvents,
  RequestProblem,
  secretOf,
} from './model-protocols.js';
import type { AskedOfModel, Json, JsonMap, ModelProtocol, TokenUsage } from './model-protocols.js';

/** What the server does with one request. `delayMs` comes before the first byte. */
export type Behaviour = { readonly delayMs?: number } & (
  | /** A text, or a value that is sent as JSON; without either what `answer` says. */
    {
      readonly kind: 'answer';
      readonly text?: string;
      readonly value?: Json;
      readonly usage?: TokenUsage;
    } /** 429, 500, 529, ...; `retryAfter` is the header as it goes out. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly retryAfter?: string;
      readonly message?: string;
    }
  | /** Takes the request and never answers. */ {
      readonly kind: 'hang';
    } /** Sends the head and then one byte each `everyMs`, for ever. */
  | { readonly kind: 'drip'; readonly everyMs: number }
  | /** A 200 whose body is no JSON (a proxy's page, say). */ { readonly kind: 'broken_json' }
  | /** A 200 whose body ends in the middle, with the connection. */ {
      readonly kind: 'truncated';
    } /** A good body whose answer is prose with a number in it instead of what the schema asks for. */
  | { readonly kind: 'prose' }
  | /** A good body whose answer is JSON of another shape. */ { readonly kind: 'wrong_schema' }
  | /** The provider declines. */ { readonly kind: 'refusal' }
  | /** The answer is cut at the limit of tokens. */ { readonly kind: 'cut' }
  | /** The connection is reset without an answer. */ { readonly kind: 'reset' }
);
export type BehaviourKind = Behaviour['kind'];

/** Shares of requests that meet a fault, 0 to 1; what is left is answered. */
export interface FaultRates {
  readonly rateLimited?: number;
  readonly serverError?: number;
  readonly hang?: number;
  readonly reset?: number;
  readonly brokenJson?: number;
  readonly truncated?: number;
  readonly prose?: number;
  readonly wrongSchema?: number;
  /** Seconds in Retry-After of a 429. Default 1. */
  readonly retryAfterSeconds?: number;
  /** The same request, asked again, meets at most this many faults that pass. Default 2. */
  readonly inARow?: number;
}

/** One call as the server saw it. */
export interface ServedCall extends AskedOfModel {
  /** As sent in Idempotency-Key: equal for attempts of one call. */
  readonly key: string | undefined;
  readonly secret: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** How often the same body had been sent before. */
  readonly earlier: number;
  readonly behaviour: BehaviourKind;
  /** What was billed; null where there was no answer. */
  readonly usage: TokenUsage | null;
  /** US dollars × 10^12; 0 where nothing was billed. */
  readonly cost: bigint;
}

export interface ModelServerOptions {
  readonly seed?: number;
  /** Decides first; undefined leaves the request to `faults`. */
  readonly script?: (asked: AskedOfModel & { readonly earlier: number }) => Behaviour | undefined;
  readonly faults?: FaultRates;
  /** Milliseconds before the first byte, uniformly between these. Default none. */
  readonly delayMs?: readonly [least: number, most: number];
  /** What the model says. Default: a value made from the schema, or one line of text. */
  readonly answer?: (asked: AskedOfModel, random: () => number) => Json;
  /** Calls without this key get 401. Default: every key is good. */
  readonly secret?: string;
  /** US dollars per million tokens, whole cents. Default 2.50 and 10.00. */
  readonly prices?: { readonly input: number; readonly output: number };
  /** A call whose Idempotency-Key was answered before gets that answer again and is not billed. Default false. */
  readonly remembersKeys?: boolean;
  readonly port?: number;
}

export interface ModelServer {
  /** For the setting of a provider, either protocol: `http://127.0.0.1:<port>/v1`. */
  readonly baseUrl: string;
  /** `127.0.0.1:<port>`, for OUTBOUND_ALLOWED_PRIVATE_HOSTS. */
  readonly host: string;
  readonly calls: readonly ServedCall[];
  /** Requests that are open now, and the most there ever were at once. */
  readonly open: number;
  readonly peak: number;
  /** The next requests meet these, in order, before anything else decides. */
  next(...behaviours: Behaviour[]): void;
  /** Sum of the costs of `calls`, US dollars with twelve decimals. */
  spent(calls?: readonly ServedCall[]): string;
  /** Of the calls of each Idempotency-Key that were answered, the last one. */
  answeredByKey(): ReadonlyMap<string, ServedCall>;
  /** Ends hanging requests too. */
  close(): Promise<void>;
}

export async function startModelServer(options: ModelServerOptions = {}): Promise<ModelServer> {
  const model = new FakeModel(options);
  await model.listen(options.port ?? 0);
  return model;
}

const MAX_BODY_BYTES = 64 * 1024 * 1024;

class FakeModel implements ModelServer {
  readonly calls: ServedCall[] = [];
  open = 0;
  peak = 0;
  readonly #options: ModelServerOptions;
  readonly #server: Server;
  readonly #queue: Behaviour[] = [];
  readonly #seen = new Map<string, number>();
  readonly #remembered = new Map<string, string>();
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: ModelServerOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      this.open += 1;
      this.peak = Math.max(this.peak, this.open);
      response.once('close', () => (this.open -= 1));
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  async listen(port: number): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(port, '127.0.0.1', resolve));
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get baseUrl(): string {
    return `http://${this.host}/v1`;
  }

  next(...behaviours: Behaviour[]): void {
    this.#queue.push(...behaviours);
  }

  spent(calls: readonly ServedCall[] = this.calls): string {
    const total = calls.reduce((sum, { cost }) => sum + cost, 0n);
    return `${total / 10n ** 12n}.${(total % 10n ** 12n).toString().padStart(12, '0')}`;
  }

  answeredByKey(): ReadonlyMap<string, ServedCall> {
    return new Map(
      this.calls.flatMap((call) => (call.key === undefined || call.usage === null ? [] : [[call.key, call]])),
    );
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const protocol = protocolOf(request.url ?? '/');
    const text = await readBody(request);
    if (protocol === undefined || request.method !== 'POST') {
      return sendJson(response, 404, { error: { message: `Unknown request URL: ${request.url ?? ''}` } });
    }
    let asked: AskedOfModel;
    try {
      const { secret } = this.#options;
      if (secret !== undefined && secretOf(request.headers) !== secret) {
        throw new RequestProblem(401, 'authentication_error', 'Incorrect API key provided.');
      }
      asked = readRequest(protocol, text, request.headers);
    } catch (error) {
      if (!(error instanceof RequestProblem)) throw error;
      return sendJson(response, error.status, problemBody(protocol, error.type, error.message));
    }
    await this.#answer(request, response, asked, text);
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    asked: AskedOfModel,
    text: string,
  ): Promise<void> {
    const print = createHash('sha256').update(text).digest('hex');
    const earlier = this.#seen.get(print) ?? 0;
    this.#seen.set(print, earlier + 1);
    const key = headerOf(request, 'idempotency-key');
    const random = randomOf(this.#options.seed ?? 1, print, earlier);
    const behaviour = this.#behaviour(asked, earlier, random);
    const delayMs = behaviour.delayMs ?? between(this.#options.delayMs, random);
    if (delayMs > 0) await this.#sleep(delayMs);
    const again = key === undefined ? undefined : this.#remembered.get(key);
    // The content depends on what is asked alone, so that a try again says the same.
    const said = again ?? this.#say(asked, behaviour, randomOf(this.#options.seed ?? 1, print, -1));
    const billed = PAID.has(behaviour.kind) && again === undefined;
    const usage = behaviour.kind === 'answer' && behaviour.usage ? behaviour.usage : usageOf(asked, said);
    this.calls.push({
      ...asked,
      key,
      secret: secretOf(request.headers),
      headers: Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      ),
      earlier,
      behaviour: behaviour.kind,
      usage: billed ? usage : null,
      cost: billed ? this.#cost(usage) : 0n,
    });
    if (key !== undefined && this.#options.remembersKeys === true && PAID.has(behaviour.kind)) {
      this.#remembered.set(key, said);
    }
    this.#send(response, asked, behaviour, { id: print.slice(0, 24), said, usage });
  }

  #behaviour(asked: AskedOfModel, earlier: number, random: () => number): Behaviour {
    return (
      this.#queue.shift() ??
      this.#options.script?.({ ...asked, earlier }) ??
      drawFault(this.#options.faults ?? {}, earlier, random) ?? { kind: 'answer' }
    );
  }

  #say(asked: AskedOfModel, behaviour: Behaviour, random: () => number): string {
    if (behaviour.kind === 'prose') {
      return `I would give this a ${Math.floor(random() * 10)} out of 10, all things considered.`;
    }
    if (behaviour.kind === 'wrong_schema') return JSON.stringify({ unexpected: [random()] });
    if (behaviour.kind === 'refusal') return 'I cannot help with that.';
    if (behaviour.kind === 'answer' && behaviour.text !== undefined) return behaviour.text;
    const value =
      behaviour.kind === 'answer' && behaviour.value !== undefined
        ? behaviour.value
        : (this.#options.answer ?? defaultAnswer)(asked, random);
    const text = typeof value === 'string' && asked.schema === undefined ? value : JSON.stringify(value);
    return behaviour.kind === 'cut' ? text.slice(0, Math.ceil(text.length / 2)) : text;
  }

  #send(
    response: ServerResponse,
    asked: AskedOfModel,
    behaviour: Behaviour,
    { id, said, usage }: { id: string; said: string; usage: TokenUsage },
  ): void {
    if (response.destroyed) return;
    switch (behaviour.kind) {
      case 'hang':
        return;
      case 'reset':
        response.socket?.resetAndDestroy();
        return;
      case 'status':
        return sendProblem(response, asked.protocol, behaviour);
      case 'drip': {
        response.writeHead(200, { 'content-type': 'application/json' });
        const drip = setInterval(() => response.write(' '), behaviour.everyMs);
        this.#timers.add(drip);
        response.once('close', () => clearInterval(drip));
        return;
      }
      case 'broken_json':
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end('{"id": "chatcmpl-1", "choices": [<html>');
        return;
      case 'answer':
      case 'cut':
      case 'prose':
      case 'refusal':
      case 'truncated':
      case 'wrong_schema': {
        const reply = {
          id,
          text: said,
          usage,
          refused: behaviour.kind === 'refusal',
          cut: behaviour.kind === 'cut',
        };
        const parts = asked.stream ? replyEvents(asked, reply) : [JSON.stringify(replyBody(asked, reply))];
        const type = asked.stream ? 'text/event-stream' : 'application/json';
        if (behaviour.kind === 'truncated') return sendHalf(response, type, parts.join(''));
        response.writeHead(200, { 'content-type': type });
        for (const part of parts) response.write(part);
        response.end();
      }
    }
  }

  #cost({ promptTokens, completionTokens }: TokenUsage): bigint {
    const { input, output } = this.#options.prices ?? { input: 2.5, output: 10 };
    // Cents per million tokens are 10^-8 dollars per token.
    const perToken = (price: number): bigint => BigInt(Math.round(price * 100)) * 10n ** 4n;
    return BigInt(promptTokens) * perToken(input) + BigInt(completionTokens) * perToken(output);
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, ms);
      this.#timers.add(timer);
    });
  }
}

/** What a provider bills: whatever it has answered in full, readable or not. */
const PAID: ReadonlySet<BehaviourKind> = new Set<BehaviourKind>([
  'answer',
  'prose',
  'wrong_schema',
  'refusal',
  'cut',
]);

/** One number in [0, 1) after the other, the same for the same request. */
function randomOf(seed: number, print: string, earlier: number): () => number {
  const hash = createHash('sha256').update(`${seed} ${print} ${earlier}`).digest();
  return seeded(hash.readUInt32BE(0));
}

const between = (range: readonly [number, number] | undefined, random: () => number): number =>
  range === undefined ? 0 : range[0] + random() * (range[1] - range[0]);

function drawFault(rates: FaultRates, earlier: number, random: () => number): Behaviour | undefined {
  const drawn = random();
  // A model that answers badly does so however often the same is asked; what hits the connection passes.
  const passes: [rate: number | undefined, behaviour: Behaviour][] = [
    [rates.rateLimited, { kind: 'status', status: 429, retryAfter: String(rates.retryAfterSeconds ?? 1) }],
    [rates.serverError, { kind: 'status', status: 500 }],
    [rates.hang, { kind: 'hang' }],
    [rates.reset, { kind: 'reset' }],
    [rates.brokenJson, { kind: 'broken_json' }],
    [rates.truncated, { kind: 'truncated' }],
  ];
  const stays: [rate: number | undefined, behaviour: Behaviour][] = [
    [rates.prose, { kind: 'prose' }],
    [rates.wrongSchema, { kind: 'wrong_schema' }],
  ];
  let from = 0;
  for (const [rate, behaviour] of [...(earlier < (rates.inARow ?? 2) ? passes : []), ...stays]) {
    from += rate ?? 0;
    if (drawn < from) return behaviour;
  }
  return undefined;
}

/** Four characters a token, as good a guess as any. */
const tokensOf = (text: string): number => Math.ceil(text.length / 4);
const usageOf = ({ messages }: AskedOfModel, said: string): TokenUsage => ({
  promptTokens: messages.reduce((sum, { content }) => sum + tokensOf(content) + 4, 0),
  completionTokens: Math.max(1, tokensOf(said)),
});

const defaultAnswer = ({ schema, messages }: AskedOfModel, random: () => number): Json =>
  schema === undefined
    ? `You said ${(messages.at(-1)?.content.length ?? 0).toString()} characters.`
    : valueOfSchema(schema, random);

/** A value that satisfies the schemas judges use: objects, enums, bounded numbers, texts, booleans, lists. */
function valueOfSchema(schema: JsonMap, random: () => number): Json {
  if (schema['const'] !== undefined) return schema['const'];
  if (Array.isArray(schema['enum'])) {
    return schema['enum'][Math.floor(random() * schema['enum'].length)] ?? null;
  }
  const [type] = [schema['type']].flat();
  switch (typeof type === 'string' ? type : 'string') {
    case 'object':
      return Object.fromEntries(
        Object.entries((schema['properties'] ?? {}) as JsonMap).map(([name, property]) => [
          name,
          valueOfSchema(property as JsonMap, random),
        ]),
      );
    case 'array':
      return [valueOfSchema((schema['items'] ?? {}) as JsonMap, random)];
    case 'integer':
    case 'number': {
      const least = typeof schema['minimum'] === 'number' ? schema['minimum'] : 0;
      const most = typeof schema['maximum'] === 'number' ? schema['maximum'] : least + 1;
      const drawn = least + random() * (most - least);
      return type === 'integer'
        ? Math.min(most, Math.floor(drawn + random()))
        : Math.round(drawn * 100) / 100;
    }
    case 'boolean':
      return random() < 0.5;
    case 'null':
      return null;
    default:
      return 'because of what it says';
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error('The request is too large.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : undefined;
}

function sendJson(
  response: ServerResponse,
  status: number,
  body: JsonMap,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

function sendProblem(
  response: ServerResponse,
  protocol: ModelProtocol,
  { status, retryAfter, message }: Behaviour & { readonly kind: 'status' },
): void {
  const type = status === 429 ? 'rate_limit_error' : status >= 500 ? 'api_error' : 'invalid_request_error';
  const text = message ?? (status === 429 ? 'Rate limit reached.' : `The request failed with ${status}.`);
  const headers = retryAfter === undefined ? undefined : { 'retry-after': retryAfter };
  sendJson(response, status, problemBody(protocol, type, text), headers);
}

/** Promises the whole and sends half. */
function sendHalf(response: ServerResponse, type: string, body: string): void {
  const bytes = Buffer.from(body);
  response.writeHead(200, { 'content-type': type, 'content-length': String(bytes.length) });
  response.write(bytes.subarray(0, Math.ceil(bytes.length / 2)), () => response.socket?.destroySoon());
}
