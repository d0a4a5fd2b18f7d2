/**
 * Asks of every statement that is run for a workspace whether its workspace_id holds. Just before a statement runs, it
 * is tried with another workspace's id in place of the caller's, without row-level security, in a transaction that is
 * rolled back: it must show and change nothing of the caller's workspace. Then once more for each of its conditions on
 * workspace_id, with that condition left out: the outcome must differ, or nobody would notice if it were forgotten.
 */
import pg from 'pg';
import { currentScope } from '../../src/platform/db-scope.js';
import { listTables } from './doubles.js';
import type { Double, Table } from './doubles.js';
import { marksIn } from './tenant.js';

/** How often a statement is tried while conditions of it are not shown to matter. */
const TRIES = 30;
/** Texts per name: filters make many, which are alike. */
const TEXTS_PER_NAME = 12;
/** A statement that would wait for a row that the caller's own transaction has locked has reached it. */
const LOCK_TIMEOUT = '200ms';
const CONDITION = /(?:"?\w+"?\.)*"?workspace_id"?\s*=\s*\$(\d+)(?:::uuid)?/g;
/** Marks that doubles have too. */
const SHARED = /^canary-thread-/;
const WRITES = /\b(insert|update|delete)\b/i;
const TIME = /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00|\+00)?/g;

interface Statement {
  readonly name: string;
  readonly text: string;
  readonly conditions: readonly Condition[];
  /** Those it speaks of. */
  readonly tables: readonly Table[];
  tries: number;
}

/** One place where a text says `workspace_id = $n`. */
interface Condition {
  readonly start: number;
  readonly end: number;
  readonly parameter: string;
  /** The same in all texts of a statement that filters have made different. */
  readonly key: string;
}

interface Outcome {
  readonly seen: string;
  readonly changed: string;
  /** What of the caller's workspace was changed. */
  readonly ofHome: string | undefined;
  readonly state?: string;
}

/** Whose statements are tried, and as whom. */
interface Subject {
  readonly client: pg.Client;
  readonly home: string;
  readonly doubles: readonly Double[];
  readonly tables: readonly Table[];
}

type QueryLike = { readonly text?: unknown; readonly values?: unknown };
type Query = (this: pg.Client, ...args: unknown[]) => unknown;

export class StatementProbe {
  /** What a statement has shown or done although it was asked for another workspace. */
  readonly leaks: string[] = [];
  /** Names of statements on tenant tables that do not say whose rows they mean. */
  readonly unscoped = new Set<string>();
  /** Statements the database did not understand without a condition: the probe is wrong then. */
  readonly broken: string[] = [];
  readonly #statements = new Map<string, Statement>();
  /** By key: whether there was anything to find when it was tried without, and whether its absence was noticed. */
  readonly #conditions = new Map<string, 'idle' | 'silent' | 'noticed'>();
  readonly #query = pg.Client.prototype.query as unknown as Query;
  #subject: Subject | undefined;
  #turn: Promise<void> = Promise.resolve();

  /** Before any connection is made: a connection keeps the functions it was made with. */
  constructor() {
    this.#listen();
  }

  /**
   * From now on statements of this workspace are tried.
   * @param url a superuser's.
   * @param doubles see makeDoubles.
   */
  async start(url: string, home: string, doubles: readonly Double[]): Promise<void> {
    const client = new pg.Client({ connectionString: url, options: '-c app.workspace_id=*' });
    await client.connect();
    this.#subject = { client, home, doubles, tables: await listTables(client) };
  }

  async stop(): Promise<void> {
    pg.Client.prototype.query = this.#query as unknown as typeof pg.Client.prototype.query;
    await this.#turn;
    await this.#subject?.client.end();
  }

