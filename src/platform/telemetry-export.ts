/**
 * Sends spans to an OpenTelemetry collector over OTLP/HTTP. The SDK is loaded only where an endpoint is configured; its
 * own requests are not traced.
 */
import { context, diag, DiagLogLevel, ROOT_CONTEXT } from '@opentelemetry/api';
import type { DiagLogger } from '@opentelemetry/api';
import type * as Sdk from '@opentelemetry/sdk-trace';
import type { Logger } from './log.js';
import type { Secret } from './secret.js';
import { traceWith } from './telemetry.js';

export type SamplerName =
  | 'always_on'
  | 'always_off'
  | 'traceidratio'
  | 'parentbased_always_on'
  | 'parentbased_always_off'
  | 'parentbased_traceidratio';

export interface ExportSettings {
  /** Base address of the collector; spans go to `/v1/traces` below it. */
  readonly endpoint: string;
  /** Credentials, usually. */
  readonly headers: readonly { readonly name: string; readonly value: Secret }[];
  readonly serviceName: string | undefined;
  readonly sampler: SamplerName;
  /** Share of traces that are kept, for the samplers with a ratio. */
  readonly ratio: number;
}

export interface TelemetryOptions {
  /** Undefined: off. */
  readonly settings: ExportSettings | undefined;
  readonly process: 'gateway' | 'workers';
  readonly version: string;
  readonly instanceId: string;
  readonly log: Logger;
}

/** Spans wait at most this long; beyond 2,048 of them further ones are dropped. */
const EXPORT_EVERY_MS = 2_000;
const EXPORT_TIMEOUT_MS = 5_000;
const COMPLAIN_EVERY_MS = 60_000;

/** Resolves with what sends the last spans and turns tracing off. */
export async function startTelemetry(options: TelemetryOptions): Promise<() => Promise<void>> {
  const { settings, log } = options;
  if (settings === undefined) return () => Promise.resolve();
  const [{ AsyncLocalStorageContextManager }, { OTLPTraceExporter }, { resourceFromAttributes }, sdk] =
    await Promise.all([
      import('@opentelemetry/context-async-hooks'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/sdk-trace'),
    ]);
  diag.setLogger(complaints(log), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const exporter = new OTLPTraceExporter({
    url: `${settings.endpoint.replace(/\/$/, '')}/v1/traces`,
    headers: Object.fromEntries(settings.headers.map(({ name, value }) => [name, value.reveal()])),
    timeoutMillis: EXPORT_TIMEOUT_MS,
  });
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({
      'service.name': settings.serviceName ?? `tracewell-${options.process}`,
      'service.version': options.version,
      'service.instance.id': options.instanceId,
      'tracewell.process': options.process,
    }),
    sampler: makeSampler(sdk, settings),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter,
        scheduledDelayMillis: EXPORT_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  traceWith(provider.getTracer('tracewell', options.version));
  log.info({ collector: new URL(settings.endpoint).origin, sampler: settings.sampler }, 'spans are sent');
  return async () => {
    traceWith(undefined);
    await provider.shutdown().catch((error: unknown) => {
      log.warn({ err: error }, 'the last spans could not be sent');
    });
    context.disable();
    diag.disable();
  };
}

/** A collector that is away would be complained about with every batch. */
function complaints(log: Logger): DiagLogger {
  let quietUntilMs = 0;
  const warn = (message: string): void => {
    if (performance.now() < quietUntilMs) return;
    quietUntilMs = performance.now() + COMPLAIN_EVERY_MS;
    // Not in the span that happened to start the timer of the batch.
    context.with(ROOT_CONTEXT, () =>
      log.warn({ telemetry: message.slice(0, 500) }, 'spans could not be sent'),
    );
  };
  return { error: warn, warn, info: () => {}, debug: () => {}, verbose: () => {} };
}

function makeSampler(sdk: typeof Sdk, { sampler, ratio }: ExportSettings) {
  const own = sampler.replace('parentbased_', '');
  const root =
    own === 'traceidratio'
      ? new sdk.TraceIdRatioBasedSampler(ratio)
      : own === 'always_off'
        ? new sdk.AlwaysOffSampler()
        : new sdk.AlwaysOnSampler();
  return own === sampler ? root : new sdk.ParentBasedSampler({ root });
}
