/**
 * Use cases of harvests: defining and previewing them, starting executions, deciding on what they propose. Whoever
 * makes or starts one needs the content scope, because examples show what runs contain.
 */
import type pg from 'pg';
import { v5 } from 'uuid';
import type { ContentReads } from '../audit/content-read.js';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import { isUuid } from '../platform/ids.js';
import type { Ids } from '../platform/ids.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import type { ProjectService } from '../projects/project.service.js';
import type { Schedule, ScheduleOutcome } from '../schedules/schedule.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { placeOf } from './candidate.store.js';
import type { CandidateStore } from './candidate.store.js';
import { nameProblems, readDefinition, windowOf } from './harvest.js';
import type {
  Harvest,
  HarvestCandidate,
  HarvestDefinition,
  HarvestDraft,
  HarvestPatch,
  HarvestRun,
  Verdict,
} from './harvest.js';
import { executeHarvestJob } from './harvest.jobs.js';
import type { HarvestRunFilter, HarvestRunStore } from './harvest-run.store.js';
import type { HarvestFilter, HarvestStore } from './harvest.store.js';
import type { HarvestWriter } from './harvest-writer.js';

export interface HarvestServiceDeps {
  readonly pool: pg.Pool;
  readonly queue: JobQueue;
  readonly harvests: HarvestStore;
  readonly runs: HarvestRunStore;
  readonly candidates: CandidateStore;
  readonly writer: HarvestWriter;
  readonly datasets: Pick<DatasetService, 'findDataset'>;
  readonly projects: Pick<ProjectService, 'findProjects'>;
  readonly idempotency: Idempotency;
  readonly contentReads: ContentReads;
  readonly clock: Clock;
  readonly ids: Ids;
}

const MAX_HARVESTS = 1_000;
/** Executions of one harvest that run or wait for a decision. */
const MAX_OPEN = 50;
/** Executions of schedules get ids made of schedule and due time, so that no time is harvested twice. */
const SCHEDULED = 'a2b40d6e-5d3f-4f0b-9a57-5e8c11a6a1f4';
const NOTHING = { mutation: '', key: undefined, input: undefined };

export class HarvestService {
  private readonly deps: HarvestServiceDeps;

