/** Experiments side by side, example by example, and the examples on which they differ. Pure. */
import type { Metric } from './compare.js';
import { metricName } from './metric.js';
import type { MetricRef } from './metric.js';
import { reader } from './score-tables.js';
import type { LoadedExperiment } from './score-tables.js';

export interface MatrixScore {
  readonly metric: string;
  /** Over the repetitions that have a score. */
  readonly mean: number;
  readonly count: number;
}

/** What one experiment made of one example. */
export interface MatrixCell {
  readonly experimentId: string;
  /** One per repetition. */
  readonly runIds: readonly string[];
  readonly scores: readonly MatrixScore[];
  /** Repetitions whose target failed. */
  readonly failedRuns: number;
  /** Evaluations that failed, by feedback key. */
  readonly failedKeys: readonly string[];
}

export interface MatrixRow {
  readonly exampleId: string;
  /** In the order of the experiments; one that never saw the example has a cell without runs. */
  readonly cells: readonly MatrixCell[];
}

/** All parts hold. An experiment without a score neither passes nor fails. */
export interface MatrixCondition {
  /** The metric `passedBy`, `failedBy` and `changed` are about. */
  readonly metric?: string | undefined;
  /** A mean at least this passes; at most this where lower is better. */
  readonly passAt: number;
  readonly passedBy: readonly string[];
  readonly failedBy: readonly string[];
  /** Examples on which the experiment is better or worse than the baseline, which comes first. */
  readonly changed?: { readonly experimentId: string; readonly to: 'BETTER' | 'WORSE' } | undefined;
}

export function matrixOf(
  experiments: readonly LoadedExperiment[],
  refs: readonly MetricRef[],
  metrics: readonly Metric[],
  condition: MatrixCondition,
): MatrixRow[] {
  const tables = experiments.map((experiment) => cellsOf(experiment, refs));
  const exampleIds = [...new Set(tables.flatMap((table) => [...table.keys()]))].sort();
  const holds = conditionOn(condition, experiments[0]?.experimentId, metrics);
  return exampleIds
    .map((exampleId) => ({
      exampleId,
      cells: tables.map(
        (table, index) => table.get(exampleId) ?? emptyCell(experiments[index]?.experimentId ?? ''),
      ),
    }))
    .filter(holds);
}

const emptyCell = (experimentId: string): MatrixCell => ({
  experimentId,
  runIds: [],
  scores: [],
  failedRuns: 0,
  failedKeys: [],
});

function cellsOf(experiment: LoadedExperiment, refs: readonly MetricRef[]): Map<string, MatrixCell> {
  const readers = refs.map((ref) => ({ metric: metricName(ref), valueOf: reader(experiment, ref) }));
  const byExample = new Map<string, LoadedExperiment['rows'][number][]>();
  for (const row of experiment.rows) {
    const rows = byExample.get(row.exampleId);
    if (rows === undefined) byExample.set(row.exampleId, [row]);
    else rows.push(row);
  }
  return new Map(
    [...byExample].map(([exampleId, rows]) => [
      exampleId,
      {
        experimentId: experiment.experimentId,
        runIds: rows.map(({ runId }) => runId),
        scores: readers.flatMap(({ metric, valueOf }) => {
          const values = rows.flatMap((row) => valueOf(row) ?? []);
          if (values.length === 0) return [];
          return [
            {
              metric,
              mean: values.reduce((sum, value) => sum + value, 0) / values.length,
              count: values.length,
            },
          ];
        }),
        failedRuns: rows.filter(({ error }) => error).length,
        failedKeys: [...new Set(rows.flatMap(({ failedKeys }) => failedKeys))].sort(),
      },
    ]),
  );
}

function conditionOn(
  { metric, passAt, passedBy, failedBy, changed }: MatrixCondition,
  baselineId: string | undefined,
  metrics: readonly Metric[],
): (row: MatrixRow) => boolean {
  if (metric === undefined) return () => true;
  const isLower = metrics.find(({ key }) => key === metric)?.direction === 'lower';
  const meanOf = ({ cells }: MatrixRow, experimentId: string | undefined): number | undefined =>
    cells.find((cell) => cell.experimentId === experimentId)?.scores.find((score) => score.metric === metric)
      ?.mean;
  const passes = (mean: number): boolean => (isLower ? mean <= passAt : mean >= passAt);
  return (row) => {
    const verdict = (experimentId: string): boolean | undefined => {
      const mean = meanOf(row, experimentId);
      return mean === undefined ? undefined : passes(mean);
    };
    if (!passedBy.every((id) => verdict(id) === true) || !failedBy.every((id) => verdict(id) === false)) {
      return false;
    }
    if (changed === undefined) return true;
    const [before, after] = [meanOf(row, baselineId), meanOf(row, changed.experimentId)];
    if (before === undefined || after === undefined || before === after) return false;
    return (after > before !== isLower) === (changed.to === 'BETTER');
  };
}
