/** Gates and the history of their answers. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Gate, GateEvaluation, GateReport, GateRule, GateSettings, GateVerdict } from './gate.js';

const GATE = `id as uuid, name, description, rules, settings, failures_to_block as "failuresToBlock", revision,
  created_at as "createdAt", updated_at as "updatedAt"`;

const EVALUATION = `id as uuid, gate_id as "gateId", gate_revision as "gateRevision",
  candidate_ref as "candidateRef", candidate_experiment_id as "candidateExperimentId",
  baseline_experiment_id as "baselineExperimentId",
  coalesce(evidence_experiment_id, candidate_experiment_id) as "evidenceExperimentId", verdict, failures, blocks, report, actor,
  created_at as "createdAt"`;

const NEWEST: Keyset = {
  value: 'created_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};
const BY_NAME: Keyset = { value: 'name', type: 'text', id: 'id', direction: 'asc', nullable: false };

/** Answers looked at for failures in a row; nobody tries one candidate more often. */
const MAX_TRIES = 1_000;

type GateRow = Omit<Gate, 'rules' | 'settings'> & { rules: string; settings: string };
type EvaluationRow = Omit<GateEvaluation, 'report'> & { report: string };

const toGate = ({ rules, settings, ...row }: GateRow): Gate => ({
  ...row,
  rules: JSON.parse(rules) as GateRule[],
  settings: JSON.parse(settings) as GateSettings,
});

const toEvaluation = ({ report, ...row }: EvaluationRow): GateEvaluation => ({
  ...row,
  report: JSON.parse(report) as GateReport,
});

export interface EvaluationFilter {
  readonly gateId?: string | undefined;
  readonly candidateRef?: string | undefined;
  readonly verdicts?: readonly GateVerdict[] | undefined;
}

/** Of candidates that were tried more than once: how many got both PASS and FAIL. */
export interface Flakiness {
  readonly candidates: number;
  readonly flaky: number;
}

export class GateStore {
  async insert(tx: Queryable, scope: WorkspaceScope, gate: Gate): Promise<boolean> {
    const { rows } = await tx.query(
      `/* gates.insert */
      insert into gates (workspace_id, id, name, description, rules, settings, failures_to_block, revision, created_at,
        updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
      on conflict (workspace_id, name) do nothing
      returning id`,
      [
        scope.workspaceId,
        gate.uuid,
        gate.name,
        gate.description,
        JSON.stringify(gate.rules),
        JSON.stringify(gate.settings),
        gate.failuresToBlock,
        gate.revision,
        gate.createdAt,
      ],
    );
    return rows.length === 1;
  }

  /** Locks the gate: whoever changes it or asks it waits until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Gate | undefined> {
    const { rows } = await tx.query<GateRow>(
      `/* gates.lock */ select ${GATE} from gates where workspace_id = $1 and id = $2 limit 1 for update`,
      [scope.workspaceId, id],
    );
    return rows[0] && toGate(rows[0]);
  }

  /** Makes the next revision. */
  async update(tx: Queryable, scope: WorkspaceScope, gate: Gate): Promise<void> {
    await tx.query(
      `/* gates.update */
      update gates set name = $3, description = $4, rules = $5, settings = $6, failures_to_block = $7,
        revision = $8, updated_at = $9
      where workspace_id = $1 and id = $2`,
      [
        scope.workspaceId,
        gate.uuid,
        gate.name,
        gate.description,
        JSON.stringify(gate.rules),
        JSON.stringify(gate.settings),
        gate.failuresToBlock,
        gate.revision,
        gate.updatedAt,
      ],
    );
  }

  /** Its history stays. */
  async delete(db: Queryable, scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rowCount } = await db.query(
      '/* gates.delete */ delete from gates where workspace_id = $1 and id = $2',
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }

  async findByIds(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<Gate[]> {
    const { rows } = await db.query<GateRow>(
      `/* gates.find */ select ${GATE} from gates where workspace_id = $1 and id = any($2::uuid[]) limit ${ids.length}`,
      [scope.workspaceId, ids],
    );
    return rows.map(toGate);
  }

  async findByName(db: Queryable, scope: WorkspaceScope, name: string): Promise<Gate | undefined> {
    const { rows } = await db.query<GateRow>(
      `/* gates.find_by_name */ select ${GATE} from gates where workspace_id = $1 and name = $2 limit 1`,
      [scope.workspaceId, name],
    );
    return rows[0] && toGate(rows[0]);
  }

  /** Up to `limit + 1` by name, in reading order. */
  async list(db: Queryable, scope: WorkspaceScope, window: PageWindow): Promise<Gate[]> {
    const params: unknown[] = [scope.workspaceId];
    const { rows } = await db.query<GateRow>(
      `/* gates.list */
      select ${GATE} from gates
      where workspace_id = $1 and ${keysetCondition(BY_NAME, window, params)}
      order by ${keysetOrder(BY_NAME, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toGate);
  }

