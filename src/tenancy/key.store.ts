/**
 * The statements on api_keys. Keys are found by digest before any workspace is known, so this is not a tenant
 * table: what a caller may see and change of it is bounded by a KeyReach instead.
 */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { KeyFacts, OrganizationRole, WorkspaceRole } from './access.js';
import type { ApiKey, KeyKind } from './api-key.js';
import type { Scope } from './principal.js';

/** The keys a caller may administer: those of one workspace and, for some, those of the whole organisation. */
export interface KeyReach {
  readonly organizationId: string;
  readonly workspaceId: string;
  readonly wholeOrganization: boolean;
}

export interface NewKey extends Omit<ApiKey, 'revokedAt' | 'lastUsedAt' | 'previousExpiresAt'> {
  readonly mac: Buffer;
}

interface KeyRow extends Record<string, unknown> {
  id: string;
  organization_id: string;
  workspace_id: string | null;
  user_id: string | null;
  kind: string;
  name: string;
  hint: string;
  scopes: string[];
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
  last_used_at_ms: number | null;
  previous_expires_at_ms: number | null;
  created_at_ms: number;
}

interface FactsRow extends KeyRow {
  by_previous: boolean;
  organization_role: string | null;
  target_id: string | null;
  workspace_role: string | null;
}

// Milliseconds are enough for keys, and double precision carries them exactly.
const epochMs = (column: string): string =>
  `floor(extract(epoch from k.${column}) * 1000)::double precision as ${column}_ms`;

const COLUMNS = `k.id, k.organization_id, k.workspace_id, k.user_id, k.kind, k.name, k.hint, k.scopes,
  ${['expires_at', 'revoked_at', 'last_used_at', 'previous_expires_at', 'created_at'].map(epochMs).join(',\n  ')}`;

const date = (ms: number | null): Date | undefined => (ms === null ? undefined : new Date(ms));

const parseKey = (row: KeyRow): ApiKey => ({
  id: row.id,
  organizationId: row.organization_id,
  workspaceId: row.workspace_id ?? undefined,
  userId: row.user_id ?? undefined,
  kind: row.kind as KeyKind,
  name: row.name,
  hint: row.hint,
  scopes: row.scopes as Scope[],
  expiresAt: date(row.expires_at_ms),
  revokedAt: date(row.revoked_at_ms),
  lastUsedAt: date(row.last_used_at_ms),
  previousExpiresAt: date(row.previous_expires_at_ms),
  createdAt: new Date(row.created_at_ms),
});

const parseFacts = (row: FactsRow): KeyFacts => ({
  keyId: row.id,
  kind: row.kind as KeyKind,
  organizationId: row.organization_id,
  workspaceId: row.workspace_id ?? undefined,
  userId: row.user_id ?? undefined,
  scopes: row.scopes as Scope[],
  expiresAtMs: row.expires_at_ms ?? undefined,
  revoked: row.revoked_at_ms !== null,
  lastUsedAtMs: row.last_used_at_ms ?? undefined,
  byPrevious: row.by_previous,
  previousExpiresAtMs: row.previous_expires_at_ms ?? undefined,
  organizationRole: (row.organization_role as OrganizationRole | null) ?? undefined,
  target:
    row.target_id === null
      ? undefined
      : { workspaceId: row.target_id, role: (row.workspace_role as WorkspaceRole | null) ?? undefined },
});

const MEMBERSHIP = `
  left join organization_members om on om.organization_id = k.organization_id and om.user_id = k.user_id
  left join workspaces w on w.id = coalesce(%workspace, k.workspace_id)
    and w.organization_id = k.organization_id and w.deleted_at is null
  left join workspace_members wm on wm.workspace_id = w.id and wm.user_id = k.user_id`;
const membershipOf = (workspace: string): string => MEMBERSHIP.replace('%workspace', workspace);

// Ids are made in order of time.
const NEWEST_FIRST: Keyset = { value: 'k.id', type: 'uuid', id: 'k.id', direction: 'desc', nullable: false };

// $1 organisation, $2 workspace, $3 whether keys of the whole organisation are included.
const WITHIN_REACH = `k.organization_id = $1 and (k.workspace_id = $2 or (k.workspace_id is null and $3))`;
const reachValues = (reach: KeyReach): unknown[] => [
  reach.organizationId,
  reach.workspaceId,
  reach.wholeOrganization,
];

export class KeyStore {
  readonly #db: Queryable;

  constructor(deps: { db: Queryable }) {
    this.#db = deps.db;
  }

  /** The same store inside a transaction. */
  within(tx: Queryable): KeyStore {
    return new KeyStore({ db: tx });
  }

