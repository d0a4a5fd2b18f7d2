/**
 * GraphQL over HTTP: Apollo Server on Fastify. Apollo owns the protocol (methods, media types, CSRF, status codes
 * of malformed requests); the gate decides what may run, the executor runs it, the presenter words the errors.
 */
import { ApolloServer, HeaderMap } from '@apollo/server';
import type { ApolloServerPlugin, BaseContext, HTTPGraphQLRequest } from '@apollo/server';
import {
  ApolloServerPluginCacheControlDisabled,
  ApolloServerPluginLandingPageDisabled,
  ApolloServerPluginUsageReportingDisabled,
} from '@apollo/server/plugin/disabled';
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import { GraphQLError } from 'graphql';
import type { GraphQLFormattedError, GraphQLSchema, OperationDefinitionNode } from 'graphql';
import type { Lease } from '../http/body.js';
import { AppError } from '../platform/errors.js';
import { parseInTurns } from '../platform/json-cursor.js';
import { MAX_JSON_DEPTH, takesLongToParse } from '../platform/json-text.js';
import type { Logger } from '../platform/log.js';
import type { Principal } from '../tenancy/principal.js';
import { rateLimitHeaders } from '../tenancy/rate-limit-headers.js';
import type { GraphqlContext } from './context.js';
import { describeOperation } from './document-limits.js';
import { refusalOf, retryAfterOf, statusOf } from './errors.js';
import type { ErrorPresenter, ErrorSite } from './errors.js';
import type { Execution, Executor } from './executor.js';
import type { Admission, CostReport, OperationGate } from './gate.js';
import { stringifyWithRawJson } from './raw-json.js';
import { inOperationSpan } from './tracing.js';
import type { TrustedDocuments } from './trusted-documents.js';

export interface GraphqlHandlerOptions {
  readonly schema: GraphQLSchema;
  readonly gate: OperationGate;
  readonly executor: Executor;
  readonly presenter: ErrorPresenter;
  readonly log: Logger;
  /** One context per operation (see createContext). What it throws is the answer. */
  readonly contextFor: (
    request: FastifyRequest,
    signal: AbortSignal,
  ) => GraphqlContext | Promise<GraphqlContext>;
  /** Default `/graphql`. */
  readonly path?: string;
  /** Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** How long an operation may take before its signal is aborted and the client told. Default 15 s. */
  readonly deadlineMs?: number;
}

export interface GraphqlHandler {
  /** Register it on the HTTP server, or on a scope of it. */
  readonly plugin: FastifyPluginAsync;
  /** Refuses further operations. Call after the HTTP server was drained. */
  stop(): Promise<void>;
}

export const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;
export const DEFAULT_DEADLINE_MS = 15_000;
/** Of bodies as they came. */
const bodyBytes = new WeakMap<FastifyRequest, number>();
const RESPONSE_TYPE = 'application/graphql-response+json';

export async function createGraphqlHandler(options: GraphqlHandlerOptions): Promise<GraphqlHandler> {
  const server = createApollo(options);
  await server.start();
  const { path = '/graphql', maxBodyBytes = DEFAULT_MAX_BODY_BYTES } = options;
  const plugin: FastifyPluginAsync = async (app) => {
    // In a scope of its own: other routes have other bodies and word their errors differently.
    await app.register((scope, _options, done) => {
      installBodies(scope, maxBodyBytes);
      installErrors(scope, options.presenter);
      scope.route({
        method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
        url: path,
        exposeHeadRoute: false,
        bodyLimit: maxBodyBytes,
        config: { access: 'optional', body: 'stream' },
        handler: async (request, reply) => answer(server, options, request, reply),
      });
      done();
    });
  };
  return { plugin, stop: () => server.stop() };
}

