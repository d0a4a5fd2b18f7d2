/**
 * A valid call of every REST route: the owner's succeeds, everybody else's is refused. Paths are those of a module;
 * each is mounted under several prefixes. A new route needs an entry here.
 */
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import type { Scope } from '../../src/tenancy/principal.js';
import type { Names } from './names.js';

export interface RestCall {
  /** `GET /runs/:id`, under every prefix of its mount. */
  readonly route: string;
  readonly mount: 'v1' | 'platform' | 'v2' | 'root';
  /** Any one of these scopes opens the route; `any` is every key; `link` needs no key but a link that is good. */
  readonly opens: readonly Scope[] | 'any' | 'public' | 'link';
  readonly also?: readonly Scope[];
  /** Path and query with names filled in. The first request succeeds for the owner; all are tried by others. */
  readonly requests: (names: Names) => readonly RestRequest[];
}

export interface RestRequest {
  readonly path: string;
  readonly body?: unknown;
}

const v1 = (
  route: string,
  opens: RestCall['opens'],
  requests: RestCall['requests'],
  also?: readonly Scope[],
): RestCall => ({ route, mount: 'v1', opens, requests, ...(also && { also }) });
const v2 = (
  route: string,
  opens: RestCall['opens'],
  requests: RestCall['requests'],
  also?: readonly Scope[],
) => ({
  ...v1(route, opens, requests, also),
  mount: 'v2' as const,
});

const platform = (route: string, requests: RestCall['requests'], also?: readonly Scope[]): RestCall => ({
  ...v1(route, ['write'], requests, also),
  mount: 'platform',
});

const newRun = (names: Names, id = v7()): object => ({
  id,
  trace_id: id,
  name: 'new',
  run_type: 'chain',
  session_name: names.projectName,
  start_time: new Date().toISOString(),
});
const form = (names: Names): FormData => {
  const id = v7();
  const data = new FormData();
  data.append(`post.${id}`, new Blob([JSON.stringify(newRun(names, id))], { type: 'application/json' }));
  return data;
};
const exampleForm = (names: Names, id: string = randomUUID()): FormData => {
  const data = new FormData();
  const part = (name: string, value: object): void =>
    data.append(name, new Blob([JSON.stringify(value)], { type: 'application/json' }));
  part(id, { dataset_id: names.dataset });
  part(`${id}.inputs`, { question: 'q' });
  data.append(`${id}.attachment.notes`, new Blob(['text'], { type: 'text/plain' }));
  return data;
};
const csvForm = (): FormData => {
  const data = new FormData();
  data.append('file', new Blob(['question,answer\nq,a\n'], { type: 'text/csv' }), `${randomUUID()}.csv`);
  data.append('input_keys', 'question');
  return data;
};
const draftOf = (names: Names): object => ({ dataset_id: names.dataset, inputs: { question: 'q' } });
const judgement = (names: Names): object => ({ run_id: names.run, key: names.feedbackKey, score: 1 });

const runQueries = (names: Names): object[] => [
  { session: [names.project] },
  { id: [names.run, names.child] },
  { trace: names.run },
  { parent_run: names.run },
  { reference_example: [names.example] },
  { filter: `eq(id, "${names.run}")` },
  { trace_filter: `eq(id, "${names.run}")`, tree_filter: `eq(id, "${names.child}")` },
];
const statsQueries = (names: Names): object[] => [
  ...runQueries(names),
  { session: [names.project], group_by: { attribute: 'tag' } },
  { session: [names.project], group_by: { attribute: 'metadata', path: 'note' } },
];

const at = (path: string, body?: unknown): RestRequest => ({ path, ...(body !== undefined && { body }) });
const bodies = (path: string, all: readonly unknown[]): RestRequest[] => all.map((body) => at(path, body));

const PUBLIC: readonly RestCall[] = [
  { route: 'GET /healthz', mount: 'root', opens: 'public', requests: () => [at('/healthz')] },
  { route: 'GET /readyz', mount: 'root', opens: 'public', requests: () => [at('/readyz')] },
  { route: 'GET /metrics', mount: 'root', opens: 'public', requests: () => [at('/metrics')] },
  v1('GET /ok', 'public', () => [at('/ok')]),
  v1('GET /info', 'public', () => [at('/info')]),
  v1('GET /info/health', 'public', () => [at('/info/health')]),
];

