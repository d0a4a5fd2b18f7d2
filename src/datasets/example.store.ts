/**
 * Reading examples, as they are now or as they were in a version. What a version shows never changes: rows are closed,
 * not altered, and whoever reads by version sees only rows that were valid then.
 */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow, SortDirection } from '../platform/keyset.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Example } from './dataset.js';
import { exampleConditionSql } from './example-filter.js';
import type { ExampleCondition } from './example-filter.js';

/** An example as a caller may see it: without the content scope, content is null and there are no attachments. */
export type ShownExample = Omit<Example, 'inputs'> & { readonly inputs: string | null };

/** All of the newest version, or all of one that does not change. */
export type Pin = number | 'newest';

export interface ExampleFilter {
  readonly ids?: readonly string[] | undefined;
  /** In any of these. */
  readonly splits?: readonly string[] | undefined;
  /** Contained in the metadata. */
  readonly metadata?: JsonObject | undefined;
  /** Texts that all occur in inputs or outputs, in any case. Content. */
  readonly search?: readonly string[] | undefined;
  readonly sourceRunIds?: readonly string[] | undefined;
  /** In the filter language. */
  readonly where?: ExampleCondition | undefined;
}

export const EXAMPLE_ORDERS = ['CREATED_AT', 'MODIFIED_AT', 'ID', 'RANDOM'] as const;
export type ExampleOrder = (typeof EXAMPLE_ORDERS)[number];

export interface ExampleListRequest {
  readonly datasetId: string;
  readonly pin: Pin;
  readonly filter: ExampleFilter;
  readonly order: ExampleOrder;
  /** Of RANDOM: another seed, another order. An integer. */
  readonly seed?: number | undefined;
  readonly direction: SortDirection;
  readonly window: PageWindow;
  /** Rows to leave out at the start, for protocols that page by offset. */
  readonly offset?: number | undefined;
  /** Whether content may be read. */
  readonly content: boolean;
}

export interface ExamplePageRequest {
  readonly splits?: readonly string[] | undefined;
  /** The id behind which to go on; from the start where absent. */
  readonly after?: string | undefined;
  readonly limit: number;
  /** Stop before a page's inputs and outputs are larger; one example always comes. Default: no limit. */
  readonly maxBytes?: number | undefined;
}

const PLAIN = `e.id as uuid, e.dataset_id as "datasetId", e.name, e.metadata, e.splits, e.source_run_id as "sourceRunId",
  encode(e.content_hash, 'hex') as "contentHash", e.since_version as "sinceVersion", e.created_at as "createdAt",
  e.modified_at as "modifiedAt"`;
const CONTENT = `e.inputs, e.outputs, coalesce(e.attachments, '[]') as attachments`;
const NO_CONTENT = `null::json as inputs, null::json as outputs, '[]'::jsonb as attachments`;

const columns = (content: boolean): string => `${PLAIN}, ${content ? CONTENT : NO_CONTENT}`;

type ExampleRecord = Example & Record<string, unknown>;
type ShownRecord = ShownExample & Record<string, unknown>;

/** That a row `e` was valid in a version, or is valid now. */
function validity(pin: Pin, params: unknown[]): string {
  if (pin === 'newest') return 'e.until_version is null';
  const version = `$${params.push(pin)}::integer`;
  return `e.since_version <= ${version} and (e.until_version is null or e.until_version > ${version})`;
}

/** The where clause over `examples e`. */
function conditions(
  scope: WorkspaceScope,
  { datasetId, pin, filter }: Pick<ExampleListRequest, 'datasetId' | 'pin' | 'filter'>,
  params: unknown[],
): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const all = [
    `e.workspace_id = ${bind(scope.workspaceId, 'uuid')}`,
    `e.dataset_id = ${bind(datasetId, 'uuid')}`,
    validity(pin, params),
  ];
  if (filter.ids !== undefined) all.push(`e.id = any(${bind(filter.ids, 'uuid[]')})`);
  if (filter.splits !== undefined) all.push(`e.splits && ${bind(filter.splits, 'text[]')}`);
  if (filter.metadata !== undefined) {
    all.push(`e.metadata @> ${bind(JSON.stringify(filter.metadata), 'jsonb')}`);
  }
  if (filter.sourceRunIds !== undefined) {
    all.push(`e.source_run_id = any(${bind(filter.sourceRunIds, 'uuid[]')})`);
  }
  if (filter.where !== undefined) all.push(exampleConditionSql(filter.where, bind));
  for (const text of filter.search ?? []) {
    const part = `lower(${bind(text, 'text')})`;
    all.push(`(strpos(lower(e.inputs::text), ${part}) > 0 or strpos(lower(e.outputs::text), ${part}) > 0)`);
  }
  return all.join(' and ');
}

function keysetOf(order: ExampleOrder, direction: SortDirection, seed: number): Keyset {
  const keyset = { id: 'e.id', direction, nullable: false };
  switch (order) {
    case 'CREATED_AT':
      return { ...keyset, value: 'e.created_at', type: 'timestamptz' };
    case 'MODIFIED_AT':
      return { ...keyset, value: 'e.modified_at', type: 'timestamptz' };
    case 'ID':
      return { ...keyset, value: 'e.id', type: 'uuid' };
    case 'RANDOM':
      return { ...keyset, value: `md5(e.id::text || '${Math.trunc(seed)}')`, type: 'text' };
  }
}

