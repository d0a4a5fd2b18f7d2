/**
 * A tenant whose every text is marked, so that one that turns up elsewhere is recognised: `canary-…` for what readers
 * of the tenant may see, `sealed-…` for content. Made through the API, as tenants make it.
 */
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import { trustedScope } from '../../src/tenancy/principal.js';
import type { Harness } from '../support/harness.js';
import type { Names } from './names.js';

const nonce = (): string => randomUUID().slice(0, 8);
export const canary = (what: string): string => `canary-${what}-${nonce()}`;
export const sealed = (what: string): string => `sealed-${what}-${nonce()}`;

/** All marks in a text. */
export const marksIn = (text: string): string[] => text.match(/(?:canary|sealed)-[a-z]+-[0-9a-f]{8}/g) ?? [];

interface PlantedRun {
  readonly id: string;
  readonly project: string;
  readonly parent?: string;
  readonly attachment?: string;
  readonly thread?: string;
  readonly example?: string;
}

const START = Date.now() - 60_000;

function wireRun({ id, project, parent, thread, example }: PlantedRun, index: number): object {
  const start = new Date(START + index * 1_000);
  const stamp = (time: Date): string => `${time.toISOString().replace(/[-:.]/g, '').slice(0, -1)}000Z`;
  const own = `${stamp(start)}${id}`;
  return {
    id,
    trace_id: parent ?? id,
    parent_run_id: parent ?? null,
    dotted_order: parent === undefined ? own : `${stamp(new Date(START))}${parent}.${own}`,
    name: canary('runname'),
    run_type: 'llm',
    session_name: project,
    start_time: start.toISOString(),
    end_time: new Date(start.getTime() + 500).toISOString(),
    inputs: { question: sealed('inputs') },
    outputs: { answer: sealed('outputs') },
    error: sealed('error'),
    events: [{ name: 'new_token', time: start.toISOString(), kwargs: { token: sealed('events') } }],
    serialized: { lc: 1, kwargs: { secret: sealed('serialized') } },
    tags: [canary('tag')],
    reference_example_id: example ?? null,
    extra: {
      runtime: { library: sealed('extra') },
      metadata: {
        note: canary('metadata'),
        ls_model_name: canary('model'),
        ls_provider: canary('provider'),
        ...(thread !== undefined && { thread_id: thread }),
      },
    },
  };
}

/** Sends runs with their attachments in one request. */
async function sendRuns(harness: Harness, key: string, runs: readonly PlantedRun[]): Promise<void> {
  const form = new FormData();
  runs.forEach((run, index) => {
    const json = JSON.stringify(wireRun(run, index));
    form.append(`post.${run.id}`, new Blob([json], { type: 'application/json' }));
    if (run.attachment !== undefined) {
      const bytes = new Blob([sealed('bytes')], { type: 'text/plain' });
      form.append(`attachment.${run.id}.${run.attachment}`, bytes);
    }
  });
  const { status, text } = await harness.http('/runs/multipart', { key, body: form });
  if (status !== 202) throw new Error(`runs were not planted: ${status} ${text}`);
}

