/** Use cases of comparing experiments: loads their rows once, and lets a thread do the arithmetic. */
import type { ExperimentScoresStore } from '../experiments/experiment-scores.store.js';
import type { FeedbackConfigService } from '../feedback/feedback-config.service.js';
import { AppError } from '../platform/errors.js';
import { ThreadsBusy } from '../platform/threads.js';
import type { Threads } from '../platform/threads.js';
import { seedFrom } from '../statistics/random.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import type { MatrixCondition, MatrixInput, MatrixRow } from './comparison-matrix.js';
import type { ComparisonStore } from './comparison.store.js';
import { DEFAULTS } from './compare.js';
import type { CompareInput, CompareOptions, Metric, MetricComparison } from './compare.js';
import type { EstimateInput, MetricEstimate } from './estimate.js';
import { metricName, parseMetric } from './metric.js';
import type { MetricRef } from './metric.js';
import { RecentResults } from './recent-results.js';
import { labelsOf, metricsOf, slicesOf, toMatrixTable, toScoreTable } from './score-tables.js';
import type { LoadedExperiment } from './score-tables.js';

export const MAX_EXPERIMENTS = 10;
const MAX_METRICS = 100;
const MAX_SLICE_KEYS = 5;
/** Metrics × slices × candidates of one comparison; each costs up to a tenth of a second. */
const MAX_QUESTIONS = 2_000;

export interface ComparisonSettings {
  /** By name; `*`, and absent, stand for every key and measure that occurs, `key=*` for every label of a key. */
  readonly metrics?: readonly string[] | undefined;
  /** Metadata keys of examples; `dataset_split` slices by split. */
  readonly sliceBy?: readonly string[] | undefined;
  /** Smallest difference of practical meaning, in units of a score. Default 0.02. */
  readonly threshold?: number | undefined;
  /** The same for latency, cost and tokens, as a share of the baseline's mean. Default 0.05. */
  readonly relativeThreshold?: number | undefined;
  readonly alpha?: number | undefined;
  readonly correction?: CompareOptions['correction'] | undefined;
  readonly minimumPairs?: number | undefined;
  readonly power?: number | undefined;
  /** The same seed gives the same answer to the last digit. Default: made from the experiments' ids. */
  readonly seed?: number | undefined;
}

export interface Comparison {
  readonly datasetId: string;
  readonly baselineId: string;
  readonly candidateIds: readonly string[];
  readonly options: CompareOptions;
  readonly results: readonly MetricComparison[];
  /** What a reader should know before believing the numbers. */
  readonly warnings: readonly string[];
}

/** What compare.thread.ts exports. */
export interface CompareTasks {
  compare(input: CompareInput): MetricComparison[];
  estimate(input: EstimateInput): MetricEstimate[];
  matrix(input: MatrixInput): MatrixRow[];
}

/** What an experiment says about itself. */
export interface Estimates {
  readonly datasetId: string;
  readonly results: readonly MetricEstimate[];
  /** Examples with at least one finished row. */
  readonly examples: number;
}

export interface ComparisonServiceDeps {
  readonly scores: ExperimentScoresStore;
  readonly store: ComparisonStore;
  readonly configs: FeedbackConfigService;
  readonly threads: Threads<CompareTasks>;
}

export class ComparisonService {
  private readonly deps: ComparisonServiceDeps;
  private readonly recent = new RecentResults<MatrixRow>({
    ttlMs: 10_000,
    entries: 8,
    maxRows: 20_000,
    nowMs: () => performance.now(),
  });

  constructor(deps: ComparisonServiceDeps) {
    this.deps = deps;
  }

