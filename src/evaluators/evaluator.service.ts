/**
 * Use cases of evaluators. A version never changes: what a score names can be read for ever. Changes of one evaluator
 * follow one another under its lock, so two of them never make the same version.
 */
import type pg from 'pg';
import type { FeedbackConfigService } from '../feedback/feedback-config.service.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { ModelProviderService } from '../models/model-provider.service.js';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import { cleanJsonText, cleanText } from '../platform/json-text.js';
import type { PageWindow } from '../platform/keyset.js';
import type { OutboundClient } from '../platform/outbound.js';
import { failed, ok, problem, type Problem, type Result } from '../platform/result.js';
import { requireScope, type Principal, type WorkspaceScope } from '../tenancy/principal.js';
import { isEvaluatorKind, parseConfig, type EvaluatorSpec } from './evaluator-config.js';
import { configHash, namingProblems, scaleOf, scaleProblem } from './evaluator.js';
import type { Evaluator, EvaluatorDefinition, StoredVersion } from './evaluator.js';
import type { EvaluatorFilter, EvaluatorStore, VersionRef } from './evaluator.store.js';
import type { WebhookSecrets } from './webhook.js';

export interface EvaluatorDraft extends EvaluatorDefinition {
  readonly name: string;
  readonly description?: string | null | undefined;
}

/** Absent leaves, null clears. A kind comes with its config. */
export interface EvaluatorPatch {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  readonly kind?: string | undefined;
  readonly feedbackKey?: string | undefined;
  readonly config?: unknown;
}

/** An evaluator by id or by name, in one of its versions. */
export type EvaluatorRef = ({ readonly id: string } | { readonly name: string }) & {
  /** Absent: the newest. */
  readonly version?: number | undefined;
};

export interface EvaluatorServiceDeps {
  readonly pool: pg.Pool;
  readonly store: EvaluatorStore;
  readonly feedbackConfigs: Pick<FeedbackConfigService, 'ensure'>;
  readonly providers: Pick<ModelProviderService, 'find'>;
  readonly outbound: Pick<OutboundClient, 'urlProblem'>;
  readonly secrets: WebhookSecrets;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

export class EvaluatorService {
  readonly #deps: EvaluatorServiceDeps;

  constructor(deps: EvaluatorServiceDeps) {
    this.#deps = deps;
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: EvaluatorFilter, window: PageWindow): Promise<Evaluator[]> {
    return this.#deps.store.list(this.#deps.pool, requireScope(principal, 'read'), filter, window);
  }

  /** How many match, counted up to `limit`. */
  async count(principal: Principal, filter: EvaluatorFilter, limit: number): Promise<number> {
    return this.#deps.store.count(this.#deps.pool, requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async find(principal: Principal, ids: readonly string[]): Promise<Evaluator[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.#deps.store.findByIds(this.#deps.pool, scope, [...new Set(ids)]);
  }

