/** Opening live streams: who may, from where, and what they will see. */
import type { ContentReads } from '../audit/content-read.js';
import { assertFilterAllowed } from '../filters/filter-access.js';
import type { RunFilters } from '../filters/filter.js';
import type { AppError } from '../platform/errors.js';
import { contentFields } from '../runs/run-columns.js';
import type { RunField } from '../runs/run-columns.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { decodeCursor } from './feed-position.js';
import type { FeedTopic } from './feed.store.js';
import type { LiveEvent } from './live-event.js';
import type { Hub } from './hub.js';
import { liveFilter } from './live-run.store.js';
import type { LiveSubscription } from './live-subscription.js';

export interface StreamRequest {
  readonly filters: RunFilters;
  /** A cursor; undefined to begin now. */
  readonly after: string | undefined;
  /** Columns the events' runs are read with. */
  readonly fields: readonly RunField[];
  /** The subscriber stayed behind too long and its stream has failed. */
  readonly onBehind: (error: AppError) => void;
}

export class LiveService {
  readonly #hub: Hub;
  readonly #contentReads: ContentReads;

  constructor({ hub, contentReads }: { hub: Hub; contentReads: ContentReads }) {
    this.#hub = hub;
    this.#contentReads = contentReads;
  }

  /**
   * Changes of one project's runs. A project that is not there, or not of this workspace, changes nothing.
   * @throws AppError FORBIDDEN without the scope read, or for a filter on content without content; BAD_USER_INPUT for
   * what is no cursor; UNAVAILABLE while the feed cannot be read.
   */
  runEvents(
    principal: Principal,
    { projectId, ...request }: StreamRequest & { readonly projectId: string },
  ): Promise<AsyncIterable<LiveEvent>> {
    return this.#open(principal, { kind: 'project', projectId }, request);
  }

  /** Changes of one trace's runs, as it grows. @throws like runEvents. */
  traceEvents(
    principal: Principal,
    { traceId, ...request }: Omit<StreamRequest, 'filters'> & { readonly traceId: string },
  ): Promise<AsyncIterable<LiveEvent>> {
    return this.#open(principal, { kind: 'trace', traceId }, { ...request, filters: {} });
  }

  /**
   * How far an experiment has come, whoever carries it out; changes that were read together are one event. What is no
   * experiment of the workspace makes no progress. @throws like runEvents.
   */
  experimentEvents(
    principal: Principal,
    {
      experimentId,
      ...request
    }: Pick<StreamRequest, 'after' | 'onBehind'> & { readonly experimentId: string },
  ): Promise<AsyncIterable<LiveEvent>> {
    return this.#open(
      principal,
      { kind: 'experiment', experimentId },
      { ...request, filters: {}, fields: [] },
    );
  }

  /** Tells every subscriber that has everything how far it is; before a shutdown, so that it resumes from there. */
  checkpoint(): void {
    this.#hub.checkpoint();
  }

  async #open(
    principal: Principal,
    topic: FeedTopic,
    request: StreamRequest,
  ): Promise<AsyncIterable<LiveEvent>> {
    const { workspaceId } = requireScope(principal, 'read');
    assertFilterAllowed(principal, request.filters);
    const after = request.after === undefined ? undefined : decodeCursor(request.after);
    const content = mayReadContent(principal);
    const subscription = await this.#hub.subscribe(
      { workspaceId, topic, filter: liveFilter(request.filters), fields: request.fields, content },
      { after, onBehind: request.onBehind },
    );
    const fields = contentFields(request.fields);
    if (!content || fields.length === 0) return subscription;
    return watched(subscription, (event) => {
      if (!('run' in event)) return;
      this.#contentReads.note(principal, { type: 'run', ids: [event.run.uuid], fields });
    });
  }
}

/** The same stream; `look` sees each event before it is handed out. What it throws ends the stream. */
function watched(source: LiveSubscription, look: (event: LiveEvent) => void): AsyncIterable<LiveEvent> {
  const iterator: AsyncIterator<LiveEvent> = {
    async next() {
      const result = await source.next();
      if (result.done !== true) look(result.value);
      return result;
    },
    return: () => source.return(),
    throw: (error) => source.throw(error),
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