  constructor(deps: HarvestServiceDeps) {
    this.deps = deps;
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: HarvestFilter, window: PageWindow): Promise<Harvest[]> {
    return this.deps.harvests.list(this.deps.pool, requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit`. */
  async count(principal: Principal, filter: HarvestFilter, limit: number): Promise<number> {
    return this.deps.harvests.count(this.deps.pool, requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async find(principal: Principal, ids: readonly string[]): Promise<Harvest[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.harvests.findByIds(this.deps.pool, scope, [...new Set(ids)]);
  }

  async findByName(principal: Principal, name: string): Promise<Harvest | undefined> {
    return this.deps.harvests.findByName(this.deps.pool, requireScope(principal, 'read'), name);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async listRuns(principal: Principal, filter: HarvestRunFilter, window: PageWindow): Promise<HarvestRun[]> {
    return this.deps.runs.list(this.deps.pool, requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit`. */
  async countRuns(principal: Principal, filter: HarvestRunFilter, limit: number): Promise<number> {
    return this.deps.runs.count(this.deps.pool, requireScope(principal, 'read'), filter, limit);
  }

  async findRuns(principal: Principal, ids: readonly string[]): Promise<HarvestRun[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.runs.findByIds(this.deps.pool, scope, [...new Set(ids)]);
  }

  /** Up to `limit + 1` in order of the runs' start; without the content scope, or where not wanted, content is null. */
  async listCandidates(
    principal: Principal,
    harvestRunId: string,
    verdicts: readonly Verdict[] | undefined,
    window: PageWindow,
    wanted = true,
  ): Promise<HarvestCandidate[]> {
    const scope = requireScope(principal, 'read');
    const content = wanted && mayReadContent(principal);
    const request = { harvestRunId, verdicts, window, content };
    const rows = await this.deps.candidates.list(this.deps.pool, scope, request);
    const read = rows.slice(0, window.limit).filter(({ inputs }) => inputs !== null);
    if (read.length > 0) {
      const ids = read.map(({ sourceRunId }) => sourceRunId);
      this.deps.contentReads.note(principal, { type: 'candidate', ids, fields: ['inputs', 'outputs'] });
    }
    return rows;
  }

  /** Looks at no more than `limit`. */
  async countCandidates(
    principal: Principal,
    harvestRunId: string,
    verdicts: readonly Verdict[] | undefined,
    limit: number,
  ): Promise<number> {
    const scope = requireScope(principal, 'read');
    return this.deps.candidates.count(this.deps.pool, scope, harvestRunId, verdicts, limit);
  }

  // ── Defining ─────────────────────────────────────────────────────────────────────────────────────────────

  async create(
    principal: Principal,
    draft: HarvestDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<Harvest>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { name, description, datasetId } = draft;
    const definition = await this.check(principal, { name, description }, datasetId, draft.definition);
    if (!definition.ok) return definition;
    const { harvests, idempotency, clock, ids } = this.deps;
    const call = { mutation: 'createHarvest', key: idempotencyKey, input: draft };
    return idempotency.once(principal, call, async (tx) => {
      if ((await harvests.count(tx, scope, {}, MAX_HARVESTS)) >= MAX_HARVESTS) {
        return failed(problem('LIMIT_EXCEEDED', `A workspace may have ${MAX_HARVESTS} harvests.`));
      }
      const harvest = {
        uuid: ids.uuid(),
        name,
        description: description ?? null,
        datasetId,
        definition: definition.value,
        actor: actorOf(principal),
      };
      const made = await harvests.insert(tx, scope, harvest, clock.now());
      return made === undefined ? failed(nameTaken(name)) : ok(made);
    });
  }

  /** Executions under way keep the definition they were started with. */
  async update(principal: Principal, id: string, patch: HarvestPatch): Promise<Result<Harvest>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { pool, harvests, clock } = this.deps;
    const [before] = await this.find(principal, [id]);
    if (before === undefined) return failed(notFound());
    const datasetId = patch.datasetId ?? before.datasetId;
    const definition = await this.check(principal, patch, datasetId, patch.definition ?? before.definition);
    if (!definition.ok) return definition;
    try {
      return await transaction(pool, async (tx) => {
        const current = await harvests.lock(tx, scope, id);
        if (current === undefined) return failed(notFound());
        const next = {
          ...current,
          name: patch.name ?? current.name,
          description: patch.description === undefined ? current.description : patch.description,
          datasetId: patch.datasetId ?? current.datasetId,
          definition: patch.definition === undefined ? current.definition : definition.value,
        };
        const updated = await harvests.update(tx, scope, next, clock.now());
        return updated === undefined ? failed(notFound()) : ok(updated);
      });
    } catch (error) {
      if (sqlState(error) !== '23505') throw error;
      return failed(nameTaken(patch.name ?? ''));
    }
  }

  /** Executions that are open are cancelled; examples stay. @returns the id. */
  async delete(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    const { pool, harvests, runs, candidates, clock } = this.deps;
    return transaction(pool, async (tx) => {
      if ((await harvests.lock(tx, scope, id)) === undefined) return failed(notFound());
      const open = await runs.openOf(tx, scope, id, 2 * MAX_OPEN);
      for (const run of open) {
        const end = { from: ['running', 'proposed'], to: 'cancelled' } as const;
        await runs.move(tx, scope, run, end, clock.now());
      }
      await candidates.forgetContent(tx, scope, open);
      await harvests.delete(tx, scope, id);
      return ok(id);
    });
  }

  /** The definition with its defaults, where it and what it names are good. */
  async check(
    principal: Principal,
    named: Pick<HarvestPatch, 'name' | 'description'>,
    datasetId: string,
    draft: unknown,
  ): Promise<Result<HarvestDefinition>> {
    const definition = readDefinition(draft);
    const problems: Problem[] = [...nameProblems(named), ...(definition.ok ? [] : definition.problems)];
    if ((await this.deps.datasets.findDataset(principal, datasetId)) === undefined) {
      problems.push(problem('NOT_FOUND', 'Dataset not found.', ['datasetId']));
    }
    if (definition.ok) problems.push(...(await this.projectProblems(principal, definition.value)));
    return problems.length > 0 ? failed(...problems) : definition;
  }

  private async projectProblems(principal: Principal, { projectIds }: HarvestDefinition): Promise<Problem[]> {
    if (projectIds.length === 0) return [];
    const found = await this.deps.projects.findProjects(principal, projectIds);
    const known = new Set(found.map(({ uuid }) => uuid));
    return projectIds.flatMap((id, index) =>
      known.has(id)
        ? []
        : [problem('NOT_FOUND', 'Project not found.', ['definition', 'projectIds', String(index)])],
    );
  }

  // ── Carrying out ─────────────────────────────────────────────────────────────────────────────────────────

  /** Starts an execution; workers carry it out. */
  async run(principal: Principal, id: string, idempotencyKey?: string | null): Promise<Result<HarvestRun>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { idempotency, queue, ids } = this.deps;
    const call = { mutation: 'runHarvest', key: idempotencyKey, input: { id } };
    const result = await idempotency.once(principal, call, (tx) =>
      this.start(tx, scope, { id, runId: ids.uuid(), actor: actorOf(principal) }),
    );
    queue.wake();
    return result;
  }

