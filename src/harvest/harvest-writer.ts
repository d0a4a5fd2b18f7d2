/**
 * Candidates become examples: within the caller's transaction and under the dataset's lock, as one version. What has
 * changed since they were judged counts: each is looked at once more, and none can be added twice, because the row that
 * says so commits with it.
 */
import type pg from 'pg';
import { exampleProblems, newRow } from '../datasets/example.js';
import type { ExampleDraft, ExampleRow } from '../datasets/example.js';
import { copyIntoVersion } from '../datasets/example-row.js';
import { ExampleSchemas } from '../datasets/example-schemas.js';
import { ExampleStore } from '../datasets/example.store.js';
import { claimIds } from '../datasets/example-write.store.js';
import { writeVersion } from '../datasets/version-writer.js';
import type { ExampleWrite, WritePlace } from '../datasets/version-writer.js';
import type { JsonObject, JsonValue, Payload } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';
import { ok } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { placeOf } from './candidate.store.js';
import type { CandidateStore, Decision, PendingCandidate } from './candidate.store.js';
import { findByInputs } from './existing-examples.js';
import { HARVEST_KEY } from './harvest.js';
import type { HarvestRun } from './harvest.js';
import { indexExamples } from './harvest-source.js';
import { comparableText, NearIndex, signatureOf } from './near-duplicates.js';

const BATCH = 100;

export interface HarvestWriterDeps {
  readonly candidates: CandidateStore;
  readonly clock: Clock;
  readonly ids: Ids;
}

interface Ready {
  readonly candidate: PendingCandidate;
  readonly row: ExampleRow;
}

export class HarvestWriter {
  readonly #deps: HarvestWriterDeps;

  constructor(deps: HarvestWriterDeps) {
    this.#deps = deps;
  }

  /** All that is pending. The only failure is a dataset that is gone; nothing is written then. */
  async apply(
    tx: pg.PoolClient,
    scope: WorkspaceScope,
    run: HarvestRun,
    actor: string | null,
  ): Promise<Result<ExampleWrite>> {
    const { clock, candidates } = this.#deps;
    const note = `Harvest "${run.harvestName}", execution ${run.uuid}`;
    return writeVersion(tx, { scope, actor, note }, run.datasetId, clock, async (place) => {
      const schemas = ExampleSchemas.stored(place.dataset);
      const near = await newerExamples(place, run);
      const added: string[] = [];
      for (let after = 0; ;) {
        const page = await candidates.pending(tx, scope, run.uuid, { after, limit: BATCH });
        const last = page.at(-1);
        if (last === undefined) break;
        after = last.position;
        added.push(...(await this.#add(place, run, page, schemas, near)));
      }
      return ok({ added: added.length, modified: 0, removed: 0, value: added });
    });
  }

  async #add(
    place: WritePlace,
    run: HarvestRun,
    page: readonly PendingCandidate[],
    schemas: ExampleSchemas,
    near: NearIndex | undefined,
  ): Promise<string[]> {
    const { tx, scope, datasetId } = place;
    const { candidates, clock } = this.#deps;
    const present = await existing(place, run, page);
    const decisions: Decision[] = [];
    const ready: Ready[] = [];
    for (const candidate of page) {
      const refusal = refusalOf(candidate, { present, schemas, near }) ?? this.#made(place, run, candidate);
      if ('verdict' in refusal) decisions.push(refusal);
      else ready.push({ candidate, row: refusal });
    }
    const wanted = ready.map(({ candidate }) => candidate.sourceRunId);
    const own = await candidates.take(tx, scope, placeOf(run), wanted, 'added', clock.now());
    const rows: ExampleRow[] = [];
    for (const { candidate, row } of ready) {
      const { sourceRunId } = candidate;
      if (!own.has(sourceRunId)) decisions.push({ sourceRunId, verdict: 'known' });
      else {
        rows.push(row);
        decisions.push({ sourceRunId, verdict: 'added', exampleId: row.id });
      }
    }
    if (rows.length > 0) {
      const ids = rows.map(({ id }) => id);
      const taken = await claimIds(tx, scope, datasetId, ids);
      if (taken.length > 0) throw new Error('a new id is taken');
      await copyIntoVersion(tx, scope, place, rows);
    }
    await candidates.decide(tx, scope, run.uuid, decisions);
    return rows.map(({ id }) => id);
  }

  /** The row, or why there can be none. */
  #made({ modifiedUs }: WritePlace, run: HarvestRun, candidate: PendingCandidate): ExampleRow | Decision {
    const draft: ExampleDraft = {
      inputs: payload(candidate.inputs),
      outputs: candidate.outputs === null ? null : payload(candidate.outputs),
      metadata: { ...(JSON.parse(candidate.metadata) as JsonObject), [HARVEST_KEY]: run.harvestId },
      splits: run.definition.splits,
      sourceRunId: candidate.sourceRunId,
    };
    const [wrong] = exampleProblems(draft, []);
    if (wrong !== undefined) {
      return { sourceRunId: candidate.sourceRunId, verdict: 'failed', reason: wrong.message };
    }
    return newRow(draft, this.#deps.ids.uuid(), modifiedUs);
  }
}

/** What the dataset has by now. */
interface Present {
  readonly sources: ReadonlySet<string>;
  /** Examples by the hash of their inputs. */
  readonly inputs: ReadonlyMap<string, string>;
}

async function existing(
  { tx, scope, datasetId }: WritePlace,
  { definition }: HarvestRun,
  page: readonly PendingCandidate[],
): Promise<Present> {
  const ids = page.map(({ sourceRunId }) => sourceRunId);
  const hashes = page.map(({ inputsHash }) => inputsHash);
  return {
    sources: new Set(await new ExampleStore({ db: tx }).findSources(scope, datasetId, ids)),
    inputs: definition.duplicates.exact ? await findByInputs(tx, scope, datasetId, hashes) : new Map(),
  };
}

/** Examples that were written since the candidates were compared; undefined where there are none to compare with. */
async function newerExamples(
  { tx, scope, dataset, datasetId }: WritePlace,
  { definition, datasetVersion }: HarvestRun,
): Promise<NearIndex | undefined> {
  const { nearThreshold } = definition.duplicates;
  const version = datasetVersion ?? 0;
  if (nearThreshold === null || dataset.version <= version) return undefined;
  const index = new NearIndex(nearThreshold);
  await indexExamples(tx, scope, { datasetId, version }, index);
  return index;
}

function refusalOf(
  { sourceRunId, inputs, outputs, inputsHash }: PendingCandidate,
  { present, schemas, near }: { present: Present; schemas: ExampleSchemas; near: NearIndex | undefined },
): Decision | undefined {
  if (present.sources.has(sourceRunId)) return { sourceRunId, verdict: 'known' };
  const same = present.inputs.get(inputsHash.toString('hex'));
  if (same !== undefined) return { sourceRunId, verdict: 'exact_duplicate', duplicateOf: same };
  if (near !== undefined) {
    const signature = signatureOf(comparableText(JSON.parse(inputs) as JsonValue));
    const alike = signature && near.find(signature);
    if (alike !== undefined) return { sourceRunId, verdict: 'near_duplicate', duplicateOf: alike };
  }
  const [violation] = schemas.violations({
    inputs: { text: inputs },
    outputs: outputs === null ? null : { text: outputs },
  });
  if (violation === undefined) return undefined;
  const reason = `It does not fit the dataset: ${violation.field}${violation.pointer} ${violation.message}`;
  return { sourceRunId, verdict: 'failed', reason: reason.slice(0, 500) };
}

const payload = (text: string): Payload => ({ text, value: JSON.parse(text) as JsonValue });
