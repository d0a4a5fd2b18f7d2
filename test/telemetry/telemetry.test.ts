import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { context, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import fc from 'fast-check';
import { execute, GraphQLInt, GraphQLList, GraphQLObjectType, GraphQLSchema, parse } from 'graphql';
import { spawnSync } from 'node:child_process';
import { ConfigError, loadConfig } from '../../src/config.js';
import { inOperationSpan, traceSlowResolvers } from '../../src/graphql/tracing.js';
import { AppError } from '../../src/platform/errors.js';
import { createLogger } from '../../src/platform/log.js';
import { startTelemetry } from '../../src/platform/telemetry-export.js';
import {
  activeTraceparent,
  callerSpan,
  inLinkedSpan,
  inSharedSpan,
  inSpan,
  isTracing,
  parseTraceparent,
  recordSpan,
  traceFields,
  traceWith,
} from '../../src/platform/telemetry.js';

const log = createLogger('silent', 'test');
const hex = (length: number) =>
  fc
    .array(fc.integer({ min: 0, max: 15 }), { minLength: length, maxLength: length })
    .map((digits) => digits.map((digit) => digit.toString(16)).join(''))
    .filter((text) => /[^0]/.test(text));

describe('a traceparent', () => {
  test('is read for what it says', () => {
    fc.assert(
      fc.property(hex(32), hex(16), fc.integer({ min: 0, max: 255 }), (traceId, spanId, flags) => {
        const header = `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`;
        expect(parseTraceparent(header)).toEqual({ traceId, spanId, traceFlags: flags & 1, isRemote: true });
      }),
    );
  });

  test('that is none is nothing', () => {
    const [traceId, spanId] = ['1'.repeat(32), '2'.repeat(16)];
    for (const header of [
      undefined,
      null,
      '',
      'nonsense',
      `00-${traceId}-${spanId}`,
      `ff-${traceId}-${spanId}-01`,
      `00-${'0'.repeat(32)}-${spanId}-01`,
      `00-${traceId}-${'0'.repeat(16)}-01`,
      `00-${traceId.toUpperCase().replace('1', 'A')}-${spanId}-01`,
    ]) {
      expect(parseTraceparent(header)).toBeUndefined();
    }
    fc.assert(fc.property(fc.string(), (text) => expect(() => parseTraceparent(text)).not.toThrow()));
  });
});

describe('without a collector', () => {
  test('work runs as if nothing was there', async () => {
    const stop = await startTelemetry({
      settings: undefined,
      process: 'gateway',
      version: '0',
      instanceId: 'i',
      log,
    });
    expect(isTracing()).toBe(false);
    const promise = Promise.resolve(1);
    expect(inSpan('one', {}, () => promise)).toBe(promise);
    expect(inLinkedSpan('two', null, {}, () => promise)).toBe(promise);
    const untouched = (): never => {
      throw new Error('callers are asked for nobody');
    };
    expect(inSharedSpan('three', untouched, {}, () => promise)).toBe(promise);
    expect([callerSpan(), activeTraceparent()]).toEqual([undefined, null]);
    expect(traceFields()).toBe(traceFields());
    recordSpan('four', 0, {});
    await stop();
  });

  test('the SDK is not loaded', () => {
    const script = `
      const { startTelemetry } = await import('./src/platform/telemetry-export.ts');
      await startTelemetry({ settings: undefined });
      const { createRequire } = await import('node:module');
      const loaded = Object.keys(createRequire(import.meta.url).cache);
      console.log(loaded.some((file) => file.includes('sdk-trace')), loaded.some((file) => file.includes('otlp')));`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    expect(spawnSync(process.execPath, args, { encoding: 'utf8', env: bareEnv() }).stdout.trim()).toBe(
      'false false',
    );
  });
});

const bareEnv = (): NodeJS.ProcessEnv => ({ ...process.env, NODE_OPTIONS: '' });

describe('with a tracer', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  beforeAll(() => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    traceWith(provider.getTracer('test'));
  });
  afterEach(() => exporter.reset());
  afterAll(async () => {
    traceWith(undefined);
    context.disable();
    await provider.shutdown();
  });
  const spans = () =>
    exporter.getFinishedSpans().map(({ name, attributes, status, links, parentSpanContext }) => ({
      name,
      attributes,
      code: status.code,
      message: status.message,
      links: links.length,
      hasParent: parentSpanContext !== undefined,
    }));

  test('a failure is marked by its kind; its message may say too much', async () => {
    const secret = new AppError('UNAVAILABLE', 'the text of somebody');
    await expect(inSpan('work', {}, () => Promise.reject(secret))).rejects.toBe(secret);
    const boom = inSpan('more', {}, () => Promise.reject(new TypeError('the text of somebody')));
    await expect(boom).rejects.toThrow();
    expect(spans()).toEqual([
      expect.objectContaining({
        name: 'work',
        code: SpanStatusCode.ERROR,
        attributes: { 'error.type': 'UNAVAILABLE' },
      }),
      expect.objectContaining({
        name: 'more',
        code: SpanStatusCode.ERROR,
        attributes: { 'error.type': 'TypeError' },
      }),
    ]);
    expect(JSON.stringify(spans())).not.toContain('somebody');
  });

  test('log fields and traceparents are those of the span they are asked in', async () => {
    await inSpan('outer', {}, async () => {
      const found = trace.getActiveSpan()?.spanContext();
      expect(traceFields()).toEqual({ trace_id: found?.traceId, span_id: found?.spanId });
      expect(activeTraceparent()).toBe(`00-${found?.traceId}-${found?.spanId}-01`);
      await inLinkedSpan('later', activeTraceparent(), {}, async () => {
        expect(traceFields().trace_id).not.toBe(found?.traceId);
      });
    });
    expect(traceFields()).toEqual({});
    expect(spans().map(({ name, links, hasParent }) => [name, links, hasParent])).toEqual([
      ['later', 1, false],
      ['outer', 0, false],
    ]);
  });

  test('shared work belongs to its first caller and to no context it was started in', async () => {
    const callers = await Promise.all(
      Array.from({ length: 40 }, () => inSpan('caller', {}, () => Promise.resolve(callerSpan()))),
    );
    exporter.reset();
    // Ended spans are asked no more.
    await inSpan('bystander', {}, () =>
      inSharedSpan(
        'alone',
        () => callers,
        {},
        () => Promise.resolve(),
      ),
    );
    expect(spans()[0]).toMatchObject({ name: 'alone', hasParent: false, links: 0 });
    exporter.reset();
    const open = Array.from({ length: 40 }, () => provider.getTracer('test').startSpan('open'));
    await inSharedSpan(
      'shared',
      () => [undefined, ...open, ...open],
      {},
      () => Promise.resolve(),
    );
    expect(spans()[0]).toMatchObject({ name: 'shared', hasParent: true, links: 32 });
    for (const span of open) span.end();
    const counts = spans()
      .slice(1)
      .map(({ links }) => links);
    expect(counts.filter((links) => links === 1)).toHaveLength(32);
  });

  test('only slow resolvers get a span, and no more than twenty of an operation', async () => {
    const later = (ms: number) => () => new Promise((resolve) => setTimeout(() => resolve(1), ms));
    const row = new GraphQLObjectType({
      name: 'Row',
      fields: { slow: { type: GraphQLInt, resolve: later(70) } },
    });
    const schema = new GraphQLSchema({
      query: new GraphQLObjectType({
        name: 'Query',
        fields: {
          quick: { type: GraphQLInt, resolve: later(0) },
          plain: { type: GraphQLInt, resolve: () => 1 },
          slow: { type: GraphQLInt, resolve: later(70) },
          rows: { type: new GraphQLList(row), resolve: () => Array.from({ length: 30 }, () => ({})) },
        },
      }),
    });
    traceSlowResolvers(schema);
    const run = (text: string) => {
      const document = parse(text);
      return inOperationSpan({ document, operationName: undefined, cost: 7 }, async () =>
        execute({ schema, document, contextValue: {} }),
      );
    };
    await run('query Some { quick plain slow }');
    expect(spans().map(({ name }) => name)).toEqual(['graphql resolve', 'graphql query']);
    expect(spans()[0]).toMatchObject({ attributes: { 'graphql.field': 'Query.slow' }, hasParent: true });
    const [resolve, operation] = exporter.getFinishedSpans();
    expect(resolve?.duration[1]).toBeGreaterThan(50e6);
    expect(resolve?.parentSpanContext?.spanId).toBe(operation?.spanContext().spanId);
    expect(operation?.attributes).toMatchObject({
      'graphql.operation.name': 'Some',
      'tracewell.graphql.cost': 7,
    });
    exporter.reset();
    await run('{ rows { slow } }');
    expect(spans()).toHaveLength(21);
  });

  test('a log line says which span it was written in', () => {
    const script = `
      const { createLogger } = await import('./src/platform/log.ts');
      const { inSpan, traceWith } = await import('./src/platform/telemetry.ts');
      const { context } = await import('@opentelemetry/api');
      const { AsyncLocalStorageContextManager } = await import('@opentelemetry/context-async-hooks');
      const { TracerProvider } = await import('@opentelemetry/sdk-trace');
      const log = createLogger('info', 'test').child({ reqId: 'r' });
      log.info({ runs: 1 }, 'outside');
      context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
      traceWith(new TracerProvider().getTracer('test'));
      await inSpan('work', {}, async () => log.info({ projects: 2 }, 'inside'));`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env: bareEnv() });
    const [outside, inside] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(outside).toMatchObject({ msg: 'outside', reqId: 'r', runs: 1 });
    expect(outside).not.toHaveProperty('trace_id');
    // What is logged once is not in the next line.
    expect(inside).not.toHaveProperty('runs');
    expect(inside).toMatchObject({
      msg: 'inside',
      reqId: 'r',
      trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
    expect(inside?.['span_id']).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe('the settings', () => {
  const telemetry = (env: NodeJS.ProcessEnv) => loadConfig(env).telemetry;

  test('are off by default and take the standard variables', () => {
    expect(telemetry({ OTEL_SERVICE_NAME: 'mine', OTEL_TRACES_SAMPLER: 'always_off' })).toBeUndefined();
    const found = telemetry({
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector.example.com:4318/base',
      OTEL_EXPORTER_OTLP_HEADERS: 'Authorization=Basic%20YTpi, x-b = c=d ,',
      OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
    });
    expect(found).toMatchObject({
      endpoint: 'https://collector.example.com:4318/base',
      serviceName: undefined,
      sampler: 'parentbased_traceidratio',
      ratio: 0.25,
    });
    expect(found?.headers.map(({ name, value }) => [name, value.reveal()])).toEqual([
      ['Authorization', 'Basic YTpi'],
      ['x-b', 'c=d'],
    ]);
    expect(JSON.stringify(found)).not.toContain('YTpi');
  });

  test('that make no sense are refused with their names', () => {
    const problem = (name: string, value: string): string => {
      try {
        loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318', [name]: value });
        return 'none';
      } catch (error) {
        return error instanceof ConfigError ? error.message : String(error);
      }
    };
    for (const [name, value] of [
      ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
      ['OTEL_EXPORTER_OTLP_HEADERS', 'no pair'],
      ['OTEL_EXPORTER_OTLP_HEADERS', 'a=%E0%A4%A'],
      ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
      ['OTEL_TRACES_SAMPLER_ARG', '2'],
    ] as const) {
      expect(problem(name, value)).toContain(`${name}: `);
    }
  });

  test('refuse this gateway as its own collector', () => {
    const env = { PORT: '2001', HOST: '10.1.2.3', PUBLIC_URL: 'https://traces.example.com/' };
    for (const endpoint of [
      'http://localhost:2001',
      'http://127.0.0.1:2001/otel',
      'http://[::1]:2001',
      'http://10.1.2.3:2001',
      'https://traces.example.com',
    ]) {
      expect(() => telemetry({ ...env, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })).toThrow('is this gateway');
    }
    expect(telemetry({ ...env, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://localhost:4318' })).toBeDefined();
  });
});
