/** Runs, feedback and harvests on a whole gateway with workers. */
import { v7 } from 'uuid';
import { ask } from '../experiments/world.js';
import { eventually } from '../support/eventually.js';
import type { Harness } from '../support/harness.js';

export interface TestRun {
  readonly inputs: unknown;
  readonly outputs?: unknown;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly name?: string;
  readonly error?: string;
  /** Minutes before now; its place in the list where absent, so that later ones are newer. */
  readonly minutesAgo?: number;
  /** Of its only child. */
  readonly child?: string;
  readonly score?: number;
  readonly referenceExampleId?: string;
}

const stamp = (time: Date): string => `${time.toISOString().replace(/[-:.]/g, '').slice(0, -1)}000Z`;

/** Root runs of a project, oldest first. Returns their ids. */
export async function plantRuns(
  { http, keys }: Pick<Harness, 'http' | 'keys'>,
  project: string,
  runs: readonly TestRun[],
  key = keys.first.secret,
): Promise<string[]> {
  const now = Date.now();
  const post: object[] = [];
  const scored: { id: string; score: number }[] = [];
  const ids = runs.map((run, index) => {
    const start = new Date(now - (run.minutesAgo ?? runs.length - index) * 60_000);
    const id = v7({ msecs: start.getTime() });
    const shared = {
      session_name: project,
      run_type: 'chain',
      start_time: start.toISOString(),
      end_time: new Date(start.getTime() + 1_000).toISOString(),
    };
    const order = `${stamp(start)}${id}`;
    post.push({
      ...shared,
      id,
      trace_id: id,
      dotted_order: order,
      name: run.name ?? 'answer',
      inputs: run.inputs,
      outputs: run.outputs ?? { answer: `to ${index}` },
      error: run.error ?? null,
      extra: { metadata: run.metadata ?? {} },
      reference_example_id: run.referenceExampleId ?? null,
    });
    if (run.child !== undefined) {
      const child = v7({ msecs: start.getTime() + 1 });
      post.push({
        ...shared,
        id: child,
        trace_id: id,
        parent_run_id: id,
        dotted_order: `${order}.${stamp(start)}${child}`,
        name: run.child,
        inputs: { of: index },
      });
    }
    if (run.score !== undefined) scored.push({ id, score: run.score });
    return id;
  });
  const answer = await http('/runs/batch', { key, body: { post, patch: [] } });
  if (answer.status !== 202) throw new Error(answer.text);
  for (const { id, score } of scored) {
    const { status, text } = await http('/feedback', { key, body: { run_id: id, key: 'user_score', score } });
    if (status >= 300) throw new Error(text);
  }
  return ids;
}

interface Payload {
  readonly errors: readonly { readonly code: string; readonly message: string; readonly path: string[] }[];
}

/** What a mutation answers. */
export async function send<T>(
  harness: Harness,
  field: string,
  type: string,
  shape: string,
  input: unknown,
  key?: string,
): Promise<T & Payload> {
  const { result } = await ask<{ result: T & Payload }>(
    harness,
    `mutation ($input: ${type}!) { result: ${field}(input: $input) { ${shape} errors { code message path } } }`,
    { input },
    key,
  );
  return result;
}

export async function makeDataset(harness: Harness, name: string, key?: string): Promise<string> {
  const made = await send<{ dataset: { uuid: string } }>(
    harness,
    'createDataset',
    'CreateDatasetInput',
    'dataset { uuid }',
    { name },
    key,
  );
  return made.dataset.uuid;
}

export async function projectId(harness: Harness, name: string, key?: string): Promise<string> {
  const { project } = await ask<{ project: { uuid: string } }>(
    harness,
    'query ($name: String!) { project(name: $name) { uuid } }',
    { name },
    key,
  );
  return project.uuid;
}

export async function makeHarvest(
  harness: Harness,
  name: string,
  datasetId: string,
  definition: Readonly<Record<string, unknown>>,
  key?: string,
): Promise<string> {
  const made = await send<{ harvest: { uuid: string } | null }>(
    harness,
    'createHarvest',
    'CreateHarvestInput',
    'harvest { uuid }',
    { name, datasetId, definition },
    key,
  );
  if (made.harvest === null) throw new Error(JSON.stringify(made.errors));
  return made.harvest.uuid;
}

export interface SeenRun {
  readonly uuid: string;
  readonly state: string;
  readonly reason: string | null;
  readonly matched: number;
  readonly internal: number;
  readonly known: number;
  readonly redacted: number;
  readonly exactDuplicates: number;
  readonly nearDuplicates: number;
  readonly overCap: number;
  readonly pending: number;
  readonly added: number;
  readonly rejected: number;
  readonly failed: number;
  readonly version: number | null;
}

export const RUN = `uuid state reason matched internal known redacted exactDuplicates nearDuplicates overCap pending
  added rejected failed version`;

export async function startHarvest(harness: Harness, id: string, key?: string): Promise<string> {
  const made = await send<{ harvestRun: SeenRun | null }>(
    harness,
    'runHarvest',
    'RunHarvestInput',
    `harvestRun { ${RUN} }`,
    { id },
    key,
  );
  if (made.harvestRun === null) throw new Error(JSON.stringify(made.errors));
  return made.harvestRun.uuid;
}

/** The execution once it does not run any more. */
export const untilEnded = (harness: Harness, id: string, key?: string): Promise<SeenRun> =>
  eventually(
    async () => {
      const { harvestRun } = await ask<{ harvestRun: SeenRun }>(
        harness,
        `query ($id: ID!) { harvestRun(id: $id) { ${RUN} } }`,
        { id },
        key,
      );
      if (harvestRun.state === 'RUNNING') throw new Error('it runs');
      return harvestRun;
    },
    { timeoutMs: 30_000, everyMs: 50 },
  );

export const harvestOnce = async (harness: Harness, id: string, key?: string): Promise<SeenRun> =>
  untilEnded(harness, await startHarvest(harness, id, key), key);

export interface SeenExample {
  readonly inputs: unknown;
  readonly outputs: unknown;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly splits: readonly string[];
  readonly sourceRunId: string;
}

export interface SeenDataset {
  readonly version: number;
  readonly examples: readonly SeenExample[];
}

/** Oldest source first. */
export async function readDataset(harness: Harness, id: string, key?: string): Promise<SeenDataset> {
  const { dataset } = await ask<{
    dataset: { version: number; examples: { nodes: SeenExample[] } };
  }>(
    harness,
    `query ($id: ID!) { dataset(id: $id) { version examples(first: 100) {
      nodes { inputs outputs metadata splits sourceRunId }
    } } }`,
    { id },
    key,
  );
  const examples = [...dataset.examples.nodes].sort((a, b) => (a.sourceRunId < b.sourceRunId ? -1 : 1));
  return { version: dataset.version, examples };
}

export interface SeenCandidate {
  readonly sourceRunId: string;
  readonly verdict: string;
  readonly reason: string | null;
  readonly duplicateOf: string | null;
  readonly redactions: Readonly<Record<string, number>> | null;
  readonly inputs: unknown;
  readonly exampleId: string | null;
}

export async function readCandidates(
  harness: Harness,
  id: string,
  key?: string,
): Promise<readonly SeenCandidate[]> {
  const { harvestRun } = await ask<{ harvestRun: { candidates: { nodes: SeenCandidate[] } } }>(
    harness,
    `query ($id: ID!) { harvestRun(id: $id) { candidates(first: 100) {
      nodes { sourceRunId verdict reason duplicateOf redactions inputs exampleId }
    } } }`,
    { id },
    key,
  );
  return harvestRun.candidates.nodes;
}