  /**
   * @throws AppError NOT_FOUND for what is no experiment of the workspace, BAD_USER_INPUT for experiments on different
   * datasets and for settings that make no sense, UNAVAILABLE when too many comparisons wait.
   */
  async compare(
    principal: Principal,
    baselineId: string,
    candidateIds: readonly string[],
    settings: ComparisonSettings = {},
    signal?: AbortSignal,
  ): Promise<Comparison> {
    const scope = requireScope(principal, 'read');
    const options = optionsOf(settings, [baselineId, ...candidateIds]);
    const sliceBy = settings.sliceBy ?? [];
    if (sliceBy.length > MAX_SLICE_KEYS) {
      throw invalid('sliceBy', `At most ${MAX_SLICE_KEYS} metadata keys can be sliced by.`);
    }
    const datasetId = await this.commonDataset(scope, baselineId, candidateIds);
    const { baseline, candidates, refs } = await this.load(
      scope,
      baselineId,
      candidateIds,
      settings.metrics,
      sliceBy.length > 0,
    );
    const { slices, cut } = slicesOf(baseline.rows, sliceBy);
    if (refs.length * (slices.length + 1) * candidates.length > MAX_QUESTIONS) {
      throw invalid('metrics', `Metrics, slices and candidates make more than ${MAX_QUESTIONS} questions.`);
    }
    const changed = await this.changedSince(scope, datasetId, baselineId, candidateIds);
    const results = await this.onThread(
      'compare',
      {
        baseline: toScoreTable(baseline, refs),
        candidates: candidates.map((candidate) => toScoreTable(candidate, refs)),
        changed,
        metrics: await this.metrics(principal, refs, settings),
        slices,
        options,
      },
      signal,
    );
    const { unfinished, unended } = await this.deps.store.progress(scope, [baselineId, ...candidateIds]);
    const warnings = [
      ...[...unfinished].map((id) => `Experiment ${id} has not finished: its numbers will change.`),
      ...[...unended]
        .filter((id) => !unfinished.has(id))
        .map((id) => `The client of experiment ${id} has not said that it has ended.`),
      ...candidates.flatMap(({ experimentId, rows }, place) => {
        const seen = new Set(rows.map(({ exampleId }) => exampleId));
        const count = [...(changed[place] ?? [])].filter((id) => seen.has(id)).length;
        return count === 0
          ? []
          : [
              `${count} examples of experiment ${experimentId} are not those of the baseline any more: the dataset changed. They are left out.`,
            ];
      }),
      ...cut.map((key) => `"${key}" has more than 20 values; the largest slices are shown.`),
      ...[baseline, ...candidates]
        .filter(({ rows }) => rows.length >= this.deps.scores.maxRows)
        .map(
          ({ experimentId, rows }) =>
            `Experiment ${experimentId} has ${rows.length} rows or more; those behind them are left out.`,
        ),
      ...[baseline, ...candidates]
        .filter(({ rows }) => rows.length === 0)
        .map(({ experimentId }) => `Experiment ${experimentId} has no finished rows.`),
    ];
    return { datasetId, baselineId, candidateIds, options, results, warnings };
  }

  /** Example by example, in order of their ids, all that meet the condition. */
  async matrix(
    principal: Principal,
    baselineId: string,
    candidateIds: readonly string[],
    metrics: readonly string[] | undefined,
    condition: MatrixCondition,
    signal?: AbortSignal,
  ): Promise<readonly MatrixRow[]> {
    const scope = requireScope(principal, 'read');
    const datasetId = await this.commonDataset(scope, baselineId, candidateIds);
    const ids = [baselineId, ...candidateIds];
    // Whatever changes one of the experiments, or what is said of its rows, changes its revision.
    const revisions = await this.deps.store.revisions(scope, ids);
    const key = JSON.stringify([scope.workspaceId, ids, metrics ?? null, condition, revisions]);
    const compute = async (): Promise<readonly MatrixRow[]> => {
      const asked = [
        ...new Set([...(metrics ?? []), ...(condition.metric === undefined ? [] : [condition.metric])]),
      ];
      const { baseline, candidates, refs } = await this.load(
        scope,
        baselineId,
        candidateIds,
        metrics === undefined ? undefined : asked,
        false,
      );
      const changed = await this.changedSince(scope, datasetId, baselineId, candidateIds);
      // Not called off with whoever asked first: others may wait for it by now.
      return this.onThread('matrix', {
        tables: [baseline, ...candidates].map((each) => toMatrixTable(each, refs)),
        metrics: await this.metrics(principal, refs, {}),
        condition,
        changed: new Map(candidateIds.map((id, place) => [id, changed[place] ?? new Set()])),
      });
    };
    const rows = await this.recent.get(key, compute);
    signal?.throwIfAborted();
    return rows;
  }

  /** Means and intervals of one experiment alone. Throws as `compare` does. */
  async estimate(
    principal: Principal,
    experimentId: string,
    metrics: readonly string[] | undefined,
    settings: ComparisonSettings = {},
    signal?: AbortSignal,
  ): Promise<Estimates> {
    const scope = requireScope(principal, 'read');
    const { alpha, seed } = optionsOf(settings, [experimentId]);
    const sliceBy = settings.sliceBy ?? [];
    const datasetId = (await this.deps.store.datasetsOf(scope, [experimentId])).get(experimentId);
    if (datasetId === undefined) throw new AppError('NOT_FOUND', `There is no experiment ${experimentId}.`);
    const { baseline, refs } = await this.load(scope, experimentId, [], metrics, sliceBy.length > 0);
    const { slices } = slicesOf(baseline.rows, sliceBy);
    const results = await this.onThread(
      'estimate',
      { table: toScoreTable(baseline, refs), metrics: refs.map(metricName), slices, alpha, seed },
      signal,
    );
    return { datasetId, results, examples: new Set(baseline.rows.map(({ exampleId }) => exampleId)).size };
  }