  /** What a schedule does at one of its times. The same time again changes nothing. */
  async runScheduled(
    scope: WorkspaceScope,
    { uuid, config }: Schedule,
    dueAt: string,
  ): Promise<ScheduleOutcome> {
    const id = config['harvestId'];
    if (!isUuid(id)) return { kind: 'failed', message: 'The schedule names no harvest.' };
    const runId = v5(`${uuid}/${dueAt}`, SCHEDULED);
    const { pool, runs, queue } = this.deps;
    const [made] = await runs.findByIds(pool, scope, [runId]);
    if (made !== undefined) return { kind: 'started', resultId: runId };
    const result = await transaction(pool, (tx) =>
      this.start(tx, scope, { id, runId, actor: `schedule:${uuid}` }),
    );
    if (!result.ok) {
      return { kind: 'failed', message: result.problems.map(({ message }) => message).join(' ') };
    }
    queue.wake();
    return { kind: 'started', resultId: runId };
  }

  /** The settings of a schedule that runs a harvest. */
  async prepareSchedule(principal: Principal, id: string): Promise<Result<JsonObject>> {
    requireScope(principal, 'write');
    requireScope(principal, 'content');
    const [harvest] = await this.find(principal, [id]);
    return harvest === undefined ? failed(notFound('harvestId')) : ok({ harvestId: harvest.uuid });
  }

  private async start(
    tx: pg.PoolClient,
    scope: WorkspaceScope,
    { id, runId, actor }: { readonly id: string; readonly runId: string; readonly actor: string },
  ): Promise<Result<HarvestRun>> {
    const { harvests, runs, queue, clock } = this.deps;
    const harvest = await harvests.lock(tx, scope, id);
    if (harvest === undefined) return failed(notFound());
    if ((await runs.openOf(tx, scope, id, MAX_OPEN)).length >= MAX_OPEN) {
      const message = `${MAX_OPEN} executions of this harvest run or wait for a decision already.`;
      return failed(problem('LIMIT_EXCEEDED', message, ['id']));
    }
    const now = clock.now();
    const window = windowOf(harvest.definition, harvest.harvestedTo, now);
    const run = await runs.insert(
      tx,
      scope,
      {
        uuid: runId,
        harvestId: id,
        harvestName: harvest.name,
        datasetId: harvest.datasetId,
        revision: harvest.revision,
        definition: harvest.definition,
        windowFrom: window.from,
        windowTo: window.to,
        actor,
      },
      now,
    );
    // Another worker was first with the same due time.
    if (run === undefined) return failed(problem('CONFLICT', 'This execution was made before.'));
    const { workspaceId } = scope;
    const payload = { workspaceId, harvestRunId: runId };
    const job = await queue.enqueue(tx, executeHarvestJob, payload, { workspaceId, actor });
    await runs.setJob(tx, scope, runId, job.id);
    return ok({ ...run, jobId: job.id });
  }

