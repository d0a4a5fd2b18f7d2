/**
 * GraphQL subscriptions over WebSocket (protocol graphql-transport-ws) on the gateway's own port and path. Every
 * operation passes the same gate as over HTTP. Keeps sockets only as long as their key holds, within published limits.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { GraphQLError } from 'graphql';
import type { ExecutionArgs, ExecutionResult, FormattedExecutionResult, GraphQLSchema } from 'graphql';
import { handleProtocols, makeServer } from 'graphql-ws';
import type { Context, SubscribePayload } from 'graphql-ws';
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { WebSocketServer } from 'ws';
import type { RawData, WebSocket } from 'ws';
import { createContext } from './context.js';
import { describeOperation } from './document-limits.js';
import type { ErrorPresenter } from './errors.js';
import { asGraphqlError } from './gate.js';
import type { OperationGate } from './gate.js';
import { stringifyWithRawJson } from './raw-json.js';
import type { Clock } from '../platform/clock.js';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError, findAppError } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import { clientAddress } from '../platform/network.js';
import type { Trust } from '../platform/network.js';
import type { Authenticator, Credentials } from '../tenancy/authenticator.js';
import type { Principal } from '../tenancy/principal.js';
import type { LiveContext } from '../live/live.resolver.js';
import type { LiveService } from '../live/live.service.js';
import { Socket } from './socket.js';
import { sharingKey } from './shared-payloads.js';
import { CLOSE, SOCKET_LIMITS } from './socket-limits.js';
import type { DropReason, SocketLimits } from './socket-limits.js';
import { openOperation } from './socket-operation.js';
import type { SocketCounters, SocketOperation } from './socket-operation.js';

export interface SocketServerDeps {
  readonly schema: GraphQLSchema;
  readonly gate: Pick<OperationGate, 'prepare' | 'trusted'>;
  readonly presenter: ErrorPresenter;
  readonly authenticator: Pick<Authenticator, 'authenticate' | 'onRevoked'>;
  readonly live: LiveService;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * Origins of web pages that may connect, such as `https://console.example.com`. A page of the gateway's own host may
   * always, and so may whoever sends no Origin: only browsers do, and they cannot leave it out.
   */
  readonly allowedOrigins?: readonly string[];
  /** Proxies that say where a client is. Default: nobody does. */
  readonly trust?: Trust;
  readonly path?: string;
  readonly limits?: Partial<SocketLimits>;
  readonly stringify?: (result: FormattedExecutionResult) => string;
}

interface Extra {
  readonly socket: Socket;
}
type SocketContext = Context<Record<string, unknown>, Extra>;
/** What onSubscribe hands to subscribe through graphql-ws. */
type AdmittedArgs = ExecutionArgs & { readonly operation: SocketOperation };

const SWEEP_MS = 1_000;
/** How long a shutdown waits for last events to be written, and then for clients to say goodbye. */
const LAST_EVENTS_MS = 1_000;
const GOODBYE_MS = 2_000;

export class SocketServer {
  readonly #deps: SocketServerDeps;
  readonly #limits: SocketLimits;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();
  readonly #acceptor: WebSocketServer;
  readonly #protocol;
  readonly #sweeper: NodeJS.Timeout;
  readonly #pinger: NodeJS.Timeout;
  readonly #silence: () => void;
  readonly #counters: SocketCounters = { operations: 0, delivering: 0 };
  readonly #dropped: Counter<'reason'>;
  #closed: Promise<void> | undefined;

