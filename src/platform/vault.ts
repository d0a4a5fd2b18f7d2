/**
 * Secrets of users at rest: encrypted with AES-256-GCM under a key of the installation, bound to the row they belong
 * to, so that a ciphertext moved to another row does not open. The first key seals, all of them open: that is how a
 * key is replaced.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import type { Queryable } from './db.js';
import { Secret } from './secret.js';

const VERSION = 'v1';
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A sealed text that cannot be opened: another key, another row, or changed. Says nothing of its content. */
export class VaultError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VaultError';
  }
}

interface VaultKey {
  readonly id: string;
  readonly bytes: Buffer;
}

export class Vault {
  readonly #keys: readonly [VaultKey, ...VaultKey[]];

  /** @param keys texts of high entropy, the newest first; see loadVaultKeys. */
  constructor({ keys }: { keys: readonly string[] }) {
    const [newest, ...older] = keys.map(deriveKey);
    if (newest === undefined) throw new Error('A vault needs a key.');
    this.#keys = [newest, ...older];
  }

  /** Never the same text twice. @param binding names the one place it may be opened for: table, workspace, id. */
  seal(plain: string, binding: readonly string[]): string {
    const [{ id, bytes }] = this.#keys;
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, bytes, nonce);
    cipher.setAAD(associated(id, binding));
    const sealed = Buffer.concat([nonce, cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return [VERSION, id, sealed.toString('base64url')].join('.');
  }

  /** @throws VaultError */
  open(sealed: string, binding: readonly string[]): Secret {
    const [version, id = '', text = ''] = sealed.split('.');
    const key = this.#keys.find((known) => known.id === id);
    if (version !== VERSION) throw new VaultError('This is not a sealed secret.');
    if (key === undefined) {
      throw new VaultError(`The key "${id}" this secret was sealed with is not in TRACEWELL_SECRETS_KEY.`);
    }
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new VaultError('This sealed secret is cut short.');
    const decipher = createDecipheriv(CIPHER, key.bytes, bytes.subarray(0, NONCE_BYTES));
    decipher.setAAD(associated(id, binding));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    try {
      const body = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
      return new Secret(Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8'));
    } catch (error) {
      throw new VaultError('This sealed secret was changed or belongs elsewhere.', { cause: error });
    }
  }

  /** Whether it was sealed with an older key than the newest. */
  isOutdated(sealed: string): boolean {
    return sealed.split('.')[1] !== this.#keys[0].id;
  }
}

const associated = (keyId: string, binding: readonly string[]): Buffer =>
  Buffer.from(JSON.stringify([VERSION, keyId, ...binding]));

/** The id tells keys apart and is of no use for guessing: keys have 32 characters or more. */
function deriveKey(text: string): VaultKey {
  const bytes = Buffer.from(hkdfSync('sha256', text, '', 'tracewell secrets', 32));
  return { id: createHash('sha256').update(bytes).digest('hex').slice(0, 12), bytes };
}

/**
 * The keys of this installation, the same in every process: the operator's, newest first, then the one it made for
 * itself as long as it had none, so that what was sealed before still opens.
 */
export async function loadVaultKeys(db: Queryable, configured: readonly string[]): Promise<string[]> {
  if (configured.length === 0) {
    await db.query(
      `/* installation.make_secrets_key */
insert into installation (key, value) values ('secrets_key', $1) on conflict (key) do nothing`,
      [randomBytes(32).toString('base64url')],
    );
  }
  const { rows } = await db.query<{ value: string }>(
    "/* installation.read_secrets_key */ select value from installation where key = 'secrets_key' limit 1",
  );
  return [...configured, ...rows.map(({ value }) => value)];
}
