/**
 * The gate every operation passes, over HTTP and socket alike: size, shape, validity, access, price, allowance, in
 * this order, so that each check may rely on the cheaper ones before it. Documents are checked once and remembered.
 */
import {
  getOperationAST,
  GraphQLError,
  Kind,
  OperationTypeNode,
  parse,
  specifiedRules,
  validate,
} from 'graphql';
import type { DocumentNode, GraphQLSchema, OperationDefinitionNode } from 'graphql';
import { AppError } from '../platform/errors.js';
import type { Principal } from '../tenancy/principal.js';
import { accessOf } from './access.js';
import type { Allowance } from './context.js';
import { PriceList } from './cost.js';
import type { Price } from './cost.js';
import { DOCUMENT_LIMITS, measureDocument, tooComplex } from './document-limits.js';
import type { DocumentLimits } from './document-limits.js';
import { DocumentStore } from './document-store.js';
import { NO_TRUSTED_DOCUMENTS } from './trusted-documents.js';
import type { TrustedDocuments } from './trusted-documents.js';

export interface RateDecision {
  readonly allowed: boolean;
  readonly remaining: number;
  readonly limit: number;
  /** Seconds until the refused amount would be there. */
  readonly retryAfterSeconds: number;
  /** Default: the limit comes back in a minute. */
  readonly restoreRatePerSecond?: number;
}

/** The allowance of cost points per key. */
export interface RateLimiter {
  take(key: string, rateClass: 'cost', amount: number): RateDecision | Promise<RateDecision>;
  refund(key: string, rateClass: 'cost', amount: number): void | Promise<void>;
}

export interface GateLimits {
  readonly document: DocumentLimits;
  /** Objects in lists one operation may ask for. */
  readonly maxNodes: number;
  /** Cost points of one operation. */
  readonly maxCost: number;
  readonly maxValidationErrors: number;
}

export const GATE_LIMITS: GateLimits = {
  document: DOCUMENT_LIMITS,
  maxNodes: 10_000,
  maxCost: 10_000,
  maxValidationErrors: 10,
};

/** http carries queries and mutations, the socket subscriptions only. */
export type OperationKind = 'http' | 'subscription';

interface Caller {
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined;
  readonly operationName?: string | null | undefined;
  readonly principal: Principal | undefined;
  readonly kind: OperationKind;
}

export interface OperationRequest extends Caller {
  readonly query: string;
}

export interface CostReport extends Allowance {
  readonly actual: number;
}

export interface Admitted {
  readonly ok: true;
  readonly document: DocumentNode;
  readonly operation: OperationDefinitionNode;
  /** Cost points that were charged. */
  readonly cost: number;
  /** Undefined for callers without an allowance. */
  readonly allowance: Allowance | undefined;
  /**
   * Gives back what was charged too much, judged by the result's data, and reports. Undefined for callers without
   * an allowance. Call at most once.
   */
  readonly settle: (data: unknown) => Promise<CostReport | undefined>;
}

/** Refusals are AppErrors inside GraphQLErrors; an ErrorPresenter shows them. */
export type Admission = Admitted | { readonly ok: false; readonly errors: readonly GraphQLError[] };

interface Verdict {
  readonly introspects: boolean;
  readonly trusted: boolean;
  readonly errors: readonly GraphQLError[];
}

export interface OperationGateOptions {
  readonly schema: GraphQLSchema;
  /** Without one, operations are priced but nobody runs out. */
  readonly limiter?: RateLimiter;
  readonly limits?: GateLimits;
  /** Default: there are none. */
  readonly trusted?: TrustedDocuments;
  /** Called once per operation that is refused, for metrics. */
  readonly onRejected?: (rule: RejectionRule) => void;
}

/** What an operation can be refused for, in the words of the metric. */
export type RejectionRule =
  | 'syntax'
  | 'shape'
  | 'validation'
  | 'operation'
  | 'transport'
  | 'trusted'
  | 'access'
  | 'nodes'
  | 'cost'
  | 'allowance';

export class OperationGate {
  readonly documents = new DocumentStore();
  readonly trusted: TrustedDocuments;
  readonly limits: GateLimits;
  readonly #schema: GraphQLSchema;
  readonly #priceList: PriceList;
  readonly #limiter: RateLimiter | undefined;
  readonly #onRejected: OperationGateOptions['onRejected'];
  readonly #verdicts = new WeakMap<DocumentNode, Verdict>();
  // Prices that do not depend on variables.
  readonly #prices = new WeakMap<OperationDefinitionNode, Price>();

  constructor({
    schema,
    limiter,
    limits = GATE_LIMITS,
    trusted = NO_TRUSTED_DOCUMENTS,
    onRejected,
  }: OperationGateOptions) {
    this.#onRejected = onRejected;
    this.#schema = schema;
    this.trusted = trusted;
    this.#priceList = new PriceList(schema);
    this.#limiter = limiter;
    this.limits = limits;
  }

