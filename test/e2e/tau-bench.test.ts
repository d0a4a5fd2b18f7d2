/**
 * Conversations, 200 real ones where they are there, through the unmodified client and back through GraphQL. Whatever
 * is expected is computed from the data (test/support/tau-bench.ts), never from an answer of the server.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { sendConversation, someConversations } from '../support/tau-bench.js';
import type { ExpectedRun, ExpectedTrace } from '../support/tau-bench.js';
import { ENGINES, startProduct } from './product.js';
import type { Product } from './product.js';

const PROJECT = 'tau-bench';
const PARALLEL = 16;
const FIRST_START_MS = Math.floor(Date.now() / 1_000) * 1_000 - 12 * 3_600_000;
/** Conversations overlap, so that a page of runs holds runs of several traces. */
const BETWEEN_STARTS_MS = 7_000;

const conversations = someConversations();
if (!ENGINES.includes('redis')) console.log('tau-bench with Redis: SKIPPED, TEST_REDIS_URL is not set.');

/** Runs `work` over all items, several at a time, and keeps their order. */
async function inParallel<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const left = items.entries();
  const lane = async (): Promise<void> => {
    for (const [index, item] of left) results[index] = await work(item, index);
  };
  await Promise.all(Array.from({ length: PARALLEL }, lane));
  return results;
}

// ── What is expected ───────────────────────────────────────────────────────────────────────────────────────

/** A run with its place in its trace, counted from 1: the client adds it to the start time in microseconds. */
interface Fact extends ExpectedRun {
  readonly order: number;
  readonly trace: ExpectedTrace;
}

const factsOf = (traces: readonly ExpectedTrace[]): Fact[] =>
  traces.flatMap((trace) => trace.runs.map((run, index) => ({ ...run, order: index + 1, trace })));

const startOf = ({ startMs, order }: Fact): string =>
  new Date(startMs).toISOString().replace('Z', `${String(order).padStart(3, '0')}Z`);

const latencyOf = ({ startMs, endMs, order }: Fact): number => (endMs - startMs) / 1_000 - order / 1_000_000;

const totalTokensOf = ({ promptTokens, completionTokens }: ExpectedRun): number | undefined =>
  promptTokens === undefined ? undefined : promptTokens + (completionTokens ?? 0);

const bigInt = (value: number | undefined): string | null => (value === undefined ? null : String(value));

const sum = (values: readonly (number | undefined)[]): string =>
  String(values.reduce<number>((total, value) => total + (value ?? 0), 0));

/** As JSON carries it: without what is undefined. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

function storedForm(fact: Fact): Record<string, unknown> {
  const { trace } = fact;
  const isRoot = fact.parentId === undefined;
  return {
    uuid: fact.id,
    name: fact.name,
    runType: fact.runType.toUpperCase(),
    parentRunId: fact.parentId ?? null,
    traceId: fact.traceId,
    depth: isRoot ? 0 : 1,
    childCount: isRoot ? trace.runs.length - 1 : 0,
    project: { name: PROJECT },
    threadId: `customer-${trace.conversation.info.task.user_id}`,
    status: fact.error === undefined ? 'SUCCESS' : 'ERROR',
    hasError: fact.error !== undefined,
    startTime: startOf(fact),
    endTime: new Date(fact.endMs).toISOString(),
    latencySeconds: expect.closeTo(latencyOf(fact), 9),
    inputs: asJson(fact.inputs),
    outputs: asJson(fact.outputs),
    error: fact.error ?? null,
    tags: fact.tags,
    metadata: fact.metadata,
    extra: {
      metadata: fact.metadata,
      runtime: {
        library: 'langsmith',
        runtime: 'node',
        sdk: 'langsmith-js',
        sdk_version: expect.any(String),
      },
    },
    model: fact.runType === 'llm' ? 'gpt-4o' : null,
    provider: fact.runType === 'llm' ? 'openai' : null,
    promptTokens: bigInt(fact.promptTokens),
    completionTokens: bigInt(fact.completionTokens),
    totalTokens: bigInt(totalTokensOf(fact)),
    feedback: {
      nodes: isRoot
        ? [
            {
              key: 'reward',
              score: trace.feedback.score,
              comment: `task ${trace.conversation.task_id}`,
              runId: fact.id,
              traceId: fact.id,
              source: { type: 'api' },
            },
          ]
        : [],
    },
  };
}

const RUN = `uuid name runType parentRunId traceId depth childCount project { name } threadId status hasError
  startTime endTime latencySeconds inputs outputs error tags metadata extra model provider
  promptTokens completionTokens totalTokens
  feedback(first: 3) { nodes { key score comment runId traceId source { type } } }`;

/** By linear interpolation between the closest ranks, as percentile_cont is defined. */
function percentile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = fraction * (sorted.length - 1);
  const low = sorted[Math.floor(position)] ?? NaN;
  return low + ((sorted[Math.ceil(position)] ?? NaN) - low) * (position - Math.floor(position));
}