const LINKS: readonly RestCall[] = [
  v1('GET /attachments/:token', 'link', (n) => [at(`/attachments/${n.attachmentToken}`)]),
  v1('GET /public/:token/run', 'link', (n) => [at(`/public/${n.shareToken}/run`)]),
  v1('GET /public/:token/run/:id', 'link', (n) => [at(`/public/${n.shareToken}/run/${n.child}`)]),
  v1('POST /public/:token/runs/query', 'link', (n) => [at(`/public/${n.shareToken}/runs/query`, {})]),
  v1('GET /public/:token/feedbacks', 'link', (n) => [at(`/public/${n.shareToken}/feedbacks`)]),
  v1('GET /public/:token/r', 'link', (n) => [at(`/public/${n.shareToken}/r`)]),
  v1('POST /feedback/tokens/:token', 'link', (n) => [
    at(`/feedback/tokens/${n.feedbackToken}`, { score: 1 }),
  ]),
  v1('GET /feedback/tokens/:token', 'link', (n) => [at(`/feedback/tokens/${n.feedbackToken}?score=1`)]),
  v1('GET /public/:token/datasets', 'link', (n) => [at(`/public/${n.datasetShareToken}/datasets`)]),
  v1('GET /public/:token/examples', 'link', (n) => [at(`/public/${n.datasetShareToken}/examples`)]),
  v1('GET /public/:token/examples/count', 'link', (n) => [
    at(`/public/${n.datasetShareToken}/examples/count`),
  ]),
  v1('GET /public/:token/datasets/sessions', 'link', (n) => [
    at(`/public/${n.datasetShareToken}/datasets/sessions`),
  ]),
  v1('GET /public/:token/datasets/comparative', 'link', (n) => [
    at(`/public/${n.datasetShareToken}/datasets/comparative`),
  ]),
  v1('POST /public/:token/datasets/runs/query', 'link', (n) => [
    at(`/public/${n.datasetShareToken}/datasets/runs/query`, {}),
  ]),
  v2('POST /public/:token/runs/query', 'link', (n) => [at(`/public/${n.shareToken}/runs/query`, {})]),
  v2('GET /public/:token/run/:id', 'link', (n) => [at(`/public/${n.shareToken}/run/${n.child}`)]),
];