function createApollo({
  schema,
  gate,
  executor,
  presenter,
  log,
}: GraphqlHandlerOptions): ApolloServer<GraphqlContext> {
  return new ApolloServer<GraphqlContext>({
    schema,
    // The gate validates: after cheaper checks, and with the same rules for sockets.
    dangerouslyDisableValidation: true,
    documentStore: gate.documents,
    parseOptions: { maxLexicalTokens: gate.limits.document.maxTokens },
    // The gate closes introspection, for anonymous callers only.
    introspection: true,
    csrfPrevention: true,
    persistedQueries: false,
    allowBatchedHttpRequests: false,
    hideSchemaDetailsFromClientErrors: true,
    includeStacktraceInErrorResponses: false,
    stopOnTerminationSignals: false,
    // Its other values change behaviour by themselves: landing pages, stack traces.
    nodeEnv: 'production',
    logger: {
      debug: (message) => log.debug(message),
      info: (message) => log.info(message),
      warn: (message) => log.warn(message),
      error: (message) => log.error(message),
    },
    stringifyResult: stringifyWithRawJson,
    formatError: (_formatted, error) => presenter.present(error),
    plugins: [
      // It would wrap every field to collect hints: twice the CPU of large lists.
      ApolloServerPluginCacheControlDisabled(),
      ApolloServerPluginLandingPageDisabled(),
      ApolloServerPluginUsageReportingDisabled(),
      operationPlugin(gate, executor, presenter),
    ],
  });
}

function siteOf(context: GraphqlContext, operationName: string | null | undefined): ErrorSite {
  return { operationName, workspaceId: context.principal?.workspaceId, requestId: context.requestId };
}

/**
 * Passes each operation through the gate, executes it, and puts its price and its status on the response. Executing is
 * done here and not by a `gateway` of Apollo's: for that it makes an object with accessors per request, whose hidden
 * class lies in the old generation and keeps the whole answer until that is collected.
 */
function operationPlugin(
  gate: OperationGate,
  executor: Executor,
  presenter: ErrorPresenter,
): ApolloServerPlugin<GraphqlContext> {
  return {
    requestDidStart: () => {
      let admission: Admission | undefined;
      let raised: readonly unknown[] = [];
      return Promise.resolve({
        didEncounterErrors: ({ errors, contextValue, operationName }) => {
          // Logs each with its place; formatError, which does not know the place, finds them presented.
          for (const error of errors) presenter.present(error, siteOf(contextValue, operationName));
          const unparsed = errors.filter(({ extensions }) => extensions['code'] === 'GRAPHQL_PARSE_FAILED');
          gate.countRejection(unparsed);
          return Promise.resolve();
        },
        responseForOperation: async ({ document, request, contextValue, operationName }) => {
          const site = siteOf(contextValue, operationName);
          const { variables } = request;
          admission = await gate.admit(document, {
            variables,
            operationName: request.operationName,
            principal: contextValue.principal,
            kind: 'http',
          });
          if (!admission.ok) {
            const errors = admission.errors.map((error) => presenter.present(error, site));
            return { http: headFor(errors[0]), body: { kind: 'single', singleResult: { errors } } };
          }
          if (admission.allowance !== undefined) contextValue.allowance = admission.allowance;
          nameOperation(contextValue.principal, admission.operation);
          const execution = { document, operationName: request.operationName, variables, contextValue };
          const outcome = await executed(executor, execution, contextValue);
          const { data } = outcome;
          const errors = neverRan(outcome) ? outcome.errors?.map(aboutVariables) : outcome.errors;
          raised = errors ?? [];
          const shown = errors?.map((error) => presenter.present(error, site));
          return {
            http: { headers: new HeaderMap(), ...statusWithout(outcome) },
            body: {
              kind: 'single',
              singleResult: {
                ...(data === undefined ? {} : { data }),
                ...(shown === undefined ? {} : { errors: shown }),
              },
            },
          };
        },
        willSendResponse: async ({ response }) => {
          if (response.body.kind !== 'single') return;
          const result = response.body.singleResult;
          if (admission?.ok === true) {
            const cost = await admission.settle(result.data);
            if (cost !== undefined) {
              result.extensions = { ...result.extensions, cost };
              setAll(response.http.headers, rateLimitHeaders('cost', cost));
            }
          }
          const refusal = raised.map(refusalOf).find((found) => found !== undefined && spoilsAll(found));
          // With part of the data there, a retry of the whole would repeat what succeeded.
          if (refusal === undefined || hasData(result.data)) return;
          response.http.status = refusal.status;
          if (refusal.retryAfterSeconds === undefined) return;
          response.http.headers.set('retry-after', String(refusal.retryAfterSeconds));
        },
      });
    },
  };
}

interface Outcome {
  readonly data?: Record<string, unknown> | null | undefined;
  readonly errors?: readonly unknown[] | undefined;
  /** Nothing ran: it was given up, or failed outside of any field. */
  readonly failed?: true;
}

