/** Batched reads of one operation: experiments, their figures, and what belongs to their rows. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { ExperimentService } from './experiment.service.js';
import type {
  Experiment,
  ExperimentProgress,
  KeySummary,
  RowEvaluation,
  RowScore,
  UsageSummary,
} from './experiment.js';

const MAX_BATCH = 500;

interface RowKey {
  readonly experimentId: string;
  readonly exampleId: string;
  readonly repetition: number;
}

const keyOf = ({ experimentId, exampleId, repetition }: RowKey): string =>
  `${experimentId} ${exampleId} ${repetition}`;

export class ExperimentLoaders {
  readonly byId: DataLoader<string, Experiment | undefined>;
  readonly progress: DataLoader<string, ExperimentProgress | undefined>;
  readonly keys: DataLoader<string, readonly KeySummary[]>;
  readonly usage: DataLoader<string, UsageSummary | undefined>;
  /** By run. */
  readonly scores: DataLoader<string, readonly RowScore[]>;
  readonly evaluations: DataLoader<RowKey, readonly RowEvaluation[], string>;

  constructor({ service, principal }: { service: ExperimentService; principal: Principal }) {
    const options = (name: string) => ({ name: `experiments.${name}`, maxBatchSize: MAX_BATCH });
    this.byId = new DataLoader(async (ids) => {
      const found = new Map((await service.find(principal, ids)).map((each) => [each.uuid, each]));
      return ids.map((id) => found.get(id));
    }, options('find'));
    this.progress = new DataLoader(async (ids) => {
      const found = await service.progressOf(principal, ids);
      const byId = new Map(found.map((each) => [each.experimentId, each]));
      return ids.map((id) => byId.get(id));
    }, options('progress'));
    this.keys = new DataLoader(async (ids) => {
      const found = await service.keysOf(principal, ids);
      return ids.map((id) => found.get(id) ?? []);
    }, options('keys'));
    this.usage = new DataLoader(async (ids) => {
      const found = await service.usageOf(principal, ids);
      const byId = new Map(found.map((each) => [each.experimentId, each]));
      return ids.map((id) => byId.get(id));
    }, options('usage'));
    this.scores = new DataLoader(async (runIds) => {
      const groups = group(await service.scoresOf(principal, runIds), ({ runId }) => runId);
      return runIds.map((id) => groups.get(id) ?? []);
    }, options('scores'));
    this.evaluations = new DataLoader<RowKey, readonly RowEvaluation[], string>(
      async (rows) => {
        const byExperiment = group(rows, ({ experimentId }) => experimentId);
        const groups = new Map<string, RowEvaluation[]>();
        for (const [experimentId, own] of byExperiment) {
          const found = await service.evaluationsOf(principal, experimentId, own);
          for (const [key, list] of group(found, (each) => keyOf({ ...each, experimentId }))) {
            groups.set(key, list);
          }
        }
        return rows.map((row) => groups.get(keyOf(row)) ?? []);
      },
      { ...options('evaluations'), cacheKeyFn: keyOf },
    );
  }
}

function group<T>(values: readonly T[], keyOfValue: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const key = keyOfValue(value);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [value]);
    else known.push(value);
  }
  return groups;
}