  /** Everything from the text to the allowance. For transports that do not parse by themselves. */
  async prepare(request: OperationRequest): Promise<Admission> {
    let document = this.documents.find(request.query);
    if (document === undefined) {
      try {
        document = parse(request.query, { maxLexicalTokens: this.limits.document.maxTokens });
      } catch (error) {
        const refusal = parseError(error);
        this.countRejection([refusal]);
        return refused(refusal);
      }
      this.documents.remember(request.query, document);
    }
    return this.admit(document, request);
  }

  /** The same for a document that was parsed with `limits.document.maxTokens`. */
  async admit(document: DocumentNode, caller: Caller): Promise<Admission> {
    const admission = await this.#decide(document, caller);
    if (!admission.ok) this.countRejection(admission.errors);
    return admission;
  }

  /** For transports that refuse documents before they reach the gate. */
  countRejection(errors: readonly GraphQLError[]): void {
    const [first] = errors;
    if (first !== undefined) this.#onRejected?.(ruleOf(first));
  }

  async #decide(document: DocumentNode, caller: Caller): Promise<Admission> {
    const verdict = this.#judge(document);
    if (verdict.errors.length > 0) return { ok: false, errors: verdict.errors };
    const operation = getOperationAST(document, caller.operationName) ?? undefined;
    if (operation === undefined) return refused(unknownOperation(caller.operationName));
    const refusal = this.#refuse(operation, document, verdict, caller);
    if (refusal !== undefined) return refused(refusal);

    const variables = caller.variables ?? {};
    const { cost, nodes } = this.#price(document, operation, variables);
    const { maxCost, maxNodes } = this.limits;
    if (nodes > maxNodes) {
      return refused(
        tooComplex(`The operation may return ${nodes} objects; ${maxNodes} are allowed.`, {
          nodes,
          maxNodes,
        }),
      );
    }
    if (cost > maxCost) {
      return refused(tooComplex(`The operation costs ${cost}; ${maxCost} is allowed.`, { cost, maxCost }));
    }

    const limiter = this.#limiter;
    const key = caller.principal?.keyId;
    if (limiter === undefined || key === undefined) {
      const settle = (): Promise<undefined> => Promise.resolve(undefined);
      return { ok: true, document, operation, cost, allowance: undefined, settle };
    }
    const decision = await limiter.take(key, 'cost', cost);
    if (!decision.allowed) return refused(outOfAllowance(decision, cost));
    const settle = async (data: unknown): Promise<CostReport> => {
      const measured = this.#priceList.actual({ document, operation, variables }, data);
      const actual = Math.min(cost, Math.ceil(measured));
      if (actual < cost) await limiter.refund(key, 'cost', cost - actual);
      return { requested: cost, actual, ...standing(decision, decision.remaining + cost - actual) };
    };
    const allowance = { requested: cost, ...standing(decision, decision.remaining) };
    return { ok: true, document, operation, cost, allowance, settle };
  }

  #judge(document: DocumentNode): Verdict {
    const known = this.#verdicts.get(document);
    if (known !== undefined) return known;
    const { introspects, errors: shapeErrors } = measureDocument(document, this.limits.document);
    let errors = shapeErrors;
    if (errors.length === 0) {
      const maxErrors = this.limits.maxValidationErrors;
      errors = validate(this.#schema, document, specifiedRules, { maxErrors }).map(invalidDocument);
    }
    const trusted = this.trusted.has(document.loc?.source.body ?? '');
    const verdict = { introspects, trusted, errors };
    this.#verdicts.set(document, verdict);
    return verdict;
  }

  #refuse(
    operation: OperationDefinitionNode,
    document: DocumentNode,
    verdict: Verdict,
    { kind, principal }: Caller,
  ): GraphQLError | undefined {
    if ((operation.operation === OperationTypeNode.SUBSCRIPTION) !== (kind === 'subscription')) {
      const where =
        kind === 'http' ? 'Subscriptions need a WebSocket' : 'Only subscriptions run over a WebSocket';
      return asGraphqlError(new AppError('BAD_USER_INPUT', `${where} (protocol graphql-transport-ws).`));
    }
    if (!verdict.trusted && this.trusted.isRequiredFor(principal)) {
      const details = { reason: TRUSTED_ONLY };
      return asGraphqlError(
        new AppError('FORBIDDEN', 'This caller may run trusted documents only.', { details }),
      );
    }
    if (verdict.introspects && principal === undefined) {
      return asGraphqlError(new AppError('UNAUTHENTICATED', 'Introspection needs an API key.'));
    }
    const root = this.#schema.getRootType(operation.operation);
    for (const name of rootFields(operation, document)) {
      const field = root?.getFields()[name];
      if (field === undefined) continue;
      // A field that forgot to say is for nobody.
      const access = accessOf(field) ?? 'admin';
      if (access === 'public') continue;
      if (principal === undefined) {
        return asGraphqlError(
          new AppError(
            'UNAUTHENTICATED',
            'This needs an API key, in the header X-API-Key or as a bearer token.',
          ),
        );
      }
      if (access !== 'authenticated' && !principal.scopes.has(access)) {
        const details = { missingScope: access, field: name };
        return asGraphqlError(
          new AppError('FORBIDDEN', `"${name}" needs the scope "${access}".`, { details }),
        );
      }
    }
    return undefined;
  }

  #price(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Readonly<Record<string, unknown>>,
  ): Price {
    const known = this.#prices.get(operation);
    if (known !== undefined) return known;
    const price = this.#priceList.estimate({ document, operation, variables });
    const whole = { ...price, cost: Math.max(1, Math.ceil(price.cost)) };
    if (!price.dependsOnVariables) this.#prices.set(operation, whole);
    return whole;
  }
}