/**
 * The words searches know of a run, made anew: runs of letters and digits of its name, its error and every text in
 * inputs and outputs, without case and accents.
 */
function wordsOf(fact: Fact): Set<string> {
  const texts: string[] = [fact.name, fact.error ?? ''];
  const collect = (value: unknown): void => {
    if (typeof value === 'string') texts.push(value);
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(collect);
  };
  collect(fact.inputs);
  collect(fact.outputs);
  const words = texts.flatMap(
    (text) =>
      text
        .normalize('NFKD')
        .replace(/\p{M}/gu, '')
        .toLowerCase()
        .match(/[\p{L}\p{N}]+/gu) ?? [],
  );
  return new Set(words);
}

// ── The product ────────────────────────────────────────────────────────────────────────────────────────────

interface Page {
  runs: {
    nodes: ({ uuid: string } & Record<string, unknown>)[];
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
    totalCount: { value: number; precision: string };
  };
}

describe.each(ENGINES)('on %s', (engine) => {
  let product: Product;
  let traces: ExpectedTrace[];
  let facts: Fact[];
  let byId: Map<string, Fact>;

  beforeAll(async () => {
    product = await startProduct(engine);
    const client = product.client();
    traces = await inParallel(conversations, (conversation, index) =>
      sendConversation(client, conversation, {
        project: PROJECT,
        startMs: FIRST_START_MS + index * BETWEEN_STARTS_MS,
      }),
    );
    await client.awaitPendingTraceBatches();
    facts = factsOf(traces);
    byId = new Map(facts.map((fact) => [fact.id, fact]));
  }, 120_000);
  afterAll(() => product.close());

  /** All runs of a query, page by page. */
  async function listRuns(args: string, fields: string, pageSize: number): Promise<Page['runs'][]> {
    const pages: Page['runs'][] = [];
    let after: string | null = null;
    do {
      const { runs }: Page = await product.query<Page>(
        `query ($after: String) {
          runs(project: { name: "${PROJECT}" }, first: ${pageSize}, after: $after ${args}) {
            nodes { ${fields} } pageInfo { hasNextPage endCursor } totalCount { value precision }
          }
        }`,
        { after },
      );
      pages.push(runs);
      after = runs.pageInfo.hasNextPage ? runs.pageInfo.endCursor : null;
    } while (after !== null);
    return pages;
  }

  const ids = (pages: readonly Page['runs'][]): string[] =>
    pages.flatMap(({ nodes }) => nodes.map(({ uuid }) => uuid));

  test('every run comes back once, newest first, and every field of it is equal', async () => {
    const pages = await listRuns('', RUN, 50);
    const nodes = pages.flatMap((page) => page.nodes);
    const expected = [...facts].sort((a, b) => (startOf(a) < startOf(b) ? 1 : -1));
    expect(nodes).toHaveLength(expected.length);
    // Runs of different traces can begin in the same microsecond; then their ids decide, which clients make.
    expect(nodes.map(({ startTime }) => startTime)).toEqual(expected.map(startOf));
    expect(new Set(nodes.map(({ uuid }) => uuid)).size).toBe(expected.length);
    for (const node of nodes) {
      const fact = byId.get(node.uuid);
      if (fact === undefined) throw new Error(`${node.uuid} was never sent`);
      expect(node).toEqual(storedForm(fact));
    }
    for (const { totalCount } of pages) {
      expect(totalCount).toEqual({ value: facts.length, precision: 'EXACT' });
    }
  });

  test('the tree of every trace is the one of its conversation', async () => {
    interface Tree {
      trace: {
        root: { uuid: string };
        runs: { nodes: Record<string, unknown>[]; pageInfo: { hasNextPage: boolean } };
      } & Record<string, unknown>;
    }
    const trees = await inParallel(traces, ({ feedback }) =>
      product.query<Tree>(
        `query ($id: ID!) {
          trace(id: $id) {
            uuid runCount errorCount pendingCount threadId startTime endTime latencySeconds
            promptTokens completionTokens totalTokens project { name } root { uuid }
            runs(first: 100) {
              nodes { uuid parentRunId depth orphan name runType status startTime }
              pageInfo { hasNextPage }
            }
          }
        }`,
        { id: feedback.runId },
      ),
    );
    for (const [index, { trace }] of trees.entries()) {
      const own = factsOf(traces.slice(index, index + 1));
      const [root] = own;
      if (root === undefined) throw new Error('a trace without runs');
      expect(trace).toEqual({
        uuid: root.id,
        runCount: own.length,
        errorCount: own.filter(({ error }) => error !== undefined).length,
        pendingCount: 0,
        threadId: root.metadata['thread_id'],
        startTime: startOf(root),
        endTime: new Date(root.endMs).toISOString(),
        latencySeconds: expect.closeTo(latencyOf(root), 9),
        promptTokens: sum(own.map(({ promptTokens }) => promptTokens)),
        completionTokens: sum(own.map(({ completionTokens }) => completionTokens)),
        totalTokens: sum(own.map(totalTokensOf)),
        project: { name: PROJECT },
        root: { uuid: root.id },
        runs: {
          nodes: own.map((fact) => ({
            uuid: fact.id,
            parentRunId: fact.parentId ?? null,
            depth: fact.parentId === undefined ? 0 : 1,
            orphan: false,
            name: fact.name,
            runType: fact.runType.toUpperCase(),
            status: fact.error === undefined ? 'SUCCESS' : 'ERROR',
            startTime: startOf(fact),
          })),
          pageInfo: { hasNextPage: false },
        },
      });
    }
  });

  test('the conversations of each customer are one thread', async () => {
    const { threads } = await product.query<{
      threads: { nodes: Record<string, unknown>[]; totalCount: { value: number } };
    }>(
      `{ threads(project: { name: "${PROJECT}" }, first: 100) {
          totalCount { value }
          nodes {
            threadId traceCount errorCount firstStartTime lastStartTime latencyP50 latencyP99 lastHasError
            usage { promptTokens completionTokens totalTokens }
          }
        } }`,
    );
    const customers = new Map<unknown, ExpectedTrace[]>();
    for (const trace of traces) {
      const thread = trace.runs[0]?.metadata['thread_id'];
      customers.set(thread, [...(customers.get(thread) ?? []), trace]);
    }
    expect(threads.totalCount.value).toBe(customers.size);
    const expected = [...customers].map(([threadId, own]) => {
      const all = factsOf(own);
      const roots = all.filter(({ parentId }) => parentId === undefined);
      const starts = roots.map(startOf).sort();
      return {
        threadId,
        traceCount: own.length,
        errorCount: 0,
        firstStartTime: starts[0],
        lastStartTime: starts.at(-1),
        latencyP50: expect.closeTo(percentile(roots.map(latencyOf), 0.5), 6),
        latencyP99: expect.closeTo(percentile(roots.map(latencyOf), 0.99), 6),
        lastHasError: false,
        usage: {
          promptTokens: sum(all.map(({ promptTokens }) => promptTokens)),
          completionTokens: sum(all.map(({ completionTokens }) => completionTokens)),
          totalTokens: sum(all.map(totalTokensOf)),
        },
      };
    });
    const newestFirst = expected.sort((a, b) => ((a.lastStartTime ?? '') < (b.lastStartTime ?? '') ? 1 : -1));
    expect(threads.nodes).toEqual(newestFirst);
  });

  test('a thread lists the runs of its conversations', async () => {
    const thread = traces[0]?.runs[0]?.metadata['thread_id'];
    const found = ids(await listRuns(`, threadId: "${String(thread)}", rootsOnly: true`, 'uuid', 100));
    expect(new Set(found)).toEqual(
      new Set(
        facts
          .filter(({ metadata, parentId }) => metadata['thread_id'] === thread && parentId === undefined)
          .map(({ id }) => id),
      ),
    );
  });

  test.each([
    ['all runs', 'rootsOnly: false', () => ['']],
    ['each kind of run', 'groupBy: [{ by: RUN_TYPE }]', ({ runType }) => [runType]],
    ['each name', 'groupBy: [{ by: NAME }], limit: 100', ({ name }) => [name]],
    [
      'the roots of each trial',
      'rootsOnly: true, groupBy: [{ by: METADATA, key: "trial" }]',
      ({ parentId, trace }) => (parentId === undefined ? [String(trace.conversation.trial)] : []),
    ],
    [
      'each tag of failed conversations, once per tag',
      'groupBy: [{ by: TAG }], limit: 100, where: { filter: "has(tags, \\"failed\\")" }',
      ({ tags }) => (tags.includes('failed') ? tags : []),
    ],
  ] as [string, string, (fact: Fact) => readonly string[]][])(
    'statistics of %s equal a count made outside',
    async (_what, args, groupsOf) => {
      const { runStats } = await product.query<{ runStats: { truncated: boolean; rows: StatsRow[] } }>(
        `{ runStats(projects: [{ name: "${PROJECT}" }], ${args}) { truncated rows { groups ${FIGURES} } } }`,
      );
      const groups = new Map<string, Fact[]>();
      for (const fact of facts) {
        for (const group of groupsOf(fact)) groups.set(group, [...(groups.get(group) ?? []), fact]);
      }
      expect(runStats.truncated).toBe(false);
      const rows = runStats.rows.map(({ groups: [group = ''], ...figures }) => [group, figures] as const);
      expect(Object.fromEntries(rows)).toEqual(
        Object.fromEntries([...groups].map(([group, of]) => [group, summary(of)])),
      );
    },
  );

  const filters: [string, string, (fact: Fact) => boolean][] = [
    [
      'feedback below a score',
      'filter: "and(eq(feedback_key, \\"reward\\"), lt(feedback_score, 0.5))"',
      ({ parentId, trace }) => parentId === undefined && trace.feedback.score < 0.5,
    ],
    ['a tag', 'filter: "has(tags, \\"failed\\")"', ({ tags }) => tags.includes('failed')],
    [
      'a pair of metadata, inherited by every run of the trace',
      'filter: "and(eq(metadata_key, \\"task_id\\"), eq(metadata_value, \\"7\\"))"',
      ({ metadata }) => metadata['task_id'] === 7,
    ],
    [
      'two pairs of metadata',
      'filter: "has(metadata, \'{\\"task_id\\": 7, \\"trial\\": 2}\')"',
      ({ metadata }) => metadata['task_id'] === 7 && metadata['trial'] === 2,
    ],
    [
      'nested metadata',
      'match: { and: [{ metadata: { key: { eq: "agent.domain" }, value: { eq: "airline" } } }, { runType: { eq: "tool" } }] }',
      ({ runType }) => runType === 'tool',
    ],
    ['latency', 'filter: "gt(latency, \\"20s\\")"', (fact) => latencyOf(fact) > 20],
    ['status', 'filter: "eq(status, \\"error\\")"', ({ error }) => error !== undefined],
    [
      'tokens',
      'filter: "and(gte(total_tokens, 5000), eq(run_type, \\"llm\\"))"',
      (fact) => (totalTokensOf(fact) ?? 0) >= 5_000,
    ],
    ['a name', 'filter: "eq(name, \\"cancel_reservation\\")"', ({ name }) => name === 'cancel_reservation'],
    [
      'a word',
      'filter: "and(search(\\"certificate\\"), eq(run_type, \\"tool\\"))"',
      (fact) => fact.runType === 'tool' && startsSome(fact, 'certificate'),
    ],
    [
      'beginnings of words, in any order and case',
      'filter: "search(\\"REFUND insur\\")"',
      (fact) => startsSome(fact, 'refund') && startsSome(fact, 'insur'),
    ],
    [
      'a pair of inputs',
      'filter: "and(eq(input_key, \\"arguments.cabin\\"), eq(input_value, \\"business\\"))"',
      ({ inputs }) => (inputs['arguments'] as Record<string, unknown> | undefined)?.['cabin'] === 'business',
    ],
    [
      'runs of traces whose root has a tag',
      'filter: "eq(run_type, \\"tool\\")", traceFilter: "has(tags, \\"failed\\")"',
      ({ runType, trace }) => runType === 'tool' && trace.feedback.score < 0.5,
    ],
    [
      'roots of traces in which a tool failed',
      'filter: "eq(is_root, true)", treeFilter: "and(eq(run_type, \\"tool\\"), neq(error, null))"',
      ({ parentId, trace }) => parentId === undefined && trace.runs.some(({ error }) => error !== undefined),
    ],
    [
      'model calls of failed conversations that cancelled something',
      'filter: "eq(run_type, \\"llm\\")", traceFilter: "lt(feedback_score, 0.5)", treeFilter: "eq(name, \\"cancel_reservation\\")"',
      ({ runType, trace }) =>
        runType === 'llm' &&
        trace.feedback.score < 0.5 &&
        trace.runs.some(({ name }) => name === 'cancel_reservation'),
    ],
  ];

  test.each(filters)(
    'filtering by %s finds what a count made outside finds',
    async (_what, where, matches) => {
      const wanted = facts.filter(matches).map(({ id }) => id);
      // A filter that finds nothing or everything would prove nothing.
      expect(wanted.length).toBeGreaterThan(0);
      expect(wanted.length).toBeLessThan(facts.length);
      const pages = await listRuns(`, where: { ${where} }`, 'uuid', 100);
      const found = ids(pages);
      expect(found).toHaveLength(wanted.length);
      expect(new Set(found)).toEqual(new Set(wanted));
      expect(pages[0]?.totalCount).toEqual({ value: wanted.length, precision: 'EXACT' });
    },
  );

  const words = new Map<string, Set<string>>();

  /** Whether some word of the run begins so. */
  function startsSome(fact: Fact, beginning: string): boolean {
    const own = words.get(fact.id) ?? wordsOf(fact);
    words.set(fact.id, own);
    return [...own].some((word) => word.startsWith(beginning));
  }
});

