/**
 * What SQL needs to know to search rightly although the index lags: which runs changed since the index last looked,
 * and which of those match. Made by src/search, used by filter.sql.ts.
 */

export interface SearchResolution {
  /** Runs of the workspace whose index rows are out of date and do not count. */
  readonly outdated: readonly string[];
  /**
   * Per search leaf (by its key) the runs that match but are not indexed in their latest form. Has every leaf of the
   * filters, unless the index is complete.
   */
  readonly matching: ReadonlyMap<string, readonly string[]>;
}

/** The index shows everything. */
export const COMPLETE_INDEX: SearchResolution = { outdated: [], matching: new Map() };

/**
 * The word every indexed run of a workspace has, so that the index is searched per workspace. Not a word a text
 * can contain.
 */
export const workspaceWord = (workspaceId: string): string => `@${workspaceId}`;

/** All words as prefixes, in tsquery syntax. Words are letters and digits only, so quoting them is enough. */
export function searchQuery(workspaceId: string, words: readonly string[]): string {
  return [`'${workspaceWord(workspaceId)}'`, ...words.map((word) => `'${word}':*`)].join(' & ');
}
