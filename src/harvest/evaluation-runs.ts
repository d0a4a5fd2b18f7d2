/**
 * Which runs evaluation has made. Harvested, they would bring a dataset's inputs back as if they were production's, so
 * they are left out: what experiments and evaluators of the SDKs trace unless its project is named, what Tracewell's own
 * judges and targets trace always.
 */
import type { JsonObject } from '../ingest/run-event.js';
import type { ProjectService } from '../projects/project.service.js';
import type { RunRow } from '../runs/run-columns.js';
import { isInternalRun, JUDGE_PROJECT } from '../runs/run-origin.js';
import type { Principal } from '../tenancy/principal.js';

export class EvaluationRuns {
  readonly #projects: Pick<ProjectService, 'findProjects'>;
  readonly #principal: Principal;
  /** Whether a project is evaluation's, as far as known. */
  readonly #isEvaluation: Map<string, boolean>;
  readonly #named: ReadonlySet<string>;

  /** @param named projects that are harvested whatever they are. */
  constructor(
    projects: Pick<ProjectService, 'findProjects'>,
    principal: Principal,
    named: readonly string[],
  ) {
    this.#projects = projects;
    this.#principal = principal;
    this.#named = new Set(named);
    this.#isEvaluation = new Map(named.map((id) => [id, false]));
  }

  /** The runs without those of evaluation. They need metadata, project and reference example. */
  async without(runs: readonly RunRow[]): Promise<RunRow[]> {
    const own = runs.filter((run) => !isInternalRun({ metadata: metadataOf(run) }));
    await this.#look(own.flatMap(({ projectUuid }) => projectUuid ?? []));
    return own.filter(
      ({ projectUuid = '', referenceExampleId }) =>
        this.#named.has(projectUuid) ||
        ((referenceExampleId ?? null) === null && this.#isEvaluation.get(projectUuid) !== true),
    );
  }

  async #look(projectIds: readonly string[]): Promise<void> {
    const unknown = [...new Set(projectIds)].filter((id) => !this.#isEvaluation.has(id));
    if (unknown.length === 0) return;
    for (const id of unknown) this.#isEvaluation.set(id, false);
    for (const project of await this.#projects.findProjects(this.#principal, unknown)) {
      const isEvaluation = project.referenceDatasetId !== null || project.name === JUDGE_PROJECT;
      this.#isEvaluation.set(project.uuid, isEvaluation);
    }
  }
}

export const metadataOf = ({ metadata }: { readonly metadata?: string | undefined }): JsonObject =>
  metadata === undefined ? {} : (JSON.parse(metadata) as JsonObject);
