/**
 * Reads runs for the LangSmith protocol: one page or one run, with the feedback figures, share tokens and
 * attachment links that were asked for, as JSON text. Used for callers with keys and holders of share links alike.
 */
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { Cursors } from '../graphql/cursor.js';
import { stringifyWithRawJson } from '../graphql/raw-json.js';
import type { Position } from '../platform/keyset.js';
import type { RunField, RunRow } from '../runs/run-columns.js';
import type { RunQuery } from '../runs/run-query.js';
import type { RunService } from '../runs/run.service.js';
import type { RunShareService } from '../sharing/run-share.service.js';
import { requireScope, type Principal } from '../tenancy/principal.js';
import { listIdentity, type RunQueryBody } from './run-query.wire.js';
import {
  selectionOf,
  toWireRun,
  type AttachmentLinks,
  type RunSelect,
  type RunWireContext,
  type WireRun,
} from './run.wire.js';

export interface RunReaderOptions {
  readonly runs: RunService;
  readonly feedback: FeedbackService;
  readonly shares: RunShareService;
  readonly links: AttachmentLinks;
  readonly cursors: Cursors;
}

/** A larger limit gives more pages: clients of this list follow the cursor, not the length of a page. */
const MAX_PAGE = 100;

export class RunReader {
  readonly #options: RunReaderOptions;

  constructor(options: RunReaderOptions) {
    this.#options = options;
  }

  /** The answer to /runs/query as JSON text. */
  async page(principal: Principal, query: RunQuery, body: RunQueryBody, base: string): Promise<string> {
    const { runs, cursors } = this.#options;
    const direction = body.order ?? 'desc';
    const request = cursors.request(
      { first: Math.min(body.limit ?? MAX_PAGE, MAX_PAGE), after: body.cursor ?? null },
      { order: 'rest.runs', direction, filter: listIdentity(body) },
    );
    const select = selectionOf(body.select ?? undefined);
    const rows = await runs.listRuns(principal, query, { direction, window: request, fields: select.fields });
    const shown = rows.slice(0, request.limit);
    const last = shown.at(-1);
    const more = rows.length > request.limit && last !== undefined;
    const next = more ? cursors.encode(request, { value: last.startTime, id: last.uuid }) : null;
    return stringifyWithRawJson({
      runs: await this.#toWire(principal, shown, select, base),
      cursors: { next, prev: null },
      search_cursors: null,
      parsed_query: null,
    });
  }

  /** The run as JSON text; undefined where it does not exist. */
  async one(principal: Principal, id: string, base: string): Promise<string | undefined> {
    const select = { ...selectionOf(undefined), shareToken: true };
    const run = await this.#options.runs.findRun(principal, id, select.fields);
    if (run === undefined) return undefined;
    const [wire] = await this.#toWire(principal, [run], select, base);
    return stringifyWithRawJson(wire);
  }

  /** Every run that matches, oldest first; no more than `limit`. */
  async all(
    principal: Principal,
    query: RunQuery,
    { select: names, base, limit }: { select: readonly string[] | undefined; base: string; limit: number },
  ): Promise<WireRun[]> {
    const select = selectionOf(names);
    const rows = await this.rows(principal, query, { fields: select.fields, limit });
    const found: WireRun[] = [];
    for (let at = 0; at < rows.length; at += MAX_PAGE) {
      found.push(...(await this.#toWire(principal, rows.slice(at, at + MAX_PAGE), select, base)));
    }
    return found;
  }

  /** The same as rows, read page by page. */
  async rows(
    principal: Principal,
    query: RunQuery,
    { fields, limit }: { fields: readonly RunField[]; limit: number },
  ): Promise<RunRow[]> {
    const found: RunRow[] = [];
    let boundary: Position | undefined;
    while (found.length < limit) {
      const window = { limit: MAX_PAGE, backward: false, boundary };
      const rows = await this.#options.runs.listRuns(principal, query, { direction: 'asc', window, fields });
      const shown = rows.slice(0, MAX_PAGE);
      found.push(...shown);
      const last = shown.at(-1);
      if (rows.length <= MAX_PAGE || last === undefined) break;
      boundary = { value: last.startTime, id: last.uuid };
    }
    return found.slice(0, limit);
  }

  async #toWire(
    principal: Principal,
    rows: readonly RunRow[],
    select: RunSelect,
    base: string,
  ): Promise<WireRun[]> {
    const context = await this.contextOf(principal, rows, select, base);
    return rows.map((run) => toWireRun(run, context));
  }

  /** What the given runs need besides their rows, in one statement for each kind that is wanted. */
  async contextOf(
    principal: Principal,
    rows: readonly RunRow[],
    wanted: Pick<RunSelect, 'feedbackStats' | 'shareToken'>,
    base: string,
  ): Promise<RunWireContext> {
    const { feedback, shares, links } = this.#options;
    const ids = rows.map(({ uuid }) => uuid);
    const [stats, shared] = await Promise.all([
      wanted.feedbackStats ? feedback.statsByRuns(principal, ids) : new Map<string, never[]>(),
      wanted.shareToken ? shares.findByRuns(principal, ids) : new Map<string, never>(),
    ]);
    const shareTokens = new Map([...shared].map(([runId, share]) => [runId, share.token]));
    return { scope: requireScope(principal, 'read'), base, links, feedback: stats, shareTokens };
  }
}