  /** Looks at no more than `limit`. */
  async count(db: Queryable, scope: WorkspaceScope, limit: number): Promise<number> {
    const { rows } = await db.query<{ count: number }>(
      `/* gates.count */
      select count(*)::int as count from (select 1 from gates where workspace_id = $1 limit $2) found`,
      [scope.workspaceId, limit],
    );
    return rows[0]?.count ?? 0;
  }

  async insertEvaluation(tx: Queryable, scope: WorkspaceScope, made: GateEvaluation): Promise<void> {
    await tx.query(
      `/* gates.insert_evaluation */
      insert into gate_evaluations (workspace_id, id, gate_id, gate_revision, candidate_ref, candidate_experiment_id,
        baseline_experiment_id, evidence_experiment_id, verdict, failures, blocks, report, actor, created_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
      [
        scope.workspaceId,
        made.uuid,
        made.gateId,
        made.gateRevision,
        made.candidateRef,
        made.candidateExperimentId,
        made.baselineExperimentId,
        made.evidenceExperimentId,
        made.verdict,
        made.failures,
        made.blocks,
        JSON.stringify(made.report),
        made.actor,
        made.createdAt,
      ],
    );
  }

  /** Earlier answers of a gate as it is now about a candidate, newest first. */
  async triesOf(
    tx: Queryable,
    scope: WorkspaceScope,
    gate: Pick<Gate, 'uuid' | 'revision'>,
    candidateRef: string,
  ): Promise<{ evidenceId: string; verdict: GateVerdict }[]> {
    const { rows } = await tx.query<{ evidenceId: string; verdict: GateVerdict }>(
      `/* gates.tries */
      select coalesce(evidence_experiment_id, candidate_experiment_id) as "evidenceId", verdict
      from gate_evaluations
      where workspace_id = $1 and gate_id = $2 and candidate_ref = $3 and gate_revision = $4
      order by created_at desc, id desc
      limit ${MAX_TRIES}`,
      [scope.workspaceId, gate.uuid, candidateRef, gate.revision],
    );
    return rows;
  }

  async findEvaluations(
    db: Queryable,
    scope: WorkspaceScope,
    ids: readonly string[],
  ): Promise<GateEvaluation[]> {
    const { rows } = await db.query<EvaluationRow>(
      `/* gates.find_evaluations */
      select ${EVALUATION} from gate_evaluations where workspace_id = $1 and id = any($2::uuid[]) limit ${ids.length}`,
      [scope.workspaceId, ids],
    );
    return rows.map(toEvaluation);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async listEvaluations(
    db: Queryable,
    scope: WorkspaceScope,
    filter: EvaluationFilter,
    window: PageWindow,
  ): Promise<GateEvaluation[]> {
    const params: unknown[] = [];
    const { rows } = await db.query<EvaluationRow>(
      `/* gates.list_evaluations */
      select ${EVALUATION} from gate_evaluations
      where ${evaluationCondition(scope, filter, params)} and ${keysetCondition(NEWEST, window, params)}
      order by ${keysetOrder(NEWEST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toEvaluation);
  }

  /** Looks at no more than `limit`. */
  async countEvaluations(
    db: Queryable,
    scope: WorkspaceScope,
    filter: EvaluationFilter,
    limit: number,
  ): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await db.query<{ count: number }>(
      `/* gates.count_evaluations */
      select count(*)::int as count from (
        select 1 from gate_evaluations where ${evaluationCondition(scope, filter, params)}
        limit $${params.push(limit)}) found`,
      params,
    );
    return rows[0]?.count ?? 0;
  }

  /** Over the answers since a time. Gates that were never asked are left out. */
  async flakiness(
    db: Queryable,
    scope: WorkspaceScope,
    gateIds: readonly string[],
    since: Date,
  ): Promise<Map<string, Flakiness>> {
    const { rows } = await db.query<Flakiness & { gateId: string }>(
      `/* gates.flakiness */
      select gate_id as "gateId", count(*)::int as candidates,
        count(*) filter (where passed and failed)::int as flaky
      from (
        select gate_id, candidate_ref, bool_or(verdict = 'PASS') as passed, bool_or(verdict = 'FAIL') as failed
        from gate_evaluations
        where workspace_id = $1 and gate_id = any($2::uuid[]) and created_at >= $3
        group by gate_id, candidate_ref
        having count(distinct coalesce(evidence_experiment_id, candidate_experiment_id)) > 1
      ) tried
      group by gate_id
      limit ${gateIds.length}`,
      [scope.workspaceId, gateIds, since],
    );
    return new Map(rows.map(({ gateId, candidates, flaky }) => [gateId, { candidates, flaky }]));
  }
}

function evaluationCondition(scope: WorkspaceScope, filter: EvaluationFilter, params: unknown[]): string {
  const conditions = [`workspace_id = $${params.push(scope.workspaceId)}`];
  if (filter.gateId !== undefined) conditions.push(`gate_id = $${params.push(filter.gateId)}`);
  if (filter.candidateRef !== undefined) {
    conditions.push(`candidate_ref = $${params.push(filter.candidateRef)}`);
  }
  if (filter.verdicts !== undefined) {
    conditions.push(`verdict = any($${params.push(filter.verdicts)}::text[])`);
  }
  return conditions.join(' and ');
}
