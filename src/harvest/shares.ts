/** Sharing out places evenly. Pure. */

/**
 * How many of each stratum are taken: together as many as `cap` allows, and no stratum more than one above another
 * unless that has no more. The same counts give the same shares in any order.
 */
export function evenShares(counts: ReadonlyMap<string, number>, cap: number): Map<string, number> {
  const ascending = [...counts].sort(([a, m], [b, n]) => m - n || (a < b ? -1 : 1));
  const shares = new Map<string, number>();
  let places = cap;
  for (const [index, [stratum, count]] of ascending.entries()) {
    const share = Math.min(count, Math.floor(places / (ascending.length - index)));
    shares.set(stratum, share);
    places -= share;
  }
  return shares;
}
