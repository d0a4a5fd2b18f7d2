/**
 * Whose rows the statements of a request or a job may see. Entered where it becomes known on whose behalf something is
 * done, and carried to every statement below without being passed along; row-level security in the database holds the
 * statements to it (docs/decisions/005). What is done on nobody's behalf says which exemption it uses.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/** All that may look across workspaces, and why it has to. Each is used only in the files it names. */
export const EXEMPTIONS = {
  'key lookup': {
    why: 'A key is found by its digest before it is known whose it is.',
    files: ['src/tenancy/authenticator.ts'],
  },
  'link lookup': {
    why: 'A share or a feedback form is found by its unguessable token before it is known whose it is.',
    files: [
      'src/sharing/run-share.service.ts',
      'src/feedback/feedback-token.service.ts',
      'src/datasets/dataset-share.service.ts',
    ],
  },
  organisation: {
    why: 'Memberships and tokens of one user in all workspaces of the organisation.',
    files: ['src/tenancy/member.service.ts', 'src/tenancy/workspace.service.ts'],
  },
  'run writing': {
    why: 'One transaction commits what several workspaces have sent.',
    files: ['src/ingest/run-writer.ts'],
  },
  'feed reading': {
    why: 'One reader follows the log of all workspaces and hands each its own.',
    files: ['src/live/feed-reader.ts'],
  },
  'search index': {
    why: 'One indexer follows the log of all workspaces.',
    files: ['src/search/search-indexer.ts'],
  },
  jobs: {
    why: 'The queue is one; a handler of a job of a workspace is held to that workspace.',
    files: [
      'src/platform/jobs/loop.ts',
      'src/platform/jobs/runner.ts',
      'src/platform/jobs/sweeper.ts',
      'workers/worker-group.ts',
    ],
  },
  'place in line': {
    why: 'How many jobs are before one, whoever they belong to; only their number is told.',
    files: ['src/jobs/job.service.ts'],
  },
  'content reads': {
    why: 'Reads of content are written in batches, whoever read.',
    files: ['src/audit/content-read-log.ts'],
  },
  'unit backlog': {
    why: 'How many units of experiments wait, whoever they belong to; only their number is told.',
    files: ['src/experiments/unit-backlog.store.ts'],
  },
  upkeep: {
    why: 'What has expired is removed, and partitions are made, for everybody.',
    files: [
      'src/upkeep/upkeep.service.ts',
      'src/feedback/waiting-feedback.ts',
      'src/datasets/dataset-cleanup.ts',
    ],
  },
} as const;

export type Exemption = keyof typeof EXEMPTIONS;

export type DbScope =
  | { readonly kind: 'workspace'; readonly workspaceId: string }
  | { readonly kind: 'everywhere'; readonly exemption: Exemption };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const storage = new AsyncLocalStorage<DbScope>();

/** The statements of `work`, and of all that it starts, see the rows of this workspace. */
export function inWorkspace<T>(workspaceId: string, work: () => T): T {
  // '*' would mean everywhere.
  if (!UUID.test(workspaceId)) throw new Error('a workspace is named by its UUID');
  return storage.run({ kind: 'workspace', workspaceId }, work);
}

/** The statements of `work`, and of all that it starts, see the rows of all workspaces. */
export function everywhere<T>(exemption: Exemption, work: () => T): T {
  return storage.run({ kind: 'everywhere', exemption }, work);
}

/** Undefined outside of both: such statements see no row of a protected table, they fail on it. */
export const currentScope = (): DbScope | undefined => storage.getStore();

/**
 * The function, to be called in the scope it is wrapped in, by whoever. AsyncLocalStorage.bind does the same, but defines an
 * accessor on each function it makes: a hidden class of its own that lies in the old generation and keeps everything
 * the function reaches until that is collected, such as all rows of a query.
 */
export function inThisScope<Args extends unknown[]>(work: (...args: Args) => void): (...args: Args) => void {
  const scope = storage.getStore();
  return (...args) => (scope === undefined ? storage.exit(work, ...args) : storage.run(scope, work, ...args));
}

/** The value of the setting `app.workspace_id` that policies compare with. */
export const EVERYWHERE = '*';
export const NOWHERE = 'no-workspace';
