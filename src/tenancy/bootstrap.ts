/**
 * The first organisation, owner, workspace and key of an installation. Every process may run this at any start:
 * an advisory lock lets one at a time look, and whoever comes later finds everything there.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Ids } from '../platform/ids.js';
import { checksumOk, keyHint, keyMac, makeKey } from './api-key.js';
import { KeyStore } from './key.store.js';
import { SCOPES } from './principal.js';

export interface BootstrapDeps {
  readonly pool: pg.Pool;
  /** As `loadPepper` returned it. */
  readonly pepper: string;
  /** Value of TRACEWELL_INIT_API_KEY, revealed. */
  readonly initApiKey: string | undefined;
  readonly ids: Ids;
  readonly clock: Clock;
}

export interface Bootstrapped {
  readonly organizationId: string;
  readonly workspaceId: string;
  /** The new key's secret, only in the call that made it up; it cannot be read again. */
  readonly apiKey?: string;
}

const LOCK = 'tracewell.bootstrap';

/**
 * Makes what is missing. `initApiKey` becomes a service key of the first workspace with all scopes; a value that
 * was never a key before is added as a further key, one that was revoked stays revoked. Without it a key is made
 * up if the installation never had one.
 * @throws Error where `initApiKey` cannot be a key.
 */
export async function bootstrapInstallation(deps: BootstrapDeps): Promise<Bootstrapped> {
  if (deps.initApiKey !== undefined && !checksumOk(deps.initApiKey)) {
    throw new Error(
      'TRACEWELL_INIT_API_KEY must be 32 to 256 printable ASCII characters without spaces; ' +
        'a value in the form of a generated key must have its right checksum.',
    );
  }
  return transaction(deps.pool, async (tx) => {
    await tx.query('/* bootstrap.lock */ select pg_advisory_xact_lock(hashtextextended($1, 0))', [LOCK]);
    const first = (await findFirst(tx)) ?? (await makeFirst(tx, deps));
    const keys = new KeyStore({ db: tx });
    const place = { organizationId: first.organizationId, workspaceId: first.workspaceId };
    if (deps.initApiKey !== undefined) {
      await addOnce(tx, deps, first, deps.initApiKey);
      return place;
    }
    if (await keys.any()) return place;
    const apiKey = makeKey('service');
    await addKey(keys, deps, first, apiKey);
    return { ...place, apiKey };
  });
}

interface First {
  readonly organizationId: string;
  readonly workspaceId: string;
  readonly ownerId: string;
}

/** The oldest organisation with its oldest owner and its oldest workspace that still lives. */
async function findFirst(tx: Queryable): Promise<First | undefined> {
  const { rows } = await tx.query<{ organization_id: string; workspace_id: string; owner_id: string }>(
    `/* bootstrap.find_first */
select o.id as organization_id, w.id as workspace_id, m.user_id as owner_id
from organizations o
join workspaces w on w.organization_id = o.id and w.deleted_at is null
join organization_members m on m.organization_id = o.id and m.role = 'owner'
order by o.created_at, o.id, w.created_at, w.id, m.created_at, m.user_id
limit 1`,
  );
  const row = rows[0];
  return row && { organizationId: row.organization_id, workspaceId: row.workspace_id, ownerId: row.owner_id };
}

async function makeFirst(tx: Queryable, deps: BootstrapDeps): Promise<First> {
  const first: First = {
    organizationId: deps.ids.uuid(),
    workspaceId: deps.ids.uuid(),
    ownerId: deps.ids.uuid(),
  };
  const now = deps.clock.now();
  await tx.query(
    '/* bootstrap.organization */ insert into organizations (id, name, created_at) values ($1, $2, $3)',
    [first.organizationId, 'default', now],
  );
  await tx.query(
    `/* bootstrap.workspace */
insert into workspaces (id, organization_id, name, handle, created_at) values ($1, $2, 'default', 'default', $3)`,
    [first.workspaceId, first.organizationId, now],
  );
  await tx.query(
    `/* bootstrap.owner */ insert into users (id, email, name, created_at) values ($1, 'owner@localhost', 'Owner', $2)`,
    [first.ownerId, now],
  );
  await tx.query(
    `/* bootstrap.ownership */
insert into organization_members (organization_id, user_id, role, created_at) values ($1, $2, 'owner', $3)`,
    [first.organizationId, first.ownerId, now],
  );
  await tx.query(
    `/* bootstrap.membership */
insert into workspace_members (workspace_id, user_id, role, created_at) values ($1, $2, 'admin', $3)`,
    [first.workspaceId, first.ownerId, now],
  );
  return first;
}

/** A value is added once in its life: after a revocation or two rotations a restart must not bring it back. */
async function addOnce(tx: Queryable, deps: BootstrapDeps, first: First, secret: string): Promise<void> {
  const keys = new KeyStore({ db: tx });
  const mac = keyMac(deps.pepper, secret);
  const { rowCount } = await tx.query(
    `/* bootstrap.note_init_key */
insert into installation (key, value) values ($1, $2) on conflict (key) do nothing`,
    [`init_api_key:${mac.toString('hex')}`, deps.clock.now().toISOString()],
  );
  if (rowCount === 1 && !(await keys.exists(mac))) await addKey(keys, deps, first, secret);
}

/** Bound to the workspace, so that clients need no X-Tenant-Id; through its owner it administers the organisation. */
async function addKey(keys: KeyStore, deps: BootstrapDeps, first: First, secret: string): Promise<void> {
  await keys.insert({
    id: deps.ids.uuid(),
    organizationId: first.organizationId,
    workspaceId: first.workspaceId,
    userId: first.ownerId,
    kind: 'service',
    name: 'Initial key',
    hint: keyHint(secret),
    mac: keyMac(deps.pepper, secret),
    scopes: SCOPES,
    expiresAt: undefined,
    createdAt: deps.clock.now(),
  });
}
