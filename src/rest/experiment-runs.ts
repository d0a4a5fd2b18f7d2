/** Which runs of experiments belong to which examples, whatever version of the protocol shows them. */
import { allOf, parseFilter } from '../filters/filter-text.js';
import type { RunQuery } from '../runs/run-query.js';

/** Of one experiment over one page of examples: a hundred examples and repetitions. */
export const MAX_EXPERIMENT_RUNS = 20_000;

export interface ExperimentFilters {
  /** Filters on runs, by experiment. All of them hold. */
  readonly filters?: Readonly<Record<string, readonly string[]>> | null | undefined;
}

/**
 * One query per experiment, for its root runs on these examples.
 * @throws AppError BAD_USER_INPUT for a filter that does not parse.
 */
export function experimentQueries(
  experimentIds: readonly string[],
  exampleIds: readonly string[],
  { filters }: ExperimentFilters,
): RunQuery[] {
  if (exampleIds.length === 0) return [];
  return [...new Set(experimentIds)].map((id) => {
    const run = allOf(...(filters?.[id] ?? []).map((text) => parseFilter(text)));
    return {
      projectIds: [id],
      referenceExampleIds: exampleIds,
      isRoot: true,
      ...(run !== undefined && { filters: { run } }),
    };
  });
}

/** JSON texts of runs, by example. */
export class TextsByExample {
  readonly #texts = new Map<string, string[]>();

  add(exampleId: unknown, text: string): void {
    if (typeof exampleId !== 'string') return;
    const texts = this.#texts.get(exampleId);
    if (texts === undefined) this.#texts.set(exampleId, [text]);
    else texts.push(text);
  }

  /** The example's JSON text with its runs as a further member. */
  join(exampleId: string, example: string): string {
    return `${example.slice(0, -1)},"runs":[${(this.#texts.get(exampleId) ?? []).join(',')}]}`;
  }
}
