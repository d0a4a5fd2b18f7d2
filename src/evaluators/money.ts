/** Exact sums of decimal texts: money is never a double. Pure. */

/** Null where no amount is known; unknown ones are left out. */
export function sumOfMoney(amounts: readonly (string | null)[]): string | null {
  const known = amounts.filter((amount) => amount !== null);
  if (known.length === 0) return null;
  const places = Math.max(...known.map((amount) => amount.split('.')[1]?.length ?? 0));
  const sum = known.reduce((total, amount) => total + scaled(amount, places), 0n);
  const digits = sum.toString().padStart(places + 1, '0');
  if (places === 0) return digits;
  const text = `${digits.slice(0, -places)}.${digits.slice(-places)}`;
  return text.replace(/\.?0+$/, '');
}

function scaled(amount: string, places: number): bigint {
  const [whole = '0', fraction = ''] = amount.split('.');
  return BigInt(whole + fraction.padEnd(places, '0'));
}
