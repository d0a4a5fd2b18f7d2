/** A node of a trace's tree: what of a run is shown without its payloads. */
import type { RunStatus, RunType } from './run.js';

/** Times are UTC text, money decimal text, durations seconds. */
export interface TraceRun {
  readonly uuid: string;
  readonly parentRunId: string | null;
  readonly dottedOrder: string;
  readonly depth: number;
  readonly name: string;
  readonly runType: RunType;
  readonly status: RunStatus;
  readonly hasError: boolean;
  readonly startTime: string;
  readonly endTime: string | null;
  readonly latencySeconds: number | null;
  readonly firstTokenLatencySeconds: number | null;
  readonly model: string | null;
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  readonly totalTokens: number | null;
  readonly totalCost: string | null;
  readonly revision: number;
}

export type TraceRunField = keyof TraceRun;

const FIELDS: Readonly<Record<TraceRunField, true>> = {
  uuid: true,
  parentRunId: true,
  dottedOrder: true,
  depth: true,
  name: true,
  runType: true,
  status: true,
  hasError: true,
  startTime: true,
  endTime: true,
  latencySeconds: true,
  firstTokenLatencySeconds: true,
  model: true,
  promptTokens: true,
  completionTokens: true,
  totalTokens: true,
  totalCost: true,
  revision: true,
};

export const TRACE_RUN_FIELDS = Object.keys(FIELDS) as readonly TraceRunField[];

export const isTraceRunField = (name: string): name is TraceRunField => Object.hasOwn(FIELDS, name);