/** Fills the harness's first workspace. */
export async function plantTenant(harness: Harness): Promise<Names> {
  const { home, keys, database } = harness;
  const key = keys.first.secret;
  const mutate = async (field: string, input: unknown, select: string): Promise<Record<string, unknown>> => {
    const type = `${field[0]?.toUpperCase() ?? ''}${field.slice(1)}Input`;
    const query = `mutation ($input: ${type}!) { ${field}(input: $input) { errors { message } ${select} } }`;
    const { body, text } = await harness.gql(query, { input }, { key });
    const payload = body.data?.[field] as Record<string, unknown> | undefined;
    if (payload === undefined || (payload['errors'] as unknown[]).length > 0) {
      throw new Error(`${field}: ${text}`);
    }
    return payload;
  };
  const uuidOf = (payload: Record<string, unknown>, name: string): string =>
    (payload[name] as { uuid: string }).uuid;
  const made = async (count: number, make: () => Promise<string>): Promise<string[]> => {
    const ids: string[] = [];
    for (let index = 0; index < count; index += 1) ids.push(await make());
    return ids;
  };

  await database.pool.query('update workspaces set name = $2 where id = $1', [
    home.workspaceId,
    canary('workspace'),
  ]);
  // Reading the projects makes the one named "default".
  await harness.http('/sessions', { key });
  const datasetName = canary('dataset');
  const newDataset = async (name: string): Promise<string> => {
    const input = { name, description: canary('datasettext'), metadata: { note: canary('datasetmeta') } };
    return uuidOf(await mutate('createDataset', input, 'dataset { uuid }'), 'dataset');
  };
  const dataset = await newDataset(datasetName);
  const newProject = (name: string, referenceDatasetId?: string) => async (): Promise<string> =>
    uuidOf(
      await mutate(
        'createProject',
        {
          name,
          description: canary('projecttext'),
          extra: { note: canary('projectextra') },
          referenceDatasetId,
        },
        'project { uuid }',
      ),
      'project',
    );
  const projectName = canary('project');
  const project = await newProject(projectName, dataset)();
  const doomedProjects = await made(3, () => newProject(canary('doomedproject'))());
  const run = v7();
  const child = v7();
  const example = randomUUID();
  const doomedExamples = Array.from({ length: 6 }, () => randomUUID());
  await mutate(
    'createExamples',
    {
      datasetId: dataset,
      note: canary('versionnote'),
      examples: [example, ...doomedExamples].map((id) => ({
        id,
        name: canary('examplename'),
        inputs: { question: sealed('inputs') },
        outputs: { answer: sealed('outputs') },
        metadata: { note: canary('examplemeta') },
        splits: [canary('split')],
        sourceRunId: run,
      })),
    },
    'exampleIds',
  );
  await mutate('tagDatasetVersion', { datasetId: dataset, tag: canary('versiontag') }, 'version { version }');
  const datasetShare = await mutate('shareDataset', { datasetId: dataset }, 'share { token }');
  // One line that is no example: it goes into quarantine.
  const imported = await harness.http(`/datasets/${dataset}/import?format=jsonl&mode=quarantine`, {
    key,
    body: { nothing: sealed('inputs') },
  });
  const thread = canary('thread');
  const doomedTraces = [v7(), v7(), v7()];
  const attachment = canary('attachment');
  await sendRuns(harness, key, [
    { id: run, project: projectName, attachment, thread, example },
    { id: child, project: projectName, parent: run, attachment, thread },
    ...doomedTraces.map((id) => ({ id, project: projectName })),
  ]);

  const newFeedback = async (feedbackKey: string): Promise<string> => {
    const draft = {
      runId: run,
      key: feedbackKey,
      score: 0.5,
      value: canary('value'),
      comment: canary('comment'),
      correction: { right: canary('correction') },
      source: { type: canary('source'), metadata: { who: canary('reviewer') } },
    };
    const payload = await mutate('createFeedback', { feedback: [draft] }, 'feedback { uuid }');
    return (payload['feedback'] as { uuid: string }[])[0]?.uuid ?? '';
  };
  const feedbackKey = canary('judgement');
  const newConfig = async (): Promise<string> => {
    const name = canary('config');
    const categories = [
      { value: 0, label: canary('label') },
      { value: 1, label: canary('label') },
    ];
    const input = { key: name, config: { type: 'CATEGORICAL', categories } };
    await mutate('createFeedbackConfig', input, 'feedbackConfig { key }');
    return name;
  };
  const token = await mutate(
    'createFeedbackToken',
    { runId: run, key: feedbackKey },
    'feedbackToken { token }',
  );
  const share = await mutate('shareRun', { runId: run }, 'share { token }');
  const newUser = async (): Promise<string> => {
    const input = {
      email: `${canary('email')}@example.org`,
      name: canary('user'),
      role: 'VIEWER',
    };
    const payload = await mutate('addWorkspaceMember', input, 'member { user { id } }');
    const { id } = (payload['member'] as { user: { id: string } }).user;
    return Buffer.from(id, 'base64url').toString().slice('User:'.length);
  };
  const newWorkspace = async (): Promise<string> =>
    uuidOf(await mutate('createWorkspace', { name: canary('workspace') }, 'workspace { uuid }'), 'workspace');
  const newKey = async (): Promise<string> =>
    uuidOf(
      await mutate('createApiKey', { name: canary('keyname'), scopes: ['READ'] }, 'apiKey { uuid }'),
      'apiKey',
    );
  const newProvider = async (): Promise<string> => {
    const input = {
      name: canary('provider'),
      kind: 'OPENAI_COMPATIBLE',
      baseUrl: `https://models.invalid/${canary('base')}`,
      secret: `sk-${sealed('secret')}`,
      headers: [{ name: canary('header'), value: sealed('header') }],
      defaultModel: canary('model'),
      prices: [{ model: canary('model'), inputPerMillion: '1.5', outputPerMillion: '2' }],
    };
    return uuidOf(await mutate('createModelProvider', input, 'modelProvider { uuid }'), 'modelProvider');
  };
  const newEvaluator = async (): Promise<{ uuid: string; name: string; newest: { uuid: string } }> => {
    const input = {
      name: canary('evaluator'),
      description: canary('evaluatortext'),
      kind: 'EXACT_MATCH',
      feedbackKey: canary('scored'),
      config: { expected: canary('expected') },
    };
    const payload = await mutate('createEvaluator', input, 'evaluator { uuid name newest { uuid } }');
    return payload['evaluator'] as { uuid: string; name: string; newest: { uuid: string } };
  };
  const evaluator = await newEvaluator();
  const experimentOf = (name: string): object => ({
    name,
    description: canary('experimenttext'),
    metadata: { note: canary('experimentmeta') },
    datasetId: dataset,
    target: {
      http: { url: 'https://targets.invalid/', headers: [{ name: 'x-key', value: sealed('header') }] },
    },
    evaluators: [{ id: evaluator.uuid }],
  });
  const newExperiment = async (): Promise<string> => {
    const input = { experiment: experimentOf(canary('experiment')) };
    return uuidOf(await mutate('startExperiment', input, 'experiment { uuid }'), 'experiment');
  };
  const newSchedule = async (): Promise<string> => {
    const schedule = { name: canary('schedule'), cron: '0 3 * * *' };
    const input = { schedule, experiment: experimentOf(canary('scheduled')) };
    return uuidOf(await mutate('createExperimentSchedule', input, 'schedule { uuid }'), 'schedule');
  };
  const harvestName = canary('harvest');
  const newHarvest = async (name: string): Promise<string> => {
    const definition = { projectIds: [project], approval: true, metadata: { note: canary('harvestmeta') } };
    const input = { name, description: canary('harvesttext'), datasetId: dataset, definition };
    return uuidOf(await mutate('createHarvest', input, 'harvest { uuid }'), 'harvest');
  };
  const harvest = await newHarvest(harvestName);
  const newHarvestRun = async (): Promise<string> =>
    uuidOf(await mutate('runHarvest', { id: harvest }, 'harvestRun { uuid }'), 'harvestRun');
  const steered = await made(4, newExperiment);
  const newComparative = async (): Promise<string> => {
    const body = {
      name: canary('comparative'),
      description: canary('comparativetext'),
      experiment_ids: [project, steered[0]],
      extra: { note: canary('comparativeextra') },
    };
    const { text } = await harness.http('/datasets/comparative', { key, body });
    return (JSON.parse(text) as { id: string }).id;
  };
  const gateName = canary('gate');
  const newGate = async (name: string): Promise<string> => {
    const rules = [{ kind: 'threshold', metric: 'run.error_rate', atMost: 1 }];
    return uuidOf(
      await mutate('createGate', { name, description: canary('gatetext'), rules }, 'gate { uuid }'),
      'gate',
    );
  };
  const gate = await newGate(gateName);
  const modelProvider = await newProvider();
  const rival = await newProject(canary('rival'), dataset)();
  const pairwise = uuidOf(
    await mutate(
      'createEvaluator',
      {
        name: canary('pairwise'),
        kind: 'PAIRWISE',
        feedbackKey: canary('preferred'),
        config: {
          providerId: modelProvider,
          model: canary('judgemodel'),
          messages: [{ role: 'user', content: `${canary('question')} {{first}} {{second}}` }],
        },
      },
      'evaluator { uuid }',
    ),
    'evaluator',
  );
  const newComparison = async (): Promise<string> => {
    const input = { first: project, second: rival, evaluator: { id: pairwise }, name: canary('comparison') };
    return uuidOf(await mutate('startComparison', input, 'comparison { uuid }'), 'comparison');
  };
  // Runs that are added to it later do not make it one that goes on.
  await harness.http(`/sessions/${project}`, {
    key,
    method: 'PATCH',
    body: { end_time: new Date().toISOString() },
  });
  const evaluated = await mutate(
    'evaluateGate',
    { gate: { id: gate }, candidate: { id: project }, candidateRef: canary('release') },
    'evaluation { uuid }',
  );
  const names: Names = {
    project,
    projectName,
    doomedProjects,
    run,
    child,
    doomedTraces,
    dataset,
    datasetName,
    doomedDatasets: await made(3, () => newDataset(canary('doomeddataset'))),
    datasetImport: (JSON.parse(imported.text) as { id: string }).id,
    datasetShareToken: (datasetShare['share'] as { token: string }).token,
    example,
    doomedExamples,
    doomedComparatives: await made(1, newComparative),
    gate,
    gateName,
    doomedGates: await made(1, () => newGate(canary('doomedgate'))),
    gateEvaluation: uuidOf(evaluated, 'evaluation'),
    thread,
    feedback: await newFeedback(feedbackKey),
    doomedFeedback: await made(2, () => newFeedback(feedbackKey)),
    feedbackKey,
    doomedFeedbackKeys: await made(2, newConfig),
    feedbackToken: (token['feedbackToken'] as { token: string }).token,
    shareToken: (share['share'] as { token: string }).token,
    attachmentToken: harness.app.attachments
      .presign(trustedScope(home.workspaceId), run, attachment)
      .replace('/attachments/', ''),
    job: randomUUID(),
    apiKey: await newKey(),
    doomedApiKeys: await made(2, newKey),
    user: await newUser(),
    doomedUsers: await made(2, newUser),
    evaluator: evaluator.uuid,
    evaluatorName: evaluator.name,
    evaluatorVersion: evaluator.newest.uuid,
    doomedEvaluators: await made(1, async () => (await newEvaluator()).uuid),
    pairwise,
    rival,
    compared: await made(2, newComparison),
    modelProvider,
    doomedModelProviders: await made(1, newProvider),
    steered,
    schedule: await newSchedule(),
    doomedSchedules: await made(1, newSchedule),
    harvest,
    harvestName,
    doomedHarvests: await made(1, () => newHarvest(canary('doomedharvest'))),
    harvestRun: await newHarvestRun(),
    proposals: await made(3, newHarvestRun),
    workspace: home.workspaceId,
    doomedWorkspace: await newWorkspace(),
  };
  // Without workers, or before they come to it, experiments are brought into their states by hand; the last has a row that failed.
  await database.pool.query(
    `update experiment_executions set state = (array['running', 'paused', 'planning', 'completed'])[array_position($1::uuid[], experiment_id)]
     where experiment_id = any($1::uuid[])`,
    [names.steered],
  );
  await database.pool.query(
    `update experiment_executions set state = (array['running', 'paused'])[array_position($1::uuid[], experiment_id)]
     where experiment_id = any($1::uuid[])`,
    [names.compared],
  );
  await database.pool.query(
    `insert into experiment_rows (workspace_id, experiment_id, example_id, repetition, position, state, available_at, run_id, error)
     values ($1, $2, $3, 0, 1, 'failed', now(), $4, $5)
     on conflict (workspace_id, experiment_id, example_id, repetition)
     do update set state = 'failed', error = excluded.error`,
    [home.workspaceId, names.steered[3], example, v7(), { code: 'TIMEOUT', message: sealed('rowerror') }],
  );
  await database.pool.query(
    `update harvest_runs set state = 'proposed', reason = $2, actor = $2 where id = any($1::uuid[])`,
    [[names.harvestRun, ...names.proposals], canary('harvestreason')],
  );
  await database.pool.query(
    `insert into harvest_candidates (workspace_id, harvest_run_id, source_run_id, position, start_time, verdict, reason,
       redactions, inputs_hash, inputs, outputs, metadata)
     select $1, id, $3, 1, now(), 'pending', $4, '{"EMAIL": 1}', sha256(id::text::bytea), $5, $6, $7
     from unnest($2::uuid[]) as r (id)
     on conflict do nothing`,
    [
      home.workspaceId,
      [names.harvestRun, ...names.proposals],
      child,
      canary('candidate'),
      JSON.stringify({ question: sealed('inputs') }),
      JSON.stringify({ answer: sealed('outputs') }),
      JSON.stringify({ note: canary('candidatemeta') }),
    ],
  );
  // The record of content reads has something to tell.
  await harness.http(`/runs/${run}`, { key });
  await harness.app.contentReads.flush();
  // A job of this workspace that nobody works on: there are no workers.
  await database.pool.query(
    `insert into jobs (id, workspace_id, name, queue, payload, state, max_attempts, progress, error)
     values ($1, $2, $3, 'bulk', $4, 'queued', 3, $5, $6)`,
    [
      names.job,
      home.workspaceId,
      canary('job'),
      { note: canary('payload') },
      { done: 1, total: 2, note: canary('progress') },
      canary('joberror'),
    ],
  );
  return names;
}

/** Gives a workspace a little of its own, so that its lists are not empty. */
export async function plantNeighbour(harness: Harness, key: string): Promise<void> {
  const id = v7();
  const run = {
    id,
    trace_id: id,
    name: 'own',
    run_type: 'chain',
    session_name: 'own',
    inputs: { own: true },
  };
  const body = { ...run, start_time: new Date().toISOString() };
  const { status, text } = await harness.http('/runs', { key, body });
  if (status !== 202) throw new Error(`a run was not planted: ${status} ${text}`);
}
