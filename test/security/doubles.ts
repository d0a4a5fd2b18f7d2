/**
 * Workspaces that are like another one: the same ids and threads, other texts. Whatever a statement takes from the
 * wrong one of them shows.
 */
import pg from 'pg';

export interface Table {
  readonly name: string;
  /** Whether its rows belong to workspaces. */
  readonly isTenants: boolean;
}

export interface Double {
  readonly workspaceId: string;
  /** The table it has no rows of. */
  readonly without?: string;
}

export async function listTables(client: pg.Client): Promise<Table[]> {
  const { rows } = await client.query<Table>(
    `select c.relname as name, exists (select from pg_attribute a
       where a.attrelid = c.oid and a.attname = 'workspace_id' and not a.attisdropped) as "isTenants"
     from pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     order by 1`,
  );
  return rows;
}

/**
 * Makes doubles of a workspace: one with all its rows, one with none, one with only the roots of traces, and for each
 * table one without it, so that a lookup that goes astray there finds what is not there.
 * @param newWorkspace makes an empty workspace and returns its id.
 */
export async function makeDoubles(
  url: string,
  of: string,
  newWorkspace: () => Promise<string>,
): Promise<Double[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const tables: string[] = [];
    for (const { name, isTenants } of await listTables(client)) {
      if (isTenants && (await isOwn(client, name))) tables.push(name);
    }
    const doubles: Double[] = [];
    const add = async (conditionOf: (table: string) => string, without?: string): Promise<void> => {
      const to = await newWorkspace();
      for (const table of tables) {
        if (conditionOf(table) !== 'false') await copyRows(client, table, of, to, conditionOf(table));
      }
      doubles.push({ workspaceId: to, ...(without !== undefined && { without }) });
    };
    await add(() => 'true');
    await add(() => 'false');
    await add((table) => (table === 'runs' ? 'parent_run_id is null' : 'true'));
    for (const without of tables) await add((table) => String(table !== without), without);
    return doubles;
  } finally {
    await client.end();
  }
}

/** Not where ids are unique over all workspaces, nor where a row leads to people, who belong to none. */
async function isOwn(client: pg.Client, table: string): Promise<boolean> {
  const { rows } = await client.query<{ own: boolean }>(
    `select not exists (
       select from pg_index x where x.indrelid = $1::regclass and x.indisunique
         and not exists (select from pg_attribute a where a.attrelid = x.indrelid and a.attname = 'workspace_id'
           and a.attnum = any (x.indkey::int2[])))
       and not exists (select from pg_constraint k where k.conrelid = $1::regclass and k.confrelid = 'users'::regclass)
       as own`,
    [table],
  );
  return rows[0]?.own === true;
}

async function copyRows(
  client: pg.Client,
  table: string,
  from: string,
  to: string,
  condition: string,
): Promise<void> {
  await client.query(
    `insert into ${table}
     select (jsonb_populate_record(null::${table}, replace(
       regexp_replace(replace(to_jsonb(t)::text, $1, $2), 'canary-(?!thread)', 'double-', 'g'),
       'sealed-', 'hidden-')::jsonb)).*
     from ${table} t where workspace_id = $1::uuid and ${condition}`,
    [from, to],
  );
}
