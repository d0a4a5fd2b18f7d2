/**
 * What the engine adds to an evaluation: 1,000 runs under four rule evaluators, carried out by workers in this process
 * with claims, feedback, feed and progress, against a bare loop over the same evaluators on the same subjects. CPU of this
 * process and of Postgres, per evaluation.
 */
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { v7 } from 'uuid';
import { createApp } from '../src/app.js';
import { loadConfig } from '../src/config.js';
import type { EvaluationSubject } from '../src/evaluators/evaluation.js';
import { prepareInstallation } from '../src/installation.js';
import { inWorkspace } from '../src/platform/db-scope.js';
import { Lifecycle } from '../src/platform/lifecycle.js';
import { createLogger } from '../src/platform/log.js';
import type { Result } from '../src/platform/result.js';
import type { Principal } from '../src/tenancy/principal.js';
import { createWorkers } from '../workers/workers.js';
import { startSystem } from './support/system.js';

const ROWS = 1_000;
const ROUNDS = 3;
const KINDS = [
  ['exact', 'exact_match', { outputPath: '/answer', referencePath: '/answer' }],
  ['length', 'length', { max: 1_000 }],
  ['contains', 'contains', { phrases: ['answer'] }],
  ['regex', 'regex', { pattern: 'answer \\d+' }],
] as const;
/** Milliseconds per evaluation that the engine may add in this process; what it does for it are some ten statements per batch. */
const GOAL_MS = 1;

