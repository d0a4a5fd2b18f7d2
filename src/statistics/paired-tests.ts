/**
 * Two-sided tests of "these paired differences are centred at zero" that assume nothing about their distribution.
 * One difference per independent unit.
 */
import binomialCdf from '@stdlib/stats-base-dists-binomial-cdf';
import type { SeededRandom } from './random.js';

export interface TestResult {
  readonly pValue: number;
  /** mcnemar: exact, for pass/fail. permutation-exact: all sign changes. permutation: a random sample of them. */
  readonly method: 'mcnemar' | 'permutation-exact' | 'permutation';
}

const { abs, clz32 } = Math;

/** Enumerated up to here: half a million sign changes. */
const MAX_EXACT = 20;
const ROUNDS = 9_999;
/** Differences whose signed sums are looked up together. */
const GROUP = 8;

/**
 * McNemar's test by the binomial distribution.
 * @param better units that changed from fail to pass. @param worse units that changed from pass to fail.
 */
export function exactMcNemar(better: number, worse: number): number {
  const discordant = better + worse;
  if (discordant === 0) return 1;
  return Math.min(1, 2 * binomialCdf(Math.min(better, worse), discordant, 0.5));
}

/**
 * Sign-flip permutation test of the mean (Fisher, The Design of Experiments, 1935, §21). Exact for up to 20
 * differences other than zero, else by 9,999 random sign changes with the observed one counted in (Phipson and Smyth,
 * 2010), so that p is never zero.
 */
export function pairedPermutation(differences: Float64Array, random: SeededRandom): TestResult {
  const moved = differences.filter((difference) => difference !== 0);
  if (moved.length === 0) return { pValue: 1, method: 'permutation-exact' };
  const magnitude = abs(moved[0] ?? 0);
  // All of one size: the exact answer for any number of them.
  if (moved.every((difference) => abs(difference) === magnitude)) {
    const better = moved.reduce((count, difference) => count + (difference > 0 ? 1 : 0), 0);
    return { pValue: exactMcNemar(better, moved.length - better), method: 'permutation-exact' };
  }
  let observed = 0;
  let scale = 0;
  for (const difference of moved) {
    observed += difference;
    scale += abs(difference);
  }
  // Sums that are equal on paper may differ in the last bits.
  const reach = abs(observed) - scale * 1e-12;
  return moved.length <= MAX_EXACT
    ? { pValue: enumerate(moved, observed, reach), method: 'permutation-exact' }
    : { pValue: sample(moved, reach, random), method: 'permutation' };
}

/** Walks all sign changes by Gray code: one sign a step. The last sign stays, since p is symmetric. */
function enumerate(moved: Float64Array, observed: number, reach: number): number {
  const steps = 2 ** (moved.length - 1);
  const signs = new Int8Array(moved.length).fill(1);
  let sum = observed;
  let extreme = 1;
  for (let step = 1; step < steps; step += 1) {
    const place = 31 - clz32(step & -step);
    const sign = -(signs[place] ?? 0);
    signs[place] = sign;
    sum += 2 * sign * (moved[place] ?? 0);
    if (abs(sum) >= reach) extreme += 1;
  }
  return extreme / steps;
}

/** Eight differences at a time: their 256 signed sums are computed once, and a random byte picks one. */
function sample(moved: Float64Array, reach: number, random: SeededRandom): number {
  const groups = Math.ceil(moved.length / GROUP);
  const sums = new Float64Array(groups * 256);
  for (let group = 0; group < groups; group += 1) {
    for (let pattern = 0; pattern < 256; pattern += 1) {
      let sum = 0;
      for (let bit = 0; bit < GROUP; bit += 1) {
        const difference = moved[group * GROUP + bit] ?? 0;
        sum += (pattern & (1 << bit)) === 0 ? difference : -difference;
      }
      sums[group * 256 + pattern] = sum;
    }
  }
  let extreme = 1;
  for (let round = 0; round < ROUNDS; round += 1) {
    let sum = 0;
    let bits = 0;
    for (let group = 0; group < groups; group += 1) {
      bits = group % 4 === 0 ? random.uint32() : bits >>> 8;
      sum += sums[group * 256 + (bits & 255)] ?? 0;
    }
    if (abs(sum) >= reach) extreme += 1;
  }
  return extreme / (ROUNDS + 1);
}
