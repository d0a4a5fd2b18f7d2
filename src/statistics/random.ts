/**
 * The only source of chance in statistics: a seeded generator, so that every resampling can be repeated. xoshiro128**
 * of Blackman and Vigna (2018), its state filled by splitmix32 from a 32-bit seed.
 */

const { floor, imul } = Math;

/** A seed from any text, for those who have ids instead of numbers: FNV-1a, 32 bits. */
export function seedFrom(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

export class SeededRandom {
  // A typed array: whole 32-bit numbers in plain fields would be boxed at each step.
  private readonly state: Int32Array;

  /** @param seed any integer; its lower 32 bits count. */
  constructor(seed: number) {
    let counter = seed | 0;
    this.state = new Int32Array(4).map(() => {
      counter = (counter + 0x9e3779b9) | 0;
      let mixed = counter ^ (counter >>> 16);
      mixed = imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = imul(mixed, 0x735a2d97);
      return mixed ^ (mixed >>> 15);
    });
  }

  /** For the published test vectors of the generator. */
  static withState(state: readonly [number, number, number, number]): SeededRandom {
    const random = new SeededRandom(0);
    random.state.set(state);
    return random;
  }

  /** Uniform over 0 to 2³² − 1. */
  uint32(): number {
    const { state } = this;
    let a = state[0] as number;
    let b = state[1] as number;
    let c = state[2] as number;
    let d = state[3] as number;
    const scrambled = imul(b, 5);
    const result = imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    state[0] = a;
    state[1] = b;
    state[2] = c ^ shifted;
    state[3] = (d << 11) | (d >>> 21);
    return result;
  }

  /** 0 to `bound` − 1; no number is likelier than another by more than bound / 2³². */
  below(bound: number): number {
    return floor(this.unit() * bound);
  }

  /** Uniform over [0, 1). */
  unit(): number {
    return this.uint32() / 0x1_0000_0000;
  }
}
