/** Use cases of gates: keeping them, asking them, and their history. */
import type pg from 'pg';
import { conclude } from '../comparison/compare.js';
import type { MetricComparison } from '../comparison/compare.js';
import type { ComparisonService } from '../comparison/comparison.service.js';
import type { MetricEstimate } from '../comparison/estimate.js';
import type { Experiment } from '../experiments/experiment.js';
import type { ExperimentService } from '../experiments/experiment.service.js';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { asksAbout, judgeRule } from './gate-judgement.js';
import { DEFAULT_RULES, failuresInRow, gateRule, gateSettings, MAX_RULES, together } from './gate.js';
import type { Gate, GateEvaluation, GateReport, GateRule, GateSettings } from './gate.js';
import type { EvaluationFilter, Flakiness, GateStore } from './gate.store.js';

const MAX_NAME_LENGTH = 200;
const MAX_DESCRIPTION_LENGTH = 5_000;
const MAX_REF_LENGTH = 300;
const MAX_FAILURES_TO_BLOCK = 10;
/** How far back flakiness looks. */
const FLAKINESS_DAYS = 90;

export interface GateDraft {
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly rules: readonly unknown[];
  readonly settings?: unknown;
  readonly failuresToBlock?: number | undefined;
}

/** Absent leaves. */
export type GatePatch = { readonly [Key in keyof GateDraft]?: GateDraft[Key] | undefined };

export type NamedOrId = { readonly id: string } | { readonly name: string };

export interface GateQuestion {
  /** Absent: `rules`, and where those are absent too, "nothing may regress". */
  readonly gate?: NamedOrId | undefined;
  readonly rules?: readonly unknown[] | undefined;
  readonly settings?: unknown;
  readonly candidate: NamedOrId;
  /** Absent: the dataset's baseline experiment. */
  readonly baseline?: NamedOrId | undefined;
  /** What is to be released. Absent: the experiment's `revision_id` metadata, or else the experiment itself. */
  readonly candidateRef?: string | undefined;
}

export interface GateServiceDeps {
  readonly pool: pg.Pool;
  readonly store: GateStore;
  readonly comparisons: ComparisonService;
  readonly experiments: ExperimentService;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

interface Parties {
  readonly candidate: Experiment;
  readonly baseline: Experiment | undefined;
}

export class GateService {
  private readonly deps: GateServiceDeps;

  constructor(deps: GateServiceDeps) {
    this.deps = deps;
  }

  async find(principal: Principal, ids: readonly string[]): Promise<Gate[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.store.findByIds(this.deps.pool, scope, [...new Set(ids)]);
  }

  async findByName(principal: Principal, name: string): Promise<Gate | undefined> {
    return this.deps.store.findByName(this.deps.pool, requireScope(principal, 'read'), name);
  }

  /** Up to `limit + 1` by name, in reading order. */
  async list(principal: Principal, window: PageWindow): Promise<Gate[]> {
    return this.deps.store.list(this.deps.pool, requireScope(principal, 'read'), window);
  }

  /** Looks at no more than `limit`. */
  async count(principal: Principal, limit: number): Promise<number> {
    return this.deps.store.count(this.deps.pool, requireScope(principal, 'read'), limit);
  }

