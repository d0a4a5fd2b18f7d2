/**
 * Where runs stand in their trees when they do not say it: below their parent, in the trace it is in. A function of
 * what all runs say, so that the order in which they arrive cannot matter. Pure.
 */

/** The trace a run is in, and its dotted order there. */
export interface Place {
  readonly traceId: string;
  readonly dottedOrder: string;
}

export interface TreeNode {
  readonly id: string;
  readonly parentRunId: string | undefined;
  /** Its dotted order's own segment. */
  readonly segment: string;
  /** What the run itself said. */
  readonly said: { readonly traceId: string | undefined; readonly dottedOrder: string | undefined };
  /** Known to be right; undefined where it is asked for. */
  place: Place | undefined;
}

/** A place that is worked out is no deeper than this; the tree below is shown flat. A text for each run of a chain. */
const MAX_SEGMENTS = 256;
/** A segment and the dot behind it: 22 characters of time, 36 of id. */
const SEGMENT_LENGTH = 59;

/** Whether a run depends on its parent for its place. */
export const isFollower = (run: {
  readonly parentRunId?: string | undefined;
  readonly traceId?: string | undefined;
  readonly dottedOrder?: string | undefined;
}): boolean => run.parentRunId !== undefined && (run.traceId === undefined || run.dottedOrder === undefined);

/** The place of a run whose parent is not there: the parent is taken for the root, and for as old as the run. */
export function placeOfOrphan({ id, parentRunId, segment, said }: Omit<TreeNode, 'place'>): Place {
  const ancestors = parentRunId === undefined ? '' : `${segment.slice(0, -id.length)}${parentRunId}.`;
  return {
    traceId: said.traceId ?? parentRunId ?? id,
    dottedOrder: said.dottedOrder ?? `${ancestors}${segment}`,
  };
}

function placeBelow(parent: Place, { segment, said }: TreeNode): Place {
  const ancestors = parent.dottedOrder.slice(0, (MAX_SEGMENTS - 1) * SEGMENT_LENGTH - 1);
  return {
    traceId: said.traceId ?? parent.traceId,
    dottedOrder: said.dottedOrder ?? `${ancestors}.${segment}`,
  };
}

/** Gives every node a place. Parents that are not among the nodes are not there. Works without recursion. */
export function placeAll(nodes: ReadonlyMap<string, TreeNode>): void {
  for (const start of nodes.values()) placeWithAncestors(start, nodes);
}

function placeWithAncestors(start: TreeNode, nodes: ReadonlyMap<string, TreeNode>): void {
  const path: TreeNode[] = [];
  const seen = new Map<string, number>();
  for (let node = start; node.place === undefined;) {
    const parent = isFollower({ ...node.said, parentRunId: node.parentRunId })
      ? nodes.get(node.parentRunId ?? '')
      : undefined;
    if (parent === undefined) {
      node.place = placeOfOrphan(node);
      break;
    }
    seen.set(node.id, path.length);
    path.push(node);
    const loop = seen.get(parent.id);
    if (loop !== undefined) {
      // Runs that are each other's ancestors stand as if each one's parent were missing.
      for (const member of path.splice(loop)) member.place = placeOfOrphan(member);
      break;
    }
    node = parent;
  }
  for (let node = path.pop(); node !== undefined; node = path.pop()) {
    const parent = nodes.get(node.parentRunId ?? '')?.place;
    node.place = parent === undefined ? placeOfOrphan(node) : placeBelow(parent, node);
  }
}
