/**
 * Statements that bring their scope along. Row-level security asks the setting app.workspace_id; it is set in the same
 * message as the statement and for its transaction only, so it costs no round trip, and the next borrower of the
 * connection finds nothing of it, whatever pooler stands in between. Relies on what the driver's Query is inside: pg is
 * pinned, and test/platform/row-security.test.ts holds it.
 */
import pg from 'pg';
import { ConnectionShares } from './connection-shares.js';
import type { ShareOptions } from './connection-shares.js';
import { currentScope, EVERYWHERE, inThisScope, NOWHERE } from './db-scope.js';
import { preparingClient, promised, StatementNames } from './prepared.js';
import type { Callback } from './prepared.js';

/** What of the driver's connection is used: messages that are written without waiting for answers. */
interface Wire {
  bind(message: { statement: string; values: readonly string[] }): void;
  execute(message: { rows: number }): void;
}

/** The driver's Query as it is inside; its types show less. */
interface WireQuery extends pg.Submittable {
  prepare(wire: Wire): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, wire: Wire): void;
}
const DriverQuery = pg.Query as unknown as new (config: object) => WireQuery;

/** Sets the scope and runs the statement: two executions, one Sync, hence one transaction even outside of one. */
class ScopedQuery extends DriverQuery {
  readonly #scope: readonly string[];
  #scopeAnswered = false;

  constructor(config: object, scope: readonly string[]) {
    // Simple queries cannot be preceded by anything in their message.
    super({ ...config, queryMode: 'extended' });
    this.#scope = scope;
  }

  override prepare(wire: Wire): void {
    wire.bind({ statement: SCOPE_STATEMENT, values: this.#scope });
    wire.execute({ rows: 0 });
    super.prepare(wire);
  }

  override handleDataRow(message: unknown): void {
    if (this.#scopeAnswered) super.handleDataRow(message);
  }

  override handleCommandComplete(message: unknown, wire: Wire): void {
    if (this.#scopeAnswered) super.handleCommandComplete(message, wire);
    this.#scopeAnswered = true;
  }
}

const SCOPE_STATEMENT = 'tw_scope';
const SET_SCOPE = "select set_config('app.workspace_id', $1, true)";
const SET_SCOPE_AND_ROLE = `${SET_SCOPE}, set_config('role', $2, true)`;
/** They touch no row, and some must be the first of their transaction. */
const CONTROL = /^\s*(begin|start|commit|rollback|savepoint|release|set)\b/i;

/**
 * A pool whose statements run in the scope they are called in. Outside of any they run as they are.
 * @param role what statements on behalf of a workspace run as; everything else runs as who has logged in.
 */
export class ScopedPool extends pg.Pool {
  readonly #shares: ConnectionShares | undefined;
  /** Whose share a connection that is out belongs to. */
  readonly #holders = new WeakMap<pg.PoolClient, string>();

  constructor(config: pg.PoolConfig, role: string | undefined, shares?: ShareOptions) {
    super({
      ...config,
      Client: preparingClient(new StatementNames(), scopedClient(role)),
      // eslint-disable-next-line @typescript-eslint/no-misused-promises -- the pool waits for it, whatever its type says
      onConnect: (client) => (client as ScopedClient).prepareScope(),
    });
    if (shares === undefined) return;
    this.#shares = new ConnectionShares(shares);
    this.on('release', (_error, client: pg.PoolClient) => {
      const workspaceId = this.#holders.get(client);
      if (workspaceId === undefined) return;
      this.#holders.delete(client);
      this.#shares?.giveBack(workspaceId);
    });
  }

  /** Waiting for a connection does not change whose statement it is: the pool calls back from whoever gave it back. */
  override connect(): Promise<pg.PoolClient>;
  override connect(callback: PoolCallback): void;
  override connect(callback?: PoolCallback): Promise<pg.PoolClient> | void {
    const scope = currentScope();
    if (this.#shares !== undefined && scope?.kind === 'workspace') {
      if (callback !== undefined) {
        this.#connectInLine(this.#shares, scope.workspaceId, inThisScope(callback));
        return undefined;
      }
      return new Promise((resolve, reject) => {
        this.connect((error, client) => {
          if (client === undefined) reject(error ?? new Error('the pool gave no connection'));
          else resolve(client);
        });
      });
    }
    return callback === undefined ? super.connect() : super.connect(inThisScope(callback));
  }

  #connectInLine(shares: ConnectionShares, workspaceId: string, callback: PoolCallback): void {
    shares.take(workspaceId, (refusal) => {
      if (refusal !== undefined) {
        callback(refusal, undefined, () => undefined);
        return;
      }
      super.connect((error, client, release) => {
        if (client === undefined) shares.giveBack(workspaceId);
        else this.#holders.set(client, workspaceId);
        callback(error, client, release);
      });
    });
  }
}

interface ScopedClient extends pg.Client {
  /** Once per connection, before its first statement. */
  prepareScope(): Promise<void>;
}

function scopedClient(role: string | undefined): typeof pg.Client {
  const nowhere = role === undefined ? [NOWHERE] : [NOWHERE, role];
  return class extends pg.Client implements ScopedClient {
    readonly prepareScope: () => Promise<void>;

    constructor(options?: string | pg.ClientConfig) {
      super(options);
      const query = this.query.bind(this) as (...args: unknown[]) => unknown;
      const scoped = (...args: unknown[]): unknown => {
        const settings = scopeSettings(role);
        const [first, second] = args;
        const config = typeof first === 'string' ? { text: first } : (first as pg.QueryConfig);
        if (settings === undefined || 'submit' in config || CONTROL.test(config.text)) return query(...args);
        const values = Array.isArray(second)
          ? (second as unknown[])
          : (config.values as unknown[] | undefined);
        const callback = args.find((arg) => typeof arg === 'function') as Callback | undefined;
        const run = (done: Callback): unknown =>
          query(new ScopedQuery({ ...config, values, callback: done }, settings));
        return callback === undefined ? promised(run) : run(callback);
      };
      this.query = scoped as typeof this.query;
      this.prepareScope = async () => {
        const text = role === undefined ? SET_SCOPE : SET_SCOPE_AND_ROLE;
        await query({ name: SCOPE_STATEMENT, text, values: nowhere });
      };
    }
  };
}

type PoolCallback = Parameters<pg.Pool['connect']>[0];

function scopeSettings(role: string | undefined): string[] | undefined {
  const scope = currentScope();
  if (scope === undefined) return undefined;
  const bound = scope.kind === 'workspace';
  const workspace = bound ? scope.workspaceId : EVERYWHERE;
  return role === undefined ? [workspace] : [workspace, bound ? role : 'none'];
}
