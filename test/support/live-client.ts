/**
 * A subscriber as the documentation asks for: it remembers the last cursor it handled and resumes behind it, on any
 * gateway. Speaks graphql-transport-ws by hand, so that its socket can be cut, frozen and watched.
 */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';

export interface LiveEvent {
  readonly type: string;
  readonly cursor: string;
  readonly runId: string | undefined;
}

export interface LiveClientOptions {
  /** Chosen anew for each connection. */
  readonly url: () => string;
  readonly apiKey: string;
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
  /** Called after each event, for instance to cut the connection. */
  readonly onEvent?: (event: LiveEvent, client: LiveClient) => void;
  /** Before each further connection. Default 50 ms. */
  readonly retryMs?: () => number;
}

const RETRY_MS = 50;

export class LiveClient {
  /** In the order they came; Ready is left out. */
  readonly events: LiveEvent[] = [];
  readonly closeCodes: number[] = [];
  readonly errors: unknown[] = [];
  cursor: string | undefined;
  ready = 0;
  connections = 0;
  readonly #options: LiveClientOptions;
  #socket: WebSocket | undefined;
  #stopped = false;

  constructor(options: LiveClientOptions, after?: string) {
    this.#options = options;
    this.cursor = after;
    this.#connect();
  }

  /** Cuts the connection without a word; the client comes back by itself. */
  cut(): void {
    this.#socket?.terminate();
  }

  /** Stops reading from the network, as a frozen browser tab does. */
  freeze(): void {
    this.#tcp()?.pause();
  }

  thaw(): void {
    this.#tcp()?.resume();
  }

  stop(): void {
    this.#stopped = true;
    this.#socket?.terminate();
  }

  #tcp(): Socket | undefined {
    return (this.#socket as unknown as { _socket?: Socket } | undefined)?._socket;
  }

  #connect(): void {
    if (this.#stopped) return;
    const url = `${this.#options.url().replace('http', 'ws')}/graphql`;
    const socket = new WebSocket(url, 'graphql-transport-ws');
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('open', () =>
      socket.send(
        JSON.stringify({ type: 'connection_init', payload: { 'x-api-key': this.#options.apiKey } }),
      ),
    );
    socket.on('message', (data) => {
      // What was under way when the connection was cut is as lost as if it had never been sent.
      if (socket === this.#socket && socket.readyState === WebSocket.OPEN) {
        this.#handle(socket, (data as Buffer).toString());
      }
    });
    socket.on('close', (code) => {
      this.closeCodes.push(code);
      if (socket !== this.#socket) return;
      setTimeout(() => this.#connect(), this.#options.retryMs?.() ?? RETRY_MS).unref();
    });
  }

  #handle(socket: WebSocket, text: string): void {
    const message = JSON.parse(text) as {
      type: string;
      payload?: { data?: { it: { __typename: string; cursor: string; run?: { uuid: string } } } };
    };
    if (message.type === 'connection_ack') {
      this.connections += 1;
      const { query, variables } = this.#options;
      const payload = { query, variables: { ...variables, after: this.cursor ?? null } };
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }));
    } else if (message.type === 'next' && message.payload?.data) {
      const { __typename: type, cursor, run } = message.payload.data.it;
      this.cursor = cursor;
      if (type === 'Ready') {
        this.ready += 1;
        return;
      }
      const event = { type, cursor, runId: run?.uuid };
      this.events.push(event);
      this.#options.onEvent?.(event, this);
    } else if (message.type === 'error') {
      this.errors.push(message);
      // Refused for now, as before the feed was reached: the next connection may fare better.
      socket.terminate();
    }
  }
}
