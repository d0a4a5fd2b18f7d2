/** What is looked for after a call: whether the tenant was changed, and whether an answer has something of it. */
import type pg from 'pg';
import { decodeGlobalId, toGlobalId } from '../../src/graphql/global-id.js';
import { labelled } from './names.js';
import type { Names } from './names.js';
import { marksIn } from './tenant.js';

/** A digest per table with rows of the workspace, found in the catalogue so that new tables are looked at too. */
export async function fingerprint(
  pool: pg.Pool,
  place: { readonly workspaceId: string; readonly organizationId: string },
): Promise<Record<string, string>> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select c.relname as name from pg_class c
     join pg_attribute a on a.attrelid = c.oid and a.attname = 'workspace_id' and not a.attisdropped
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`,
  );
  // Reads of content are recorded in the workspace that was read, seconds later; they change nothing of it.
  const parts = tables
    .filter(({ name }) => name !== 'content_reads')
    .map(({ name }) => ({ name, where: 'workspace_id = $1' }));
  parts.push({ name: 'workspaces', where: '$1::uuid is not null and organization_id = $2' });
  parts.push({ name: 'organizations', where: '$1::uuid is not null and id = $2' });
  // Admins of other workspaces bring users of their own into the organisation.
  parts.push({
    name: 'organization_members',
    where:
      'organization_id = $2 and user_id in (select user_id from workspace_members where workspace_id = $1)',
  });
  const found: Record<string, string> = {};
  for (const { name, where } of parts) {
    const values = where.includes('$2') ? [place.workspaceId, place.organizationId] : [place.workspaceId];
    // When a key was last used is noted for every use, refused ones too.
    const { rows } = await pool.query<{ digest: string | null; count: number }>(
      `select count(*)::int as count,
              md5(string_agg(row, chr(10) order by row)) as digest
       from (select (to_jsonb(t) - 'last_used_at')::text as row from ${name} t where ${where}) all_rows`,
      values,
    );
    found[name] = `${rows[0]?.count ?? 0} rows, ${rows[0]?.digest ?? 'none'}`;
  }
  return found;
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/** Every id in the workspace's rows. Ids it shares with others, such as the organisation's, are left out. */
export async function idsOf(
  pool: pg.Pool,
  workspaceId: string,
  shared: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select c.relname as name from pg_class c
     join pg_attribute a on a.attrelid = c.oid and a.attname = 'workspace_id' and not a.attisdropped
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`,
  );
  const ids = new Set<string>([workspaceId]);
  for (const { name } of tables) {
    const { rows } = await pool.query<{ row: string }>(
      `select to_jsonb(t)::text as row from ${name} t where workspace_id = $1`,
      [workspaceId],
    );
    for (const { row } of rows) for (const id of row.match(UUID) ?? []) ids.add(id);
  }
  for (const id of shared) ids.delete(id);
  return ids;
}

/** Marks and ids that whoever sends this text knows already. */
export const knownFrom = (text: string): string[] => [
  ...marksIn(text),
  ...idsIn(text),
  ...idsIn(opaqueIdsIn(text)),
];

/** Things of the tenant in an answer to somebody who knew only `asked`. Ids inside opaque ids count. */
export function leaksIn(asked: ReadonlySet<string>, answer: string, ids: ReadonlySet<string>): string[] {
  const opened = opaqueIdsIn(answer);
  return [
    ...new Set([...marksIn(answer), ...idsIn(`${answer} ${opened}`).filter((id) => ids.has(id))]),
  ].filter((found) => !asked.has(found));
}

const idsIn = (text: string): string[] => text.match(UUID) ?? [];

function opaqueIdsIn(text: string): string {
  return (text.match(/[\w-]{20,120}/g) ?? []).flatMap((word) => decodeGlobalId(word)?.uuid ?? []).join(' ');
}

const NODE_TYPES = ['Run', 'Trace', 'Project', 'Feedback', 'Job', 'ApiKey', 'User', 'Workspace'];
const VOLATILE = /cursor|secret|hint|request_?id|error_?id|extensions\.cost|url$|token$/i;

/**
 * An answer in which what differs from call to call by nature is blanked: the names that were asked about, ids and
 * times made by the call, signed cursors.
 */
export function comparable(text: string, ...all: readonly Names[]): string {
  let plain = text;
  for (const [name, label] of all.flatMap(labelled)) {
    plain = plain.replaceAll(name, `<${label}>`);
    for (const type of NODE_TYPES) plain = plain.replaceAll(toGlobalId(type, name), `<${label}>`);
  }
  let value: unknown;
  try {
    value = JSON.parse(plain);
  } catch {
    return blanked(plain);
  }
  return JSON.stringify(value, (key, inner: unknown) => {
    if (key === 'cost') return '<cost>';
    if (typeof inner !== 'string') return inner;
    if (VOLATILE.test(key) && !inner.startsWith('<')) return '<volatile>';
    return blanked(decodeGlobalId(inner) === undefined ? inner : '<id>');
  });
}

const blanked = (text: string): string =>
  text
    .replace(UUID, '<uuid>')
    .replace(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00|\+00)?/g, '<time>');
