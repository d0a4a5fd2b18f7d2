/** What evaluators look at: the rows' runs, their examples as of the pinned version, and whole traces where asked for. */
import { ExampleStore } from '../datasets/example.store.js';
import type { Example } from '../datasets/dataset.js';
import type { EvaluationStep, EvaluationSubject } from '../evaluators/evaluation.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { Queryable } from '../platform/db.js';
import { RunDayStore } from '../runs/run-day.store.js';
import { RunStore } from '../runs/run.store.js';
import type { RunField } from '../runs/run-columns.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

const FIELDS: readonly RunField[] = [
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
];

/** Runs of one trace that evaluators are shown. */
const MAX_STEPS = 2_000;

export interface SubjectRequest {
  readonly runId: string;
  readonly exampleId: string;
  readonly steps: boolean;
}

interface TraceUsage {
  readonly totalTokens: number | null;
  readonly totalCost: string | null;
}

export class SubjectStore {
  private readonly db: Queryable;
  private readonly runs: RunStore;
  private readonly days: RunDayStore;
  private readonly examples: ExampleStore;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
    this.runs = new RunStore({ db });
    this.days = new RunDayStore({ db });
    this.examples = new ExampleStore({ db });
  }

  /** Examples by id, content included; those that were hard deleted are missing. */
  async findExamples(
    scope: WorkspaceScope,
    dataset: { readonly datasetId: string; readonly datasetVersion: number },
    ids: readonly string[],
  ): Promise<Map<string, Example>> {
    const at = { datasetId: dataset.datasetId, pin: dataset.datasetVersion };
    const found = await this.examples.findIn(scope, at, [...new Set(ids)], true);
    return new Map(found.map((example) => [example.uuid, { ...example, inputs: example.inputs ?? 'null' }]));
  }

  /** Subjects by run, with the examples they belong to; undefined where run or example is gone. */
  async find(
    scope: WorkspaceScope,
    dataset: { readonly datasetId: string; readonly datasetVersion: number },
    requests: readonly SubjectRequest[],
  ): Promise<({ readonly subject: EvaluationSubject; readonly exampleHash: string } | undefined)[]> {
    const runIds = [...new Set(requests.map(({ runId }) => runId))];
    const [rows, examples] = await Promise.all([
      this.runs.findByIds(scope, runIds, { fields: FIELDS, content: true }),
      this.findExamples(
        scope,
        dataset,
        requests.map(({ exampleId }) => exampleId),
      ),
    ]);
    const byId = new Map(rows.map((row) => [row.uuid, row]));
    const traceIds = [...new Set(rows.map(({ traceId }) => traceId ?? ''))];
    const days = await this.days.ofTraces(scope, traceIds);
    const withSteps = requests
      .filter(({ steps }) => steps)
      .map(({ runId }) => byId.get(runId)?.traceId ?? '');
    const [usage, steps] = await Promise.all([
      this.usage(scope, traceIds, days),
      withSteps.length === 0
        ? new Map<string, EvaluationStep[]>()
        : this.steps(scope, [...new Set(withSteps)], days),
    ]);
    return requests.map((request) => {
      const row = byId.get(request.runId);
      const example = examples.get(request.exampleId);
      if (row === undefined || example === undefined) return undefined;
      const traceId = row.traceId ?? row.uuid;
      const subject: EvaluationSubject = {
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
          totalTokens: usage.get(traceId)?.totalTokens ?? null,
          totalCost: usage.get(traceId)?.totalCost ?? null,
          tags: row.tags ?? [],
          metadata: parsed(row.metadata) as JsonObject,
        },
        example: {
          id: example.uuid,
          inputs: parsed(example.inputs),
          reference: parsed(example.outputs),
          metadata: example.metadata,
          splits: example.splits,
        },
        ...(request.steps && { steps: steps.get(traceId) ?? [] }),
      };
      return { subject, exampleHash: example.contentHash };
    });
  }

  /** When a run began and ended; undefined for one that is not there or has not ended. */
  async findTimes(
    scope: WorkspaceScope,
    runId: string,
  ): Promise<{ readonly startUs: number; readonly endUs: number } | undefined> {
    const [run] = await this.runs.findByIds(scope, [runId], {
      fields: ['startTime', 'endTime'],
      content: false,
    });
    if (typeof run?.endTime !== 'string') return undefined;
    return { startUs: Date.parse(run.startTime) * 1_000, endUs: Date.parse(run.endTime) * 1_000 };
  }

  private async usage(
    scope: WorkspaceScope,
    traceIds: readonly string[],
    days: readonly string[],
  ): Promise<Map<string, TraceUsage>> {
    const { rows } = await this.db.query<TraceUsage & { traceId: string }>(
      `/* experiments.trace_usage */
      select trace_id as "traceId", sum(total_tokens)::float8 as "totalTokens",
        trim_scale(sum(total_cost))::text as "totalCost"
      from runs
      where workspace_id = $1 and trace_id = any($2::uuid[]) and day = any($3::date[])
      group by trace_id
      limit $4`,
      [scope.workspaceId, traceIds, days, traceIds.length],
    );
    return new Map(rows.map((row) => [row.traceId, row]));
  }

  private async steps(
    scope: WorkspaceScope,
    traceIds: readonly string[],
    days: readonly string[],
  ): Promise<Map<string, EvaluationStep[]>> {
    const { rows } = await this.db.query<
      Omit<EvaluationStep, 'inputs' | 'outputs'> & {
        traceId: string;
        inputs: string | null;
        outputs: string | null;
      }
    >(
      `/* experiments.steps */
      select trace_id as "traceId", id, parent_run_id as "parentRunId", name, run_type as "runType", inputs, outputs,
        error, latency
      from (
        select r.*, row_number() over (partition by r.trace_id order by r.dotted_order, r.id) as place
        from runs r
        where r.workspace_id = $1 and r.trace_id = any($2::uuid[]) and r.day = any($3::date[])
      ) step
      where place <= ${MAX_STEPS}
      order by trace_id, place
      limit $4`,
      [scope.workspaceId, traceIds, days, traceIds.length * MAX_STEPS],
    );
    const steps = new Map<string, EvaluationStep[]>();
    for (const { traceId, inputs, outputs, ...step } of rows) {
      const own = steps.get(traceId) ?? [];
      steps.set(traceId, own);
      own.push({ ...step, inputs: parsed(inputs), outputs: parsed(outputs) });
    }
    return steps;
  }
}

const parsed = (text: string | null | undefined): JsonValue =>
  typeof text === 'string' ? (JSON.parse(text) as JsonValue) : null;