async function executed(
  executor: Executor,
  execution: Execution,
  { signal, allowance }: GraphqlContext,
): Promise<Outcome> {
  const { document, operationName } = execution;
  const traced = { document, operationName: operationName ?? undefined, cost: allowance?.requested };
  try {
    return await inOperationSpan(traced, () => withinDeadline(signal, () => executor.execute(execution)));
  } catch (error) {
    return { errors: [error], failed: true };
  }
}

/** Whether it was refused before its first field: the gate has let it through, so it is for its variables. */
const neverRan = ({ data, errors = [], failed }: Outcome): boolean =>
  failed !== true && data === undefined && errors.length > 0;

/** What graphql-js complains of in variables wraps another error, which hides whose fault it is. */
function aboutVariables(error: unknown): unknown {
  if (!(error instanceof GraphQLError) || error.extensions['code'] !== undefined) return error;
  const extensions = { ...error.extensions, code: 'BAD_USER_INPUT' };
  return new GraphQLError(error.message, {
    nodes: error.nodes ?? null,
    originalError: error.originalError ?? null,
    extensions,
  });
}

/** The status of an answer without data. */
function statusWithout(outcome: Outcome): { readonly status?: number } {
  if (outcome.failed) return { status: 500 };
  return neverRan(outcome) ? { status: 400 } : {};
}

/** Under its own name an operation is recognised in the record of content reads. */
function nameOperation(principal: Principal | undefined, definition: OperationDefinitionNode): void {
  if (principal?.operation === undefined) return;
  principal.operation.via = 'graphql';
  principal.operation.name = describeOperation(definition);
}

/** Of an overloaded gateway or a query that is too slow, clients and balancers learn by the status. */
const spoilsAll = ({ code, retryAfterSeconds }: AppError): boolean =>
  retryAfterSeconds !== undefined || code === 'TIMEOUT';

function hasData(data: unknown): boolean {
  return typeof data === 'object' && data !== null && Object.values(data).some((value) => value !== null);
}

function setAll(headers: HeaderMap, values: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(values)) headers.set(name, value);
}

function headFor(error: GraphQLFormattedError | undefined): { status: number; headers: HeaderMap } {
  const headers = new HeaderMap();
  if (error === undefined) return { status: 500, headers };
  const retryAfter = retryAfterOf(error);
  if (retryAfter !== undefined) headers.set('retry-after', String(retryAfter));
  const cost = error.extensions?.['cost'];
  if (cost !== undefined) setAll(headers, rateLimitHeaders('cost', cost as CostReport));
  return { status: statusOf(error), headers };
}

/** Rejects with the signal's reason as soon as it is aborted; what still runs is on its own. */
async function withinDeadline<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  if (signal.aborted) throw asError(signal.reason);
  let giveUp: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    giveUp = () => reject(asError(signal.reason));
    signal.addEventListener('abort', giveUp, { once: true });
  });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    if (giveUp !== undefined) signal.removeEventListener('abort', giveUp);
  }
}

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));

// ── Fastify ────────────────────────────────────────────────────────────────────────────────────────────────

function installBodies(scope: FastifyInstance, maxBodyBytes: number): void {
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: maxBodyBytes }, (request, body, done) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') {
      done(new AppError('UNSUPPORTED_MEDIA_TYPE', 'This path takes no compressed requests.'));
      return;
    }
    bodyBytes.set(request, body.length);
    // Everything but JSON is left to Apollo, which refuses it and says why.
    if (!/^application\/(graphql\+)?json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
      done(null, undefined);
      return;
    }
    const noJson = (cause: unknown): AppError =>
      new AppError('BAD_USER_INPUT', 'The body is not JSON.', { cause });
    const text = body.toString();
    if (takesLongToParse(text)) {
      parseInTurns(text, MAX_JSON_DEPTH).then(
        (value) => done(null, value),
        (cause: unknown) => done(noJson(cause)),
      );
      return;
    }
    try {
      done(null, JSON.parse(text));
    } catch (cause) {
      done(noJson(cause));
    }
  });
}