  constructor(deps: SocketServerDeps) {
    this.#deps = deps;
    this.#limits = { ...SOCKET_LIMITS, ...deps.limits };
    this.#acceptor = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: this.#limits.maxMessageBytes,
      perMessageDeflate: false,
      handleProtocols,
    });
    this.#protocol = makeServer<Record<string, unknown>, Extra>({
      connectionInitWaitTimeout: this.#limits.initTimeoutMs,
      onConnect: (context) => this.#connect(context),
      onSubscribe: (context, id, payload) => this.#admit(context, id, payload),
      subscribe: (args) => this.#open((args as AdmittedArgs).operation),
      onError: (context, _id, payload, errors) => this.#present(context, payload, errors),
    });
    this.#silence = deps.authenticator.onRevoked((keyId) => this.#closeKey(keyId));
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS).unref();
    this.#pinger = setInterval(() => this.#pingAll(), this.#limits.pingMs).unref();
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers: [deps.registry],
        collect() {
          this.set(read());
        },
      });
    gauge('tracewell_ws_connections', 'Open sockets of subscribers.', () => this.#sockets.size);
    gauge('tracewell_ws_operations', 'Subscriptions that are running.', () => this.#counters.operations);
    this.#dropped = new Counter({
      name: 'tracewell_ws_dropped_total',
      help: 'Sockets that were refused or closed from here, by reason.',
      labelNames: ['reason'] as const,
      registers: [deps.registry],
    });
  }

  /** Answers upgrades of this server. Other paths than ours are refused: nobody else takes upgrades here. */
  attach(server: Server): void {
    server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
      stream.on('error', () => stream.destroy());
      const refusal = this.#refuseUpgrade(request);
      if (refusal === undefined) {
        this.#acceptor.handleUpgrade(request, stream, head, (socket) => this.#accept(socket, request));
      } else {
        this.#dropped.inc({ reason: refusal.why });
        const retry = refusal.why === 'capacity' || refusal.why === 'restart' ? 'Retry-After: 10\r\n' : '';
        stream.end(`HTTP/1.1 ${refusal.status}\r\n${retry}Connection: close\r\nContent-Length: 0\r\n\r\n`);
      }
    });
  }

  /**
   * Refuses upgrades, tells subscribers how far they are, and closes sockets with 1012, which clients answer by
   * reconnecting. Subscriptions are not completed: a client would take that for their end. Idempotent.
   */
  close(): Promise<void> {
    this.#closed ??= this.#shutDown();
    return this.#closed;
  }

  #refuseUpgrade(request: IncomingMessage): { status: string; why: DropReason } | undefined {
    const busy = '503 Service Unavailable';
    if (this.#closing.signal.aborted) return { status: busy, why: 'restart' };
    if (this.#sockets.size >= this.#limits.sockets) return { status: busy, why: 'capacity' };
    if ((request.url ?? '').split('?')[0] !== (this.#deps.path ?? '/graphql')) {
      return { status: '404 Not Found', why: 'path' };
    }
    return this.#isAllowedOrigin(request) ? undefined : { status: '403 Forbidden', why: 'origin' };
  }

  #isAllowedOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
    if (origin === undefined) return true;
    if (this.#deps.allowedOrigins?.includes(origin) === true) return true;
    return URL.canParse(origin) && new URL(origin).host === host;
  }

  #accept(webSocket: WebSocket, request: IncomingMessage): void {
    const { clock, log } = this.#deps;
    const socket = new Socket({
      socket: webSocket,
      request,
      requestId: randomUUID(),
      limits: this.#limits,
      onDropped: (reason) => this.#dropped.inc({ reason }),
    });
    this.#sockets.add(socket);
    const admitted = (): boolean => {
      if (socket.admitMessage(clock.now().getTime())) return true;
      socket.close(CLOSE.tooMany, 'limit', 'Too many messages');
      return false;
    };
    webSocket.on('ping', admitted);
    // Frames that break the protocol or the size limit; ws closes the socket itself.
    webSocket.on('error', (error) => {
      this.#dropped.inc({ reason: 'protocol' });
      log.debug({ err: error, requestId: socket.requestId }, 'socket error');
    });
    const closed = this.#protocol.opened(
      {
        protocol: webSocket.protocol,
        send: (frame) => socket.send(frame),
        // The protocol's own complaints. A refusal of ours has closed the socket by then.
        close: (code, reason) => {
          if (socket.isOpen) this.#dropped.inc({ reason: 'protocol' });
          webSocket.close(code, reason);
        },
        onMessage: (handle) =>
          webSocket.on('message', (data: RawData) => {
            if (!socket.isOpen || !admitted()) return;
            const take = (): Promise<void> => handle(withQuery(messageText(data)));
            const { principal } = socket;
            const taken = principal === undefined ? take() : inWorkspace(principal.workspaceId, take);
            taken.catch((error: unknown) => this.#fault(socket, error));
          }),
      },
      { socket },
    );
    webSocket.once('close', (code, reason) => {
      this.#sockets.delete(socket);
      closed(code, String(reason)).catch((error: unknown) => this.#fault(socket, error));
    });
  }

  async #connect({ connectionParams, extra: { socket } }: SocketContext): Promise<boolean> {
    const credentials = credentialsOf(connectionParams ?? {}, socket.request, this.#deps.trust);
    let principal: Principal;
    try {
      principal = await this.#deps.authenticator.authenticate(credentials);
    } catch (error) {
      this.#turnAway(socket, error);
      return false;
    }
    if (!socket.isOpen) return false;
    const siblings = [...this.#sockets].filter((other) => other.principal?.keyId === principal.keyId);
    if (siblings.length >= this.#limits.socketsPerKey) {
      socket.close(CLOSE.tooMany, 'limit', `At most ${this.#limits.socketsPerKey} sockets per key`);
      return false;
    }
    socket.principal = principal;
    socket.credentials = credentials;
    socket.checkedAtMs = this.#deps.clock.now().getTime();
    return true;
  }

  async #admit(
    context: SocketContext,
    id: string,
    payload: SubscribePayload,
  ): Promise<AdmittedArgs | GraphQLError[]> {
    const { socket } = context.extra;
    if (id.length > this.#limits.idLength) {
      socket.close(
        CLOSE.badRequest,
        'protocol',
        `Operation ids have at most ${this.#limits.idLength} characters`,
      );
      return [new GraphQLError('The operation id is too long.')];
    }
    const most = this.#limits.operationsPerSocket;
    if (Object.keys(context.subscriptions).length > most) {
      return [asGraphqlError(new AppError('RATE_LIMITED', `A socket runs at most ${most} operations.`))];
    }
    const query = this.#queryOf(payload);
    if (typeof query !== 'string') return [query];
    const operationName = payload.operationName ?? undefined;
    const variables = payload.variables ?? {};
    const { principal } = socket;
    const admission = await this.#deps.gate.prepare({
      query,
      variables,
      operationName,
      principal,
      kind: 'subscription',
    });
    if (!admission.ok) return [...admission.errors];
    const { document } = admission;
    const { schema, presenter, stringify = stringifyWithRawJson } = this.#deps;
    const name = describeOperation(admission.operation);
    const asking: Principal | undefined = principal && {
      ...principal,
      operation: { requestId: socket.requestId, via: 'live', name },
    };
    const eventContext = (): LiveContext => this.#contextFor(socket, asking);
    const operation: SocketOperation = {
      id,
      schema,
      document,
      operationName,
      variables,
      sharingKey: sharingKey({ query, document, operationName, variables, principal }),
      context: eventContext(),
      eventContext,
      send: (frame) => socket.send(frame),
      presenter,
      stringify,
      counters: this.#counters,
    };
    return { schema, document, operation };
  }

  #queryOf(payload: SubscribePayload): string | GraphQLError {
    if (!('documentId' in payload)) return payload.query;
    try {
      return this.#deps.gate.trusted.resolve(payload.documentId, payload.query);
    } catch (error) {
      if (error instanceof AppError) return asGraphqlError(error);
      if (error instanceof GraphQLError) return error;
      throw error;
    }
  }

  async #open(operation: SocketOperation): Promise<AsyncIterable<ExecutionResult>> {
    try {
      return await openOperation(operation);
    } catch (error) {
      // graphql-ws answers a stream that throws with an error message, which is what a refusal should be.
      return failedStream(error);
    }
  }

  #contextFor(socket: Socket, principal: Principal | undefined): LiveContext {
    const { requestId } = socket;
    return {
      ...createContext({ principal, requestId, signal: this.#closing.signal }),
      live: this.#deps.live,
      evict: (error) => socket.close(CLOSE.tryLater, 'behind', error.message),
    };
  }

  #present({ extra: { socket } }: SocketContext, payload: SubscribePayload, errors: readonly GraphQLError[]) {
    const { principal, requestId } = socket;
    const site = { operationName: payload.operationName, requestId, workspaceId: principal?.workspaceId };
    // graphql-ws wraps what a stream throws; GraphQL's own errors are judged as they were.
    return errors.map((error) =>
      this.#deps.presenter.present(
        error.originalError instanceof GraphQLError ? error.originalError : error,
        site,
      ),
    );
  }

  #turnAway(socket: Socket, error: unknown): void {
    const refusal = findAppError(error);
    if (refusal === undefined) this.#fault(socket, error);
    else if (refusal.retryAfterSeconds === undefined) {
      socket.close(CLOSE.forbidden, 'credentials', refusal.message);
    } else socket.close(CLOSE.tryLater, 'unavailable', refusal.message);
  }

  #fault(socket: Socket, error: unknown): void {
    this.#deps.log.error({ err: error, requestId: socket.requestId }, 'socket failed');
    socket.close(CLOSE.internalError, 'fault', 'Something went wrong on our side.');
  }

  #closeKey(keyId: string): void {
    for (const socket of this.#sockets) {
      if (socket.principal?.keyId !== keyId) continue;
      socket.close(CLOSE.forbidden, 'credentials', 'The key was revoked or changed');
    }
  }

  #sweep(): void {
    const nowMs = this.#deps.clock.now().getTime();
    for (const socket of this.#sockets) {
      const { principal } = socket;
      if (principal === undefined || !socket.isOpen) continue;
      if ((principal.expiresAtMs ?? Infinity) <= nowMs) {
        socket.close(CLOSE.forbidden, 'credentials', 'The key expired');
      } else if (nowMs - socket.checkedAtMs >= this.#limits.recheckMs) {
        void this.#recheck(socket, principal, nowMs);
      }
    }
  }

  async #recheck(socket: Socket, given: Principal, nowMs: number): Promise<void> {
    socket.checkedAtMs = nowMs;
    if (socket.credentials === undefined) return;
    try {
      const now = await this.#deps.authenticator.authenticate(socket.credentials);
      if ([...given.scopes].every((scope) => now.scopes.has(scope))) return;
      socket.close(CLOSE.forbidden, 'credentials', 'The key was changed');
    } catch (error) {
      const refusal = findAppError(error);
      // A database that is away says nothing about the key.
      if (refusal !== undefined && refusal.retryAfterSeconds === undefined) {
        socket.close(CLOSE.forbidden, 'credentials', refusal.message);
      }
    }
  }

  #pingAll(): void {
    for (const socket of this.#sockets) if (!socket.ping()) socket.drop('unanswered');
  }

  async #shutDown(): Promise<void> {
    this.#closing.abort();
    this.#silence();
    clearInterval(this.#sweeper);
    clearInterval(this.#pinger);
    this.#deps.live.checkpoint();
    await this.#until(() => this.#counters.delivering === 0, LAST_EVENTS_MS);
    for (const socket of this.#sockets) socket.close(CLOSE.restart, 'restart', 'The server restarts');
    await this.#until(() => this.#sockets.size === 0, GOODBYE_MS);
    for (const socket of this.#sockets) socket.terminate();
    await new Promise<void>((resolve) => this.#acceptor.close(() => resolve()));
  }

  async #until(isTrue: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    do {
      await new Promise((resolve) => setTimeout(resolve, 10));
    } while (!isTrue() && performance.now() < deadline);
  }
}

/** The key in connectionParams, under the names of the headers or as `apiKey` and `workspaceId`; else the headers. */
function credentialsOf(
  params: Readonly<Record<string, unknown>>,
  request: IncomingMessage,
  trust: Trust = () => false,
): Credentials {
  const given = (...names: string[]): string | undefined => {
    for (const [name, value] of Object.entries(params)) {
      if (names.includes(name.toLowerCase()) && typeof value === 'string') return value;
    }
    return undefined;
  };
  const apiKey = given('x-api-key', 'apikey');
  const authorization = given('authorization');
  const own = apiKey !== undefined || authorization !== undefined;
  return {
    apiKey: own ? apiKey : request.headers['x-api-key'],
    authorization: own ? authorization : request.headers.authorization,
    tenantId: given('x-tenant-id', 'workspaceid') ?? request.headers['x-tenant-id'],
    remoteAddress: clientAddress(request, trust),
  };
}

/** graphql-ws insists on a text where a `documentId` stands for it. */
function withQuery(message: string): string {
  if (!message.includes('"documentId"')) return message;
  try {
    const parsed = JSON.parse(message) as { type?: unknown; payload?: object };
    if (parsed.type !== 'subscribe') return message;
    return JSON.stringify({ ...parsed, payload: { query: '', ...parsed.payload } });
  } catch {
    // It is no JSON; graphql-ws says so.
    return message;
  }
}

function messageText(data: RawData): string {
  if (Buffer.isBuffer(data)) return data.toString();
  return Array.isArray(data) ? Buffer.concat(data).toString() : Buffer.from(data).toString();
}

function failedStream(error: unknown): AsyncIterable<never> {
  const failure = error instanceof Error ? error : new Error(String(error));
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(failure) }) };
}