  async findByName(principal: Principal, name: string): Promise<Evaluator | undefined> {
    const scope = requireScope(principal, 'read');
    return (await this.#deps.store.findByNames(this.#deps.pool, scope, [name]))[0];
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async listVersions(principal: Principal, id: string, window: PageWindow): Promise<StoredVersion[]> {
    return this.#deps.store.listVersions(this.#deps.pool, requireScope(principal, 'read'), id, window);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async findVersionsAt(principal: Principal, refs: readonly VersionRef[]): Promise<StoredVersion[]> {
    const scope = requireScope(principal, 'read');
    return refs.length === 0 ? [] : this.#deps.store.findVersionsAt(this.#deps.pool, scope, refs);
  }

  /** Versions by their own ids, in no particular order; missing and foreign ones are left out. */
  async findVersionsOf(principal: Principal, ids: readonly string[]): Promise<StoredVersion[]> {
    return this.findVersions(requireScope(principal, 'read'), ids);
  }

  /** The same for workers. */
  async findVersions(scope: WorkspaceScope, ids: readonly string[]): Promise<StoredVersion[]> {
    return ids.length === 0 ? [] : this.#deps.store.findVersions(this.#deps.pool, scope, [...new Set(ids)]);
  }

  /**
   * The versions that are meant, in the order of `refs`. Problems name their place in the list. Archived evaluators are
   * refused: nothing new begins with one.
   */
  async resolve(principal: Principal, refs: readonly EvaluatorRef[]): Promise<Result<StoredVersion[]>> {
    const scope = requireScope(principal, 'read');
    const { pool, store } = this.#deps;
    const names = refs.flatMap((ref) => ('name' in ref ? [ref.name] : []));
    const ids = refs.flatMap((ref) => ('id' in ref ? [ref.id] : []));
    const found = [
      ...(names.length === 0 ? [] : await store.findByNames(pool, scope, names)),
      ...(ids.length === 0 ? [] : await store.findByIds(pool, scope, ids)),
    ];
    const evaluators = refs.map((ref) =>
      found.find((each) => ('id' in ref ? each.uuid === ref.id : each.name === ref.name)),
    );
    const wanted = refs.flatMap(({ version }, index) => {
      const evaluator = evaluators[index];
      return evaluator === undefined ? [] : [{ evaluatorId: evaluator.uuid, version }];
    });
    const stored = wanted.length === 0 ? [] : await store.findVersionsAt(pool, scope, wanted);
    const problems: Problem[] = [];
    const versions = refs.flatMap(({ version }, index) => {
      const evaluator = evaluators[index];
      const number = version ?? evaluator?.version;
      const one = stored.find((each) => each.evaluatorId === evaluator?.uuid && each.version === number);
      if (evaluator === undefined || one === undefined) {
        const what = evaluator === undefined ? 'evaluator' : `version ${number ?? ''} of "${evaluator.name}"`;
        problems.push(problem('NOT_FOUND', `There is no such ${what}.`, [String(index)]));
      } else if (evaluator.archivedAt !== null) {
        problems.push(problem('NOT_ALLOWED', `"${evaluator.name}" is archived.`, [String(index)]));
      }
      return one ?? [];
    });
    return problems.length > 0 ? failed(...problems) : ok(versions);
  }

  /** Also makes the config of its feedback key, unless there is one. */
  async create(
    principal: Principal,
    draft: EvaluatorDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<Evaluator>> {
    const scope = requireScope(principal, 'write');
    const naming = cleaned(draft);
    const spec = await this.checkDefinition(principal, draft);
    const problems = [...namingProblems(naming), ...(spec.ok ? [] : spec.problems)];
    if (problems.length > 0 || !spec.ok) return failed(...problems);
    const { store, ids, clock, idempotency } = this.#deps;
    const now = clock.now().toISOString();
    const evaluator: Evaluator = {
      uuid: ids.uuid(),
      name: naming.name,
      description: naming.description ?? null,
      version: 1,
      archivedAt: null,
      createdAt: now,
      updatedAt: now,
    };
    const call = { mutation: 'createEvaluator', key: idempotencyKey, input: draft };
    return idempotency.once(principal, call, async (tx): Promise<Result<Evaluator>> => {
      if (!(await store.insert(tx, scope, evaluator))) return failed(nameTaken(evaluator.name));
      const version = this.#versionOf(principal, evaluator, naming.feedbackKey, spec.value);
      const refusal = await this.#addVersion(tx, scope, version, spec.value);
      return refusal === undefined ? this.#stored(tx, scope, evaluator.uuid) : failed(refusal);
    });
  }

  /** A definition that differs from the newest version's makes a new version; an equal one makes none. */
  async update(principal: Principal, id: string, patch: EvaluatorPatch): Promise<Result<Evaluator>> {
    const scope = requireScope(principal, 'write');
    const naming = cleaned(patch);
    const problems = namingProblems(naming);
    if (patch.kind !== undefined && patch.config === undefined) {
      problems.push(problem('INVALID', 'A kind comes with its config.', ['config']));
    }
    if (problems.length > 0) return failed(...problems);
    const { pool, store } = this.#deps;
    // Before the lock is taken: it looks providers up, on connections of its own.
    const checked =
      patch.config === undefined ? undefined : await this.#checkPatch(principal, scope, id, patch);
    if (checked?.ok === false) return checked;
    try {
      return await transaction(pool, async (tx) => {
        const evaluator = await store.lock(tx, scope, id);
        const [newest] = await store.findVersionsAt(tx, scope, [{ evaluatorId: id }]);
        if (evaluator === undefined || newest === undefined) return failed(notFound());
        if (evaluator.archivedAt !== null) return failed(archived(evaluator));
        const next = { ...evaluator, ...given(naming), updatedAt: this.#deps.clock.now().toISOString() };
        const version = await this.#nextVersion(
          tx,
          principal,
          next,
          { ...patch, ...naming },
          newest,
          checked?.value,
        );
        await store.update(tx, scope, { ...next, version });
        return this.#stored(tx, scope, id);
      });
    } catch (error) {
      if (error instanceof Refused) return failed(error.problem);
      if (sqlState(error) === '23505') return failed(nameTaken(naming.name ?? ''));
      throw error;
    }
  }

  async #checkPatch(
    principal: Principal,
    scope: WorkspaceScope,
    id: string,
    { kind, config }: EvaluatorPatch,
  ): Promise<Result<EvaluatorSpec>> {
    if (kind !== undefined) return this.checkDefinition(principal, { kind, config });
    const [newest] = await this.#deps.store.findVersionsAt(this.#deps.pool, scope, [{ evaluatorId: id }]);
    if (newest === undefined) return failed(notFound());
    return this.checkDefinition(principal, { kind: newest.kind, config });
  }

  /**
   * The number of the newest version after the change, stored if there was none like it.
   * @throws Refused
   */
  async #nextVersion(
    tx: Queryable,
    principal: Principal,
    evaluator: Evaluator,
    { kind, feedbackKey }: EvaluatorPatch,
    newest: StoredVersion,
    checked: EvaluatorSpec | undefined,
  ): Promise<number> {
    if (checked === undefined && feedbackKey === undefined) return evaluator.version;
    // A config without a kind was checked against the kind it found.
    if (checked !== undefined && kind === undefined && checked.kind !== newest.kind) {
      throw new Refused(overtaken());
    }
    const spec = checked === undefined ? this.#specOf(newest) : ok(checked);
    if (!spec.ok) throw new Refused(spec.problems[0] ?? overtaken());
    const scope = requireScope(principal, 'write');
    const numbered = { ...evaluator, version: evaluator.version + 1 };
    const version = this.#versionOf(principal, numbered, feedbackKey ?? newest.feedbackKey, spec.value);
    if (version.configHash === newest.configHash) return evaluator.version;
    const refusal = await this.#addVersion(tx, scope, version, spec.value);
    if (refusal !== undefined) throw new Refused(refusal);
    return version.version;
  }

  #specOf({ kind, config }: StoredVersion): Result<EvaluatorSpec> {
    return isEvaluatorKind(kind)
      ? parseConfig(kind, config)
      : failed(problem('INVALID', `There is no kind "${kind}".`, ['kind']));
  }

