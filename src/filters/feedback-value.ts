/**
 * How a text in a filter is compared with a feedback value, which is any JSON: "42" is the text and the number,
 * "true" the text and the boolean. Pure.
 */

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** The JSON values a filter's text stands for. */
export function valuesMeant(text: string): (string | number | boolean)[] {
  if (text === 'true' || text === 'false') return [text, text === 'true'];
  const number = JSON_NUMBER.test(text) ? Number(text) : Number.NaN;
  return Number.isFinite(number) ? [text, number] : [text];
}