/** Names of the root fields, those in fragments included. The shape limits bound the walk. */
function rootFields(operation: OperationDefinitionNode, document: DocumentNode): Set<string> {
  const names = new Set<string>();
  const spread = new Set<string>();
  const sets = [operation.selectionSet];
  for (let set = sets.pop(); set !== undefined; set = sets.pop()) {
    for (const node of set.selections) {
      if (node.kind === Kind.FIELD) names.add(node.name.value);
      else if (node.kind === Kind.INLINE_FRAGMENT) sets.push(node.selectionSet);
      else if (!spread.has(node.name.value)) {
        spread.add(node.name.value);
        for (const definition of document.definitions) {
          if (definition.kind === Kind.FRAGMENT_DEFINITION && definition.name.value === node.name.value) {
            sets.push(definition.selectionSet);
          }
        }
      }
    }
  }
  return names;
}

const refused = (error: GraphQLError): Admission => ({ ok: false, errors: [error] });

function ruleOf({ extensions, originalError }: GraphQLError): RejectionRule {
  switch (extensions['code']) {
    case 'GRAPHQL_PARSE_FAILED':
      return 'syntax';
    case 'GRAPHQL_VALIDATION_FAILED':
      return 'validation';
    case 'OPERATION_RESOLUTION_FAILURE':
      return 'operation';
    case 'QUERY_TOO_COMPLEX':
      return 'maxNodes' in extensions ? 'nodes' : 'maxCost' in extensions ? 'cost' : 'shape';
    case 'RATE_LIMITED':
      return 'allowance';
    case 'BAD_USER_INPUT':
      return 'transport';
    default:
      return originalError instanceof AppError && originalError.details?.['reason'] === TRUSTED_ONLY
        ? 'trusted'
        : 'access';
  }
}

const TRUSTED_ONLY = 'trusted documents only';

/** A refusal in the shape GraphQL libraries pass on. */
export function asGraphqlError(refusal: AppError): GraphQLError {
  return new GraphQLError(refusal.message, { originalError: refusal, extensions: { code: refusal.code } });
}

function parseError(error: unknown): GraphQLError {
  const extensions = { code: 'GRAPHQL_PARSE_FAILED' };
  if (!(error instanceof GraphQLError)) {
    return new GraphQLError('Syntax Error: The document is nested too deeply.', { extensions });
  }
  return new GraphQLError(error.message, {
    source: error.source ?? null,
    positions: error.positions ?? null,
    extensions,
  });
}

function invalidDocument(error: GraphQLError): GraphQLError {
  return new GraphQLError(error.message, {
    nodes: error.nodes ?? null,
    extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
  });
}

function unknownOperation(name: string | null | undefined): GraphQLError {
  const message = name
    ? `Unknown operation named "${name}".`
    : 'Must provide operation name if query contains multiple operations.';
  return new GraphQLError(message, { extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } });
}

function standing(decision: RateDecision, remaining: number): Omit<CostReport, 'requested' | 'actual'> {
  const { limit } = decision;
  return {
    remaining: Math.min(limit, remaining),
    limit,
    restoreRatePerSecond: decision.restoreRatePerSecond ?? limit / 60,
  };
}

function outOfAllowance(decision: RateDecision, cost: number): GraphQLError {
  const report: CostReport = { requested: cost, actual: 0, ...standing(decision, decision.remaining) };
  return asGraphqlError(
    new AppError(
      'RATE_LIMITED',
      `The operation costs ${cost}; this key has ${decision.remaining} points left.`,
      {
        details: { cost: report },
        retryAfterSeconds: Math.max(1, Math.ceil(decision.retryAfterSeconds)),
      },
    ),
  );
}