export class ExampleStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  within(tx: Queryable): ExampleStore {
    return new ExampleStore({ db: tx });
  }

  /**
   * The next examples of a version in order of their ids, content included. The same call gives the same rows for
   * ever, hard deletion apart. Relies on the primary key, so any page of any version costs its rows.
   */
  async page(
    scope: WorkspaceScope,
    datasetId: string,
    version: number,
    { splits, after, limit, maxBytes }: ExamplePageRequest,
  ): Promise<Example[]> {
    const params: unknown[] = [];
    const where = conditions(scope, { datasetId, pin: version, filter: { splits } }, params);
    const behind = after === undefined ? '' : `and e.id > $${params.push(after)}::uuid`;
    const page = `select e.* from examples e where ${where} ${behind} order by e.id limit $${params.push(limit)}`;
    const bounded =
      maxBytes === undefined
        ? ''
        : `where e.bytes_before = 0 or e.bytes_before + e.bytes <= $${params.push(maxBytes)}`;
    const measured =
      maxBytes === undefined
        ? page
        : `select p.*, coalesce(sum(p.bytes) over (order by p.id rows between unbounded preceding and 1 preceding), 0) as bytes_before
           from (select q.*, octet_length(q.inputs::text) + coalesce(octet_length(q.outputs::text), 0) as bytes from (${page}) q) p`;
    const { rows } = await this.db.query<ExampleRecord>(
      `/* examples.page */
      select ${columns(true)} from (${measured}) e ${bounded} order by e.id`,
      params,
    );
    return rows;
  }

  /** Up to `limit + 1` examples in reading order. Relies on examples_by_creation for the newest version. */
  async list(scope: WorkspaceScope, request: ExampleListRequest): Promise<ShownExample[]> {
    const { order, direction, window, offset = 0, seed = 0 } = request;
    const params: unknown[] = [];
    const keyset = keysetOf(order, direction, seed);
    const { rows } = await this.db.query<ShownRecord>(
      `/* examples.list */
      select ${columns(request.content)}
      from examples e
      where ${conditions(scope, request, params)}
        and ${keysetCondition(keyset, window, params)}
      order by ${keysetOrder(keyset, window)}
      limit $${params.push(window.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows;
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(
    scope: WorkspaceScope,
    request: Pick<ExampleListRequest, 'datasetId' | 'pin' | 'filter'>,
    limit: number,
  ): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* examples.count */
      select count(*) as found
      from (select from examples e where ${conditions(scope, request, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /** The datasets of examples, by example; those that were hard deleted or whose dataset is gone are left out. */
  async datasetsOf(scope: WorkspaceScope, ids: readonly string[]): Promise<Map<string, string>> {
    const { rows } = await this.db.query<{ id: string; datasetId: string }>(
      `/* examples.datasets_of */
      select o.example_id as id, o.dataset_id as "datasetId"
      from example_owners o
      join datasets d on d.workspace_id = $1 and d.id = o.dataset_id
      where o.workspace_id = $1 and o.example_id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return new Map(rows.map(({ id, datasetId }) => [id, datasetId]));
  }

  /** The newest state of examples of any dataset, in no particular order; deleted ones are left out. */
  async findByIds(scope: WorkspaceScope, ids: readonly string[], content: boolean): Promise<ShownExample[]> {
    const { rows } = await this.db.query<ShownRecord>(
      `/* examples.find_by_ids */
      select ${columns(content)}
      from example_owners o
      join datasets d on d.workspace_id = $1 and d.id = o.dataset_id
      join examples e on e.workspace_id = $1 and e.dataset_id = o.dataset_id and e.id = o.example_id
      where o.workspace_id = $1 and o.example_id = any($2::uuid[]) and e.until_version is null
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  /** Examples of one dataset as they were in a version, in no particular order. */
  async findIn(
    scope: WorkspaceScope,
    { datasetId, pin }: { datasetId: string; pin: Pin },
    ids: readonly string[],
    content: boolean,
  ): Promise<ShownExample[]> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<ShownRecord>(
      `/* examples.find_in */
      select ${columns(content)}
      from examples e
      where ${conditions(scope, { datasetId, pin, filter: { ids } }, params)}
      limit $${params.push(ids.length)}`,
      params,
    );
    return rows;
  }

  /** Current examples made from these runs, the first `limit` of each, oldest first. Relies on examples_by_source. */
  async findBySource(
    scope: WorkspaceScope,
    runIds: readonly string[],
    limit: number,
    content: boolean,
  ): Promise<ShownExample[]> {
    const { rows } = await this.db.query<ShownRecord>(
      `/* examples.find_by_source */
      select ${columns(content)}
      from unnest($2::uuid[]) as wanted (run_id)
      cross join lateral (
        select x.* from examples x
        join datasets d on d.workspace_id = $1 and d.id = x.dataset_id
        where x.workspace_id = $1 and x.source_run_id = wanted.run_id and x.until_version is null
        order by x.created_at, x.id
        limit $3
      ) e`,
      [scope.workspaceId, runIds, limit],
    );
    return rows;
  }

  /** Of these runs, those of which the dataset has a current example. */
  async findSources(scope: WorkspaceScope, datasetId: string, runIds: readonly string[]): Promise<string[]> {
    const { rows } = await this.db.query<{ id: string }>(
      `/* examples.find_sources */
      select distinct e.source_run_id as id from examples e
      where e.workspace_id = $1 and e.source_run_id = any($3::uuid[]) and e.dataset_id = $2 and e.until_version is null
      limit $4`,
      [scope.workspaceId, datasetId, runIds, runIds.length],
    );
    return rows.map(({ id }) => id);
  }

  /** Names of the splits examples of a version are in. */
  async splits(scope: WorkspaceScope, datasetId: string, pin: Pin, limit: number): Promise<string[]> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ split: string }>(
      `/* examples.splits */
      select distinct split
      from examples e cross join lateral unnest(e.splits) as split
      where ${conditions(scope, { datasetId, pin, filter: {} }, params)}
      order by split
      limit $${params.push(limit)}`,
      params,
    );
    return rows.map(({ split }) => split);
  }
}