const READS: readonly RestCall[] = [
  v1('GET /settings', 'any', () => [at('/settings')]),
  v1('GET /workspaces', 'any', () => [at('/workspaces')]),
  v1('GET /tenants', 'any', () => [at('/tenants')]),
  v1('POST /runs/query', ['read'], (n) => bodies('/runs/query', runQueries(n))),
  v1('GET /runs/:id', ['read'], (n) => [at(`/runs/${n.run}`), at(`/runs/${n.child}`)]),
  v1('POST /runs/stats', ['read'], (n) => bodies('/runs/stats', statsQueries(n))),
  v1('POST /runs/query/validate', ['read'], () => [at('/runs/query/validate', { filter: 'eq(name, "a")' })]),
  v1('POST /runs/group', ['read'], (n) => [
    at('/runs/group', { session_id: n.project, group_by: 'conversation' }),
    at('/runs/group', {
      session_id: n.project,
      group_by: 'conversation',
      filter: `eq(thread_id, "${n.thread}")`,
    }),
  ]),
  v1('GET /runs/threads/:thread', ['read'], (n) => [
    at(`/runs/threads/${encodeURIComponent(n.thread)}?session_id=${n.project}`),
  ]),
  v1('GET /runs/:id/share', ['read'], (n) => [at(`/runs/${n.run}/share`)]),
  v1('GET /sessions', ['read'], (n) => [
    at('/sessions?include_stats=true'),
    at(`/sessions?id=${n.project}&include_stats=true`),
    at(`/sessions?name=${encodeURIComponent(n.projectName)}`),
    at(`/sessions?reference_dataset=${n.dataset}`),
  ]),
  v1('GET /sessions/:id', ['read'], (n) => [at(`/sessions/${n.project}`)]),
  v1('GET /feedback', ['read'], (n) => [
    at('/feedback'),
    at(`/feedback?run=${n.run}`),
    at(`/feedback?session=${n.project}`),
    at(`/feedback?key=${encodeURIComponent(n.feedbackKey)}`),
  ]),
  v1('GET /feedback/:id', ['read'], (n) => [at(`/feedback/${n.feedback}`)]),
  v1('GET /feedback/tokens', ['read'], (n) => [at(`/feedback/tokens?run_id=${n.run}`)]),
  v1('GET /feedback-configs', ['read'], (n) => [
    at('/feedback-configs'),
    at(`/feedback-configs?key=${encodeURIComponent(n.doomedFeedbackKeys[1] ?? '')}`),
  ]),
  v2('POST /runs/query', ['read'], (n) =>
    bodies('/runs/query', [
      { project_ids: [n.project], selects: V2_SELECTS },
      { ids: [n.run, n.child], selects: V2_SELECTS },
      { trace_id: n.run, selects: V2_SELECTS },
      { reference_dataset_id: n.dataset },
      { reference_examples: [n.example] },
      { filter: `eq(id, "${n.run}")` },
    ]),
  ),
  v2('GET /runs/:id', ['read'], (n) => [at(`/runs/${n.run}?${V2_QUERY}`)]),
  v2('GET /runs/:id/url', ['read'], (n) => [at(`/runs/${n.run}/url`)]),
  v2('POST /traces/query', ['read'], (n) =>
    bodies('/traces/query', [
      { project_id: n.project, selects: V2_SELECTS },
      { project_id: n.project, trace_ids: [n.run], selects: V2_SELECTS },
    ]),
  ),
  v2('GET /traces/:id/runs', ['read'], (n) => [
    at(`/traces/${n.run}/runs?${V2_QUERY}`),
    at(`/traces/${n.run}/runs?project_id=${n.project}`),
  ]),
  v2('POST /threads/query', ['read'], (n) => bodies('/threads/query', [{ project_id: n.project }])),
  v2('GET /threads/:thread/traces', ['read'], (n) => [
    at(`/threads/${encodeURIComponent(n.thread)}/traces?project_id=${n.project}&${V2_QUERY}`),
  ]),
  v1('GET /datasets', ['read'], (n) => [
    at('/datasets'),
    at(`/datasets?id=${n.dataset}`),
    at(`/datasets?name=${encodeURIComponent(n.datasetName)}`),
  ]),
  v1('GET /datasets/:id', ['read'], (n) => [at(`/datasets/${n.dataset}`)]),
  v1('GET /datasets/:id/version', ['read'], (n) => [at(`/datasets/${n.dataset}/version?tag=latest`)]),
  v1('GET /datasets/:id/versions', ['read'], (n) => [
    at(`/datasets/${n.dataset}/versions`),
    at(`/datasets/${n.dataset}/versions?example=${n.example}`),
  ]),
  v1('GET /datasets/:id/versions/diff', ['read'], (n) => [
    at(`/datasets/${n.dataset}/versions/diff?from_version=latest&to_version=latest`),
  ]),
  v1('GET /datasets/:id/splits', ['read'], (n) => [at(`/datasets/${n.dataset}/splits`)]),
  v1('GET /datasets/:id/share', ['read'], (n) => [at(`/datasets/${n.dataset}/share`)]),
  ...['openai_ft', 'openai', 'jsonl', 'csv'].map((format) =>
    v1(`GET /datasets/:id/${format}`, ['read'], (n) => [at(`/datasets/${n.dataset}/${format}`)], ['content']),
  ),
  v1('GET /datasets/:id/comparative', ['read'], (n) => [at(`/datasets/${n.dataset}/comparative`)]),
  v1('POST /datasets/:id/runs', ['read'], (n) =>
    bodies(`/datasets/${n.dataset}/runs`, [
      { session_ids: [n.project] },
      { session_ids: [n.project], example_ids: [n.example], preview: true },
    ]),
  ),
  v2('POST /datasets/:id/experiment-runs', ['read'], (n) =>
    bodies(`/datasets/${n.dataset}/experiment-runs`, [
      { experiment_ids: [n.project], selects: V2_SELECTS },
      { experiment_ids: [n.project], example_ids: [n.example] },
    ]),
  ),
  v1('GET /examples', ['read'], (n) => [
    at(`/examples?dataset=${n.dataset}`),
    at(`/examples?id=${n.example}`),
    at(`/examples?dataset=${n.dataset}&filter=${encodeURIComponent(`eq(id, "${n.example}")`)}`),
  ]),
  v1('GET /examples/count', ['read'], (n) => [at(`/examples/count?dataset=${n.dataset}`)]),
  v1('GET /examples/:id', ['read'], (n) => [
    at(`/examples/${n.example}`),
    at(`/examples/${n.example}?as_of=latest`),
  ]),
  v1('GET /datasets/:id/imports', ['read'], (n) => [at(`/datasets/${n.dataset}/imports`)]),
  v1('GET /datasets/:id/imports/:importId', ['read'], (n) => [
    at(`/datasets/${n.dataset}/imports/${n.datasetImport}`),
  ]),
  v1(
    'GET /datasets/:id/imports/:importId/rejects',
    ['read'],
    (n) => [at(`/datasets/${n.dataset}/imports/${n.datasetImport}/rejects`)],
    ['content'],
  ),
  v1(
    'GET /datasets/:id/export',
    ['read'],
    (n) => [
      at(`/datasets/${n.dataset}/export`),
      at(`/datasets/${n.dataset}/export?format=csv`),
      at(`/datasets/${n.dataset}/export?format=openai&version=1`),
      at(`/datasets/${n.dataset}/export?format=preferences`),
    ],
    ['content'],
  ),
  v1('POST /runs/preferences', ['read'], (n) => bodies('/runs/preferences', runQueries(n)), ['content']),
  v2('GET /threads/:thread/stats', ['read'], (n) => [
    at(`/threads/${encodeURIComponent(n.thread)}/stats?session_id=${n.project}&selects=TURNS`),
  ]),
];

