/**
 * Cells of exported CSV files. A spreadsheet runs a cell that begins like a formula, whoever wrote it (OWASP ASVS
 * 1.2.10): such cells get an apostrophe in front, which spreadsheets hide. Numbers stay numbers.
 */

/** Also what looks guarded already, so that taking the guard back gives the text again. */
const DANGEROUS = /^'*[=+\-@\t\r\0＝＋－＠]/;
const GUARDED = /^'+[=+\-@\t\r\0＝＋－＠]/;
const NUMBER = /^[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const NEEDS_QUOTES = /[",;\t\r\n]|^\s|\s$/;

/** The text with an apostrophe in front where a spreadsheet would run it. */
export function guardFormula(text: string): string {
  return DANGEROUS.test(text) && !NUMBER.test(text) ? `'${text}` : text;
}

/** What `guardFormula` was given. */
export function undoFormulaGuard(cell: string): string {
  return GUARDED.test(cell) ? cell.slice(1) : cell;
}

/** One cell, guarded and quoted as RFC 4180 wants it. */
export function csvCell(text: string): string {
  const guarded = guardFormula(text);
  return NEEDS_QUOTES.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}

export const csvRow = (cells: readonly string[]): string => `${cells.map(csvCell).join(',')}\r\n`;