// ── Statistics ─────────────────────────────────────────────────────────────────────────────────────────────

const FIGURES = `runCount errorCount pendingCount errorRate latencyP50 latencyP95 latencyP99 promptTokens
  completionTokens totalTokens feedback { key count average }`;

interface StatsRow extends Record<string, unknown> {
  groups: (string | null)[];
}

function summary(of: readonly Fact[]): Record<string, unknown> {
  const latencies = of.map(latencyOf);
  const failed = of.filter(({ error }) => error !== undefined).length;
  const scores = of.filter(({ parentId }) => parentId === undefined).map(({ trace }) => trace.feedback.score);
  return {
    runCount: of.length,
    errorCount: failed,
    pendingCount: 0,
    errorRate: expect.closeTo(failed / of.length, 9),
    latencyP50: expect.closeTo(percentile(latencies, 0.5), 6),
    latencyP95: expect.closeTo(percentile(latencies, 0.95), 6),
    latencyP99: expect.closeTo(percentile(latencies, 0.99), 6),
    promptTokens: sum(of.map(({ promptTokens }) => promptTokens)),
    completionTokens: sum(of.map(({ completionTokens }) => completionTokens)),
    totalTokens: sum(of.map(totalTokensOf)),
    feedback:
      scores.length === 0
        ? []
        : [
            {
              key: 'reward',
              count: scores.length,
              average: expect.closeTo(scores.reduce((a, b) => a + b, 0) / scores.length, 9),
            },
          ],
  };
}
