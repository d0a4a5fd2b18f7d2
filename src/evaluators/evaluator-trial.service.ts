/** Trying an evaluator, stored or not yet, on something: the outcome is shown and no score is stored. */
import type { ExampleService } from '../datasets/example.service.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import type { RunField } from '../runs/run-columns.js';
import type { RunService } from '../runs/run.service.js';
import { requireScope, type Principal } from '../tenancy/principal.js';
import type {
  EvaluationContext,
  EvaluationOutcome,
  EvaluationStep,
  EvaluationSubject,
  EvaluatorRuntime,
  EvaluatorVersion,
  PairOutcome,
} from './evaluation.js';
import { configHash, namingProblems, type EvaluatorDefinition } from './evaluator.js';
import type { EvaluatorRef, EvaluatorService } from './evaluator.service.js';

/** What is to be judged: a stored run, or what is given. */
export type TrialRun =
  | { readonly runId: string }
  | {
      readonly given: {
        readonly inputs?: JsonValue;
        readonly outputs: JsonValue;
        readonly error?: string | null;
        readonly metadata?: JsonObject;
        readonly latency?: number | null;
        readonly steps?: readonly Pick<EvaluationStep, 'name' | 'runType' | 'inputs' | 'outputs'>[];
      };
    };

export type TrialReference =
  | { readonly exampleId: string }
  | {
      readonly given: {
        readonly inputs?: JsonValue;
        readonly reference: JsonValue;
        readonly metadata?: JsonObject;
      };
    };

export interface Trial {
  readonly evaluator: { readonly ref: EvaluatorRef } | { readonly definition: EvaluatorDefinition };
  readonly run: TrialRun;
  /** For kinds that compare. */
  readonly otherRun?: TrialRun | undefined;
  /** Absent: the example the run belongs to, if it belongs to one. */
  readonly reference?: TrialReference | undefined;
}

export interface EvaluatorTrialDeps {
  readonly evaluators: EvaluatorService;
  readonly runtime: EvaluatorRuntime;
  readonly runs: Pick<RunService, 'findRuns' | 'findTraces' | 'listTraceRuns'>;
  readonly examples: Pick<ExampleService, 'findExamples'>;
  readonly ids: Ids;
}

type SubjectRun = EvaluationSubject['run'];
type SubjectExample = NonNullable<EvaluationSubject['example']>;

interface FoundRun {
  readonly run: SubjectRun;
  readonly exampleId: string | undefined;
  readonly steps: readonly EvaluationStep[] | undefined;
}

/** Where runs of judges go that are only tried. */
export const TRIAL_PROJECT = 'evaluator trials';
const DRAFT_NAME = 'draft';
const MAX_STEPS = 1_000;
const NO_ID = '00000000-0000-0000-0000-000000000000';

const RUN_FIELDS: readonly RunField[] = [
  'traceId',
  'name',
  'runType',
  'inputs',
  'outputs',
  'error',
  'latencySeconds',
  'firstTokenLatencySeconds',
  'tags',
  'metadata',
  'referenceExampleId',
];
const STEP_FIELDS: readonly RunField[] = [
  'parentRunId',
  'name',
  'runType',
  'inputs',
  'outputs',
  'error',
  'latencySeconds',
];

export class EvaluatorTrials {
  readonly #deps: EvaluatorTrialDeps;

  constructor(deps: EvaluatorTrialDeps) {
    this.#deps = deps;
  }

  /** Judges cost what they cost; their runs are kept in a project of their own. */
  async run(
    principal: Principal,
    trial: Trial,
    signal: AbortSignal,
  ): Promise<Result<EvaluationOutcome | PairOutcome>> {
    requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { runtime, ids } = this.#deps;
    const evaluator = await this.#evaluator(principal, trial.evaluator);
    if (!evaluator.ok) return evaluator;
    const withSteps = runtime.needsSteps(evaluator.value);
    const found = await this.#findRun(principal, trial.run, withSteps);
    if (found === undefined) return failed(problem('NOT_FOUND', 'There is no such run.', ['run', 'runId']));
    const reference =
      trial.reference ?? (found.exampleId === undefined ? undefined : { exampleId: found.exampleId });
    const example = reference && (await this.#findExample(principal, reference));
    if (trial.reference !== undefined && example === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such example.', ['reference', 'exampleId']));
    }
    const context: EvaluationContext = {
      evaluationId: ids.uuid(),
      projectName: TRIAL_PROJECT,
      seed: 0,
      signal,
    };
    const withExample = example && { example };
    if (trial.otherRun === undefined) {
      const steps = withSteps && found.steps !== undefined ? { steps: found.steps } : {};
      return ok(
        await runtime.evaluate(evaluator.value, { run: found.run, ...withExample, ...steps }, context),
      );
    }
    const other = await this.#findRun(principal, trial.otherRun, false);
    if (other === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such run.', ['otherRun', 'runId']));
    }
    const pair = { runs: [found.run, other.run] as const, ...withExample };
    return ok(await runtime.compare(evaluator.value, pair, context));
  }

  async #evaluator(principal: Principal, choice: Trial['evaluator']): Promise<Result<EvaluatorVersion>> {
    const { evaluators } = this.#deps;
    if ('ref' in choice) {
      const resolved = await evaluators.resolve(principal, [choice.ref]);
      if (!resolved.ok) {
        return failed(...resolved.problems.map((one) => ({ ...one, path: ['evaluator'] })));
      }
      const [version] = resolved.value;
      return version === undefined
        ? failed(problem('NOT_FOUND', 'There is no such evaluator.', ['evaluator']))
        : ok(version);
    }
    const { kind, feedbackKey, config } = choice.definition;
    const naming = namingProblems({ feedbackKey });
    const spec = await evaluators.checkDefinition(principal, { kind, config });
    if (!spec.ok || naming.length > 0) {
      const problems = [...naming, ...(spec.ok ? [] : spec.problems)];
      return failed(...problems.map((one) => ({ ...one, path: ['definition', ...one.path] })));
    }
    const settings = spec.value.config as JsonObject;
    return ok({
      uuid: NO_ID,
      workspaceId: principal.workspaceId,
      evaluatorId: NO_ID,
      evaluatorName: DRAFT_NAME,
      version: 0,
      kind,
      feedbackKey,
      config: settings,
      configHash: configHash(kind, feedbackKey, settings),
    });
  }

