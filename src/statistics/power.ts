/** How small a difference a paired comparison can see. */
import tQuantile from '@stdlib/stats-base-dists-t-quantile';

export interface PowerOptions {
  /** Two-sided. */
  readonly alpha: number;
  /** Chance to see the effect, for example 0.8. */
  readonly power: number;
}

/**
 * The smallest true mean difference that a two-sided paired test finds with the given power, in the units of the
 * differences: (t(1 − α/2) + t(power)) · sd / √n with n − 1 degrees of freedom (Zar, Biostatistical Analysis, 2010,
 * §7.6). Null for fewer than two pairs or where nothing varies.
 */
export function minimumDetectableEffect(
  standardDeviation: number,
  pairs: number,
  { alpha, power }: PowerOptions,
): number | null {
  if (pairs < 2 || !(standardDeviation > 0)) return null;
  const freedom = pairs - 1;
  const reach = tQuantile(1 - alpha / 2, freedom) + tQuantile(power, freedom);
  return (reach * standardDeviation) / Math.sqrt(pairs);
}