  /** How often the second of two was preferred, over examples: their repetitions are averaged, a tie is half. */
  async winRate(
    comparisonId: string,
    verdicts: readonly { readonly exampleId: string; readonly preference: '0' | '1' | 'tie' }[],
    signal?: AbortSignal,
  ): Promise<MetricEstimate> {
    const points = { '0': 0, '1': 1, tie: 0.5 } as const;
    const [estimated] = await this.onThread(
      'estimate',
      {
        table: {
          experimentId: comparisonId,
          exampleIds: verdicts.map(({ exampleId }) => exampleId),
          evidenceIds: verdicts.map((_, index) => String(index)),
          reused: verdicts.map(() => false),
          columns: { preferred: Float64Array.from(verdicts, ({ preference }) => points[preference]) },
          errors: {},
          judgeDeviation: {},
        },
        metrics: ['preferred'],
        slices: [],
        alpha: DEFAULTS.alpha,
        seed: seedFrom(comparisonId),
      },
      signal,
    );
    if (estimated === undefined) throw new Error('An estimate of one metric is one.');
    return estimated;
  }

  /** The experiment a dataset's others are compared with unless told otherwise. */
  async baselineOf(principal: Principal, datasetId: string): Promise<string | undefined> {
    return this.deps.store.baselineOf(requireScope(principal, 'read'), datasetId);
  }

  /** On which of the experiments work goes on. */
  async unfinished(principal: Principal, experimentIds: readonly string[]): Promise<ReadonlySet<string>> {
    return (await this.deps.store.progress(requireScope(principal, 'read'), experimentIds)).unfinished;
  }

  /** Of each candidate, the examples that are not what the baseline was asked. */
  private async changedSince(
    scope: WorkspaceScope,
    datasetId: string,
    baselineId: string,
    candidateIds: readonly string[],
  ): Promise<ReadonlySet<string>[]> {
    const { scores, store } = this.deps;
    const pinned = await scores.versionOf(scope, baselineId);
    const changed: ReadonlySet<string>[] = [];
    for (const id of candidateIds) {
      const other = await scores.versionOf(scope, id);
      changed.push(
        pinned === undefined || other === undefined
          ? new Set()
          : await store.changedExamples(scope, datasetId, [pinned, other]),
      );
    }
    return changed;
  }

  private async commonDataset(
    scope: WorkspaceScope,
    baselineId: string,
    candidateIds: readonly string[],
  ): Promise<string> {
    const ids = [baselineId, ...candidateIds];
    if (candidateIds.length === 0 || ids.length > MAX_EXPERIMENTS || new Set(ids).size !== ids.length) {
      throw invalid('candidates', `Compare 2 to ${MAX_EXPERIMENTS} different experiments.`);
    }
    const datasets = await this.deps.store.datasetsOf(scope, ids);
    const missing = ids.find((id) => !datasets.has(id));
    if (missing !== undefined) throw new AppError('NOT_FOUND', `There is no experiment ${missing}.`);
    const [datasetId, ...others] = new Set(datasets.values());
    if (datasetId === undefined || others.length > 0) {
      throw invalid(
        'candidates',
        'These experiments are about different datasets: there is nothing to pair.',
      );
    }
    return datasetId;
  }

