/** `/sessions` of the LangSmith protocol: projects, and experiments, which are projects with a dataset. */
import type { FeedbackService } from '../feedback/feedback.service.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { JsonObject } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import {
  PROJECT_SORTS,
  type Project,
  type ProjectFilter,
  type ProjectPatch,
  type ProjectSort,
} from '../projects/project.js';
import { MAX_PROJECT_PAGE, type ProjectService } from '../projects/project.service.js';
import type { Principal } from '../tenancy/principal.js';
import { sessionBody, sessionPatch, toWireSession, type SessionFigures } from './session.wire.js';
import { idParam, parseBody, Query, unwrap } from './wire-values.js';

export interface SessionRoutesOptions {
  readonly projects: ProjectService;
  readonly feedback: FeedbackService;
}

export function sessionRoutes({ projects, feedback }: SessionRoutesOptions): RouteModule {
  /** Figures of all given projects in three statements. */
  const figuresOf = async (
    principal: Principal,
    found: readonly Project[],
    since: string | undefined,
  ): Promise<Map<string, SessionFigures>> => {
    const ids = found.map(({ uuid }) => uuid);
    const [stats, onRuns, onProjects] = await Promise.all([
      projects.statsOf(principal, ids, since),
      feedback.statsByProjects(principal, ids, 'run'),
      feedback.statsByProjects(principal, ids, 'session'),
    ]);
    const byProject = new Map(stats.map((each) => [each.projectId, each]));
    return new Map(
      ids.map((id) => [
        id,
        {
          stats: byProject.get(id),
          feedback: onRuns.get(id) ?? [],
          sessionFeedback: onProjects.get(id) ?? [],
        },
      ]),
    );
  };

  const describe = async (principal: Principal, project: Project, since?: string): Promise<JsonObject> => {
    const figures = principal.scopes.has('read') ? await figuresOf(principal, [project], since) : undefined;
    return toWireSession(project, principal.workspaceId, figures?.get(project.uuid));
  };

  return {
    name: 'sessions',
    mount: 'v1',
    register(app) {
      app.post('/sessions', { config: { access: 'write' } }, async (request) => {
        const principal = principalOf(request);
        const upsert = new Query(request).flag('upsert') ?? false;
        const draft = parseBody(sessionBody, request.body);
        return describe(principal, unwrap(await projects.createProject(principal, draft, { upsert })));
      });

      app.get('/sessions', { config: { access: 'read' } }, async (request, reply) => {
        const principal = principalOf(request);
        const query = new Query(request);
        const since = query.time('stats_start_time');
        const { limit, offset } = query.page(MAX_PROJECT_PAGE);
        const { projects: found, total } = await projects.listProjectsByOffset(principal, {
          filter: sessionFilter(query),
          sort: sortOf(query.one('sort_by')),
          descending: query.flag('sort_by_desc') ?? true,
          feedbackKey: query.one('sort_by_feedback_key'),
          since,
          limit,
          offset,
        });
        const figures =
          query.flag('include_stats') === true ? await figuresOf(principal, found, since) : undefined;
        void reply.header('x-pagination-total', String(total));
        return found.map((project) =>
          toWireSession(project, principal.workspaceId, figures?.get(project.uuid)),
        );
      });

      // With its figures always: comparing experiments waits for the number of runs.
      app.get('/sessions/:id', { config: { access: 'read' } }, async (request) => {
        const principal = principalOf(request);
        const [project] = await projects.findProjects(principal, [idParam(request, 'Project')]);
        if (project === undefined) throw new AppError('NOT_FOUND', 'Project not found.');
        return describe(principal, project, new Query(request).time('stats_start_time'));
      });

      app.patch('/sessions/:id', { config: { access: 'write' } }, async (request) => {
        const principal = principalOf(request);
        const id = idParam(request, 'Project');
        const { name, description, extra, end_time: endTime } = parseBody(sessionPatch, request.body ?? {});
        const patch: ProjectPatch = {
          name: name ?? undefined,
          description: description ?? undefined,
          extra,
          endTime,
        };
        return describe(principal, unwrap(await projects.updateProject(principal, id, patch)));
      });

      app.delete('/sessions/:id', { config: { access: 'write' } }, async (request, reply) => {
        unwrap(await projects.deleteProject(principalOf(request), idParam(request, 'Project')));
        return reply.code(202).send({});
      });

      app.delete('/sessions', { config: { access: 'write' } }, async (request, reply) => {
        const ids = new Query(request).uuids('session_ids');
        if (ids === undefined) throw new AppError('UNPROCESSABLE', 'session_ids is required.');
        // Those that do not exist are gone already.
        for (const id of ids) await projects.deleteProject(principalOf(request), id);
        return reply.code(202).send({});
      });
    },
  };
}

function sortOf(name: string | undefined): ProjectSort {
  if (name === undefined || name === '') return 'start_time';
  const sort = PROJECT_SORTS.find((each) => each === name);
  if (sort === undefined) {
    throw new AppError('UNPROCESSABLE', `sort_by must be one of ${PROJECT_SORTS.join(', ')}.`);
  }
  return sort;
}

function sessionFilter(query: Query): ProjectFilter {
  if ((query.one('filter') ?? '') !== '') {
    throw new AppError(
      'UNPROCESSABLE',
      'filter is not supported here: use name, name_contains, id, metadata or reference_dataset.',
    );
  }
  return {
    ids: query.uuids('id'),
    name: query.one('name'),
    nameContains: query.one('name_contains'),
    referenceDatasetIds: query.uuids('reference_dataset'),
    referenceFree: query.flag('reference_free'),
    metadata: metadataOf(query.one('metadata')),
  };
}

function metadataOf(text: string | undefined): JsonObject | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch {
    // Said below, with everything else that is no object.
  }
  throw new AppError('UNPROCESSABLE', 'metadata must be a JSON object.');
}
