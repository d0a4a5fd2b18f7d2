/** Parsed documents by the SHA-256 of their text, shared by HTTP and sockets and bounded in memory. */
import { createHash } from 'node:crypto';
import type { DocumentNode } from 'graphql';
import { Lru } from './lru.js';

// A syntax tree takes about forty times its text.
const MAX_DOCUMENTS = 2_000;
export const MAX_TEXT_LENGTH = 1_000_000;

/** Implements the store Apollo Server asks for, whose keys end in the hash. */
export class DocumentStore {
  readonly #documents = new Lru<string, DocumentNode>({
    maxEntries: MAX_DOCUMENTS,
    maxWeight: MAX_TEXT_LENGTH,
  });

  get size(): number {
    return this.#documents.size;
  }

  /** Characters of all texts together. */
  get textLength(): number {
    return this.#documents.weight;
  }

  find(text: string): DocumentNode | undefined {
    return this.#documents.get(hashOf(text));
  }

  remember(text: string, document: DocumentNode): void {
    this.#documents.set(hashOf(text), document, text.length);
  }

  get(key: string): Promise<DocumentNode | undefined> {
    return Promise.resolve(this.#documents.get(hashIn(key)));
  }

  set(key: string, document: DocumentNode): Promise<void> {
    this.#documents.set(hashIn(key), document, document.loc?.end ?? 0);
    return Promise.resolve();
  }

  delete(key: string): Promise<boolean> {
    return Promise.resolve(this.#documents.delete(hashIn(key)));
  }
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const hashIn = (key: string): string => key.slice(key.lastIndexOf(':') + 1);