  private async load(
    scope: WorkspaceScope,
    baselineId: string,
    candidateIds: readonly string[],
    names: readonly string[] | undefined,
    withMetadata: boolean,
  ): Promise<{ baseline: LoadedExperiment; candidates: LoadedExperiment[]; refs: MetricRef[] }> {
    const asked = names?.map((name) => {
      const ref = parseMetric(name);
      if (ref === undefined) throw invalid('metrics', 'A metric needs a name.');
      return ref;
    });
    const labelKeys = [...new Set(asked?.flatMap((ref) => (ref.source === 'label' ? [ref.key] : [])) ?? [])];
    const loadOne = async (experimentId: string, metadata: boolean): Promise<LoadedExperiment> => {
      const { scores, store } = this.deps;
      const rows = await scores.read(scope, experimentId, { metadata });
      const runIds = rows.map(({ runId }) => runId);
      const [labels, judgeDeviation] = await Promise.all([
        labelKeys.length === 0 ? [] : store.labels(scope, experimentId, labelKeys, runIds),
        store.judgeDeviation(scope, experimentId),
      ]);
      return { experimentId, rows, labels, judgeDeviation };
    };
    const baseline = await loadOne(baselineId, withMetadata);
    const candidates: LoadedExperiment[] = [];
    // One after the other: ten large experiments at once would take every read connection.
    for (const id of candidateIds) candidates.push(await loadOne(id, false));
    const all = [baseline, ...candidates];
    const named = asked?.flatMap((ref) => expand(ref, all)) ?? metricsOf(all);
    const refs = [...new Map(named.map((ref) => [metricName(ref), ref])).values()];
    if (refs.length > MAX_METRICS) {
      throw invalid('metrics', `At most ${MAX_METRICS} metrics can be compared at once.`);
    }
    return { baseline, candidates, refs };
  }

  private async metrics(
    principal: Principal,
    refs: readonly MetricRef[],
    settings: ComparisonSettings,
  ): Promise<Metric[]> {
    const keys = [...new Set(refs.flatMap((ref) => (ref.source === 'feedback' ? [ref.key] : [])))];
    const configs = await this.deps.configs.list(
      principal,
      { keys },
      { limit: MAX_METRICS, backward: false, boundary: undefined },
    );
    const lower = new Set(configs.filter((config) => config.isLowerScoreBetter).map(({ key }) => key));
    const threshold = { kind: 'absolute', value: settings.threshold ?? DEFAULTS.threshold } as const;
    const relative = {
      kind: 'relative',
      value: settings.relativeThreshold ?? DEFAULTS.relativeThreshold,
    } as const;
    return refs.map((ref): Metric => {
      const key = metricName(ref);
      if (ref.source === 'run') {
        return { key, direction: 'lower', threshold: ref.key === 'error_rate' ? threshold : relative };
      }
      // Nobody has said which labels are good.
      if (ref.source === 'label') return { key, direction: 'none', threshold };
      return { key, direction: lower.has(ref.key) ? 'lower' : 'higher', threshold };
    });
  }

  private async onThread<Name extends keyof CompareTasks>(
    name: Name,
    input: Parameters<CompareTasks[Name]>[0],
    signal?: AbortSignal,
  ): Promise<ReturnType<CompareTasks[Name]>> {
    try {
      return await this.deps.threads.run(name, input, signal);
    } catch (error) {
      if (!(error instanceof ThreadsBusy)) throw error;
      throw new AppError('UNAVAILABLE', 'Too many comparisons are being computed.', { cause: error });
    }
  }
}

const EVERY = '*';

function expand(ref: MetricRef, experiments: readonly LoadedExperiment[]): MetricRef[] {
  if (ref.source === 'feedback' && ref.key === EVERY) return metricsOf(experiments);
  if (ref.source === 'label' && ref.label === EVERY) {
    return labelsOf(experiments, ref.key).map((label) => ({ ...ref, label }));
  }
  return [ref];
}

const invalid = (field: string, message: string): AppError =>
  new AppError('BAD_USER_INPUT', message, { path: ['input', field] });

/** @throws AppError BAD_USER_INPUT for numbers outside their range. */
function optionsOf(settings: ComparisonSettings, ids: readonly string[]): CompareOptions {
  const within = (field: keyof ComparisonSettings, value: number, low: number, high: number): number => {
    if (value >= low && value <= high) return value;
    throw invalid(field, `"${field}" must be between ${low} and ${high}.`);
  };
  within('threshold', settings.threshold ?? DEFAULTS.threshold, 0, 1e9);
  within('relativeThreshold', settings.relativeThreshold ?? DEFAULTS.relativeThreshold, 0, 100);
  return {
    alpha: within('alpha', settings.alpha ?? DEFAULTS.alpha, 0.0001, 0.5),
    correction: settings.correction ?? DEFAULTS.correction,
    minimumPairs: within('minimumPairs', settings.minimumPairs ?? DEFAULTS.minimumPairs, 2, 1_000_000),
    power: within('power', settings.power ?? DEFAULTS.power, 0.5, 0.999),
    // 31 bits, so that it is an Int to GraphQL.
    seed: settings.seed ?? seedFrom([...ids].sort().join()) >>> 1,
  };
}
