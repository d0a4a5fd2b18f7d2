/** One client's socket: its caller, its allowance of messages, and how it is closed. */
import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import type { Credentials } from '../tenancy/authenticator.js';
import type { Principal } from '../tenancy/principal.js';
import { closeReason } from './socket-limits.js';
import type { CloseCode, DropReason, SocketLimits } from './socket-limits.js';

/** A peer that does not answer the close frame is cut off after this. */
const FAREWELL_MS = 3_000;

export class Socket {
  readonly requestId: string;
  readonly request: IncomingMessage;
  principal: Principal | undefined;
  /** Kept to ask for the key again; never shown or logged. */
  credentials: Credentials | undefined;
  checkedAtMs = 0;
  readonly #socket: WebSocket;
  readonly #limits: SocketLimits;
  readonly #onDropped: (reason: DropReason) => void;
  #windowStartMs = 0;
  #inWindow = 0;
  #answered = true;
  #farewell: NodeJS.Timeout | undefined;

  constructor(deps: {
    socket: WebSocket;
    request: IncomingMessage;
    requestId: string;
    limits: SocketLimits;
    onDropped: (reason: DropReason) => void;
  }) {
    this.#onDropped = deps.onDropped;
    this.#socket = deps.socket;
    this.request = deps.request;
    this.requestId = deps.requestId;
    this.#limits = deps.limits;
    this.#socket.on('pong', () => (this.#answered = true));
    this.#socket.once('close', () => clearTimeout(this.#farewell));
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** Whether one more message is within the allowance. */
  admitMessage(nowMs: number): boolean {
    const { count, perMs } = this.#limits.messages;
    if (nowMs - this.#windowStartMs >= perMs) {
      this.#windowStartMs = nowMs;
      this.#inWindow = 0;
    }
    this.#inWindow += 1;
    return this.#inWindow <= count;
  }

  /** Resolves when the frame was handed to the network, and when it never will be. */
  send(frame: string): Promise<void> {
    if (!this.isOpen) return Promise.resolve();
    return new Promise((resolve) => this.#socket.send(frame, () => resolve()));
  }

  /** False if the last ping was not answered. */
  ping(): boolean {
    if (!this.isOpen) return true;
    if (!this.#answered) return false;
    this.#answered = false;
    this.#socket.ping();
    return true;
  }

  close(code: CloseCode, why: DropReason, reason: string): void {
    if (this.isOpen) this.#onDropped(why);
    this.#socket.close(code, closeReason(reason));
    this.#farewell ??= setTimeout(() => this.#socket.terminate(), FAREWELL_MS).unref();
  }

  /** Without a word, for peers that would not hear it. */
  drop(why: DropReason): void {
    if (this.isOpen) this.#onDropped(why);
    this.terminate();
  }

  terminate(): void {
    this.#socket.terminate();
  }
}
