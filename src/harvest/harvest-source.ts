/**
 * From runs to judged candidates, page by page in order of their start: which runs the filters let through, what
 * examples they would make, redacted, and of what they are duplicates. Reads only; holds one page of content and, for
 * near duplicates, signatures.
 */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { ExampleStore } from '../datasets/example.store.js';
import { hashesOf } from '../datasets/example.js';
import { mapRun } from '../datasets/run-mapping.js';
import type { SourceRun } from '../datasets/run-mapping.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { Queryable } from '../platform/db.js';
import type { ProjectService } from '../projects/project.service.js';
import type { RunRow } from '../runs/run-columns.js';
import type { RunQuery } from '../runs/run-query.js';
import type { RunService } from '../runs/run.service.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import type { CandidateStore, NewCandidate } from './candidate.store.js';
import { EvaluationRuns, metadataOf } from './evaluation-runs.js';
import { findByInputs, inputsSince } from './existing-examples.js';
import { filtersOf } from './harvest.js';
import type { HarvestDefinition, TimeWindow } from './harvest.js';
import { comparableText, MAX_INDEXED, NearIndex, signatureOf } from './near-duplicates.js';
import type { Signature } from './near-duplicates.js';
import { Redactor, TooMuchToRedact } from './redaction.js';

/** Runs one execution looks at. */
export const MAX_MATCHED = 100_000;
const RUNS_PER_PAGE = 200;
/** Runs whose content is held at once. */
const RUNS_PER_READ = 25;
const EXAMPLES_PER_PAGE = 200;

export interface HarvestSourceDeps {
  readonly db: Queryable;
  readonly runs: Pick<RunService, 'listRuns' | 'findRuns'>;
  readonly projects: Pick<ProjectService, 'findProjects'>;
  readonly examples: ExampleStore;
  readonly candidates: CandidateStore;
}

/** What an execution, or a preview, is about. */
export interface HarvestQuestion {
  /** Absent: one that is not stored has met nothing. */
  readonly harvest?: { readonly harvestId: string; readonly revision: number } | undefined;
  readonly datasetId: string;
  readonly definition: HarvestDefinition;
  readonly window: TimeWindow;
}

export interface JudgedPage {
  readonly candidates: readonly NewCandidate[];
  readonly matched: number;
  readonly internal: number;
}

/** It cannot be carried out as it is defined. The message is for people. */
export class HarvestRefused extends Error {}

/** A candidate before it is compared. */
type Prepared = Omit<NewCandidate, 'position'> & { readonly signature: Signature | undefined };

export class HarvestSource {
  readonly #deps: HarvestSourceDeps;

  constructor(deps: HarvestSourceDeps) {
    this.#deps = deps;
  }

