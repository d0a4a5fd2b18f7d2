/** What a run is. Pure: no I/O. */

export const RUN_TYPES = ['tool', 'chain', 'llm', 'retriever', 'embedding', 'prompt', 'parser'] as const;
export type RunType = (typeof RUN_TYPES)[number];

export const RUN_STATUSES = ['pending', 'success', 'error'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

export function isRunType(value: unknown): value is RunType {
  return typeof value === 'string' && (RUN_TYPES as readonly string[]).includes(value);
}

/** An error wins over an end; a run without either is still running. */
export function runStatus(run: { error: string | undefined; endUs: number | undefined }): RunStatus {
  if (run.error !== undefined) return 'error';
  return run.endUs === undefined ? 'pending' : 'success';
}

/** Tokens or money in disjoint buckets: prompt and completion sum to total; details sum to at most their side. */
export interface Usage {
  readonly promptTokens?: number;
  readonly completionTokens?: number;
  readonly totalTokens?: number;
  readonly promptTokenDetails?: Readonly<Record<string, number>>;
  readonly completionTokenDetails?: Readonly<Record<string, number>>;
  /** Decimal text: money is never a double on its way to the database. */
  readonly promptCost?: string;
  readonly completionCost?: string;
  readonly totalCost?: string;
  readonly promptCostDetails?: Readonly<Record<string, string>>;
  readonly completionCostDetails?: Readonly<Record<string, string>>;
}

/** The first of these metadata keys with a value names the thread of a trace. */
export const THREAD_KEYS = ['session_id', 'thread_id', 'conversation_id'] as const;