  async findEvaluations(principal: Principal, ids: readonly string[]): Promise<GateEvaluation[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.store.findEvaluations(this.deps.pool, scope, [...new Set(ids)]);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async listEvaluations(
    principal: Principal,
    filter: EvaluationFilter,
    window: PageWindow,
  ): Promise<GateEvaluation[]> {
    return this.deps.store.listEvaluations(this.deps.pool, requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit`. */
  async countEvaluations(principal: Principal, filter: EvaluationFilter, limit: number): Promise<number> {
    return this.deps.store.countEvaluations(this.deps.pool, requireScope(principal, 'read'), filter, limit);
  }

  /** Over the last 90 days, by gate. */
  async flakiness(principal: Principal, gateIds: readonly string[]): Promise<Map<string, Flakiness>> {
    const since = new Date(this.deps.clock.now().getTime() - FLAKINESS_DAYS * 86_400_000);
    return this.deps.store.flakiness(this.deps.pool, requireScope(principal, 'read'), gateIds, since);
  }

  async create(
    principal: Principal,
    draft: GateDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<Gate>> {
    const scope = requireScope(principal, 'write');
    const now = this.deps.clock.now().toISOString();
    const checked = checkGate({
      uuid: this.deps.ids.uuid(),
      name: draft.name,
      description: draft.description ?? null,
      rules: draft.rules,
      settings: draft.settings ?? {},
      failuresToBlock: draft.failuresToBlock ?? 1,
      revision: 1,
      createdAt: now,
      updatedAt: now,
    });
    if (!checked.ok) return checked;
    const call = { mutation: 'createGate', key: idempotencyKey, input: draft };
    return this.deps.idempotency.once(principal, call, async (tx) => {
      if (!(await this.deps.store.insert(tx, scope, checked.value))) return failed(nameTaken(draft.name));
      const [gate] = await this.deps.store.findByIds(tx, scope, [checked.value.uuid]);
      return gate === undefined ? failed(notFound()) : ok(gate);
    });
  }

  async update(principal: Principal, id: string, patch: GatePatch): Promise<Result<Gate>> {
    const scope = requireScope(principal, 'write');
    try {
      return await transaction(this.deps.pool, async (tx) => {
        const gate = await this.deps.store.lock(tx, scope, id);
        if (gate === undefined) return failed(notFound());
        const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
        const checked = checkGate({
          ...gate,
          ...given,
          revision: gate.revision + 1,
          updatedAt: this.deps.clock.now().toISOString(),
        });
        if (!checked.ok) return checked;
        await this.deps.store.update(tx, scope, checked.value);
        const [updated] = await this.deps.store.findByIds(tx, scope, [id]);
        return updated === undefined ? failed(notFound()) : ok(updated);
      });
    } catch (error) {
      if (sqlState(error) !== '23505') throw error;
      return failed(nameTaken(patch.name ?? ''));
    }
  }

  /** Its history stays. */
  async delete(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    return (await this.deps.store.delete(this.deps.pool, scope, id)) ? ok(id) : failed(notFound());
  }

  /**
   * Asks a gate, or rules given along, and keeps the answer. Problems: NOT_FOUND, INVALID, and CONFLICT (to be tried
   * again) while an experiment has not finished.
   */
  async evaluate(
    principal: Principal,
    question: GateQuestion,
    idempotencyKey?: string | null,
    signal?: AbortSignal,
  ): Promise<Result<GateEvaluation>> {
    const scope = requireScope(principal, 'write');
    const asked = await this.rulesOf(principal, question);
    if (!asked.ok) return asked;
    const { gate, rules, settings } = asked.value;
    const parties = await this.partiesOf(principal, question, rules);
    if (!parties.ok) return parties;
    const { candidate, baseline } = parties.value;
    const report = await this.judge(principal, parties.value, rules, settings, signal);
    const verdict = together(report.outcomes.map((outcome) => outcome.verdict));
    const candidateRef = (question.candidateRef ?? refOf(candidate)).slice(0, MAX_REF_LENGTH);
    const evidenceId = await this.deps.experiments.evidenceOf(principal, candidate.uuid);
    const call = { mutation: 'evaluateGate', key: idempotencyKey, input: question };
    return this.deps.idempotency.once(principal, call, async (tx) => {
      // Two answers about one candidate at once would otherwise each be the first.
      const current = gate === undefined ? undefined : await this.deps.store.lock(tx, scope, gate.uuid);
      if (gate !== undefined && current === undefined) return failed(notFound());
      const earlier = gate === undefined ? [] : await this.deps.store.triesOf(tx, scope, gate, candidateRef);
      const failures = verdict === 'FAIL' ? failuresInRow([{ evidenceId, verdict }, ...earlier]) : 0;
      const made: GateEvaluation = {
        uuid: this.deps.ids.uuid(),
        gateId: gate?.uuid ?? null,
        gateRevision: gate?.revision ?? null,
        candidateRef,
        candidateExperimentId: candidate.uuid,
        baselineExperimentId: baseline?.uuid ?? null,
        evidenceExperimentId: evidenceId,
        verdict,
        failures,
        blocks: verdict === 'FAIL' && failures >= (gate?.failuresToBlock ?? 1),
        report,
        actor: principal.userId ?? principal.keyId,
        createdAt: this.deps.clock.now().toISOString(),
      };
      await this.deps.store.insertEvaluation(tx, scope, made);
      return ok(made);
    });
  }

  private async rulesOf(
    principal: Principal,
    question: GateQuestion,
  ): Promise<Result<{ gate: Gate | undefined; rules: readonly GateRule[]; settings: GateSettings }>> {
    if (question.gate === undefined) {
      const rules = checkRules(question.rules ?? DEFAULT_RULES);
      const settings = checkSettings(question.settings ?? {});
      if (!rules.ok) return rules;
      return settings.ok ? ok({ gate: undefined, rules: rules.value, settings: settings.value }) : settings;
    }
    if (question.rules !== undefined || question.settings !== undefined) {
      return failed(problem('INVALID', 'A gate has its own rules and settings; give either.', ['rules']));
    }
    const gate =
      'id' in question.gate
        ? (await this.find(principal, [question.gate.id]))[0]
        : await this.findByName(principal, question.gate.name);
    return gate === undefined
      ? failed(notFound('gate'))
      : ok({ gate, rules: gate.rules, settings: gate.settings });
  }

  private async partiesOf(
    principal: Principal,
    question: GateQuestion,
    rules: readonly GateRule[],
  ): Promise<Result<Parties>> {
    const candidate = await this.findExperiment(principal, question.candidate);
    if (candidate === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such experiment.', ['candidate']));
    }
    const usual =
      question.baseline === undefined
        ? await this.deps.comparisons.baselineOf(principal, candidate.datasetId)
        : undefined;
    const wanted = question.baseline ?? (usual === undefined ? undefined : { id: usual });
    const baseline = wanted === undefined ? undefined : await this.findExperiment(principal, wanted);
    if (baseline === undefined && wanted !== undefined) {
      return failed(problem('NOT_FOUND', 'There is no such experiment.', ['baseline']));
    }
    if (baseline?.uuid === candidate.uuid) {
      return failed(problem('INVALID', 'An experiment cannot be its own baseline.', ['baseline']));
    }
    if (baseline !== undefined && baseline.datasetId !== candidate.datasetId) {
      return failed(problem('INVALID', 'The experiments are about different datasets.', ['baseline']));
    }
    if (baseline === undefined && rules.some(({ kind }) => kind !== 'threshold')) {
      return failed(
        problem('INVALID', 'These rules need a baseline: name one, or set the baseline of the dataset.', [
          'baseline',
        ]),
      );
    }
    const both = [candidate, ...(baseline === undefined ? [] : [baseline])];
    const unfinished = await this.deps.comparisons.unfinished(
      principal,
      both.map(({ uuid }) => uuid),
    );
    const open = both.find(({ uuid }) => unfinished.has(uuid));
    return open === undefined
      ? ok({ candidate, baseline })
      : failed(problem('CONFLICT', `The experiment "${open.name}" has not finished.`, [], true));
  }

  private async findExperiment(principal: Principal, ref: NamedOrId): Promise<Experiment | undefined> {
    const { experiments } = this.deps;
    return 'id' in ref
      ? (await experiments.find(principal, [ref.id]))[0]
      : experiments.findByName(principal, ref.name);
  }

  private async judge(
    principal: Principal,
    { candidate, baseline }: Parties,
    rules: readonly GateRule[],
    settings: GateSettings,
    signal: AbortSignal | undefined,
  ): Promise<GateReport> {
    const estimates = await this.estimates(principal, candidate.uuid, rules, settings, signal);
    const compared = await this.compare(principal, { candidate, baseline }, rules, settings, signal);
    // Holm over exactly the questions the rules ask: others would only hide what they are about.
    const family = compared.results.filter((each) => rules.some((rule) => asksAbout(rule, each)));
    const comparisons = conclude(family, { ...settings, correction: 'holm' });
    return {
      outcomes: rules.map((rule) => judgeRule(rule, { comparisons, estimates }, settings)),
      settings,
      seed: compared.seed,
      warnings: compared.warnings,
    };
  }

  private async estimates(
    principal: Principal,
    experimentId: string,
    rules: readonly GateRule[],
    settings: GateSettings,
    signal: AbortSignal | undefined,
  ): Promise<readonly MetricEstimate[]> {
    const asked = rules.flatMap((rule) => (rule.kind === 'threshold' ? [rule] : []));
    if (asked.length === 0) return [];
    const sliceBy = [...new Set(asked.flatMap(({ slice }) => slice?.key ?? []))];
    const metrics = asked.map(({ metric }) => metric);
    const { alpha } = settings;
    return (
      await this.deps.comparisons.estimate(principal, experimentId, metrics, { sliceBy, alpha }, signal)
    ).results;
  }

  private async compare(
    principal: Principal,
    { candidate, baseline }: Parties,
    rules: readonly GateRule[],
    settings: GateSettings,
    signal: AbortSignal | undefined,
  ): Promise<{ results: readonly MetricComparison[]; warnings: readonly string[]; seed: number | null }> {
    if (baseline === undefined) return { results: [], warnings: [], seed: null };
    const metrics = rules.flatMap((rule) => {
      if (rule.kind === 'improvement') return [rule.metric];
      if (rule.kind === 'no_regression') return rule.metrics ?? ['*'];
      return rule.kind === 'label_spike' ? [`${rule.key}=*`] : [];
    });
    if (metrics.length === 0) return { results: [], warnings: [], seed: null };
    const sliceBy = [
      ...new Set(rules.flatMap((rule) => (rule.kind === 'no_regression' ? rule.sliceBy : []))),
    ];
    const { alpha, minimumPairs, threshold, relativeThreshold } = settings;
    const { results, warnings, options } = await this.deps.comparisons.compare(
      principal,
      baseline.uuid,
      [candidate.uuid],
      { metrics, sliceBy, alpha, minimumPairs, threshold, relativeThreshold, correction: 'none' },
      signal,
    );
    return { results, warnings, seed: options.seed };
  }
}

const notFound = (field = 'id'): Problem => problem('NOT_FOUND', 'There is no such gate.', [field]);

const nameTaken = (name: string): Problem =>
  problem('ALREADY_EXISTS', `There is a gate named "${name}".`, ['name']);

/** SDKs put the commit of the application there. */
function refOf({ metadata, uuid }: Experiment): string {
  const revision = metadata['revision_id'];
  return typeof revision === 'string' && revision !== '' ? revision : uuid;
}

function checkRules(rules: readonly unknown[]): Result<readonly GateRule[]> {
  if (rules.length < 1 || rules.length > MAX_RULES) {
    return failed(problem('INVALID', `A gate has 1 to ${MAX_RULES} rules.`, ['rules']));
  }
  const parsed = rules.map((rule) => gateRule.safeParse(rule));
  const problems = parsed.flatMap(({ error }, index) =>
    (error?.issues ?? []).flatMap((issue) => {
      const path = ['rules', String(index), ...issue.path.map(String)];
      return issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => problem('INVALID', `A rule of this kind has no "${key}".`, [...path, key]))
        : problem('INVALID', issue.message, path);
    }),
  );
  const checked = parsed.flatMap(({ data }) => data ?? []);
  checked.forEach((rule, index) => {
    if (rule.kind === 'threshold' && rule.atLeast === undefined && rule.atMost === undefined) {
      problems.push(problem('INVALID', 'A threshold needs "atLeast" or "atMost".', ['rules', String(index)]));
    }
  });
  return problems.length > 0 ? failed(...problems) : ok(checked);
}

function checkSettings(settings: unknown): Result<GateSettings> {
  const { data, error } = gateSettings.safeParse(settings);
  return error === undefined
    ? ok(data)
    : failed(
        ...error.issues.map(({ message, path }) =>
          problem('INVALID', message, ['settings', ...path.map(String)]),
        ),
      );
}

function checkGate(
  gate: Omit<Gate, 'rules' | 'settings'> & { readonly rules: readonly unknown[]; readonly settings: unknown },
): Result<Gate> {
  const { name, description, failuresToBlock } = gate;
  const problems: Problem[] = [];
  if (name.trim() === '' || name.length > MAX_NAME_LENGTH || /[\u0000]/.test(name) || !name.isWellFormed()) {
    problems.push(problem('INVALID', `A name has 1 to ${MAX_NAME_LENGTH} characters.`, ['name']));
  }
  if (
    description !== null &&
    (description.length > MAX_DESCRIPTION_LENGTH || description.includes('\u0000'))
  ) {
    problems.push(
      problem('INVALID', `A description has at most ${MAX_DESCRIPTION_LENGTH} characters.`, ['description']),
    );
  }
  if (!Number.isInteger(failuresToBlock) || failuresToBlock < 1 || failuresToBlock > MAX_FAILURES_TO_BLOCK) {
    problems.push(
      problem('INVALID', `failuresToBlock must be between 1 and ${MAX_FAILURES_TO_BLOCK}.`, [
        'failuresToBlock',
      ]),
    );
  }
  const rules = checkRules(gate.rules);
  const settings = checkSettings(gate.settings);
  if (!rules.ok) problems.push(...rules.problems);
  if (!settings.ok) problems.push(...settings.problems);
  return rules.ok && settings.ok && problems.length === 0
    ? ok({ ...gate, rules: rules.value, settings: settings.value })
    : failed(...problems);
}