  /** @throws HarvestRefused where too much matches. */
  async *pages(
    principal: Principal,
    question: HarvestQuestion,
    signal: AbortSignal,
  ): AsyncGenerator<JudgedPage, void, undefined> {
    const scope = requireScope(principal, 'read');
    requireScope(principal, 'content');
    const { definition } = question;
    const redactor = new Redactor(definition.redaction);
    const evaluation = new EvaluationRuns(this.#deps.projects, principal, definition.projectIds);
    const compared = new Comparison(definition, await this.#nearIndex(scope, question, signal));
    let seen = 0;
    let position = 0;
    for await (const runs of this.#matching(principal, question)) {
      signal.throwIfAborted();
      seen += runs.length;
      if (seen > MAX_MATCHED) {
        throw new HarvestRefused(
          `More than ${MAX_MATCHED} runs match: a narrower filter or window is needed.`,
        );
      }
      const own = await evaluation.without(runs);
      const known = await this.#known(scope, question, own);
      const candidates: NewCandidate[] = [];
      for (let at = 0; at < own.length; at += RUNS_PER_READ) {
        signal.throwIfAborted();
        const batch = own.slice(at, at + RUNS_PER_READ);
        const judged = await this.#judge(principal, scope, question, { redactor, compared, known, batch });
        for (const candidate of judged) candidates.push({ ...candidate, position: (position += 1) });
        // Redaction and comparison are work: others have their turn.
        await setImmediate();
      }
      yield { candidates, matched: runs.length, internal: runs.length - own.length };
    }
  }

  /** Pages of runs without content, oldest first. */
  async *#matching(
    principal: Principal,
    { definition, window }: HarvestQuestion,
  ): AsyncGenerator<RunRow[], void, undefined> {
    const { projectIds, rootsOnly } = definition;
    const query: RunQuery = {
      ...(projectIds.length > 0 && { projectIds }),
      ...(rootsOnly && { isRoot: true }),
      timeRange: window,
      filters: filtersOf(definition),
    };
    let boundary: { value: string; id: string } | undefined;
    for (;;) {
      const page = await this.#deps.runs.listRuns(principal, query, {
        direction: 'asc',
        window: { limit: RUNS_PER_PAGE, backward: false, boundary },
        fields: ['metadata', 'projectUuid', 'referenceExampleId'],
      });
      const runs = page.slice(0, RUNS_PER_PAGE);
      if (runs.length > 0) yield runs;
      const last = runs.at(-1);
      if (last === undefined || page.length <= RUNS_PER_PAGE) return;
      boundary = { value: last.startTime, id: last.uuid };
    }
  }

  async #known(
    scope: WorkspaceScope,
    { harvest, datasetId }: HarvestQuestion,
    runs: readonly RunRow[],
  ): Promise<ReadonlySet<string>> {
    if (runs.length === 0) return new Set();
    const { db, candidates, examples } = this.#deps;
    const ids = runs.map(({ uuid }) => uuid);
    const met =
      harvest === undefined ? [] : await candidates.known(db, scope, { ...harvest, datasetId }, ids);
    return new Set([...met, ...(await examples.findSources(scope, datasetId, ids))]);
  }

  async #judge(
    principal: Principal,
    scope: WorkspaceScope,
    { datasetId, definition }: HarvestQuestion,
    {
      redactor,
      compared,
      known,
      batch,
    }: { redactor: Redactor; compared: Comparison; known: ReadonlySet<string>; batch: readonly RunRow[] },
  ): Promise<Omit<NewCandidate, 'position'>[]> {
    const fresh = batch.filter(({ uuid }) => !known.has(uuid)).map(({ uuid }) => uuid);
    const found =
      fresh.length === 0
        ? []
        : await this.#deps.runs.findRuns(principal, fresh, ['inputs', 'outputs', 'metadata']);
    const content = new Map(found.map((run) => [run.uuid, run]));
    const prepared = batch.map((run): Prepared => {
      if (known.has(run.uuid)) return { ...blank(run), verdict: 'known' };
      const whole = content.get(run.uuid);
      // Deleted since the page was read.
      if (whole === undefined) return { ...blank(run), verdict: 'failed', reason: 'The run is gone.' };
      return prepare(whole, definition, redactor, compared.isNear);
    });
    const hashes = prepared.flatMap(({ inputsHash }) => (inputsHash === null ? [] : [inputsHash]));
    const present =
      definition.duplicates.exact && hashes.length > 0
        ? await findByInputs(this.#deps.db, scope, datasetId, hashes)
        : new Map<string, string>();
    return prepared.map((candidate) => compared.settle(candidate, present));
  }

  /** Undefined where near duplicates are welcome. */
  async #nearIndex(
    scope: WorkspaceScope,
    { datasetId, definition }: HarvestQuestion,
    signal: AbortSignal,
  ): Promise<NearIndex | undefined> {
    const { nearThreshold } = definition.duplicates;
    if (nearThreshold === null) return undefined;
    const index = new NearIndex(nearThreshold);
    await indexExamples(this.#deps.db, scope, { datasetId, version: 0 }, index, signal);
    return index;
  }
}

/**
 * Adds the current examples that are newer than a version.
 * @throws HarvestRefused where there are too many to compare with.
 */
export async function indexExamples(
  db: Queryable,
  scope: WorkspaceScope,
  { datasetId, version }: { readonly datasetId: string; readonly version: number },
  index: NearIndex,
  signal?: AbortSignal,
): Promise<void> {
  for (let after: string | undefined; ;) {
    signal?.throwIfAborted();
    const page = await inputsSince(db, scope, datasetId, version, { after, limit: EXAMPLES_PER_PAGE });
    for (const { id, inputs } of page) {
      const signature = signatureOf(comparableText(JSON.parse(inputs) as JsonValue));
      if (signature !== undefined) index.add(id, signature);
    }
    if (index.size > MAX_INDEXED) {
      throw new HarvestRefused(`Near duplicates are looked for among ${MAX_INDEXED} examples at most.`);
    }
    after = page.at(-1)?.id;
    if (page.length < EXAMPLES_PER_PAGE) return;
  }
}

