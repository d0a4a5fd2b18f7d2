/** Batched reads of one operation: projects by id, and their statistics. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { Project, ProjectStats } from './project.js';
import type { ProjectService } from './project.service.js';

const MAX_BATCH = 500;

export class ProjectLoaders {
  readonly byId: DataLoader<string, Project | undefined>;
  readonly byName: DataLoader<string, Project | undefined>;
  private readonly statsSince = new Map<string, DataLoader<string, ProjectStats | undefined>>();
  private readonly service: ProjectService;
  private readonly principal: Principal;

  constructor({ service, principal }: { service: ProjectService; principal: Principal }) {
    this.service = service;
    this.principal = principal;
    this.byId = new DataLoader(
      async (ids: readonly string[]) => {
        const found = new Map(
          (await service.findProjects(principal, ids)).map((project) => [project.uuid, project]),
        );
        return ids.map((id) => found.get(id));
      },
      { name: 'projects.find', maxBatchSize: MAX_BATCH },
    );
    this.byName = new DataLoader(
      async (names: readonly string[]) => {
        const found = await service.findProjectsByName(principal, names);
        const byName = new Map(found.map((project) => [project.name, project]));
        return names.map((name) => byName.get(name));
      },
      { name: 'projects.findNamed', maxBatchSize: MAX_BATCH },
    );
  }

  /** Statistics over runs that start at `since` or later; undefined for a project without such runs. */
  stats(projectId: string, since: string | undefined): Promise<ProjectStats | undefined> {
    let loader = this.statsSince.get(since ?? '');
    if (loader === undefined) {
      loader = new DataLoader(
        async (ids: readonly string[]) => {
          const found = await this.service.statsOf(this.principal, ids, since);
          const byProject = new Map(found.map((stats) => [stats.projectId, stats]));
          return ids.map((id) => byProject.get(id));
        },
        { name: 'projects.stats', maxBatchSize: MAX_BATCH },
      );
      this.statsSince.set(since ?? '', loader);
    }
    return loader.load(projectId);
  }
}
