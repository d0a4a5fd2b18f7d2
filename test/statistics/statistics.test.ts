import { expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { meanInterval, statisticInterval } from '../../src/statistics/bootstrap.js';
import { benjaminiHochberg, holm } from '../../src/statistics/correction.js';
import { exactMcNemar, pairedPermutation } from '../../src/statistics/paired-tests.js';
import { minimumDetectableEffect } from '../../src/statistics/power.js';
import { seedFrom, SeededRandom } from '../../src/statistics/random.js';
import { mean, quantileOfSorted, standardDeviation } from '../../src/statistics/summary.js';

const sample = (...values: number[]): Float64Array => Float64Array.from(values);

test('the generator gives the first outputs of the reference implementation of xoshiro128**', () => {
  const random = SeededRandom.withState([1, 2, 3, 4]);
  expect([random.uint32(), random.uint32(), random.uint32(), random.uint32()]).toEqual([
    11520, 0, 5927040, 70819200,
  ]);
});

test('the same seed gives the same numbers, another seed others', () => {
  const draw = (seed: number): number[] => {
    const random = new SeededRandom(seed);
    return Array.from({ length: 5 }, () => random.below(1_000_000));
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  expect(seedFrom('a')).toBe(0xe40c292c);
});

// Efron and Tibshirani, An Introduction to the Bootstrap (1993), table 14.1: spatial test data, task A.
const SPATIAL = sample(
  48,
  36,
  20,
  29,
  42,
  42,
  20,
  42,
  22,
  41,
  45,
  14,
  6,
  0,
  33,
  28,
  34,
  4,
  32,
  24,
  47,
  41,
  24,
  26,
  30,
  41,
);
const variance = (values: Float64Array): number => {
  const center = mean(values);
  return values.reduce((sum, value) => sum + (value - center) ** 2, 0) / values.length;
};

test('a BCa interval is that of Efron and Tibshirani (1993), table 14.2', () => {
  expect(variance(SPATIAL)).toBeCloseTo(171.5, 1);
  const { lower, upper, method } = statisticInterval(SPATIAL, variance, {
    level: 0.9,
    resamples: 200_000,
    random: new SeededRandom(1),
  });
  expect(method).toBe('bca');
  // Published from 2,000 resamples: (115.8, 259.6), whose ends have a Monte Carlo error of some 2 %.
  expect(Math.abs(lower - 115.8)).toBeLessThan(3);
  expect(Math.abs(upper - 259.6)).toBeLessThan(6);
});

test('the interval of a mean is that of the general method', () => {
  const options = { level: 0.95, resamples: 100_000 };
  const fast = meanInterval(SPATIAL, { ...options, random: new SeededRandom(3) });
  const general = statisticInterval(SPATIAL, mean, { ...options, random: new SeededRandom(3) });
  expect(fast.lower).toBeCloseTo(general.lower, 9);
  expect(fast.upper).toBeCloseTo(general.upper, 9);
});

test('the interval of a constant sample is its value', () => {
  expect(meanInterval(sample(2, 2, 2), { level: 0.95, random: new SeededRandom(1) })).toMatchObject({
    lower: 2,
    upper: 2,
    method: 'none',
  });
});

test('a 95 % interval covers the true mean 95 times in a hundred', () => {
  const random = new SeededRandom(11);
  let covered = 0;
  const rounds = 1_000;
  for (let round = 0; round < rounds; round += 1) {
    // Exponential with mean 1: skewed, as latencies and costs are.
    const values = Float64Array.from({ length: 60 }, () => -Math.log(1 - random.unit()));
    const { lower, upper } = meanInterval(values, { level: 0.95, resamples: 1_000, random });
    if (lower <= 1 && 1 <= upper) covered += 1;
  }
  expect(covered / rounds).toBeGreaterThan(0.92);
  expect(covered / rounds).toBeLessThan(0.97);
});

// Darwin's maize, differences in eighths of an inch: Fisher, The Design of Experiments (1935), §21. 863 of the 32,768
// sign changes give a sum as large as observed, so 1,726 in both directions.
const MAIZE = sample(49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48);

test("the permutation test is Fisher's own on Darwin's maize", () => {
  expect(pairedPermutation(MAIZE, new SeededRandom(1))).toEqual({
    pValue: 1726 / 32768,
    method: 'permutation-exact',
  });
});

test('random sign changes give what enumeration gives', () => {
  const doubled = Float64Array.from([...MAIZE, ...MAIZE.map((difference) => difference / 7)]);
  const first = pairedPermutation(doubled, new SeededRandom(1));
  expect(first.method).toBe('permutation');
  const exact = enumerateByMeetingInTheMiddle(doubled);
  expect(Math.abs(first.pValue - exact)).toBeLessThan(4 * Math.sqrt((exact * (1 - exact)) / 9_999));
});

/** Another way to the exact p-value: sums of each half's sign changes, sorted, and counted by binary search. */
function enumerateByMeetingInTheMiddle(differences: Float64Array): number {
  const sums = (part: Float64Array): Float64Array => {
    let all = [0];
    for (const each of part) all = all.flatMap((sum) => [sum + each, sum - each]);
    return Float64Array.from(all).sort();
  };
  const middle = differences.length >> 1;
  const [left, right] = [sums(differences.subarray(0, middle)), sums(differences.subarray(middle))];
  const reach = Math.abs(differences.reduce((sum, each) => sum + each, 0)) - 1e-9;
  const atLeast = (bound: number): number => {
    let [low, high] = [0, right.length];
    while (low < high) {
      const place = (low + high) >> 1;
      if (right[place]! < bound) low = place + 1;
      else high = place;
    }
    return right.length - low;
  };
  const above = left.reduce((count, sum) => count + atLeast(reach - sum), 0);
  return (2 * above) / (left.length * right.length);
}

test('p-values do not depend on the sign of the whole or on differences of zero', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 14 }),
      fc.integer({ min: 0, max: 5 }),
      (differences, zeros) => {
        const p = (values: readonly number[]): number =>
          pairedPermutation(Float64Array.from(values), new SeededRandom(1)).pValue;
        const expected = p(differences);
        expect(p(differences.map((difference) => -difference))).toBe(expected);
        expect(p([...new Array<number>(zeros).fill(0), ...differences])).toBe(expected);
        expect(expected).toBeGreaterThan(0);
        expect(expected).toBeLessThanOrEqual(1);
      },
    ),
  );
});

