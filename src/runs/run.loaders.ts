/** Batched reads of one operation: runs by id, children by parent. One statement for all that ask at once. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { RunField, RunRow } from './run-columns.js';
import type { Parent, RunService } from './run.service.js';

const MAX_BATCH = 500;

/** Loaders differ by what they read, so one operation has as many as it has different selections. */
export class RunLoaders {
  private readonly service: RunService;
  private readonly principal: Principal;
  private readonly byId = new Map<string, DataLoader<string, RunRow | undefined>>();
  private readonly children = new Map<string, DataLoader<Parent, readonly RunRow[], string>>();
  private readonly counts: DataLoader<Parent, number, string>;

  constructor({ service, principal }: { service: RunService; principal: Principal }) {
    this.service = service;
    this.principal = principal;
    this.counts = new DataLoader(
      async (parents: readonly Parent[]) => {
        const counts = await service.countChildren(principal, parents);
        return parents.map(({ id }) => counts.get(id) ?? 0);
      },
      { name: 'runs.countChildren', maxBatchSize: MAX_BATCH, cacheKeyFn: ({ id }) => id },
    );
  }

  find(id: string, fields: readonly RunField[]): Promise<RunRow | undefined> {
    return lazily(
      this.byId,
      fields.join(),
      () =>
        new DataLoader(
          async (ids: readonly string[]) => {
            const rows = await this.service.findRuns(this.principal, ids, fields);
            const found = new Map(rows.map((row) => [row.uuid, row]));
            return ids.map((wanted) => found.get(wanted));
          },
          { name: 'runs.find', maxBatchSize: MAX_BATCH },
        ),
    ).load(id);
  }

  listChildren(parent: Parent, first: number, fields: readonly RunField[]): Promise<readonly RunRow[]> {
    return lazily(
      this.children,
      `${first}/${fields.join()}`,
      () =>
        new DataLoader<Parent, readonly RunRow[], string>(
          async (parents) => {
            const rows = await this.service.listChildren(this.principal, parents, first, fields);
            const byParent = groupByParent(rows);
            return parents.map(({ id }) => byParent.get(id) ?? []);
          },
          { name: 'runs.children', maxBatchSize: MAX_BATCH, cacheKeyFn: ({ id }) => id },
        ),
    ).load(parent);
  }

  countChildren(parent: Parent): Promise<number> {
    return this.counts.load(parent);
  }
}

function lazily<T>(loaders: Map<string, T>, key: string, make: () => T): T {
  const known = loaders.get(key);
  if (known !== undefined) return known;
  const made = make();
  loaders.set(key, made);
  return made;
}

function groupByParent(rows: readonly RunRow[]): Map<string, RunRow[]> {
  const groups = new Map<string, RunRow[]>();
  for (const row of rows) {
    const parent = row.parentRunId ?? '';
    const group = groups.get(parent);
    if (group === undefined) groups.set(parent, [row]);
    else group.push(row);
  }
  return groups;
}