/** Failures outside Apollo: bodies that are too large or no JSON, credentials that are wrong. */
function installErrors(scope: FastifyInstance, presenter: ErrorPresenter): void {
  scope.setErrorHandler((error, request, reply) => {
    const tooLarge = (error as { statusCode?: number }).statusCode === 413;
    const refusal = tooLarge
      ? new AppError('PAYLOAD_TOO_LARGE', 'The body is too large.', { cause: error })
      : error;
    const formatted = presenter.present(refusal, { requestId: request.id });
    const retryAfter = retryAfterOf(formatted);
    if (retryAfter !== undefined) void reply.header('retry-after', String(retryAfter));
    const type =
      request.headers.accept?.includes(RESPONSE_TYPE) === true ? RESPONSE_TYPE : 'application/json';
    return reply
      .code(statusOf(formatted))
      .header('cache-control', 'no-store')
      .type(`${type}; charset=utf-8`)
      .send(JSON.stringify({ errors: [formatted] }));
  });
}

async function answer(
  server: ApolloServer<GraphqlContext>,
  options: GraphqlHandlerOptions,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { contextFor, deadlineMs = DEFAULT_DEADLINE_MS } = options;
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new AppError('TIMEOUT', `The operation took longer than ${deadlineMs / 1_000} s and was given up.`, {
        details: { deadlineMs },
      }),
    );
  }, deadlineMs);
  timer.unref();
  const leave = (): void => {
    if (!reply.raw.writableFinished) controller.abort(new AppError('UNAVAILABLE', 'The client went away.'));
  };
  reply.raw.once('close', leave);
  const body = bodyHolder(request);
  try {
    const {
      status,
      headers,
      body: answered,
    } = await server.executeHTTPGraphQLRequest({
      httpGraphQLRequest: withText(httpRequestOf(request), options.gate.trusted),
      context: async () => {
        const context = await contextOf(() => contextFor(request, controller.signal));
        return Object.assign(context, { holdBody: body.hold });
      },
    });
    if (answered.kind !== 'complete') throw new Error('Incremental delivery is not offered.');
    for (const [name, value] of headers) void reply.header(name, joined(reply, name, value));
    return await reply
      .code(status ?? 200)
      .header('cache-control', 'no-store')
      // As bytes: a long string would be measured, copied and encoded once more on its way out.
      .send(Buffer.from(answered.string));
  } finally {
    clearTimeout(timer);
    body.release();
  }
}

/** Runs that come as mutations are intake like any other: what is held of them counts, once per request. */
function bodyHolder(request: FastifyRequest): { readonly hold: () => void; release(): void } {
  let lease: Lease | undefined;
  return {
    hold: () => {
      if (lease !== undefined) return;
      const taken = request.server.bodies.lease();
      taken.add(bodyBytes.get(request) ?? 0);
      lease = taken;
    },
    release: () => lease?.release(),
  };
}

/** The key's allowance of requests is on the reply already; that of cost points comes beside it. */
function joined(reply: FastifyReply, name: string, value: string): string {
  const said = name.startsWith('ratelimit') ? reply.getHeader(name) : undefined;
  return typeof said === 'string' ? `${said}, ${value}` : value;
}

/** Apollo takes the status of a failed context from the error. */
async function contextOf(
  make: () => GraphqlContext | Promise<GraphqlContext>,
): Promise<GraphqlContext & BaseContext> {
  try {
    return await make();
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    const headers = new HeaderMap();
    if (refusal.retryAfterSeconds !== undefined) {
      headers.set('retry-after', String(refusal.retryAfterSeconds));
    }
    throw new GraphQLError(refusal.message, {
      originalError: refusal,
      extensions: { code: refusal.code, http: { status: refusal.status, headers } },
    });
  }
}

function httpRequestOf(request: FastifyRequest): HTTPGraphQLRequest {
  const headers = new HeaderMap();
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  }
  const { url } = request;
  const mark = url.indexOf('?');
  return { method: request.method, headers, search: mark < 0 ? '' : url.slice(mark), body: request.body };
}

/** Puts the text in the place of a `documentId`, which Apollo does not know. */
function withText(request: HTTPGraphQLRequest, trusted: TrustedDocuments): HTTPGraphQLRequest {
  const { body, search } = request;
  if (typeof body === 'object' && body !== null && 'documentId' in body) {
    const { documentId, ...rest } = body as { documentId: unknown; query?: unknown };
    return { ...request, body: { ...rest, query: trusted.resolve(documentId, rest.query) } };
  }
  if (body === undefined && search.includes('documentId=')) {
    const parameters = new URLSearchParams(search);
    const query = trusted.resolve(parameters.get('documentId'), parameters.get('query'));
    parameters.delete('documentId');
    parameters.set('query', query);
    return { ...request, search: `?${parameters.toString()}` };
  }
  return request;
}
