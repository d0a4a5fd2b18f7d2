/** What one client may ask of the socket server, and the words with which it is sent away. */

export interface SocketLimits {
  /** Of one message. Larger ones close the socket with 1009. */
  readonly maxMessageBytes: number;
  /** Between opening and connection_init; then 4408. */
  readonly initTimeoutMs: number;
  readonly socketsPerKey: number;
  readonly sockets: number;
  readonly operationsPerSocket: number;
  readonly messages: { readonly count: number; readonly perMs: number };
  readonly idLength: number;
  readonly pingMs: number;
  /** How often a key that has a socket open is asked for again, besides being told of revocations. */
  readonly recheckMs: number;
}

export const SOCKET_LIMITS: SocketLimits = {
  maxMessageBytes: 64 * 1024,
  initTimeoutMs: 3_000,
  socketsPerKey: 20,
  sockets: 5_000,
  operationsPerSocket: 50,
  messages: { count: 200, perMs: 10_000 },
  idLength: 128,
  pingMs: 20_000,
  recheckMs: 60_000,
};

/**
 * Close codes. Clients of graphql-ws try again after 1012, 1013 and 4403, not after 4400 and 4429: a client that
 * asks for too much would only do so again.
 */
export const CLOSE = {
  badRequest: 4400,
  forbidden: 4403,
  tooMany: 4429,
  internalError: 4500,
  restart: 1012,
  tryLater: 1013,
} as const;

/** Why a socket was refused or closed from here, in the words of the metric. Clients that leave are not counted. */
export type DropReason =
  | 'path'
  | 'origin'
  | 'capacity'
  | 'credentials'
  | 'limit'
  | 'protocol'
  | 'unanswered'
  | 'behind'
  | 'unavailable'
  | 'fault'
  | 'restart';

export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** A close frame has room for 123 bytes. */
export function closeReason(text: string): string {
  return Buffer.byteLength(text) <= 123
    ? text
    : `${Buffer.from(text)
        .subarray(0, 119)
        .toString()
        .replace(/\uFFFD$/, '')}…`;
}
