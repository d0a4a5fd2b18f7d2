/**
 * One subscription on one socket: from the stream's events to frames. Frames are written here and not by graphql-ws,
 * because the payload is shared text and only the operation's id differs from socket to socket.
 */
import { createSourceEventStream, execute, GraphQLError } from 'graphql';
import type { DocumentNode, ExecutionResult, FormattedExecutionResult, GraphQLSchema } from 'graphql';
import type { ErrorPresenter } from './errors.js';
import type { LiveContext } from '../live/live.resolver.js';
import { sharedPayload } from './shared-payloads.js';

export interface SocketOperation {
  readonly id: string;
  readonly schema: GraphQLSchema;
  readonly document: DocumentNode;
  readonly operationName: string | undefined;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly sharingKey: string;
  readonly context: LiveContext;
  /** A context for one event, with loaders of its own: what was loaded for the last event may have changed. */
  readonly eventContext: () => LiveContext;
  /** Resolves when the frame was written, so that a slow socket is felt here. */
  readonly send: (frame: string) => Promise<void>;
  readonly presenter: ErrorPresenter;
  readonly stringify: (result: FormattedExecutionResult) => string;
  readonly counters: SocketCounters;
}

/** What is going on, over all sockets of a server. */
export interface SocketCounters {
  /** Streams that are open. */
  operations: number;
  /** Events between their stream and the network. */
  delivering: number;
}

/** What graphql-ws takes for a stream of results. It yields none: its first `next` delivers everything. */
export type OperationStream = AsyncGenerator<ExecutionResult, void, void>;

/** Opens the operation's stream. A refusal to open it rejects. */
export async function openOperation(operation: SocketOperation): Promise<OperationStream> {
  const { schema, document, operationName, variables, context } = operation;
  const source = await createSourceEventStream({
    schema,
    document,
    operationName: operationName ?? null,
    variableValues: variables,
    contextValue: context,
  });
  if (!(Symbol.asyncIterator in source)) {
    throw source.errors?.[0] ?? new GraphQLError('The subscription could not be opened.');
  }
  return deliver(operation, source[Symbol.asyncIterator]());
}

/** An object and not an async generator: its `return` must settle at once, whatever `next` waits for. */
function deliver(operation: SocketOperation, source: AsyncIterator<unknown, unknown>): OperationStream {
  const { counters } = operation;
  let over = false;
  counters.operations += 1;
  const done = { done: true, value: undefined } as const;
  const finish = (): void => {
    if (!over) counters.operations -= 1;
    over = true;
  };
  const end = (): Promise<IteratorReturnResult<void>> => {
    finish();
    void source.return?.();
    return Promise.resolve(done);
  };
  return {
    async next() {
      try {
        for (;;) {
          const { value: event, done: ended } = await source.next();
          if (over || ended === true) return done;
          counters.delivering += 1;
          await deliverEvent(operation, event as object, () => over).finally(
            () => (counters.delivering -= 1),
          );
        }
      } finally {
        finish();
      }
    },
    return: end,
    async throw(error) {
      await end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    [Symbol.asyncDispose]: async () => {
      await end();
    },
  };
}

async function deliverEvent(operation: SocketOperation, event: object, isOver: () => boolean): Promise<void> {
  const payload = await sharedPayload(event, operation.sharingKey, () => answer(operation, event));
  if (isOver()) return;
  await operation.send(`{"id":${JSON.stringify(operation.id)},"type":"next","payload":${payload}}`);
}

async function answer(operation: SocketOperation, event: object): Promise<string> {
  const { schema, document, operationName, variables, presenter } = operation;
  const contextValue = operation.eventContext();
  const { errors, ...result } = await execute({
    schema,
    document,
    operationName: operationName ?? null,
    variableValues: variables,
    rootValue: event,
    contextValue,
  });
  if (errors === undefined) return operation.stringify(result);
  const site = {
    operationName,
    requestId: contextValue.requestId,
    workspaceId: contextValue.principal?.workspaceId,
  };
  return operation.stringify({ ...result, errors: errors.map((error) => presenter.present(error, site)) });
}
