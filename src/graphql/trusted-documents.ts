/**
 * Documents that were approved beforehand: those of the console and of applications of one's own. A request names one
 * by its hash instead of sending the text, and callers can be held to them. A document is trusted because its text is
 * in the manifest, whether a client sent the text or its hash.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { GraphQLError } from 'graphql';
import { AppError } from '../platform/errors.js';
import type { Principal } from '../tenancy/principal.js';

/** Who may run nothing but trusted documents. Personal tokens are what people and the console sign in with. */
export const TRUST_POLICIES = ['nobody', 'personal', 'everybody'] as const;
export type TrustPolicy = (typeof TRUST_POLICIES)[number];

export const DOCUMENT_NOT_FOUND = 'PERSISTED_QUERY_NOT_FOUND';

const PREFIX = 'sha256:';
const HASH = /^[0-9a-f]{64}$/;

export class TrustedDocuments {
  readonly #texts: ReadonlyMap<string, string>;
  readonly #requiredFor: TrustPolicy;

  /** @param texts by their SHA-256 in lower-case hex. */
  constructor(texts: ReadonlyMap<string, string>, requiredFor: TrustPolicy = 'nobody') {
    this.#texts = texts;
    this.#requiredFor = requiredFor;
  }

  get size(): number {
    return this.#texts.size;
  }

  has(text: string): boolean {
    return this.#texts.size > 0 && this.#texts.has(hashOf(text));
  }

  /** Whether this caller may run no other documents. */
  isRequiredFor(principal: Principal | undefined): boolean {
    if (this.#requiredFor === 'personal') return principal?.kind === 'personal';
    return this.#requiredFor === 'everybody';
  }

  /**
   * The text a request means by `documentId`, in the form `sha256:…` of the GraphQL-over-HTTP draft.
   * @throws GraphQLError PERSISTED_QUERY_NOT_FOUND for ids that are not in the manifest, of whatever form, and AppError
   * BAD_USER_INPUT for values that are no id and where a text came along.
   */
  resolve(documentId: unknown, query: unknown): string {
    if (typeof documentId !== 'string' || documentId === '') {
      throw new AppError('BAD_USER_INPUT', '"documentId" must be a string.', { path: ['documentId'] });
    }
    if (query !== undefined && query !== null && query !== '') {
      throw new AppError('BAD_USER_INPUT', 'Send either "documentId" or "query".', { path: ['documentId'] });
    }
    const text = documentId.startsWith(PREFIX) ? this.#texts.get(documentId.slice(PREFIX.length)) : undefined;
    if (text === undefined) {
      throw new GraphQLError('There is no document with this id.', {
        extensions: { code: DOCUMENT_NOT_FOUND },
      });
    }
    return text;
  }
}

export const NO_TRUSTED_DOCUMENTS = new TrustedDocuments(new Map());

/**
 * Reads a manifest: a JSON object of hash (with or without `sha256:`) and text.
 * @throws where the file cannot be read, is no such object, or a text does not have its hash.
 */
export function loadTrustedDocuments(file: string, requiredFor: TrustPolicy): TrustedDocuments {
  const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'));
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) {
    throw new Error(`${file} must hold a JSON object of SHA-256 hashes and GraphQL documents.`);
  }
  const texts = new Map<string, string>();
  for (const [id, text] of Object.entries(manifest)) {
    const hash = id.startsWith(PREFIX) ? id.slice(PREFIX.length) : id;
    if (typeof text !== 'string' || !HASH.test(hash) || hashOf(text) !== hash) {
      throw new Error(`${file}: "${id}" is not the lower-case hexadecimal SHA-256 of its document.`);
    }
    texts.set(hash, text);
  }
  return new TrustedDocuments(texts, requiredFor);
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