  /** Or brings it back. What uses one of its versions already goes on. */
  async archive(principal: Principal, id: string, isArchived: boolean): Promise<Result<Evaluator>> {
    const scope = requireScope(principal, 'write');
    const { pool, store, clock } = this.#deps;
    return transaction(pool, async (tx) => {
      const evaluator = await store.lock(tx, scope, id);
      if (evaluator === undefined) return failed(notFound());
      const now = clock.now().toISOString();
      if (isArchived !== (evaluator.archivedAt !== null)) {
        await store.update(tx, scope, { ...evaluator, archivedAt: isArchived ? now : null, updatedAt: now });
      }
      return this.#stored(tx, scope, id);
    });
  }

  /** The secret a webhook evaluator's requests are signed with; undefined for other kinds. */
  async webhookSecret(principal: Principal, evaluator: Evaluator): Promise<string | undefined> {
    const scope = requireScope(principal, 'write');
    const ref = { evaluatorId: evaluator.uuid };
    const [newest] = await this.#deps.store.findVersionsAt(this.#deps.pool, scope, [ref]);
    return newest?.kind === 'webhook' ? this.#deps.secrets.of(scope.workspaceId, evaluator.uuid) : undefined;
  }

  /** The settings with all defaults; problems have paths from "kind" and "config". */
  async checkDefinition(
    principal: Principal,
    { kind, config }: Pick<EvaluatorDefinition, 'kind' | 'config'>,
  ): Promise<Result<EvaluatorSpec>> {
    if (!isEvaluatorKind(kind)) return failed(problem('INVALID', `There is no kind "${kind}".`, ['kind']));
    const parsed = parseConfig(kind, storable(config));
    if (!parsed.ok) return parsed;
    const spec = parsed.value;
    if (spec.kind === 'webhook') {
      const refusal = this.#deps.outbound.urlProblem(spec.config.url);
      if (refusal !== undefined) return failed(problem('INVALID', refusal, ['config', 'url']));
    }
    if (spec.kind === 'llm_judge' || spec.kind === 'pairwise') {
      const [provider] = await this.#deps.providers.find(principal, [spec.config.providerId.toLowerCase()]);
      if (provider === undefined) {
        return failed(problem('NOT_FOUND', 'There is no such model provider.', ['config', 'providerId']));
      }
    }
    return parsed;
  }

