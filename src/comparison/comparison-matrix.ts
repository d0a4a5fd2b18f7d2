/** Experiments side by side, example by example, and the examples on which they differ. Pure; runs on a thread. */
import type { Metric } from './compare.js';

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

/** All rows of one experiment, by column. Crosses to the thread as it is. */
export interface MatrixTable {
  readonly experimentId: string;
  /** Of each row. */
  readonly exampleIds: readonly string[];
  readonly runIds: readonly string[];
  /** 1 where the target failed. */
  readonly failed: Uint8Array;
  /** Of each row without a score because an evaluation failed, few as they are. */
  readonly failedKeys: ReadonlyMap<number, readonly string[]>;
  /** In the order in which metrics are shown: a number per row; NaN where the row has none. */
  readonly columns: readonly { readonly metric: string; readonly values: Float64Array }[];
}

export interface MatrixInput {
  /** The baseline first. */
  readonly tables: readonly MatrixTable[];
  readonly metrics: readonly Metric[];
  readonly condition: MatrixCondition;
  /** By experiment: examples that are not what the baseline was asked; on those it is neither better nor worse. */
  readonly changed?: ReadonlyMap<string, ReadonlySet<string>>;
}

export function matrix({ tables, metrics, condition, changed = new Map() }: MatrixInput): MatrixRow[] {
  const cells = tables.map(cellsOf);
  const exampleIds = [...new Set(cells.flatMap((table) => [...table.keys()]))].sort();
  const holds = conditionOn(condition, tables[0]?.experimentId, metrics, changed);
  return exampleIds
    .map((exampleId) => ({
      exampleId,
      cells: cells.map(
        (table, index) => table.get(exampleId) ?? emptyCell(tables[index]?.experimentId ?? ''),
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

function cellsOf(table: MatrixTable): Map<string, MatrixCell> {
  const byExample = new Map<string, number[]>();
  table.exampleIds.forEach((exampleId, row) => {
    const rows = byExample.get(exampleId);
    if (rows === undefined) byExample.set(exampleId, [row]);
    else rows.push(row);
  });
  return new Map([...byExample].map(([exampleId, rows]) => [exampleId, cellOf(table, rows)]));
}

function cellOf(
  { experimentId, runIds, failed, failedKeys, columns }: MatrixTable,
  rows: readonly number[],
): MatrixCell {
  return {
    experimentId,
    runIds: rows.flatMap((row) => runIds[row] ?? []),
    scores: columns.flatMap(({ metric, values }) => {
      const given = rows.map((row) => values[row] ?? Number.NaN).filter((value) => !Number.isNaN(value));
      if (given.length === 0) return [];
      return [
        { metric, mean: given.reduce((sum, value) => sum + value, 0) / given.length, count: given.length },
      ];
    }),
    failedRuns: rows.filter((row) => failed[row] === 1).length,
    failedKeys: [...new Set(rows.flatMap((row) => failedKeys.get(row) ?? []))].sort(),
  };
}

function conditionOn(
  { metric, passAt, passedBy, failedBy, changed }: MatrixCondition,
  baselineId: string | undefined,
  metrics: readonly Metric[],
  changedExamples: ReadonlyMap<string, ReadonlySet<string>>,
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
    if (changedExamples.get(changed.experimentId)?.has(row.exampleId) === true) return false;
    const [before, after] = [meanOf(row, baselineId), meanOf(row, changed.experimentId)];
    if (before === undefined || after === undefined || before === after) return false;
    return (after > before !== isLower) === (changed.to === 'BETTER');
  };
}