  async #findRun(principal: Principal, wanted: TrialRun, withSteps: boolean): Promise<FoundRun | undefined> {
    if ('given' in wanted) return givenRun(wanted.given);
    const { runs } = this.#deps;
    const [row] = await runs.findRuns(principal, [wanted.runId], RUN_FIELDS);
    if (row === undefined) return undefined;
    const traceId = row.traceId ?? row.uuid;
    // Model calls carry the usage; the run that is judged is mostly their root.
    const [totals] = await runs.findTraces(principal, [traceId]);
    return {
      run: {
        id: row.uuid,
        traceId,
        name: row.name ?? '',
        runType: row.runType ?? 'chain',
        inputs: parsed(row.inputs),
        outputs: parsed(row.outputs),
        error: row.error ?? null,
        latency: row.latencySeconds ?? null,
        firstTokenLatency: row.firstTokenLatencySeconds ?? null,
        totalTokens: totals === undefined || totals.totalTokens === '0' ? null : Number(totals.totalTokens),
        totalCost: totals?.totalCost ?? null,
        tags: row.tags ?? [],
        metadata: parsed(row.metadata) as JsonObject,
      },
      exampleId: row.referenceExampleId ?? undefined,
      steps: withSteps ? await this.#findSteps(principal, traceId) : undefined,
    };
  }

  async #findSteps(principal: Principal, traceId: string): Promise<EvaluationStep[]> {
    const { runs } = this.#deps;
    const tree = (await runs.listTraceRuns(principal, traceId, { limit: MAX_STEPS })).slice(0, MAX_STEPS);
    const ids = tree.map(({ uuid }) => uuid);
    const rows = await runs.findRuns(principal, ids, STEP_FIELDS);
    const byId = new Map(rows.map((row) => [row.uuid, row]));
    return ids.flatMap((id) => {
      const row = byId.get(id);
      if (row === undefined) return [];
      return [
        {
          id,
          parentRunId: row.parentRunId ?? null,
          name: row.name ?? '',
          runType: row.runType ?? 'chain',
          inputs: parsed(row.inputs),
          outputs: parsed(row.outputs),
          error: row.error ?? null,
          latency: row.latencySeconds ?? null,
        },
      ];
    });
  }

  async #findExample(principal: Principal, wanted: TrialReference): Promise<SubjectExample | undefined> {
    if ('given' in wanted) {
      const { inputs = null, reference, metadata = {} } = wanted.given;
      return { id: NO_ID, inputs, reference, metadata, splits: [] };
    }
    const [example] = await this.#deps.examples.findExamples(principal, [wanted.exampleId]);
    if (example === undefined) return undefined;
    return {
      id: example.uuid,
      inputs: parsed(example.inputs),
      reference: parsed(example.outputs),
      metadata: example.metadata,
      splits: example.splits,
    };
  }
}

function givenRun({
  inputs = null,
  outputs,
  error = null,
  metadata = {},
  latency = null,
  steps,
}: Extract<TrialRun, { given: unknown }>['given']): FoundRun {
  return {
    run: {
      id: NO_ID,
      traceId: NO_ID,
      name: DRAFT_NAME,
      runType: 'chain',
      inputs,
      outputs,
      error,
      latency,
      firstTokenLatency: null,
      totalTokens: null,
      totalCost: null,
      tags: [],
      metadata,
    },
    exampleId: undefined,
    steps: steps?.map((step) => ({ ...step, id: NO_ID, parentRunId: null, error: null, latency: null })),
  };
}

const parsed = (text: string | null | undefined): JsonValue =>
  typeof text === 'string' ? (JSON.parse(text) as JsonValue) : null;