  #versionOf(
    principal: Principal,
    { uuid, name, version, updatedAt }: Evaluator,
    feedbackKey: string,
    { kind, config }: EvaluatorSpec,
  ): StoredVersion {
    const settings = config as JsonObject;
    return {
      uuid: this.#deps.ids.uuid(),
      workspaceId: principal.workspaceId,
      evaluatorId: uuid,
      evaluatorName: name,
      version,
      kind,
      feedbackKey,
      config: settings,
      configHash: configHash(kind, feedbackKey, settings),
      actor: principal.userId ?? principal.keyId,
      createdAt: updatedAt,
    };
  }

  async #addVersion(
    tx: Queryable,
    scope: WorkspaceScope,
    version: StoredVersion,
    spec: EvaluatorSpec,
  ): Promise<Problem | undefined> {
    const scale = scaleOf(spec);
    if (scale !== undefined) {
      const { definition, isLowerScoreBetter } = scale;
      const existing = await this.#deps.feedbackConfigs.ensure(
        tx,
        scope,
        version.feedbackKey,
        definition,
        isLowerScoreBetter,
      );
      const refusal = scaleProblem(scale, existing);
      if (refusal !== undefined) return refusal;
    }
    await this.#deps.store.insertVersion(tx, scope, version);
    return undefined;
  }

  async #stored(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Result<Evaluator>> {
    const [evaluator] = await this.#deps.store.findByIds(tx, scope, [id]);
    return evaluator === undefined ? failed(notFound()) : ok(evaluator);
  }
}

/** Rolls the transaction back. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

type Naming = Pick<EvaluatorPatch, 'name' | 'description' | 'feedbackKey'>;

function cleaned<Given extends Naming>({ name, description, feedbackKey }: Given): Pick<Given, keyof Naming> {
  const clean = (text: string | null | undefined): string | null | undefined =>
    typeof text === 'string' ? cleanText(text) : text;
  return {
    name: clean(name)?.trim(),
    description: clean(description),
    feedbackKey: clean(feedbackKey),
  } as Pick<Given, keyof Naming>;
}

const given = ({ name, description }: Naming): Partial<Pick<Evaluator, 'name' | 'description'>> => ({
  ...(name !== undefined && { name }),
  ...(description !== undefined && { description }),
});

/** As it will come back from the database. */
const storable = (config: unknown): unknown =>
  config === undefined ? undefined : (JSON.parse(cleanJsonText(JSON.stringify(config))) as unknown);

const notFound = (): Problem => problem('NOT_FOUND', 'There is no such evaluator.', ['id']);
const nameTaken = (name: string): Problem =>
  problem('ALREADY_EXISTS', `There is an evaluator named "${name}".`, ['name']);
const archived = ({ name }: Evaluator): Problem =>
  problem('NOT_ALLOWED', `"${name}" is archived and takes no changes.`, ['id']);
const overtaken = (): Problem =>
  problem('CONFLICT', 'Somebody else changed the evaluator just now.', ['id'], true);
