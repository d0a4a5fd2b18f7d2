/**
 * Calls that can be repeated. A call with an idempotency key has its effect once: for 24 hours the same caller with
 * the same key and input gets the first answer again. The record of the answer commits with the effect, so there is
 * never one without the other, whenever a process dies.
 *
 * | the key was                            | the call                                     |
 * |----------------------------------------|----------------------------------------------|
 * | not used in the last 24 hours          | runs; its answer is recorded                 |
 * | used in a call that is still going on  | is refused: CONFLICT, to be tried again      |
 * | used with the same input               | gets the recorded answer and changes nothing |
 * | used with another input                | is refused: IDEMPOTENCY_MISMATCH             |
 *
 * A call that failed, by an error or with a failed result, leaves neither effect nor record: its key is free again.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import type pg from 'pg';
import { canonicalJson } from './canonical-json.js';
import type { Clock } from './clock.js';
import { transaction } from './db.js';
import { AppError } from './errors.js';
import { IdempotencyStore } from './idempotency.store.js';

export const IDEMPOTENCY_HOURS = 24;
const MAX_KEY_LENGTH = 255;
const HOUR_MS = 3_600_000;

/** A Principal is one. */
export interface IdempotentCaller {
  readonly workspaceId: string;
  readonly keyId: string;
}

export interface IdempotentCall {
  /** Name of the mutation: the same key may be used for different ones. */
  readonly mutation: string;
  /** The client's, 1 to 255 characters. Without one the work simply runs in a transaction. */
  readonly key: string | null | undefined;
  /** What the client said: JSON values. Nothing that differs between two sendings, such as a default of "now". */
  readonly input: unknown;
}

export class Idempotency {
  readonly #pool: pg.Pool;
  readonly #pepper: string;
  readonly #clock: Clock;
  readonly #store = new IdempotencyStore();

  /** @param pepper the same in every process of the installation. */
  constructor({ pool, pepper, clock }: { pool: pg.Pool; pepper: string; clock: Clock }) {
    this.#pool = pool;
    this.#pepper = pepper;
    this.#clock = clock;
  }

  /**
   * Runs `work` in one transaction, or answers what it answered before. All its writes go through `tx`; what it
   * returns is JSON data (dates allowed). A failed `Result` is returned, and the transaction rolled back.
   * Doorbells are rung by the caller afterwards; ringing again after a repetition does no harm.
   * @throws AppError BAD_USER_INPUT for a key of the wrong length, CONFLICT while the same call is going on,
   * IDEMPOTENCY_MISMATCH where the key came with another input.
   */
  async once<T>(
    caller: IdempotentCaller,
    call: IdempotentCall,
    work: (tx: pg.PoolClient) => Promise<T>,
  ): Promise<T> {
    const { key } = call;
    if (key === null || key === undefined) return this.#commit(work);
    if (key.length < 1 || key.length > MAX_KEY_LENGTH) {
      throw refused('BAD_USER_INPUT', `An idempotency key has 1 to ${MAX_KEY_LENGTH} characters.`);
    }
    const seal = this.#sealFor(caller, call.mutation, key);
    const record = { workspaceId: caller.workspaceId, id: seal.of('id'), mutation: call.mutation };
    const requestHash = seal.of(`request ${canonicalJson(call.input)}`);
    return this.#commit(async (tx) => {
      const now = this.#clock.now();
      if (!(await this.#store.claim(tx, record))) {
        throw refused('CONFLICT', 'A call with this idempotency key is still going on. Try again shortly.');
      }
      const known = await this.#store.find(tx, record, new Date(now.getTime() - IDEMPOTENCY_HOURS * HOUR_MS));
      if (known !== undefined) {
        if (known.requestHash.equals(requestHash)) return unpack(seal.open(known.result)) as T;
        throw refused('IDEMPOTENCY_MISMATCH', 'This idempotency key was used with another input.');
      }
      const value = await work(tx);
      if (!isFailure(value)) {
        await this.#store.save(tx, { ...record, requestHash, result: seal.close(pack(value)) }, now);
      }
      return value;
    });
  }

  async #commit<T>(work: (tx: pg.PoolClient) => Promise<T>): Promise<T> {
    try {
      return await transaction(this.#pool, async (tx) => {
        const value = await work(tx);
        if (isFailure(value)) throw new RolledBack(value);
        return value;
      });
    } catch (error) {
      if (error instanceof RolledBack) return error.value as T;
      throw error;
    }
  }

  #sealFor({ workspaceId, keyId }: IdempotentCaller, mutation: string, key: string): Seal {
    const name = JSON.stringify(['idempotency', workspaceId, keyId, mutation, key]);
    return new Seal(createHmac('sha256', this.#pepper).update(name).digest());
  }
}

/**
 * Hashes and encryption of one call. Whoever has the database and even the pepper cannot read a result without the
 * client's key, which is not stored.
 */
class Seal {
  readonly #secret: Buffer;

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  of(label: string): Buffer {
    return createHmac('sha256', this.#secret).update(label).digest();
  }

  close(plain: Buffer): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.of('result'), nonce);
    return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  open(sealed: Buffer): Buffer {
    const decipher = createDecipheriv(CIPHER, this.of('result'), sealed.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  }
}

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** JSON in which every string says whether it was a date. */
function pack(value: unknown): Buffer {
  const text = JSON.stringify([value], function (this: Record<string, unknown>, key, plain: unknown) {
    if (typeof plain !== 'string') return plain;
    return (this[key] instanceof Date ? 'd' : 's') + plain;
  });
  return Buffer.from(text);
}

function unpack(packed: Buffer): unknown {
  const [value] = JSON.parse(packed.toString(), (_key, plain: unknown) => {
    if (typeof plain !== 'string') return plain;
    return plain.startsWith('d') ? new Date(plain.slice(1)) : plain.slice(1);
  }) as [unknown];
  return value;
}

class RolledBack extends Error {
  constructor(readonly value: unknown) {
    super('A failed result rolls its transaction back.');
  }
}

const isFailure = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'ok' in value && value.ok === false;

function refused(code: 'BAD_USER_INPUT' | 'CONFLICT' | 'IDEMPOTENCY_MISMATCH', message: string): AppError {
  return new AppError(code, message, {
    path: ['input', 'idempotencyKey'],
    ...(code === 'CONFLICT' && { details: { retryable: true }, retryAfterSeconds: 1 }),
  });
}