  /** By either live digest. Uses the unique indexes on mac and previous_mac. */
  async findFacts(mac: Buffer, workspaceId: string | undefined): Promise<KeyFacts | undefined> {
    const { rows } = await this.#db.query<FactsRow>({
      name: 'keys.find_by_mac',
      text: `/* keys.find_by_mac */
select ${COLUMNS},
  k.mac <> $1 as by_previous, om.role as organization_role, w.id as target_id, wm.role as workspace_role
from api_keys k${membershipOf('$2::uuid')}
where k.mac = $1 or k.previous_mac = $1
limit 1`,
      values: [mac, workspaceId ?? null],
    });
    return rows[0] && parseFacts(rows[0]);
  }

  /** What holds now for secrets used earlier, in the order asked; undefined where a secret is gone. */
  async listFacts(asked: readonly { mac: Buffer; workspaceId: string }[]): Promise<(KeyFacts | undefined)[]> {
    const { rows } = await this.#db.query<FactsRow & { position: number }>(
      `/* keys.list_facts */
select ${COLUMNS}, p.position::integer as position,
  k.mac <> p.mac as by_previous, om.role as organization_role, w.id as target_id, wm.role as workspace_role
from unnest($1::bytea[], $2::uuid[]) with ordinality as p (mac, asked_id, position)
join api_keys k on k.mac = p.mac or k.previous_mac = p.mac${membershipOf('p.asked_id')}
limit $3`,
      [asked.map((one) => one.mac), asked.map((one) => one.workspaceId), asked.length],
    );
    const facts: (KeyFacts | undefined)[] = asked.map(() => undefined);
    for (const row of rows) facts[row.position - 1] = parseFacts(row);
    return facts;
  }

  async insert(key: NewKey): Promise<void> {
    await this.#db.query(
      `/* keys.insert */
insert into api_keys (id, organization_id, workspace_id, user_id, kind, name, hint, mac, scopes, expires_at, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
      [
        key.id,
        key.organizationId,
        key.workspaceId ?? null,
        key.userId ?? null,
        key.kind,
        key.name,
        key.hint,
        key.mac,
        key.scopes,
        key.expiresAt ?? null,
        key.createdAt,
      ],
    );
  }

  /** Up to `limit + 1`, newest first. */
  async list(reach: KeyReach, window: PageWindow): Promise<ApiKey[]> {
    const params = reachValues(reach);
    const { rows } = await this.#db.query<KeyRow>(
      `/* keys.list */
select ${COLUMNS}
from api_keys k
where ${WITHIN_REACH} and ${keysetCondition(NEWEST_FIRST, window, params)}
order by ${keysetOrder(NEWEST_FIRST, window)}
limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(parseKey);
  }

  /** How many there are, looking at no more than `limit + 1`. */
  async count(reach: KeyReach, limit: number): Promise<number> {
    const { rows } = await this.#db.query<{ found: number }>(
      `/* keys.count */
select count(*)::integer as found
from (select from api_keys k where ${WITHIN_REACH} limit $4) as matching`,
      [...reachValues(reach), limit + 1],
    );
    return rows[0]?.found ?? 0;
  }

  async find(reach: KeyReach, id: string): Promise<ApiKey | undefined> {
    const { rows } = await this.#db.query<KeyRow>(
      `/* keys.find */
select ${COLUMNS} from api_keys k where ${WITHIN_REACH} and k.id = $4 limit 1`,
      [...reachValues(reach), id],
    );
    return rows[0] && parseKey(rows[0]);
  }

  async listByIds(reach: KeyReach, ids: readonly string[]): Promise<ApiKey[]> {
    const { rows } = await this.#db.query<KeyRow>(
      `/* keys.list_by_ids */
select ${COLUMNS} from api_keys k where ${WITHIN_REACH} and k.id = any($4::uuid[]) limit $5`,
      [...reachValues(reach), ids, ids.length],
    );
    return rows.map(parseKey);
  }

  /** For the change that follows in the same transaction: two of them at once happen one after the other. */
  async lock(reach: KeyReach, id: string): Promise<ApiKey | undefined> {
    const { rows } = await this.#db.query<KeyRow>(
      `/* keys.lock */
select ${COLUMNS} from api_keys k where ${WITHIN_REACH} and k.id = $4 limit 1 for update`,
      [...reachValues(reach), id],
    );
    return rows[0] && parseKey(rows[0]);
  }

  async update(
    id: string,
    change: { name: string; scopes: readonly Scope[]; expiresAt: Date | undefined },
  ): Promise<void> {
    await this.#db.query(
      '/* keys.update */ update api_keys set name = $2, scopes = $3, expires_at = $4 where id = $1',
      [id, change.name, change.scopes, change.expiresAt ?? null],
    );
  }

  /** The current secret becomes the previous one; a secret from an earlier rotation stops working at once. */
  async rotate(id: string, next: { mac: Buffer; hint: string; previousExpiresAt: Date }): Promise<void> {
    await this.#db.query(
      `/* keys.rotate */
update api_keys
set previous_mac = mac, previous_expires_at = $4, mac = $2, hint = $3
where id = $1`,
      [id, next.mac, next.hint, next.previousExpiresAt],
    );
  }

  async revoke(id: string, at: Date): Promise<void> {
    await this.#db.query(
      '/* keys.revoke */ update api_keys set revoked_at = $2 where id = $1 and revoked_at is null',
      [id, at],
    );
  }

  /** Tokens of a member: all of them, or those bound to one workspace. Returns the ids of those revoked now. */
  async revokePersonal(
    target: { organizationId: string; userId: string; workspaceId: string | undefined },
    at: Date,
  ): Promise<string[]> {
    const { rows } = await this.#db.query<{ id: string }>(
      `/* keys.revoke_personal */
update api_keys
set revoked_at = $4
where organization_id = $1 and user_id = $2 and kind = 'personal' and revoked_at is null
  and ($3::uuid is null or workspace_id = $3)
returning id`,
      [target.organizationId, target.userId, target.workspaceId ?? null, at],
    );
    return rows.map((row) => row.id);
  }

  /** Does nothing where another process noted a use less than a minute before. */
  async touch(id: string, at: Date): Promise<void> {
    await this.#db.query(
      `/* keys.touch */
update api_keys set last_used_at = $2
where id = $1 and (last_used_at is null or last_used_at <= $2::timestamptz - interval '1 minute')`,
      [id, at],
    );
  }

  async exists(mac: Buffer): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      '/* keys.exists */ select 1 from api_keys where mac = $1 or previous_mac = $1 limit 1',
      [mac],
    );
    return rowCount === 1;
  }

  async any(): Promise<boolean> {
    const { rowCount } = await this.#db.query('/* keys.any */ select 1 from api_keys limit 1');
    return rowCount === 1;
  }
}
