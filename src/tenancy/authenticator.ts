/**
 * Turns the credentials of a request into a Principal. Answers are remembered for five seconds per process, and
 * dropped sooner when the `keys` doorbell rings, so a revoked key is refused everywhere within five seconds even
 * if every doorbell is lost. It also watches over principals given out earlier, for sockets that outlive a request.
 */
import type { Clock } from '../platform/clock.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import type { Logger } from '../platform/log.js';
import { networkOf } from '../platform/network.js';
import { MALFORMED, decideAccess } from './access.js';
import type { Access, KeyFacts, RequestedWorkspace } from './access.js';
import { checksumOk, keyMac } from './api-key.js';
import { BoundedMap } from './bounded-map.js';
import type { KeyStore } from './key.store.js';
import type { Principal } from './principal.js';
import { TokenBuckets } from './token-buckets.js';
import type { BucketShape } from './token-buckets.js';

/** Rung with a key's id when what the key may do has changed, with nothing when that is true of many keys. */
export const KEYS_TOPIC = 'keys';

type HeaderValue = string | readonly string[] | undefined;

/** The credential headers as they came, and where from. */
export interface Credentials {
  readonly apiKey: HeaderValue;
  readonly authorization: HeaderValue;
  readonly tenantId: HeaderValue;
  readonly remoteAddress: string;
}

const CACHE_MS = 5_000;
const NEGATIVE_CACHE_MS = 30_000;
const TOUCH_MS = 60_000;
// Checked a little more often than the five seconds promised, to leave time for the answer.
const WATCH_MS = 4_000;
const MAX_ENTRIES = 20_000;
// One statement re-checks them all; a socket whose entry was pushed out is left with doorbells and expiry.
const MAX_ISSUED = 5_000;

/** Look-ups of unknown keys per network address: enough for any mistake, far too few to load the database. */
export const FAILURES: BucketShape = { capacity: 300, restorePerSecond: 5 };

interface Entry {
  readonly facts: KeyFacts | undefined;
  readonly access: Access | undefined;
  readonly readAtMs: number;
}