const V2_NAMES = [
  ...['NAME', 'ERROR', 'ERROR_PREVIEW', 'EXTRA', 'METADATA', 'EVENTS', 'INPUTS', 'INPUTS_PREVIEW', 'OUTPUTS'],
  ...['OUTPUTS_PREVIEW', 'MANIFEST', 'TAGS', 'ATTACHMENTS', 'FEEDBACK_STATS', 'SHARE_URL', 'APP_PATH'],
];
const V2_SELECTS = V2_NAMES;
const V2_QUERY = V2_NAMES.map((name) => `selects=${name}`).join('&');

/** In an order in which the owner can make all of them. */
const WRITES: readonly RestCall[] = [
  v1('POST /runs', ['ingest'], (n) => [at('/runs', newRun(n)), at('/runs', newRun(n, n.run))]),
  v1('PATCH /runs/:id', ['ingest'], (n) => [at(`/runs/${n.run}`, { trace_id: n.run, name: 'renamed' })]),
  v1('POST /runs/batch', ['ingest'], (n) => [
    at('/runs/batch', { post: [newRun(n)], patch: [{ id: n.run, trace_id: n.run, name: 'renamed' }] }),
  ]),
  v1('POST /runs/multipart', ['ingest'], (n) => [at('/runs/multipart', form(n))]),
  v1('POST /feedback', ['ingest', 'write'], (n) => [
    at('/feedback', judgement(n)),
    at('/feedback', { ...judgement(n), id: n.feedback }),
    at('/feedback', { session_id: n.project, key: n.feedbackKey, score: 1 }),
  ]),
  v1('POST /feedback/eager', ['ingest', 'write'], (n) => [at('/feedback/eager', judgement(n))]),
  v1('PATCH /feedback/:id', ['write'], (n) => [at(`/feedback/${n.feedback}`, { comment: 'changed' })]),
  v1('DELETE /feedback/:id', ['write'], (n) => [at(`/feedback/${n.doomedFeedback[1] ?? ''}`)]),
  v1('POST /feedback/tokens', ['ingest', 'write'], (n) => [
    at('/feedback/tokens', { run_id: n.run, feedback_key: n.feedbackKey }),
  ]),
  v1('POST /feedback-configs', ['write'], () => [
    at('/feedback-configs', { feedback_key: `key ${randomUUID()}`, feedback_config: { type: 'freeform' } }),
  ]),
  v1('PATCH /feedback-configs', ['write'], (n) => [
    at('/feedback-configs', { feedback_key: n.doomedFeedbackKeys[1], is_lower_score_better: true }),
  ]),
  v1('DELETE /feedback-configs', ['write'], (n) => [
    at(`/feedback-configs?feedback_key=${encodeURIComponent(n.doomedFeedbackKeys[1] ?? '')}`),
  ]),
  v1('POST /datasets/:id/import', ['write'], (n) => [
    at(`/datasets/${n.dataset}/import?format=jsonl`, { inputs: { q: 1 } }),
  ]),
  v1('POST /datasets/upload', ['write'], () => [at('/datasets/upload', csvForm())], ['read']),
  v1(
    'POST /datasets/clone',
    ['write'],
    (n) => [
      at('/datasets/clone', { source_dataset_id: n.dataset, target_dataset_id: n.doomedDatasets[2] }),
      at('/datasets/clone', {
        source_dataset_id: n.dataset,
        target_dataset_id: n.doomedDatasets[2],
        examples: [n.example],
      }),
    ],
    ['read', 'content'],
  ),
  v1('PATCH /datasets/:id', ['write'], (n) => [at(`/datasets/${n.dataset}`, { description: 'changed' })]),
  v1(
    'PUT /datasets/:id/tags',
    ['write'],
    (n) => [at(`/datasets/${n.dataset}/tags`, { as_of: 'latest', tag: 'prod' })],
    ['read'],
  ),
  v1('PUT /datasets/:id/splits', ['write'], (n) => [
    at(`/datasets/${n.dataset}/splits`, { split_name: 'test', examples: [n.example] }),
  ]),
  v1(
    'PUT /datasets/:id/share',
    ['write'],
    (n) => [at(`/datasets/${n.dataset}/share`, { dataset_id: n.dataset })],
    ['content'],
  ),
  v1(
    'POST /datasets/comparative',
    ['write'],
    (n) => [at('/datasets/comparative', { experiment_ids: [n.project, n.steered[0]] })],
    ['read'],
  ),
  v1('DELETE /datasets/comparative/:id', ['write'], (n) => [
    at(`/datasets/comparative/${n.doomedComparatives[0] ?? ''}`),
  ]),
  v1('POST /examples', ['write'], (n) => [at('/examples', draftOf(n))], ['read']),
  v1('POST /examples/bulk', ['write'], (n) => [at('/examples/bulk', [draftOf(n)])], ['read']),
  v1('POST /examples/upload/:id', ['write'], (n) => [at(`/examples/upload/${n.dataset}`, csvForm())], [
    'read',
  ]),
  v1('PATCH /examples/:id', ['write'], (n) => [
    at(`/examples/${n.example}`, { dataset_id: n.dataset, metadata: { changed: randomUUID() } }),
  ]),
  v1(
    'PATCH /examples/bulk',
    ['write'],
    (n) => [at('/examples/bulk', [{ id: n.example, metadata: { changed: randomUUID() } }])],
    ['read'],
  ),
  platform('POST /datasets/:datasetId/examples', (n) => [
    at(`/datasets/${n.dataset}/examples`, exampleForm(n)),
    at(`/datasets/${n.dataset}/examples`, exampleForm(n, n.example)),
  ]),
  platform('PATCH /datasets/:datasetId/examples', (n) => [
    at(`/datasets/${n.dataset}/examples`, exampleForm(n, n.example)),
  ]),
  platform('POST /examples/multipart', (n) => [at('/examples/multipart', exampleForm(n))]),
  platform('POST /datasets/examples/delete', (n) => [
    at('/datasets/examples/delete', { example_ids: [n.doomedExamples[5]], hard_delete: true }),
  ]),
  v1('DELETE /examples/:id', ['write'], (n) => [at(`/examples/${n.doomedExamples[2] ?? ''}`)]),
  v1('DELETE /examples', ['write'], (n) => [at(`/examples?example_ids=${n.doomedExamples[3] ?? ''}`)]),
  v1('DELETE /datasets/:id/share', ['write'], (n) => [at(`/datasets/${n.dataset}/share`)]),
  v1('DELETE /datasets/:id', ['write'], (n) => [at(`/datasets/${n.doomedDatasets[2] ?? ''}`)]),
  // Ids are a workspace's own: whoever asks for this one gets a dataset of theirs, which later calls would find.
  v1('POST /datasets', ['write'], (n) => [
    at('/datasets', { name: `dataset ${randomUUID()}` }),
    at('/datasets', { name: n.datasetName }),
    at('/datasets', { name: `dataset ${randomUUID()}`, id: n.dataset }),
  ]),
  v1('POST /sessions', ['write'], (n) => [
    at('/sessions', { name: `project ${randomUUID()}` }),
    at('/sessions?upsert=true', { name: n.projectName }),
    at('/sessions', { id: n.project, name: `project ${randomUUID()}` }),
  ]),
  v1('PATCH /sessions/:id', ['write'], (n) => [at(`/sessions/${n.project}`, { description: 'changed' })]),
  v1('DELETE /sessions/:id', ['write'], (n) => [at(`/sessions/${n.doomedProjects[1] ?? ''}`)]),
  v1('DELETE /sessions', ['write'], (n) => [at(`/sessions?session_ids=${n.doomedProjects[2] ?? ''}`)]),
  v1(
    'PUT /runs/:id/share',
    ['write'],
    (n) => [at(`/runs/${n.child}/share`, {}), at(`/runs/${n.run}/share`, {})],
    ['content'],
  ),
  v1('DELETE /runs/:id/share', ['write'], (n) => [at(`/runs/${n.child}/share`)]),
  v2('POST /runs/:id/share', ['write'], (n) => [at(`/runs/${n.run}/share`)], ['content']),
  v2('DELETE /runs/:id/share', ['write'], (n) => [at(`/runs/${n.run}/share`)]),
  v1('POST /runs/delete', ['write'], (n) => [
    at('/runs/delete', { session_id: n.project, trace_ids: [n.doomedTraces[1]] }),
    at('/runs/delete', { session_id: n.project, trace_ids: [n.run] }),
  ]),
  v1('POST /runs/delete/traces', ['write'], (n) => [
    at('/runs/delete/traces', { session_id: n.project, trace_ids: [n.doomedTraces[2]] }),
  ]),
];

export const REST_CALLS: readonly RestCall[] = [...PUBLIC, ...READS, ...LINKS, ...WRITES];

export const PREFIXES: Readonly<Record<RestCall['mount'], readonly string[]>> = {
  v1: ['', '/api', '/api/v1'],
  platform: ['/v1/platform', '/api/v1/platform'],
  v2: ['/api/v2', '/v2'],
  root: [''],
};

/** `METHOD /path` of a Fastify route tree as `printRoutes({ commonPrefix: false })` draws it. HEAD follows GET. */
export function routesIn(tree: string): string[] {
  const routes: string[] = [];
  const parts: string[] = [];
  for (const line of tree.split('\n')) {
    const match = /^((?:[│ ] {3})*)[├└]── (.*?)(?: \(([A-Z, ]+)\))?$/.exec(line);
    if (match === null) continue;
    const [, indent = '', part = '', methods] = match;
    const depth = indent.length / 4;
    parts.length = depth;
    parts[depth] = part;
    for (const method of methods?.split(', ') ?? []) {
      if (method !== 'HEAD') routes.push(`${method} ${parts.join('')}`);
    }
  }
  return routes;
}
