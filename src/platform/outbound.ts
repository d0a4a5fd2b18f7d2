/**
 * The one way out to addresses that users configure: model providers, webhooks, HTTP targets. Every connection is
 * checked (outbound-guard.ts), redirects are followed by hand and checked again, answers are bounded in time and size
 * and are taken whole. Proxies of the environment are not used: they would connect where we may not.
 */
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import { AddressRefused, OutboundGuard } from './outbound-guard.js';
import type { Lookup } from './outbound-guard.js';

export interface OutboundRequest {
  readonly url: string;
  /** Default GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** From the start to the last byte of the answer, redirects included. */
  readonly timeoutMs: number;
  /** Above it the answer is given up. Default 1 MiB. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

export interface OutboundResponse {
  readonly status: number;
  /** Lower-case names; a repeated header is joined with commas. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/**
 * refused: the address must not be reached. timeout: the deadline passed. aborted: the caller's signal. too_large: the
 * answer. redirects: too many, or to a less safe place. connection: anything else on the way.
 */
export type OutboundFailure = 'refused' | 'timeout' | 'aborted' | 'too_large' | 'redirects' | 'connection';

/** Why there is no answer. The message names at most host and port: paths and headers may hold secrets. */
export class OutboundError extends Error {
  constructor(
    readonly failure: OutboundFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'OutboundError';
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    return this.failure === 'timeout' || this.failure === 'connection';
  }
}

export const DEFAULT_MAX_BYTES = 1024 * 1024;
const MAX_REDIRECTS = 3;
const CONNECT_TIMEOUT_MS = 10_000;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** What another host may see of a request that was meant for the first. */
const HARMLESS_HEADERS = new Set(['accept', 'accept-language', 'content-type', 'user-agent']);

interface Hop {
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | undefined;
}

export class OutboundClient {
  readonly #guard: OutboundGuard;
  readonly #agent: Agent;

