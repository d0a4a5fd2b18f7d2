/** Turns the rows of experiments into what `compare` and the matrix read. Pure. */
import type { ExperimentScore } from '../experiments/experiment-scores.store.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { ScoreTable, Slice } from './compare.js';
import type { MatrixTable } from './comparison-matrix.js';
import { metricName, RUN_METRICS } from './metric.js';
import type { MetricRef, RunMetric } from './metric.js';

/** The label a row was given under a key. */
export interface RowLabel {
  readonly runId: string;
  readonly key: string;
  readonly label: string;
}

export interface LoadedExperiment {
  readonly experimentId: string;
  readonly rows: readonly ExperimentScore[];
  readonly labels: readonly RowLabel[];
  readonly judgeDeviation: Readonly<Record<string, number>>;
}

/** Values of one metadata key that become slices; the largest, where there are more. */
export const MAX_SLICE_VALUES = 20;

const runValue: Record<RunMetric, (row: ExperimentScore) => number | null> = {
  latency: (row) => row.latency,
  cost: (row) => row.cost,
  total_tokens: (row) => row.totalTokens,
  // Known for every row, also for one whose output was used again.
  error_rate: (row) => (row.error ? 1 : 0),
};

/** Every metric that at least one of the experiments has a number for, feedback keys by name, then the run's own. */
export function metricsOf(experiments: readonly LoadedExperiment[]): MetricRef[] {
  const keys = new Set<string>();
  for (const { rows } of experiments) for (const row of rows) for (const key in row.scores) keys.add(key);
  const measured = RUN_METRICS.filter((key) =>
    experiments.some(({ rows }) => rows.some((row) => runValue[key](row) !== null)),
  );
  return [
    ...[...keys].sort().map((key): MetricRef => ({ source: 'feedback', key })),
    ...measured.map((key): MetricRef => ({ source: 'run', key })),
  ];
}

/** Every label of a key that occurs, by name. */
export function labelsOf(experiments: readonly LoadedExperiment[], key: string): string[] {
  const found = new Set<string>();
  for (const { labels } of experiments) {
    for (const each of labels) if (each.key === key) found.add(each.label);
  }
  return [...found].sort();
}

export function toScoreTable(experiment: LoadedExperiment, metrics: readonly MetricRef[]): ScoreTable {
  const { rows, judgeDeviation } = experiment;
  const columns: Record<string, Float64Array> = {};
  const errors: Record<string, string[]> = {};
  for (const ref of metrics) {
    const valueOf = reader(experiment, ref);
    columns[metricName(ref)] = Float64Array.from(rows, (row) => valueOf(row) ?? Number.NaN);
    if (ref.source !== 'run') {
      errors[metricName(ref)] = rows.flatMap(({ exampleId, failedKeys }) =>
        failedKeys.includes(ref.key) ? [exampleId] : [],
      );
    }
  }
  return {
    experimentId: experiment.experimentId,
    exampleIds: rows.map(({ exampleId }) => exampleId),
    evidenceIds: rows.map(({ cachedFrom, runId }) => cachedFrom ?? runId),
    reused: rows.map(({ cachedFrom }) => cachedFrom !== null),
    columns,
    errors,
    judgeDeviation,
  };
}

export function toMatrixTable(experiment: LoadedExperiment, metrics: readonly MetricRef[]): MatrixTable {
  const { experimentId, rows } = experiment;
  return {
    experimentId,
    exampleIds: rows.map(({ exampleId }) => exampleId),
    runIds: rows.map(({ runId }) => runId),
    failed: Uint8Array.from(rows, ({ error }) => (error ? 1 : 0)),
    failedKeys: new Map(
      rows.flatMap(({ failedKeys }, row) => (failedKeys.length === 0 ? [] : [[row, failedKeys] as const])),
    ),
    columns: metrics.map((ref) => {
      const valueOf = reader(experiment, ref);
      return {
        metric: metricName(ref),
        values: Float64Array.from(rows, (row) => valueOf(row) ?? Number.NaN),
      };
    }),
  };
}

/** What a row says under a metric; null where it says nothing. */
export function reader(
  experiment: LoadedExperiment,
  ref: MetricRef,
): (row: ExperimentScore) => number | null {
  if (ref.source === 'feedback') return ({ scores }) => scores[ref.key] ?? null;
  if (ref.source === 'run') return runValue[ref.key];
  const byRun = new Map(
    experiment.labels.filter(({ key }) => key === ref.key).map(({ runId, label }) => [runId, label]),
  );
  return ({ runId }) => {
    const label = byRun.get(runId);
    if (label === undefined) return null;
    return label === ref.label ? 1 : 0;
  };
}

/** Examples by the values of metadata keys, as the baseline saw them. An example in several splits is in several. */
export function slicesOf(
  rows: readonly ExperimentScore[],
  keys: readonly string[],
): { slices: Slice[]; cut: string[] } {
  const slices: Slice[] = [];
  const cut: string[] = [];
  for (const key of keys) {
    const byValue = new Map<string, Set<string>>();
    for (const { exampleId, exampleMetadata } of rows) {
      for (const value of valuesOf(exampleMetadata, key)) {
        const ids = byValue.get(value);
        if (ids === undefined) byValue.set(value, new Set([exampleId]));
        else ids.add(exampleId);
      }
    }
    const bySize = [...byValue].sort(
      ([a, first], [b, second]) => second.size - first.size || (a < b ? -1 : 1),
    );
    if (bySize.length > MAX_SLICE_VALUES) cut.push(key);
    for (const [value, exampleIds] of bySize.slice(0, MAX_SLICE_VALUES)) {
      slices.push({ key, value, exampleIds });
    }
  }
  return { slices, cut };
}

/** A key may lead into nested objects with dots; a key that has dots itself comes first. */
function valuesOf(metadata: JsonObject | undefined, key: string): string[] {
  if (metadata === undefined) return [];
  let found: JsonValue | undefined = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
  if (found === undefined) {
    found = metadata;
    for (const step of key.split('.')) {
      if (
        found === null ||
        typeof found !== 'object' ||
        Array.isArray(found) ||
        !Object.hasOwn(found, step)
      ) {
        return [];
      }
      found = found[step] ?? null;
    }
  }
  return (Array.isArray(found) ? found : [found]).flatMap((value) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
      ? [String(value)]
      : [],
  );
}
