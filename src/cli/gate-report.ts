/** A gate's answer for people: a table for terminals, Markdown for pull requests. Pure. */

/** As the API gives it. */
export interface AnsweredGate {
  readonly uuid: string;
  readonly verdict: 'PASS' | 'FAIL' | 'INCONCLUSIVE';
  readonly blocks: boolean;
  readonly failures: number;
  readonly candidateRef: string;
  readonly report: {
    readonly warnings: readonly string[];
    readonly settings: { readonly alpha: number };
    readonly outcomes: readonly {
      readonly rule: { readonly kind: string };
      readonly findings: readonly {
        readonly metric: string;
        readonly slice: { readonly key: string; readonly value: string } | null;
        readonly verdict: string;
        readonly reason: string;
        readonly baselineMean: number | null;
        readonly candidateMean: number | null;
        readonly delta: number | null;
        readonly lower: number | null;
        readonly upper: number | null;
        readonly adjustedPValue: number | null;
        readonly n: number;
      }[];
    }[];
  };
}

const headingsOf = ({ report }: AnsweredGate): string[] => [
  'verdict',
  'rule',
  'metric',
  'baseline',
  'candidate',
  'change',
  `${number((1 - report.settings.alpha) * 100)} %`,
  'p',
  'n',
  'why',
];

const number = (value: number | null): string =>
  value === null ? '–' : String(Number(value.toPrecision(4)));

function rowsOf({ report }: AnsweredGate): string[][] {
  return report.outcomes.flatMap(({ rule, findings }) =>
    findings.map((finding) => [
      finding.verdict,
      rule.kind,
      finding.slice === null
        ? finding.metric
        : `${finding.metric} [${finding.slice.key}=${finding.slice.value}]`,
      number(finding.baselineMean),
      number(finding.candidateMean),
      number(finding.delta),
      finding.lower === null ? '–' : `${number(finding.lower)} … ${number(finding.upper)}`,
      number(finding.adjustedPValue),
      String(finding.n),
      finding.reason,
    ]),
  );
}

/** One sentence: what to do now. */
export function conclusion({ verdict, blocks, failures, candidateRef }: AnsweredGate): string {
  if (verdict === 'PASS') return `PASS: ${candidateRef} may be released.`;
  if (verdict === 'INCONCLUSIVE') {
    return `INCONCLUSIVE: ${candidateRef} is neither shown to be good nor to be bad.`;
  }
  return blocks
    ? `FAIL: ${candidateRef} is blocked${failures > 1 ? ` after ${failures} failures in a row` : ''}.`
    : `FAIL, not yet blocking: failure ${failures} in a row of ${candidateRef}; evaluate it again.`;
}

export function renderTable(answer: AnsweredGate): string {
  const headings = headingsOf(answer);
  const rows = [headings, ...rowsOf(answer)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const warnings = answer.report.warnings.map((warning) => `warning: ${warning}`);
  return [...lines, '', ...warnings, conclusion(answer), ''].join('\n');
}

/** Cells cannot break the table, whatever metrics are called. */
const cell = (text: string): string => text.replace(/[\\|]/g, '\\$&').replace(/[\r\n]+/g, ' ');

export function renderMarkdown(answer: AnsweredGate): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  const headings = headingsOf(answer);
  return [
    `### Gate: ${answer.verdict}`,
    '',
    cell(conclusion(answer)),
    '',
    line(headings),
    line(headings.map(() => '---')),
    ...rowsOf(answer).map(line),
    '',
    ...answer.report.warnings.map((warning) => `> ${cell(warning)}\n`),
  ].join('\n');
}
