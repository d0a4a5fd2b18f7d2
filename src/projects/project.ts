/** What a project is, and what a client may say about one. Pure. */
import type { JsonObject } from '../ingest/run-event.js';
import { problem, type Problem } from '../platform/result.js';

/** A named container of traces. Experiments are projects with a reference dataset. Times are UTC text. */
export interface Project {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  /** The wire protocol's extra object, metadata included. */
  readonly extra: JsonObject;
  readonly referenceDatasetId: string | null;
  readonly startTime: string;
  readonly endTime: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface ProjectDraft {
  readonly id?: string | undefined;
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly extra?: JsonObject | undefined;
  readonly referenceDatasetId?: string | null | undefined;
  /** ISO 8601; now where absent. */
  readonly startTime?: string | undefined;
}

/** A change: absent leaves, null clears. */
export interface ProjectPatch {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  /** Replaces the whole object. */
  readonly extra?: JsonObject | undefined;
  readonly endTime?: string | null | undefined;
}

/** Over the root runs of a project, tokens and money over all its runs. Durations in seconds. */
export interface ProjectStats {
  readonly projectId: string;
  readonly runCount: number;
  readonly lastRunStartTime: string | null;
  /** 0 to 1; null without runs. */
  readonly errorRate: number | null;
  readonly streamingRate: number | null;
  readonly latencyP50: number | null;
  readonly latencyP99: number | null;
  readonly firstTokenP50: number | null;
  readonly firstTokenP99: number | null;
  readonly promptTokens: string;
  readonly completionTokens: string;
  readonly totalTokens: string;
  readonly promptCost: string | null;
  readonly completionCost: string | null;
  readonly totalCost: string | null;
}

export const NO_STATS: Omit<ProjectStats, 'projectId'> = {
  runCount: 0,
  lastRunStartTime: null,
  errorRate: null,
  streamingRate: null,
  latencyP50: null,
  latencyP99: null,
  firstTokenP50: null,
  firstTokenP99: null,
  promptTokens: '0',
  completionTokens: '0',
  totalTokens: '0',
  promptCost: null,
  completionCost: null,
  totalCost: null,
};

/** Conditions on projects, all of which hold. Absent means no condition. */
export interface ProjectFilter {
  readonly ids?: readonly string[] | undefined;
  readonly name?: string | undefined;
  /** Ignoring case. */
  readonly nameContains?: string | undefined;
  readonly referenceDatasetIds?: readonly string[] | undefined;
  /** True: no experiments. False: experiments only. */
  readonly referenceFree?: boolean | undefined;
  /** Contained in `extra.metadata`. */
  readonly metadata?: JsonObject | undefined;
}

export const PROJECT_SORTS = [
  'name',
  'start_time',
  'last_run_start_time',
  'latency_p50',
  'latency_p99',
  'error_rate',
  'runs_count',
  'feedback',
] as const;
export type ProjectSort = (typeof PROJECT_SORTS)[number];

export const MAX_NAME_LENGTH = 500;
export const MAX_DESCRIPTION_LENGTH = 20_000;
/** Of `extra` as JSON text. */
export const MAX_EXTRA_LENGTH = 262_144;

/** Why a draft or patch cannot be stored; empty where it can. */
export function projectProblems(change: Pick<ProjectPatch, 'name' | 'description' | 'extra'>): Problem[] {
  const problems: Problem[] = [];
  const check = (field: string, text: string | null | undefined, max: number): void => {
    if (typeof text !== 'string') return;
    if (text.length > max) {
      problems.push(problem('INVALID', `${field} may have at most ${max} characters.`, [field]));
    }
    if (text.includes('\u0000') || !text.isWellFormed()) {
      problems.push(problem('INVALID', `${field} has characters that cannot be stored.`, [field]));
    }
  };
  if (change.name?.trim() === '') problems.push(problem('INVALID', 'name must not be empty.', ['name']));
  check('name', change.name, MAX_NAME_LENGTH);
  check('description', change.description, MAX_DESCRIPTION_LENGTH);
  if (change.extra !== undefined) {
    const text = JSON.stringify(change.extra);
    if (text.length > MAX_EXTRA_LENGTH) {
      problems.push(
        problem('INVALID', `extra may have at most ${MAX_EXTRA_LENGTH} characters as JSON.`, ['extra']),
      );
    }
    // JSON.stringify escapes NUL and lone surrogates; jsonb refuses these escapes.
    if (/\\u0000|\\u[dD][89a-fA-F]/.test(text)) {
      problems.push(problem('INVALID', 'extra has characters that cannot be stored.', ['extra']));
    }
  }
  return problems;
}