  // ── Deciding ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Adds what was proposed as one version: all of it, or these runs and nothing else. */
  async approve(
    principal: Principal,
    id: string,
    sourceRunIds?: readonly string[],
  ): Promise<Result<HarvestRun>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { idempotency, candidates, writer, clock, runs } = this.deps;
    return idempotency.once(principal, NOTHING, async (tx) => {
      const run = await runs.lock(tx, scope, id);
      if (run?.state !== 'proposed') return failed(notProposed(run));
      if (sourceRunIds !== undefined) {
        const wanted = [...new Set(sourceRunIds)];
        const pending = new Set(await candidates.pendingIds(tx, scope, id));
        const unknown = wanted.find((each) => !pending.has(each));
        if (unknown !== undefined) {
          const path = ['candidates', String(sourceRunIds.indexOf(unknown))];
          return failed(problem('NOT_FOUND', `Run ${unknown} is not proposed.`, path));
        }
        await this.rejectPending(tx, scope, run, wanted);
      }
      const written = await writer.apply(tx, scope, run, actorOf(principal));
      if (!written.ok) return failed(problem('NOT_FOUND', 'The dataset is gone.', ['id']));
      // What turned out to be there already, or not to fit, may come again.
      await candidates.release(tx, scope, id, ['proposed']);
      const { made, version } = written.value;
      const end = { from: ['proposed'], to: 'applied', decidedBy: actorOf(principal) } as const;
      const moved = await runs.move(
        tx,
        scope,
        id,
        { ...end, ...(made && { version: version?.version }) },
        clock.now(),
      );
      return moved === undefined ? failed(notProposed(run)) : ok(moved);
    });
  }

  /** Adds nothing; these runs are not proposed again. */
  async reject(principal: Principal, id: string): Promise<Result<HarvestRun>> {
    const scope = requireScope(principal, 'write');
    const { idempotency, clock, runs } = this.deps;
    return idempotency.once(principal, NOTHING, async (tx) => {
      const run = await runs.lock(tx, scope, id);
      if (run?.state !== 'proposed') return failed(notProposed(run));
      await this.rejectPending(tx, scope, run, []);
      const end = { from: ['proposed'], to: 'rejected', decidedBy: actorOf(principal) } as const;
      const moved = await runs.move(tx, scope, id, end, clock.now());
      return moved === undefined ? failed(notProposed(run)) : ok(moved);
    });
  }

  /** Calls off what runs, or takes back what is proposed: those runs may be harvested again. */
  async cancel(principal: Principal, id: string): Promise<Result<HarvestRun>> {
    const scope = requireScope(principal, 'write');
    const { idempotency, candidates, clock, runs } = this.deps;
    return idempotency.once(principal, NOTHING, async (tx) => {
      const end = {
        from: ['running', 'proposed'],
        to: 'cancelled',
        decidedBy: actorOf(principal),
      } as const;
      const moved = await runs.move(tx, scope, id, end, clock.now());
      if (moved === undefined) {
        const [run] = await runs.findByIds(tx, scope, [id]);
        return failed(
          run === undefined ? notFound() : problem('CONFLICT', `It is ${run.state} already.`, ['id']),
        );
      }
      await candidates.forgetContent(tx, scope, [id]);
      await candidates.release(tx, scope, id, ['proposed', 'passed_over']);
      return ok(moved);
    });
  }

  private async rejectPending(
    tx: pg.PoolClient,
    scope: WorkspaceScope,
    run: HarvestRun,
    except: readonly string[],
  ): Promise<void> {
    const { candidates, clock } = this.deps;
    const rejected = await candidates.decideRest(tx, scope, run.uuid, 'rejected', except);
    await candidates.take(tx, scope, placeOf(run), rejected, 'rejected', clock.now());
  }
}

const actorOf = ({ userId, keyId }: Principal): string => userId ?? keyId;

const notFound = (field = 'id'): Problem => problem('NOT_FOUND', 'There is no such harvest.', [field]);

const notProposed = (run: HarvestRun | undefined): Problem =>
  run === undefined
    ? problem('NOT_FOUND', 'There is no such execution.', ['id'])
    : problem('CONFLICT', `It is ${run.state}; only what is proposed can be decided on.`, ['id']);

const nameTaken = (name: string): Problem =>
  problem('ALREADY_EXISTS', `There is a harvest named "${name}".`, ['name']);
