/** Use cases over projects, for every protocol. Runs of a deleted project are removed by a job afterwards. */
import type pg from 'pg';
import { DEFAULT_PROJECT } from '../ingest/project-resolver.js';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import type { RunDayStore } from '../runs/run-day.store.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { projectProblems } from './project.js';
import type {
  Project,
  ProjectDraft,
  ProjectFilter,
  ProjectPatch,
  ProjectSort,
  ProjectStats,
} from './project.js';
import type { ProjectStatsStore } from './project-stats.store.js';
import { needsStats } from './project-stats.store.js';
import { deleteProjectRow } from './project.store.js';
import type { DatasetExperiments, ProjectListRequest, ProjectStore } from './project.store.js';

/** Hands the removal of a project's runs to a job, in the transaction that deletes the project. */
export interface ProjectDeletionQueue {
  enqueue(tx: Queryable, scope: WorkspaceScope, projectId: string): Promise<void>;
}

export interface ProjectServiceDeps {
  /** For the transaction of deletion. */
  readonly pool: pg.Pool;
  readonly projects: ProjectStore;
  readonly stats: ProjectStatsStore;
  readonly days: RunDayStore;
  readonly deletions: ProjectDeletionQueue;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

export interface ProjectOffsetPage {
  readonly filter: ProjectFilter;
  readonly sort: ProjectSort;
  readonly descending: boolean;
  readonly feedbackKey?: string | undefined;
  /** Statistics to sort by count runs that start from here on. */
  readonly since?: string | undefined;
  /** 1 to 100. */
  readonly limit: number;
  readonly offset: number;
}

export const MAX_PROJECT_PAGE = 100;
const MAX_OFFSET = 100_000;

export class ProjectService {
  private readonly deps: ProjectServiceDeps;

  constructor(deps: ProjectServiceDeps) {
    this.deps = deps;
  }

  /** Up to `limit + 1` projects in reading order. Every workspace shows a project "default". */
  async listProjects(principal: Principal, request: ProjectListRequest): Promise<Project[]> {
    const scope = requireScope(principal, 'read');
    await this.ensureDefault(scope);
    return this.deps.projects.list(scope, request);
  }

  /** One page by offset with the number of all matches, for the wire protocol. */
  async listProjectsByOffset(
    principal: Principal,
    page: ProjectOffsetPage,
  ): Promise<{ projects: Project[]; total: number }> {
    const scope = requireScope(principal, 'read');
    const { limit, offset, sort, since } = page;
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PROJECT_PAGE) {
      throw new AppError('BAD_USER_INPUT', `limit must be between 1 and ${MAX_PROJECT_PAGE}.`, {
        path: ['limit'],
      });
    }
    if (!Number.isInteger(offset) || offset < 0 || offset > MAX_OFFSET) {
      throw new AppError('BAD_USER_INPUT', `offset must be between 0 and ${MAX_OFFSET}.`, {
        path: ['offset'],
      });
    }
    await this.ensureDefault(scope);
    const days = needsStats(sort) ? await this.deps.days.ofProjects(scope, undefined, { from: since }) : [];
    const { projectIds, total } = await this.deps.stats.listSorted(scope, {
      ...page,
      days: days.map(({ day }) => day),
    });
    const found = new Map(
      (await this.findProjects(principal, projectIds)).map((project) => [project.uuid, project]),
    );
    return { projects: projectIds.flatMap((id) => found.get(id) ?? []), total };
  }

