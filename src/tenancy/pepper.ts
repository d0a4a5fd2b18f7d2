/** The secret that stored key digests are made with: the operator's, else one this installation made for itself. */
import { randomBytes } from 'node:crypto';
import type { Queryable } from '../platform/db.js';

/**
 * The same value in every process of an installation. Two processes that make one at the same time agree: the
 * first insert wins and both read it. A configured value wins over a stored one, and keys made with another
 * pepper are unknown from then on.
 */
export async function loadPepper(db: Queryable, configured: string | undefined): Promise<string> {
  if (configured !== undefined) return configured;
  await db.query(
    `/* installation.make_pepper */
insert into installation (key, value) values ('key_pepper', $1) on conflict (key) do nothing`,
    [randomBytes(32).toString('base64url')],
  );
  const { rows } = await db.query<{ value: string }>(
    "/* installation.read_pepper */ select value from installation where key = 'key_pepper' limit 1",
  );
  const pepper = rows[0]?.value;
  if (pepper === undefined) throw new Error('The key pepper vanished from the table installation.');
  return pepper;
}