/** What candidates of one execution are compared with: each other, in their order, and the dataset. */
class Comparison {
  readonly #exact: boolean;
  readonly #near: NearIndex | undefined;
  readonly #seen = new Map<string, string>();

  constructor({ duplicates }: HarvestDefinition, near: NearIndex | undefined) {
    this.#exact = duplicates.exact;
    this.#near = near;
  }

  get isNear(): boolean {
    return this.#near !== undefined;
  }

  /** @param present examples of the dataset by the hash of their inputs. */
  settle(
    { signature, ...candidate }: Prepared,
    present: ReadonlyMap<string, string>,
  ): Omit<NewCandidate, 'position'> {
    const { verdict, inputsHash, sourceRunId } = candidate;
    if (verdict !== 'pending' || inputsHash === null) return candidate;
    const hash = inputsHash.toString('hex');
    const same = this.#exact ? (present.get(hash) ?? this.#seen.get(hash)) : undefined;
    if (same !== undefined) return dropped(candidate, 'exact_duplicate', same);
    const alike = signature === undefined ? undefined : this.#near?.find(signature);
    if (alike !== undefined) return dropped(candidate, 'near_duplicate', alike);
    this.#seen.set(hash, sourceRunId);
    if (signature !== undefined) this.#near?.add(sourceRunId, signature);
    if ((this.#near?.size ?? 0) > 2 * MAX_INDEXED) {
      throw new HarvestRefused(
        'Too many runs match to look for near duplicates: a narrower filter is needed.',
      );
    }
    return candidate;
  }
}

const NO_CONTENT = { inputs: null, outputs: null, metadata: null } as const;

const dropped = (
  candidate: Omit<NewCandidate, 'position'>,
  verdict: 'exact_duplicate' | 'near_duplicate',
  duplicateOf: string,
): Omit<NewCandidate, 'position'> => ({ ...candidate, ...NO_CONTENT, verdict, duplicateOf });

const blank = ({ uuid, startTime }: RunRow): Prepared => ({
  sourceRunId: uuid,
  startTime,
  verdict: 'pending',
  reason: null,
  duplicateOf: null,
  redactions: null,
  stratum: null,
  inputsHash: null,
  signature: undefined,
  ...NO_CONTENT,
});

/** The example a run would make. Whatever goes wrong drops it, with a reason that holds nothing of its content. */
function prepare(
  run: RunRow & SourceRun,
  { mapping, stratifyBy, metadata }: HarvestDefinition,
  redactor: Redactor,
  isNear: boolean,
): Prepared {
  const fail = (reason: string): Prepared => ({ ...blank(run), verdict: 'failed', reason });
  const mapped = mapRun(run, mapping);
  if ('missing' in mapped) {
    return fail(`The run has no ${mapped.missing.map(({ from }) => from).join(', ')}.`);
  }
  const { draft } = mapped;
  try {
    const redacted = redactor.redact({
      inputs: draft.inputs.text,
      outputs: draft.outputs?.text ?? null,
      metadata: JSON.stringify(draft.metadata ?? {}),
    });
    const whole = { ...(JSON.parse(redacted.metadata) as JsonObject), ...metadata };
    const { inputs, outputs, found } = redacted;
    const { inputsHash } = hashesOf({ inputs, outputs, metadata: whole, attachments: [] });
    const text = isNear ? comparableText(JSON.parse(inputs) as JsonValue) : '';
    return {
      ...blank(run),
      inputs,
      outputs,
      metadata: JSON.stringify(whole),
      redactions: Object.keys(found).length === 0 ? null : found,
      stratum: stratifyBy === null ? null : stratumOf(metadataOf(run), stratifyBy),
      inputsHash,
      signature: signatureOf(text),
    };
  } catch (error) {
    return fail(
      error instanceof TooMuchToRedact ? 'It is too large to be redacted.' : 'It could not be redacted.',
    );
  }
}

/** Values may be personal data: only their hash is kept. Runs without one are a stratum, too. */
function stratumOf(metadata: JsonObject, key: string): string {
  const value = Object.hasOwn(metadata, key) ? JSON.stringify(metadata[key]) : 'none';
  return createHash('sha256').update(value).digest('hex').slice(0, 32);
}