test('exact McNemar gives published p-values', () => {
  // Armitage and Berry, Statistical Methods in Medical Research (1994), p. 127: two media, 12 against 2.
  expect(exactMcNemar(12, 2)).toBeCloseTo(0.0129, 4);
  // Fagerland, Lydersen and Laake (2013), airway hyper-responsiveness, 1 against 7.
  expect(exactMcNemar(1, 7)).toBeCloseTo(0.0703, 4);
  expect(exactMcNemar(0, 0)).toBe(1);
  expect(exactMcNemar(3, 3)).toBe(1);
});

test('on pass/fail the permutation test is McNemar, for any number of pairs', () => {
  const changes = [...new Array<number>(24).fill(1), ...new Array<number>(9).fill(-1)];
  expect(pairedPermutation(Float64Array.from(changes), new SeededRandom(1)).pValue).toBe(exactMcNemar(24, 9));
});

// Benjamini and Hochberg, Controlling the False Discovery Rate (1995), §3.1: fifteen hypotheses.
const INFARCTION = [
  0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528,
  0.759, 1,
];

test('Benjamini-Hochberg rejects the four hypotheses of the paper, Holm three', () => {
  const rejected = (adjusted: readonly number[]): number =>
    adjusted.filter((pValue) => pValue <= 0.05).length;
  expect(rejected(benjaminiHochberg(INFARCTION))).toBe(4);
  expect(rejected(holm(INFARCTION))).toBe(3);
  // As R's p.adjust has them.
  expect(benjaminiHochberg(INFARCTION).map((value) => Number(value.toFixed(6)))).toEqual([
    0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.063857, 0.063857, 0.0645, 0.0765, 0.486, 0.581182, 0.714875,
    0.753231, 0.813214, 1,
  ]);
  expect(holm([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02]);
});

test('adjusting keeps the order of p-values and never lowers one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
      fc.constantFrom(benjaminiHochberg, holm),
      (pValues, adjust) => {
        const adjusted = adjust(pValues);
        pValues.forEach((pValue, index) => {
          expect(adjusted[index]!).toBeGreaterThanOrEqual(pValue * (1 - 1e-12));
          pValues.forEach((other, place) => {
            if (other <= pValue) expect(adjusted[place]!).toBeLessThanOrEqual(adjusted[index]!);
          });
        });
      },
    ),
  );
});

test('the detectable effect agrees with the sample size tables of the paired t test', () => {
  // Cohen (1988): 34 pairs find an effect of half a standard deviation with power 0.8 at a two-sided 5 %.
  const effect = minimumDetectableEffect(1, 34, { alpha: 0.05, power: 0.8 });
  expect(effect).toBeGreaterThan(0.49);
  expect(effect).toBeLessThanOrEqual(0.5);
  expect(minimumDetectableEffect(1, 33, { alpha: 0.05, power: 0.8 })).toBeGreaterThan(0.5);
  expect(minimumDetectableEffect(0, 34, { alpha: 0.05, power: 0.8 })).toBeNull();
});

/** Standard normal, by Box and Muller. */
const normal = (random: SeededRandom): number =>
  Math.sqrt(-2 * Math.log(1 - random.unit())) * Math.cos(2 * Math.PI * random.unit());

test('without an effect five tests in a hundred are significant, with a known one as many as theory says', () => {
  const random = new SeededRandom(42);
  const rounds = 2_000;
  const share = (effect: number): number => {
    let significant = 0;
    for (let round = 0; round < rounds; round += 1) {
      const differences = Float64Array.from({ length: 34 }, () => effect + normal(random));
      if (pairedPermutation(differences, random).pValue <= 0.05) significant += 1;
    }
    return significant / rounds;
  };
  const falseAlarms = share(0);
  expect(falseAlarms).toBeGreaterThan(0.04);
  expect(falseAlarms).toBeLessThan(0.06);
  // Cohen (1988), G*Power: 0.8078 for an effect of 0.5 and 34 pairs.
  expect(Math.abs(share(0.5) - 0.8078)).toBeLessThan(0.03);
});

test('summaries are those of the textbook', () => {
  expect(standardDeviation(sample(2, 4, 4, 4, 5, 5, 7, 9))).toBeCloseTo(Math.sqrt(32 / 7), 12);
  expect(standardDeviation(sample(1))).toBeNaN();
  expect(quantileOfSorted(sample(1, 2, 3, 4), 0.25)).toBe(1.75);
});