  get names(): string[] {
    return [...new Set([...this.#statements.values()].map(({ name }) => name))].sort();
  }

  /**
   * Conditions whose absence was noticed (`noticed`), was not although the statement does something for the caller
   * itself (`silent`), or could not be, because there is nothing to be found (`idle`). `runs.list r.workspace_id 1` is the
   * first of its kind in runs.list.
   */
  conditions(state: 'idle' | 'silent' | 'noticed'): string[] {
    return [...this.#conditions].flatMap(([key, found]) => (found === state ? [key] : [])).sort();
  }

  #listen(): void {
    const query = this.#query;
    const before = (client: pg.Client, statement: QueryLike): Promise<void> | undefined =>
      client === this.#subject?.client ? undefined : this.#consider(statement);
    pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]): unknown {
      const [first] = args;
      const probed = typeof first === 'object' ? before(this, first as QueryLike) : undefined;
      if (probed === undefined) return Reflect.apply(query, this, args);
      // Only statements with a callback come this way; their answer does not go through what is returned here.
      void probed.finally(() => Reflect.apply(query, this, args));
      return undefined;
    } as typeof pg.Client.prototype.query;
  }

  #consider({ text, values }: QueryLike): Promise<void> | undefined {
    const scope = currentScope();
    const subject = this.#subject;
    // Rows that are copied bring their workspace themselves.
    if (subject === undefined || typeof text !== 'string' || /^\s*copy\b/i.test(text)) return undefined;
    if (scope?.kind !== 'workspace' || scope.workspaceId !== subject.home) return undefined;
    const tables = tablesIn(text, subject.tables);
    if (!tables.some(({ isTenants }) => isTenants)) return undefined;
    const name = /\/\* (\S+) \*\//.exec(text)?.[1] ?? unnamed(text);
    const bound = Array.isArray(values) ? (values as unknown[]) : [];
    if (!JSON.stringify(bound).includes(subject.home)) {
      this.unscoped.add(name);
      return undefined;
    }
    const statement = this.#statements.get(text) ?? this.#meet(name, text, tables);
    if (statement === undefined || statement.tries >= TRIES) return undefined;
    if (statement.tries > 0 && this.#open(statement).length === 0) return undefined;
    statement.tries += 1;
    this.#turn = this.#turn
      .then(() => this.#probe(subject, statement, bound))
      .catch((error: unknown) => {
        this.broken.push(`${name}: ${String(error)}`);
      });
    return this.#turn;
  }

  #meet(name: string, text: string, tables: readonly Table[]): Statement | undefined {
    const alike = [...this.#statements.values()].filter((statement) => statement.name === name);
    if (alike.length >= TEXTS_PER_NAME) return undefined;
    const statement = { name, text, tables, conditions: conditionsOf(name, text), tries: 0 };
    this.#statements.set(text, statement);
    for (const { key } of statement.conditions) {
      if (!this.#conditions.has(key)) this.#conditions.set(key, 'idle');
    }
    return statement;
  }

  #open({ conditions }: Statement): Condition[] {
    return conditions.filter(({ key }) => this.#conditions.get(key) !== 'noticed');
  }

  async #probe(subject: Subject, statement: Statement, values: readonly unknown[]): Promise<void> {
    const { name, text, tables } = statement;
    const { home, doubles } = subject;
    const as = (workspaceId = ''): unknown[] => values.map((value) => replaced(value, home, workspaceId));
    const own = await attempt(subject, text, values, tables);
    const nothing = await attempt(subject, text, as(doubles[1]?.workspaceId), tables);
    const isFruitful = !alike(own, nothing);
    for (const [index, double] of doubles.entries()) {
      // The first has everything, the second nothing; the others are for what these two do not show.
      if (index > 1 && this.#open(statement).length === 0) return;
      if (double.without !== undefined && !tables.some(({ name: table }) => table === double.without)) {
        continue;
      }
      const foreign = as(double.workspaceId);
      const expected = await attempt(subject, text, foreign, tables);
      const known = new Set(marksIn(JSON.stringify(foreign)));
      const seen = marksIn(expected.seen).filter((mark) => !known.has(mark) && !SHARED.test(mark));
      if (seen.length > 0) this.leaks.push(`${name} shows ${[...new Set(seen)].slice(0, 3).join()}`);
      if (expected.ofHome !== undefined) this.leaks.push(`${name} changes ${expected.ofHome}`);
      for (const condition of this.#open(statement)) {
        const outcome = await attempt(subject, without(text, condition), foreign, tables);
        if (outcome.state?.startsWith('42') === true && outcome.state !== expected.state) {
          this.broken.push(`${condition.key}: ${outcome.seen}`);
        }
        if (!alike(outcome, expected)) this.#conditions.set(condition.key, 'noticed');
        else if (isFruitful) this.#conditions.set(condition.key, 'silent');
      }
    }
  }
}

/** What a statement would have answered and changed. */
async function attempt(
  { client, home }: Subject,
  text: string,
  values: readonly unknown[],
  tables: readonly Table[],
): Promise<Outcome> {
  const run = async (sql: string, bound: readonly unknown[] = []): Promise<pg.QueryResult> =>
    client.query({ text: sql, values: [...bound] });
  await run('begin');
  try {
    await run(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
    const { rows, rowCount } = await run(text, values);
    const seen = `${rowCount ?? 0} ${JSON.stringify(rows)}`.replace(TIME, '<time>');
    if (!WRITES.test(text)) return { seen, changed: '', ofHome: undefined };
    const { rows: changes } = await run(changesOf(tables));
    const own = changes.find((row) => row.workspace_id === home && row.changed !== 0);
    const ofHome = own === undefined ? undefined : `${own.changed} rows of ${own.table}`;
    return { seen, changed: JSON.stringify(changes), ofHome };
  } catch (error) {
    const { code = '', message } = error as { code?: string; message: string };
    return { seen: `${code} ${message}`, changed: '', ofHome: undefined, state: code };
  } finally {
    await run('rollback');
  }
}

function tablesIn(text: string, tables: readonly Table[]): Table[] {
  const plain = text.replace(/\/\*.*?\*\//gs, '');
  return tables.filter(({ name }) => new RegExp(`\\b${name}\\b`).test(plain));
}

const alike = (one: Outcome, other: Outcome): boolean =>
  one.seen === other.seen && one.changed === other.changed;

/** Rows per table and workspace, and how many of them the transaction has written. */
const changesOf = (tables: readonly Table[]): string =>
  tables
    .map(
      ({ name, isTenants }) =>
        `select '${name}' as table, ${isTenants ? '' : 'null::uuid as '}workspace_id, count(*)::int as rows,
           (count(*) filter (where xmin = pg_current_xact_id()::xid))::int as changed
         from ${name} ${isTenants ? 'group by workspace_id' : ''}`,
    )
    .join(' union all ')
    .concat(' order by 1, 2');

/** Prisma names nothing; its first table tells. */
const unnamed = (text: string): string =>
  `${text.slice(0, text.indexOf(' '))} ${/"public"\."(\w+)"/.exec(text)?.[1] ?? text.slice(0, 80)}`;

function conditionsOf(name: string, text: string): Condition[] {
  const seen = new Map<string, number>();
  return [...text.matchAll(CONDITION)].map((match) => {
    const column = match[0].replace(/\s*=.*/s, '').replaceAll('"', '');
    const nth = (seen.get(column) ?? 0) + 1;
    seen.set(column, nth);
    return {
      start: match.index,
      end: match.index + match[0].length,
      parameter: `$${match[1] ?? ''}`,
      key: `${name} ${column} ${nth}`,
    };
  });
}

/** The text with one condition always true; its parameter stays in use, and of its type. */
const without = (text: string, { start, end, parameter }: Condition): string =>
  `${text.slice(0, start)}${parameter}::uuid is not null${text.slice(end)}`;

function replaced(value: unknown, from: string, to: string): unknown {
  if (typeof value === 'string') return value.replaceAll(from, to);
  if (Array.isArray(value)) return value.map((item: unknown) => replaced(item, from, to));
  return value;
}