  /** How many match; `limit + 1` stands for "more than limit". */
  async countProjects(principal: Principal, filter: ProjectFilter, limit: number): Promise<number> {
    return this.deps.projects.count(requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async findProjects(principal: Principal, ids: readonly string[]): Promise<Project[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.projects.findByIds(scope, [...new Set(ids)]);
  }

  /** In no particular order; names are unique in a workspace. */
  async findProjectsByName(principal: Principal, names: readonly string[]): Promise<Project[]> {
    const scope = requireScope(principal, 'read');
    if (names.includes(DEFAULT_PROJECT)) await this.ensureDefault(scope);
    return names.length === 0 ? [] : this.deps.projects.findByNames(scope, [...new Set(names)]);
  }

  /** By dataset: how many experiments it has, and when the last one started. */
  async experimentsOf(
    principal: Principal,
    datasetIds: readonly string[],
  ): Promise<Map<string, DatasetExperiments>> {
    const scope = requireScope(principal, 'read');
    return datasetIds.length === 0 ? new Map() : this.deps.projects.experimentsOf(scope, datasetIds);
  }

  /** Statistics of projects over runs that start at `since` or later. Projects without such runs are left out. */
  async statsOf(
    principal: Principal,
    projectIds: readonly string[],
    since?: string,
  ): Promise<ProjectStats[]> {
    const scope = requireScope(principal, 'read');
    const days = await this.deps.days.ofProjects(scope, projectIds, { from: since });
    if (days.length === 0) return [];
    return this.deps.stats.compute(
      scope,
      projectIds,
      days.map(({ day }) => day),
      since,
    );
  }

  /** With `upsert` an existing project of the name is changed where the draft says something. */
  async createProject(
    principal: Principal,
    draft: ProjectDraft,
    { upsert = false, idempotencyKey }: { upsert?: boolean; idempotencyKey?: string | null | undefined } = {},
  ): Promise<Result<Project>> {
    const scope = requireScope(principal, 'write');
    const problems = projectProblems(draft);
    if (problems.length > 0) return failed(...problems);
    const call = { mutation: 'createProject', key: idempotencyKey, input: { draft, upsert } };
    return this.deps.idempotency.once(principal, call, (tx) =>
      this.insert(this.deps.projects.within(tx), scope, draft, upsert),
    );
  }

  private async insert(
    projects: ProjectStore,
    scope: WorkspaceScope,
    draft: ProjectDraft,
    upsert: boolean,
  ): Promise<Result<Project>> {
    const { ids, clock } = this.deps;
    const created = await projects.insert(scope, { ...draft, id: draft.id ?? ids.uuid() }, clock.now());
    if (created !== undefined) return ok(created);
    const [existing] = await projects.findByNames(scope, [draft.name]);
    if (existing === undefined) {
      return failed(problem('ALREADY_EXISTS', 'There is a project with this id.', ['id']));
    }
    if (!upsert) {
      return failed(problem('ALREADY_EXISTS', `There is a project named "${draft.name}".`, ['name']));
    }
    const { description, extra, referenceDatasetId } = draft;
    const change = {
      description: description ?? undefined,
      extra,
      referenceDatasetId: referenceDatasetId ?? undefined,
    };
    return ok((await projects.update(scope, existing.uuid, change, clock.now())) ?? existing);
  }

  async updateProject(principal: Principal, id: string, patch: ProjectPatch): Promise<Result<Project>> {
    const scope = requireScope(principal, 'write');
    const problems = projectProblems(patch);
    if (problems.length > 0) return failed(...problems);
    try {
      const project = await this.deps.projects.update(scope, id, patch, this.deps.clock.now());
      return project === undefined
        ? failed(problem('NOT_FOUND', 'There is no such project.', ['id']))
        : ok(project);
    } catch (error) {
      if (sqlState(error) !== '23505') throw error;
      return failed(problem('ALREADY_EXISTS', `There is a project named "${patch.name ?? ''}".`, ['name']));
    }
  }

  /**
   * The project is gone at once, its runs soon after. Events that name it afterwards make a new one.
   * @returns the deleted project's id.
   */
  async deleteProject(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    const deleted = await transaction(this.deps.pool, async (tx) => {
      if (!(await deleteProjectRow(tx, scope, id))) return false;
      await this.deps.deletions.enqueue(tx, scope, id);
      return true;
    });
    return deleted ? ok(id) : failed(problem('NOT_FOUND', 'There is no such project.', ['id']));
  }

  private ensureDefault(scope: WorkspaceScope): Promise<void> {
    return this.deps.projects.ensure(scope, this.deps.ids.uuid(), DEFAULT_PROJECT, this.deps.clock.now());
  }
}
