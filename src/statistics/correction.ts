/** Adjusted p-values for a family of tests, in the order they were given. Compare them with alpha as they are. */

/** Controls the false discovery rate (Benjamini and Hochberg, 1995). */
export function benjaminiHochberg(pValues: readonly number[]): number[] {
  const count = pValues.length;
  return adjust(pValues, (ordered) => {
    let smallest = 1;
    return ordered
      .map((pValue, rank) => (pValue * count) / (rank + 1))
      .reverse()
      .map((scaled) => (smallest = Math.min(smallest, scaled)))
      .reverse();
  });
}

/** Controls the chance of even one false alarm (Holm, 1979). */
export function holm(pValues: readonly number[]): number[] {
  const count = pValues.length;
  return adjust(pValues, (ordered) => {
    let largest = 0;
    return ordered.map((pValue, rank) => (largest = Math.max(largest, Math.min(1, pValue * (count - rank)))));
  });
}

function adjust(
  pValues: readonly number[],
  adjustAscending: (ordered: readonly number[]) => readonly number[],
): number[] {
  const ascending = pValues.map((pValue, index) => ({ pValue, index })).sort((a, b) => a.pValue - b.pValue);
  const adjusted = adjustAscending(ascending.map(({ pValue }) => pValue));
  const result = new Array<number>(pValues.length).fill(1);
  ascending.forEach(({ index }, rank) => (result[index] = adjusted[rank] ?? 1));
  return result;
}
