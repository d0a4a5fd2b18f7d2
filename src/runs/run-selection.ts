/**
 * Which columns a GraphQL selection of runs needs. The one use of looking ahead: payload columns are read only
 * when asked for. Directives are ignored, so that the answer depends on the document alone and can be kept.
 */
import { listNameOf } from '../graphql/text-name.js';
import { isRunField } from './run-columns.js';
import type { RunField } from './run-columns.js';

/** What fields that are not columns need to resolve. */
const NEEDED_BY: Readonly<Record<string, readonly RunField[]>> = {
  project: ['projectUuid'],
  children: ['traceId'],
  childCount: ['traceId'],
};

// The parts of a GraphQL document that are read here; the executor's own types have them all.
interface FieldNode {
  readonly kind: string;
  readonly name: { readonly value: string };
  readonly arguments?: readonly unknown[] | undefined;
  readonly selectionSet?: SelectionSet | undefined;
}

interface SelectionSet {
  readonly selections: readonly Selection[];
}

type Selection = FieldNode | { readonly kind: 'InlineFragment'; readonly selectionSet: SelectionSet };
type Fragments = Readonly<Record<string, { readonly selectionSet: SelectionSet }>>;

/** Of a resolver's info. */
export interface SelectionInfo {
  readonly fieldNodes: readonly FieldNode[];
  readonly fragments: Fragments;
}

// Documents live in the server's document store; their nodes are stable and collected with them.
const known = new WeakMap<FieldNode, Map<string, readonly RunField[]>>();

/**
 * Columns for the runs under the resolving field: itself, or what lies at one of the dotted paths below it, for
 * example `nodes` and `edges.node` of a connection.
 */
export function selectedRunFields(info: SelectionInfo, paths: readonly string[] = ['']): readonly RunField[] {
  const [first, ...others] = info.fieldNodes;
  if (first === undefined) return [];
  if (others.length > 0) return collect(info.fieldNodes, info.fragments, paths);
  const key = paths.join();
  const byPaths = known.get(first) ?? new Map<string, readonly RunField[]>();
  known.set(first, byPaths);
  const present = byPaths.get(key);
  if (present !== undefined) return present;
  const fields = collect([first], info.fragments, paths);
  byPaths.set(key, fields);
  return fields;
}

/** The paths at which a connection of runs has its rows. */
export const CONNECTION_ROWS = ['nodes', 'edges.node'] as const;

/** Whether the field at a dotted path below the resolving one is selected. */
export function selectsField(info: SelectionInfo, path: string): boolean {
  const steps = path.split('.');
  const last = steps.pop();
  return fieldsAt(info.fieldNodes, info.fragments, steps).some(({ name }) => name.value === last);
}

/** Names of the fields that are selected at a dotted path below the resolving field. */
export function selectedNames(info: SelectionInfo, path: string): readonly string[] {
  const fields = fieldsAt(info.fieldNodes, info.fragments, path.split('.'));
  return [...new Set(fields.map(({ name }) => name.value))];
}

/** Whether below the resolving field nothing is selected but `field`, without arguments, and some of `others`. */
export function selectsWhole(info: SelectionInfo, field: string, others: ReadonlySet<string>): boolean {
  const selected = fieldsAt(info.fieldNodes, info.fragments, []);
  const wanted = selected.filter(({ name }) => name.value === field);
  return (
    wanted.length > 0 &&
    wanted.every((node) => (node.arguments ?? []).length === 0) &&
    selected.every(({ name }) => name.value === field || others.has(name.value))
  );
}

function fieldsAt(nodes: readonly FieldNode[], fragments: Fragments, steps: readonly string[]): FieldNode[] {
  let sets = nodes.flatMap((node) => node.selectionSet ?? []);
  for (const step of steps) {
    sets = sets.flatMap((set) =>
      namedFields(set, fragments).flatMap((field) =>
        listNameOf(field.name.value) === step && field.selectionSet !== undefined ? [field.selectionSet] : [],
      ),
    );
  }
  return sets.flatMap((set) => namedFields(set, fragments));
}

function collect(
  nodes: readonly FieldNode[],
  fragments: Fragments,
  paths: readonly string[],
): readonly RunField[] {
  const fields = new Set<RunField>();
  for (const path of paths) {
    for (const field of fieldsAt(nodes, fragments, path === '' ? [] : path.split('.'))) {
      const name = field.name.value;
      if (isRunField(name)) fields.add(name);
      for (const needed of NEEDED_BY[name] ?? []) fields.add(needed);
    }
  }
  // Sorted, so that equal selections share a loader.
  return [...fields].sort();
}

function namedFields(set: SelectionSet, fragments: Fragments): FieldNode[] {
  return set.selections.flatMap((selection) => {
    // Only inline fragments have no name.
    if (!('name' in selection)) return namedFields(selection.selectionSet, fragments);
    if (selection.kind === 'Field') return [selection];
    const fragment = fragments[selection.name.value];
    return fragment === undefined ? [] : namedFields(fragment.selectionSet, fragments);
  });
}