export class Authenticator {
  readonly #pepper: string;
  readonly #keys: KeyStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** By digest and requested workspace. */
  readonly #entries = new BoundedMap<string, Entry>(MAX_ENTRIES);
  readonly #reading = new Map<string, Promise<Entry>>();
  /** Digests of keys that were good once: the limiter lets them through, however many bad ones share their address. */
  readonly #knownGood = new BoundedMap<string, true>(MAX_ENTRIES);
  readonly #failures: TokenBuckets;
  readonly #touched = new BoundedMap<string, number>(MAX_ENTRIES);
  readonly #touching = new Set<Promise<void>>();
  /** Principals given out, as long as they hold, by secret and workspace. */
  readonly #issued = new BoundedMap<string, { readonly mac: Buffer; readonly principal: Principal }>(
    MAX_ISSUED,
  );
  readonly #listeners = new Set<(keyId: string) => void>();
  readonly #silence: () => void;
  readonly #watchTimer: NodeJS.Timeout;
  #watching: Promise<void> | undefined;
  #watchAgain = false;
  #closed = false;

  constructor(deps: { pepper: string; keys: KeyStore; clock: Clock; doorbell: Doorbell; log: Logger }) {
    this.#pepper = deps.pepper;
    this.#keys = deps.keys;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#failures = new TokenBuckets({ clock: deps.clock });
    this.#silence = deps.doorbell.listen(KEYS_TOPIC, (keyId) => this.#forget(keyId));
    this.#watchTimer = setInterval(() => this.#watch(), WATCH_MS);
    this.#watchTimer.unref();
  }

  /**
   * Who is asking.
   * @throws AppError UNAUTHENTICATED (no key, or one that is malformed, unknown, expired or revoked), FORBIDDEN (not
   * this workspace), BAD_USER_INPUT (X-Tenant-Id given twice), RATE_LIMITED (too many unknown keys from one
   * address), UNAVAILABLE (the database cannot say).
   */
  async authenticate(credentials: Credentials): Promise<Principal> {
    const key = presentedKey(credentials);
    const requested = requestedWorkspace(credentials.tenantId);
    if (!checksumOk(key)) {
      throw unauthenticated('malformed', 'The API key is malformed: it is cut short or mistyped.');
    }
    const mac = keyMac(this.#pepper, key);
    const nowMs = this.#clock.now().getTime();
    const entry = await this.#lookUp(mac, requested, credentials.remoteAddress, nowMs);
    if (entry.facts === undefined) throw unauthenticated('unknown', 'This API key is not known here.');
    let access = entry.access;
    if (access?.ok !== true || (access.principal.expiresAtMs ?? Infinity) <= nowMs) {
      access = decideAccess(entry.facts, requested, nowMs);
    }
    if (!access.ok) {
      const { code, message, details } = access.refusal;
      throw new AppError(code, message, { details });
    }
    this.#touch(entry.facts, nowMs);
    return access.principal;
  }

  /**
   * Calls `listener` with a key's id once principals of it no longer hold as they were given out: revoked, its
   * member removed, scopes taken away, its workspace deleted, its secret replaced (the old one still signs in until the
   * end of its grace). Expiry is not reported: it is in the Principal.
   * Returns a function that stops listening.
   */
  onRevoked(listener: (keyId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Waits for what is under way. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watchTimer);
    this.#silence();
    this.#listeners.clear();
    await Promise.allSettled([...this.#touching, ...this.#reading.values(), this.#watching]);
  }

  async #lookUp(mac: Buffer, requested: RequestedWorkspace, address: string, nowMs: number): Promise<Entry> {
    const digest = mac.toString('base64url');
    const name = `${digest}|${requested === MALFORMED ? 'malformed' : (requested ?? '')}`;
    const entry = this.#entries.get(name);
    if (entry !== undefined && nowMs - entry.readAtMs < lifetime(entry)) return entry;
    const reading = this.#reading.get(name);
    if (reading !== undefined) return reading;
    const charged = this.#knownGood.get(digest) === undefined ? networkOf(address) : undefined;
    if (charged !== undefined) this.#chargeGuess(charged);
    const started = this.#read(mac, requested, nowMs).finally(() => this.#reading.delete(name));
    this.#reading.set(name, started);
    const fresh = await started;
    this.#remember(name, mac, fresh);
    if (charged !== undefined && fresh.facts !== undefined) this.#failures.refund(charged, FAILURES, 1);
    return fresh;
  }

  /** Before the look-up, so that guesses that come all at once are counted too; a good key gets it back. */
  #chargeGuess(source: string): void {
    const { allowed, retryAfterSeconds } = this.#failures.take(source, FAILURES, 1);
    if (allowed) return;
    throw new AppError('RATE_LIMITED', 'Too many unknown API keys came from this address.', {
      retryAfterSeconds,
    });
  }

  async #read(mac: Buffer, requested: RequestedWorkspace, nowMs: number): Promise<Entry> {
    try {
      const facts = await everywhere('key lookup', () =>
        this.#keys.findFacts(mac, isUuid(requested) ? requested : undefined),
      );
      // The answer counts as old as the question: what changed while it was on its way is not missed for longer.
      return { facts, access: facts && decideAccess(facts, requested, nowMs), readAtMs: nowMs };
    } catch (cause) {
      throw new AppError('UNAVAILABLE', 'API keys cannot be checked right now.', { cause });
    }
  }

  #remember(name: string, mac: Buffer, entry: Entry): void {
    this.#entries.set(name, entry);
    if (entry.facts === undefined) return;
    const digest = mac.toString('base64url');
    this.#knownGood.set(digest, true);
    if (entry.access?.ok === true) {
      const { principal } = entry.access;
      this.#issued.set(`${digest}|${principal.workspaceId}`, { mac, principal });
    }
  }

  #touch(facts: KeyFacts, nowMs: number): void {
    const last = this.#touched.get(facts.keyId) ?? facts.lastUsedAtMs ?? 0;
    if (nowMs - last < TOUCH_MS || this.#closed) return;
    this.#touched.set(facts.keyId, nowMs);
    const writing = everywhere('key lookup', () => this.#keys.touch(facts.keyId, new Date(nowMs)))
      .catch((error: unknown) => this.#log.warn({ err: error }, 'last use of a key not noted'))
      .finally(() => this.#touching.delete(writing));
    this.#touching.add(writing);
  }

  /** A ring also drops what is known to be unknown: the news may be that a key now exists. */
  #forget(keyId: string): void {
    for (const [name, entry] of this.#entries) {
      if (keyId === '' || entry.facts === undefined || entry.facts.keyId === keyId) {
        this.#entries.delete(name);
      }
    }
    this.#watch();
  }

  #watch(): void {
    if (this.#listeners.size === 0 || this.#closed) return;
    if (this.#watching !== undefined) {
      // The look under way may have passed what this call is about.
      this.#watchAgain = true;
      return;
    }
    this.#watching = everywhere('key lookup', () => this.#checkIssued())
      .catch((error: unknown) => this.#log.warn({ err: error }, 'keys in use not re-checked'))
      .finally(() => {
        this.#watching = undefined;
        if (!this.#watchAgain) return;
        this.#watchAgain = false;
        this.#watch();
      });
  }

  async #checkIssued(): Promise<void> {
    const nowMs = this.#clock.now().getTime();
    const issued = [...this.#issued].filter(
      ([, { principal }]) => (principal.expiresAtMs ?? Infinity) > nowMs,
    );
    if (issued.length === 0) return;
    const facts = await this.#keys.listFacts(
      issued.map(([, { mac, principal }]) => ({ mac, workspaceId: principal.workspaceId })),
    );
    for (const [index, [name, { principal }]] of issued.entries()) {
      const row = facts[index];
      const access = row && decideAccess(row, principal.workspaceId, nowMs);
      if (access?.ok === true && stillHolds(principal, access.principal)) continue;
      this.#issued.delete(name);
      for (const listener of this.#listeners) listener(principal.keyId);
    }
  }
}

const unauthenticated = (reason: string, message: string): AppError =>
  new AppError('UNAUTHENTICATED', message, { details: { reason } });

const lifetime = (entry: Entry): number => (entry.facts === undefined ? NEGATIVE_CACHE_MS : CACHE_MS);

/** Whether a principal given out earlier promises nothing that no longer holds. */
function stillHolds(given: Principal, now: Principal): boolean {
  if (given.organizationAdmin === true && now.organizationAdmin !== true) return false;
  if ((now.expiresAtMs ?? Infinity) < (given.expiresAtMs ?? Infinity)) return false;
  return [...given.scopes].every((scope) => now.scopes.has(scope));
}

const single = (value: HeaderValue): string =>
  (typeof value === 'string' ? value : (value ?? []).join(',')).trim();

function presentedKey(credentials: Credentials): string {
  const apiKey = single(credentials.apiKey);
  if (apiKey !== '') return apiKey;
  const authorization = single(credentials.authorization);
  if (authorization === '') {
    throw unauthenticated('missing', 'No API key: send it as X-Api-Key or as Authorization: Bearer.');
  }
  const bearer = /^bearer +(\S+)$/i.exec(authorization)?.[1];
  if (bearer === undefined) {
    throw unauthenticated('malformed', 'The Authorization header must read "Bearer <API key>".');
  }
  return bearer;
}

function requestedWorkspace(header: HeaderValue): RequestedWorkspace {
  const values = typeof header === 'string' ? [header] : (header ?? []);
  // Node joins repeated headers of this kind with a comma.
  if (values.length > 1 || values.some((value) => value.includes(','))) {
    throw new AppError('BAD_USER_INPUT', 'X-Tenant-Id was given more than once.', { path: ['X-Tenant-Id'] });
  }
  const value = values[0]?.trim().toLowerCase() ?? '';
  if (value === '') return undefined;
  return isUuid(value) ? value : MALFORMED;
}