const system = await startSystem();
const log = createLogger('warn', 'bench');
const lifecycle = new Lifecycle(log);
try {
  const config = loadConfig({ DATABASE_URL: system.databaseUrl, LOG_LEVEL: 'warn' });
  const installation = await prepareInstallation({ config, databaseUrl: system.databaseUrl, log });
  const app = createApp({ config, databaseUrl: system.databaseUrl, ...installation, log, lifecycle });
  await createWorkers(app, config, lifecycle);
  const { workspaceId } = system;
  const principal: Principal = {
    keyId: randomUUID(),
    kind: 'service',
    organizationId: randomUUID(),
    workspaceId,
    userId: undefined,
    scopes: new Set(['ingest', 'read', 'content', 'write']),
    expiresAtMs: undefined,
  };
  const own = { url: '', child: { pid: process.pid } as ChildProcess };
  const measured = async (work: () => Promise<void>): Promise<{ own: number; postgres: number }> => {
    const before = system.cpuSeconds(own);
    await work();
    const after = system.cpuSeconds(own);
    const each = (seconds: number): number => (seconds * 1_000) / (ROWS * KINDS.length);
    return { own: each(after.own - before.own), postgres: each(after.postgres - before.postgres) };
  };

  const evaluators = await inWorkspace(workspaceId, async () => {
    const made = [];
    for (const [name, kind, settings] of KINDS) {
      made.push(
        must(await app.evaluators.create(principal, { name, kind, feedbackKey: name, config: settings })),
      );
    }
    return made;
  });
  const versions = await inWorkspace(workspaceId, () =>
    app.evaluators.findVersionsAt(
      principal,
      evaluators.map(({ uuid }) => ({ evaluatorId: uuid })),
    ),
  );

  const engine: { own: number; postgres: number }[] = [];
  const bare: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const subjects = Array.from({ length: ROWS }, (_, index) => subject(index));
    const experimentId = await plant(`round ${round}`, subjects);
    await settled();
    engine.push(
      await measured(async () => {
        const start = {
          experimentId,
          target: { kind: 'runs' },
          evaluators: evaluators.map(({ uuid }) => ({ id: uuid })),
          concurrency: 32,
          useCache: false,
        };
        await inWorkspace(workspaceId, async () => {
          must(await app.experimentControl.start(principal, start));
          while ((await app.experiments.find(principal, [experimentId]))[0]?.state !== 'completed') {
            await new Promise((resolve) => setTimeout(resolve, 250));
          }
        });
      }),
    );
    const loop = await measured(async () => {
      for (const each of subjects) {
        for (const version of versions) {
          await app.evaluatorRuntime.evaluate(version, each, {
            evaluationId: randomUUID(),
            projectName: 'evaluators',
            seed: 0,
            signal: new AbortController().signal,
          });
        }
      }
    });
    bare.push(loop.own);
  }

  const median = (values: readonly number[]): number =>
    [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
  const added = median(engine.map((each) => each.own)) - median(bare);
  const figures = [
    `engine ${median(engine.map((each) => each.own)).toFixed(3)} ms here`,
    `${median(engine.map((each) => each.postgres)).toFixed(3)} ms in Postgres`,
    `bare loop ${median(bare).toFixed(3)} ms`,
    `added ${added.toFixed(3)} ms (goal: at most ${GOAL_MS}): ${added <= GOAL_MS ? 'met' : 'MISSED'}`,
  ];
  process.stdout.write(`| experiments, CPU per evaluation | ${figures.join(' | ')} |\n`);

  /** Until what planting has set off, such as the search index, is done. */
  async function settled(): Promise<void> {
    for (;;) {
      const before = system.cpuSeconds(own);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      const after = system.cpuSeconds(own);
      if (after.postgres - before.postgres < 0.1) return;
    }
  }

  /** A project with these runs, as an SDK leaves it. */
  async function plant(name: string, subjects: readonly EvaluationSubject[]): Promise<string> {
    return inWorkspace(workspaceId, async () => {
      const dataset = must(await app.datasets.createDataset(principal, { name }));
      const examples = subjects.map(({ example, run }) => ({
        id: example?.id ?? '',
        inputs: run.inputs,
        outputs: example?.reference ?? null,
      }));
      for (let from = 0; from < examples.length; from += 500) {
        await app.writes.query(
          `insert into examples (workspace_id, dataset_id, id, since_version, name, inputs, outputs, metadata, splits,
             inputs_hash, content_hash, created_at, modified_at)
           select $1, $2, e.id, 1, '', e.inputs, e.outputs, '{}', '{base}', sha256(e.id::text::bytea),
             sha256(e.id::text::bytea), now(), now()
           from jsonb_to_recordset($3::jsonb) as e (id uuid, inputs json, outputs json)`,
          [workspaceId, dataset.uuid, JSON.stringify(examples.slice(from, from + 500))],
        );
      }
      const draft = { name, referenceDatasetId: dataset.uuid };
      const project = must(await app.projects.createProject(principal, draft));
      await app.writes.query('update datasets set version = 1 where workspace_id = $1 and id = $2', [
        workspaceId,
        dataset.uuid,
      ]);
      const nowUs = Date.now() * 1_000;
      await app.runSink.write(
        subjects.map(({ run, example }) => ({
          kind: 'create' as const,
          workspaceId,
          id: run.id,
          traceId: run.id,
          project: { id: project.uuid },
          name: 'target',
          runType: 'chain' as const,
          startUs: nowUs,
          endUs: nowUs + 1_000_000,
          inputs: { text: JSON.stringify(run.inputs), value: run.inputs },
          outputs: { text: JSON.stringify(run.outputs), value: run.outputs },
          referenceExampleId: example?.id ?? '',
        })),
      );
      return project.uuid;
    });
  }
} finally {
  await lifecycle.stop();
  await system.stop();
}

function subject(index: number): EvaluationSubject {
  const id = v7();
  const inputs = { question: `question ${index} `.repeat(20) };
  const outputs = { answer: `answer ${index} `.repeat(20) };
  return {
    run: {
      id,
      traceId: id,
      name: 'target',
      runType: 'chain',
      inputs,
      outputs,
      error: null,
      latency: 1,
      firstTokenLatency: null,
      totalTokens: null,
      totalCost: null,
      tags: [],
      metadata: {},
    },
    example: { id: randomUUID(), inputs, reference: outputs, metadata: {}, splits: ['base'] },
  };
}

function must<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new Error(JSON.stringify(result.problems));
}
