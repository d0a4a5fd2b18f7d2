/**
 * Services called as HTTP, sockets and jobs call them: in the scope of the workspace they are called for. For tests that
 * call them directly; with row-level security on every table they would find nothing otherwise.
 */
import { inWorkspace } from '../../src/platform/db-scope.js';

/** Each method runs in the workspace of its first argument that has one: a Principal or a WorkspaceScope. */
export function inScope<T extends object>(service: T): T {
  return new Proxy(service, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]): unknown => {
        const call = (): unknown => Reflect.apply(member, target, args);
        const workspaceId = args.map(workspaceOf).find((id) => id !== undefined);
        return workspaceId === undefined ? call() : inWorkspace(workspaceId, call);
      };
    },
  });
}

function workspaceOf(argument: unknown): string | undefined {
  if (typeof argument !== 'object' || argument === null || !('workspaceId' in argument)) return undefined;
  return typeof argument.workspaceId === 'string' ? argument.workspaceId : undefined;
}