  constructor(options: { allowedHosts: readonly string[]; lookup?: Lookup }) {
    this.#guard = new OutboundGuard(options);
    this.#agent = new Agent({
      connect: this.#guard.connector(CONNECT_TIMEOUT_MS),
      // A request has one deadline, and it is ours.
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: 10_000,
      // A connection was checked when it was made; the longer it lives, the older the check.
      keepAliveMaxTimeout: 60_000,
    });
  }

  /** What is wrong with a URL as a setting; undefined where requests to it may be tried. Looks no name up. */
  urlProblem(url: string): string | undefined {
    try {
      this.#guard.checkUrl(url);
      return undefined;
    } catch (error) {
      if (error instanceof AddressRefused) return error.message;
      throw error;
    }
  }

  /** @throws OutboundError where there is no answer; an answer of any status is returned. */
  async request(request: OutboundRequest): Promise<OutboundResponse> {
    const { timeoutMs, signal, maxBytes = DEFAULT_MAX_BYTES } = request;
    const deadline = new Deadline(timeoutMs, signal);
    try {
      return await this.#follow(request, maxBytes, deadline.signal);
    } catch (error) {
      throw explain(error, request.url, deadline);
    } finally {
      deadline.clear();
    }
  }

  /** `fetch` for libraries that bring their own protocol: the same guard and limits, answers are whole. */
  fetchWith(limits: { readonly timeoutMs: number; readonly maxBytes?: number }): typeof globalThis.fetch {
    return async (input, init = {}) => {
      const { body } = init;
      if (typeof body !== 'string' && body !== undefined && body !== null) {
        throw new TypeError('Only texts can be sent.');
      }
      const response = await this.request({
        ...limits,
        url: typeof input === 'string' ? input : input instanceof URL ? input.href : input.url,
        method: init.method ?? 'GET',
        headers: Object.fromEntries(new Headers(init.headers)),
        ...(typeof body === 'string' && { body }),
        ...(init.signal && { signal: init.signal }),
      });
      const empty = response.status === 204 || response.status === 304;
      return new Response(empty ? null : Buffer.from(response.body), {
        status: response.status,
        headers: response.headers,
      });
    };
  }

  /** Ends connections, also such as are in use. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #follow(request: OutboundRequest, maxBytes: number, signal: AbortSignal): Promise<OutboundResponse> {
    let hop: Hop = {
      url: this.#guard.checkUrl(request.url),
      method: request.method ?? 'GET',
      headers: lowerCase(request.headers ?? {}),
      body: request.body,
    };
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#agent.request({
        origin: hop.url.origin,
        path: hop.url.pathname + hop.url.search,
        method: hop.method,
        // Unpacking an answer would be one more thing to bound.
        headers: { ...hop.headers, 'accept-encoding': 'identity' },
        body: hop.body ?? null,
        signal,
      });
      const headers = joined(answer.headers);
      const location = REDIRECTS.has(answer.statusCode) ? headers['location'] : undefined;
      if (location === undefined) {
        return { status: answer.statusCode, headers, body: await readBounded(answer, headers, maxBytes) };
      }
      answer.body.on('error', () => undefined).destroy();
      if (redirects === MAX_REDIRECTS) {
        throw new OutboundError('redirects', `${hop.url.host} redirects more than ${MAX_REDIRECTS} times.`);
      }
      hop = this.#next(hop, answer.statusCode, location);
    }
  }

  #next(hop: Hop, status: number, location: string): Hop {
    if (!URL.canParse(location, hop.url.href)) {
      throw new OutboundError('redirects', `${hop.url.host} redirects to something that is no URL.`);
    }
    const url = this.#guard.checkUrl(new URL(location, hop.url).href);
    if (hop.url.protocol === 'https:' && url.protocol !== 'https:') {
      throw new OutboundError('redirects', `${hop.url.host} redirects from https to http.`);
    }
    const becomesGet = status === 303 || (status < 303 && hop.method === 'POST');
    const headers = Object.entries(hop.headers).filter(
      ([name]) =>
        (url.origin === hop.url.origin || HARMLESS_HEADERS.has(name)) &&
        !(becomesGet && name.startsWith('content-')),
    );
    return {
      url,
      method: becomesGet && hop.method !== 'HEAD' ? 'GET' : hop.method,
      headers: Object.fromEntries(headers),
      body: becomesGet ? undefined : hop.body,
    };
  }
}

/** One signal for the caller's wish and the time that is up, and which of them it was. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #outer: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#end('aborted');
  ended: 'timeout' | 'aborted' | undefined;

  constructor(timeoutMs: number, outer: AbortSignal | undefined) {
    this.#timer = setTimeout(() => this.#end('timeout'), timeoutMs);
    this.#outer = outer;
    if (outer?.aborted === true) this.#onAbort();
    else outer?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener('abort', this.#onAbort);
  }

  #end(why: 'timeout' | 'aborted'): void {
    this.ended ??= why;
    this.#controller.abort();
  }
}

async function readBounded(
  answer: Dispatcher.ResponseData,
  headers: Readonly<Record<string, string>>,
  maxBytes: number,
): Promise<Uint8Array> {
  const encoding = headers['content-encoding'] ?? 'identity';
  const tooLarge = (): OutboundError =>
    new OutboundError('too_large', `The answer is larger than ${maxBytes} bytes.`);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    if (encoding !== 'identity') {
      throw new OutboundError('connection', 'The answer is packed, though not asked to be.');
    }
    if (Number(headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    // The rest is not wanted; the connection goes with it.
    answer.body.on('error', () => undefined).destroy();
    throw error;
  }
  return Buffer.concat(chunks);
}

function explain(error: unknown, url: string, deadline: Deadline): OutboundError {
  const host = URL.canParse(url) ? new URL(url).host : 'the address';
  if (error instanceof OutboundError) return error;
  const refusal = refusalIn(error);
  if (refusal !== undefined) return new OutboundError('refused', refusal.message);
  if (deadline.ended === 'timeout') return new OutboundError('timeout', `${host} did not answer in time.`);
  if (deadline.ended === 'aborted') return new OutboundError('aborted', 'The request was called off.');
  const found = fieldOf(error, 'code');
  const code = typeof found === 'string' ? found : 'no code';
  return new OutboundError('connection', `The connection to ${host} failed (${code}).`, {
    cause: error,
  });
}

/** Where several addresses are tried at once, what they met comes together. */
function refusalIn(error: unknown): AddressRefused | undefined {
  if (error instanceof AddressRefused) return error;
  const inner = [fieldOf(error, 'errors'), fieldOf(error, 'cause')].flat();
  return inner.find((cause) => cause instanceof AddressRefused);
}

const fieldOf = (error: unknown, name: string): unknown =>
  typeof error === 'object' && error !== null ? (error as Record<string, unknown>)[name] : undefined;

const lowerCase = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

const joined = (headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]],
    ),
  );
