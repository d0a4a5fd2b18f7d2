/**
 * Spans of this program's own work, over the OpenTelemetry API. Nothing is measured until telemetry-export.ts hands
 * over a tracer: until then every function here returns at once, without a span and without a context.
 *
 * Spans say what was done and how it went: names from closed lists, counts, ids. Never payloads, variables, document
 * texts or messages of errors, which may hold any of these.
 */
import {
  context,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Attributes, Context, Link, Span, SpanContext, SpanOptions, Tracer } from '@opentelemetry/api';

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-|$)/;
/** Links of one span; a group commit may serve more requests than anybody will follow. */
const MAX_LINKS = 32;

let tracer: Tracer | undefined;

/** Turns spans on, or off again with undefined. To be called by telemetry-export.ts. */
export function traceWith(given: Tracer | undefined): void {
  tracer = given;
}

/** Whether spans are recorded. For work that is only worth doing then. */
export const isTracing = (): boolean => tracer !== undefined;

/** The remote span of a W3C `traceparent` header; undefined for what is none. */
export function parseTraceparent(
  traceparent: string | null | undefined,
  tracestate?: string,
): SpanContext | undefined {
  const [, version, traceId, spanId, flags] = TRACEPARENT.exec(traceparent ?? '') ?? [];
  if (traceId === undefined || spanId === undefined || version === 'ff') return undefined;
  const found: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags ?? '0', 16) & 1,
    isRemote: true,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  };
  return isSpanContextValid(found) ? found : undefined;
}

/** The span this runs in, as a `traceparent` to be stored or sent; null without one. */
export function activeTraceparent(): string | null {
  const found = tracer && trace.getActiveSpan()?.spanContext();
  if (found === undefined) return null;
  return `00-${found.traceId}-${found.spanId}-0${found.traceFlags & 1}`;
}

const NO_FIELDS = Object.freeze({});

/** What a log line says about the span it was written in. */
export function traceFields(): { readonly trace_id?: string; readonly span_id?: string } {
  const found = tracer && trace.getActiveSpan()?.spanContext();
  return found === undefined ? NO_FIELDS : { trace_id: found.traceId, span_id: found.spanId };
}

/** Adds to the span this runs in. */
export function annotate(attributes: Attributes): void {
  if (tracer !== undefined) trace.getActiveSpan()?.setAttributes(attributes);
}

/** Marks the span this runs in as failed, with the kind of error only. */
export function markFailed(error: unknown): void {
  if (tracer === undefined) return;
  const span = trace.getActiveSpan();
  if (span !== undefined) fail(span, error);
}

function fail(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR });
  span.setAttribute('error.type', kindOf(error));
}

/** A code where there is one, such as UNAVAILABLE or an SQL state, else the class. */
function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}

/** Runs `work` in a span that ends with it. A rejection marks the span and is passed on. */
export function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  if (tracer === undefined) return work();
  return run(tracer.startSpan(name, options), context.active(), work);
}

async function run<T>(span: Span, within: Context, work: () => Promise<T>): Promise<T> {
  try {
    return await context.with(trace.setSpan(within, span), work);
  } catch (error) {
    fail(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/**
 * Runs `work` in a span of a trace of its own that points back to who asked for it: what is done later, perhaps again
 * and again, is no part of the time the asking took.
 */
export function inLinkedSpan<T>(
  name: string,
  askedBy: string | null,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  if (tracer === undefined) return work();
  const asking = parseTraceparent(askedBy);
  const links: Link[] = asking === undefined ? [] : [{ context: asking }];
  const span = tracer.startSpan(name, { kind: SpanKind.CONSUMER, attributes, links, root: true });
  return run(span, ROOT_CONTEXT, work);
}

/** What work that is gathered from several callers remembers of each. */
export const callerSpan = (): Span | undefined => tracer && trace.getActiveSpan();

/**
 * Runs `work` that is done for several callers at once, in one span: within the first caller's, pointing to the
 * others, which point back to it. Whatever context the work was started in is left behind.
 */
export function inSharedSpan<T>(
  name: string,
  callers: () => Iterable<Span | undefined>,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  if (tracer === undefined) return work();
  const [first, ...others] = [...new Set(callers())].filter((span) => span?.isRecording() === true);
  const within = first === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, first);
  const linked = others.slice(0, MAX_LINKS);
  const links = linked.flatMap((span) => (span === undefined ? [] : [{ context: span.spanContext() }]));
  const span = tracer.startSpan(name, { attributes, links }, within);
  for (const other of linked) other?.addLink({ context: span.spanContext() });
  return run(span, within, work);
}

/** What was found to have been slow gets its span afterwards; `beganMs` is of `performance.now()`. */
export function recordSpan(name: string, beganMs: number, attributes: Attributes): void {
  tracer?.startSpan(name, { attributes, startTime: performance.timeOrigin + beganMs }).end();
}

/** The span of a request, to be ended by `end`. */
export interface RequestSpan {
  /** Runs `work`, and what it starts, in the span. */
  readonly enter: (work: () => void) => void;
  /** Ends the span. Call once. */
  readonly end: (attributes: Attributes, failed: boolean) => void;
}

/** Continues the caller's trace where it sent one. Undefined while nothing is recorded. */
export function startRequestSpan(
  name: string,
  from: { readonly traceparent: string | undefined; readonly tracestate: string | undefined },
  attributes: Attributes,
): RequestSpan | undefined {
  if (tracer === undefined) return undefined;
  const remote = parseTraceparent(from.traceparent, from.tracestate);
  const within = remote === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remote);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, within);
  const inner = trace.setSpan(within, span);
  return {
    enter: (work) => context.with(inner, work),
    end: (last, failed) => {
      span.setAttributes(last);
      if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}
