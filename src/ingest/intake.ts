/**
 * The one door of the write path. Protocol adapters hand over what they translated; this asserts the scope, names
 * what was refused, and waits for the commit. One bad item never decides over its neighbours.
 */
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';
import { cleanJsonText, MAX_JSON_DEPTH, nestsDeeper, stringifyDeep } from '../platform/json-text.js';
import type { Logger } from '../platform/log.js';
import type { Metrics } from '../platform/metrics.js';
import { inSpan } from '../platform/telemetry.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { JsonObject, Refusal, RunEvent } from './run-event.js';
import { isRefusal, translateRun } from './wire-run.js';
import type { WireRun } from './wire-run.js';

/** Where events go. Refusals are aligned with the events; resolves after the commit. */
export interface RunSink {
  write(events: readonly RunEvent[]): Promise<readonly (Refusal | undefined)[]>;
}

/** Takes feedback objects that came along with runs. Resolves after the commit. */
export type FeedbackIntake = (
  principal: Principal,
  feedback: readonly JsonObject[],
) => Promise<readonly Refusal[]>;

export type IntakeProtocol = 'rest' | 'otlp' | 'graphql';

export interface IntakeOutcome {
  /** Ids of the runs that are committed, each once. */
  readonly accepted: readonly string[];
  readonly refused: readonly Refusal[];
  /** How many feedback objects were stored along with the runs. */
  readonly feedback?: number;
}

export interface IntakeDeps {
  readonly sink: RunSink;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Reasons in the metric are these fields or `other`: clients must not be able to make label values. */
const REASONS = new Set([
  'id',
  'trace_id',
  'parent_run_id',
  'dotted_order',
  'start_time',
  'end_time',
  'run_type',
  'session_id',
  'session_name',
  'tags',
  'extra',
  'inputs',
  'outputs',
  'events',
  'error',
  'serialized',
  'attachment',
  'feedback',
]);

export class IntakeService {
  readonly #deps: IntakeDeps;

  constructor(deps: IntakeDeps) {
    this.#deps = deps;
  }

  /**
   * Run objects of the wire protocol as parsed values, posts before patches. Text in them may still hold what
   * cannot be stored; it is cleaned here.
   * @throws AppError FORBIDDEN without the scope "ingest".
   */
  async ingestWire(
    principal: Principal,
    runs: { readonly post: readonly JsonObject[]; readonly patch: readonly JsonObject[] },
    protocol: IntakeProtocol = 'rest',
  ): Promise<IntakeOutcome> {
    const wires = [
      ...runs.post.map((run) => wireOf('create', run)),
      ...runs.patch.map((run) => wireOf('update', run)),
    ];
    return this.ingestRuns(principal, wires, [], protocol);
  }

  /** Items whose text is clean already, beside refusals that were met on the way to them. */
  async ingestRuns(
    principal: Principal,
    wires: readonly WireRun[],
    refusals: readonly Refusal[],
    protocol: IntakeProtocol = 'rest',
  ): Promise<IntakeOutcome> {
    requireScope(principal, 'ingest');
    const { clock, ids } = this.#deps;
    const context = {
      workspaceId: principal.workspaceId,
      nowUs: clock.now().getTime() * 1_000,
      newId: () => ids.uuid(),
    };
    const events: RunEvent[] = [];
    const refused = [...refusals];
    for (const wire of wires) {
      const result = translateRun(wire, context);
      if (isRefusal(result)) refused.push(result);
      else events.push(result);
    }
    return this.ingest(principal, events, refused, protocol);
  }

  /**
   * Commits events of any protocol.
   * @throws what the sink throws when the database cannot be reached; nothing of the call is stored then.
   */
  async ingest(
    principal: Principal,
    events: readonly RunEvent[],
    refusals: readonly Refusal[] = [],
    protocol: IntakeProtocol = 'rest',
  ): Promise<IntakeOutcome> {
    requireScope(principal, 'ingest');
    const stopTimer = this.#deps.metrics.ackSeconds.startTimer();
    const span = { attributes: { 'tracewell.protocol': protocol, 'tracewell.runs': events.length } };
    const answers =
      events.length === 0 ? [] : await inSpan('intake.write', span, () => this.#deps.sink.write(events));
    stopTimer();
    const refused = [...refusals];
    const accepted = new Set<string>();
    for (const [index, event] of events.entries()) {
      const refusal = answers[index];
      if (refusal === undefined) accepted.add(event.id);
      else refused.push(refusal);
    }
    this.#report(principal, protocol, accepted.size, refused);
    return { accepted: [...accepted], refused };
  }

  #report(
    principal: Principal,
    protocol: IntakeProtocol,
    accepted: number,
    refused: readonly Refusal[],
  ): void {
    const { metrics, log } = this.#deps;
    if (accepted > 0) metrics.ingestRuns.inc({ protocol, outcome: 'accepted' }, accepted);
    if (refused.length === 0) return;
    metrics.ingestRuns.inc({ protocol, outcome: 'refused' }, refused.length);
    for (const { field } of refused) {
      const reason = field?.split('.')[0] ?? 'other';
      metrics.ingestRejected.inc({ reason: REASONS.has(reason) ? reason : 'other' });
    }
    log.warn(
      {
        workspaceId: principal.workspaceId,
        protocol,
        accepted,
        refusedCount: refused.length,
        refused: refused.slice(0, 10),
      },
      'items refused',
    );
  }
}

/** A parsed value made clean: only values whose text has something to replace are parsed again. */
function wireOf(kind: WireRun['kind'], run: JsonObject): WireRun {
  const mayBeDeep = nestsDeeper(run, MAX_JSON_DEPTH);
  const text = mayBeDeep ? stringifyDeep(run) : JSON.stringify(run);
  const clean = cleanJsonText(text);
  return {
    kind,
    run: clean === text ? run : (JSON.parse(clean) as JsonObject),
    mayBeDeep,
    mayBeLarge: text.length > LARGE_TEXT,
  };
}

/** UTF-16 units that may exceed the limit of a run once encoded: three bytes each at most. */
const LARGE_TEXT = 8 * 1024 * 1024;
