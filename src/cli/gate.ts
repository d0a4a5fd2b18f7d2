/** `tracewell gate`: asks a gate over HTTP and answers with an exit code. */
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { conclusion, renderMarkdown, renderTable } from './gate-report.js';
import type { AnsweredGate } from './gate-report.js';

export const GATE_HELP = `tracewell gate --candidate X [--baseline Y]

Compares the experiment X with the experiment Y and says whether what X stands for may be released.

  --candidate X      experiment, by name or id
  --baseline Y       experiment, by name or id; default: the baseline of the dataset
  --gate NAME        a gate kept on the server, by name or id; default: nothing may regress
  --rules FILE       JSON list of rules instead of a gate
  --ref TEXT         what is to be released, for example a commit; default: the experiment's revision_id
  --json FILE        writes the whole answer (- for standard output, instead of the table)
  --markdown FILE    writes a report for a pull request
  --wait SECONDS     how long to wait for an experiment that has not finished, or whose client has not said that it has
                     (evaluate() of the SDKs does, others by an end time); default 0
  --url URL          default: TRACEWELL_URL, LANGSMITH_ENDPOINT, or http://127.0.0.1:1984
  --api-key KEY      default: TRACEWELL_API_KEY or LANGSMITH_API_KEY

Exit codes: 0 pass, 1 fail, 2 inconclusive (also a first failure of a gate that wants several in a row),
3 the question could not be asked.
`;

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

const EXIT = { pass: 0, fail: 1, inconclusive: 2, error: 3 } as const;
/** Between two looks at an experiment that has not finished. */
const POLL_MS = 2_000;
const REQUEST_TIMEOUT_MS = 120_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const MUTATION = `mutation ($input: EvaluateGateInput!) {
  evaluateGate(input: $input) {
    evaluation {
      id uuid gateId gateRevision candidateRef candidateExperimentId baselineExperimentId verdict failures blocks createdAt
      report {
        seed warnings
        settings { alpha threshold relativeThreshold minimumPairs minimumCoverage maximumErrorShare }
        outcomes {
          rule verdict
          findings {
            metric slice { key value } verdict reason baselineMean candidateMean delta lower upper pValue
            adjustedPValue n
          }
        }
      }
    }
    errors { code message path retryable }
  }
}`;

const STATES = `query ($candidate: ID, $candidateName: String, $baseline: ID, $baselineName: String, $withBaseline: Boolean!) {
  candidate: experiment(id: $candidate, name: $candidateName) { state }
  baseline: experiment(id: $baseline, name: $baselineName) @include(if: $withBaseline) { state }
}`;

/** A mistake in how the command was called, or an answer that is none. */
class CannotAsk extends Error {}

type Ref = { readonly id: string } | { readonly name: string };

interface Question {
  readonly candidate: Ref;
  readonly baseline?: Ref;
}

interface Answer {
  readonly data?: {
    readonly candidate?: { readonly state: string | null } | null;
    readonly baseline?: { readonly state: string | null } | null;
    readonly evaluateGate?: {
      readonly evaluation: AnsweredGate | null;
      readonly errors: readonly {
        readonly message: string;
        readonly path: readonly string[] | null;
        readonly retryable: boolean;
      }[];
    } | null;
  } | null;
  readonly errors?: readonly { readonly message: string }[];
}

const options = {
  candidate: { type: 'string' },
  baseline: { type: 'string' },
  gate: { type: 'string' },
  rules: { type: 'string' },
  ref: { type: 'string' },
  json: { type: 'string' },
  markdown: { type: 'string' },
  wait: { type: 'string' },
  url: { type: 'string' },
  'api-key': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

const refOf = (text: string): Ref => (UUID.test(text) ? { id: text } : { name: text });

/** @returns the exit code. */
export async function runGate(args: readonly string[], io: Io): Promise<number> {
  try {
    const { values } = parseArgs({ args: [...args], options, strict: true });
    if (values.help === true) {
      io.out(GATE_HELP);
      return EXIT.pass;
    }
    const { candidate, baseline, gate, rules, ref } = values;
    if (candidate === undefined) throw new CannotAsk('--candidate is missing. See tracewell gate --help.');
    const input = {
      candidate: refOf(candidate),
      ...(baseline !== undefined && { baseline: refOf(baseline) }),
      ...(gate !== undefined && { gate: refOf(gate) }),
      ...(rules !== undefined && { rules: await readRules(rules) }),
      ...(ref !== undefined && { candidateRef: ref }),
    };
    const answer = await ask(input, endpointOf(values, io), secondsOf(values.wait));
    if (answer === undefined) {
      io.err('INCONCLUSIVE: an experiment has not finished.\n');
      return EXIT.inconclusive;
    }
    if (values.markdown !== undefined) await writeFile(values.markdown, renderMarkdown(answer));
    if (values.json !== undefined && values.json !== '-') await writeFile(values.json, toJson(answer));
    io.out(values.json === '-' ? toJson(answer) : renderTable(answer));
    return exitCodeOf(answer);
  } catch (error) {
    io.err(`${error instanceof Error ? error.message : String(error)}\n`);
    return EXIT.error;
  }
}

function exitCodeOf({ verdict, blocks }: AnsweredGate): number {
  if (verdict === 'PASS') return EXIT.pass;
  return verdict === 'FAIL' && blocks ? EXIT.fail : EXIT.inconclusive;
}

const toJson = (answer: AnsweredGate): string =>
  `${JSON.stringify({ ...answer, conclusion: conclusion(answer) }, undefined, 2)}\n`;

async function readRules(file: string): Promise<unknown[]> {
  const rules: unknown = JSON.parse(await readFile(file, 'utf8'));
  if (!Array.isArray(rules)) throw new CannotAsk(`${file} is not a JSON list of rules.`);
  return rules as unknown[];
}

function secondsOf(text: string | undefined): number {
  const seconds = Number(text ?? 0);
  if (!(seconds >= 0)) throw new CannotAsk('--wait needs a number of seconds.');
  return seconds;
}

interface Endpoint {
  readonly url: string;
  readonly apiKey: string;
}

function endpointOf(
  values: { url?: string | undefined; 'api-key'?: string | undefined },
  { env }: Io,
): Endpoint {
  const url = values.url ?? env['TRACEWELL_URL'] ?? env['LANGSMITH_ENDPOINT'] ?? 'http://127.0.0.1:1984';
  const apiKey = values['api-key'] ?? env['TRACEWELL_API_KEY'] ?? env['LANGSMITH_API_KEY'];
  if (apiKey === undefined) throw new CannotAsk('There is no API key: set TRACEWELL_API_KEY or --api-key.');
  // SDKs are given /api or /api/v1, or nothing; the API is beside them.
  return { url: `${url.replace(/\/+$/, '').replace(/\/api(\/v1)?$/, '')}/graphql`, apiKey };
}

/** Undefined when the experiments have not finished in time. */
async function ask(
  input: Question,
  endpoint: Endpoint,
  waitSeconds: number,
): Promise<AnsweredGate | undefined> {
  const deadline = performance.now() + waitSeconds * 1_000;
  for (;;) {
    // Without a wish to wait, what is there is judged; the server warns where a client has not said that that is all.
    if (waitSeconds > 0 && (await isUnended(input, endpoint))) {
      if (performance.now() + POLL_MS > deadline) return undefined;
      await wait(POLL_MS);
      continue;
    }
    const { data, errors } = await post({ query: MUTATION, variables: { input } }, endpoint);
    const result = data?.evaluateGate;
    if (result?.evaluation) return result.evaluation;
    const refused = result?.errors ?? [];
    if (refused.length === 0 || !refused.every(({ retryable }) => retryable)) {
      const messages = [
        ...(errors ?? []).map(({ message }) => message),
        ...refused.map(({ message, path }) => (path?.length ? `${path.join('.')}: ${message}` : message)),
      ];
      throw new CannotAsk(messages.join('\n') || 'The server gave no answer.');
    }
    if (performance.now() + POLL_MS > deadline) return undefined;
    await wait(POLL_MS);
  }
}

/** Whether a client has not said of one of the experiments that it has ended. */
async function isUnended({ candidate, baseline }: Question, endpoint: Endpoint): Promise<boolean> {
  const variables = {
    ...('id' in candidate ? { candidate: candidate.id } : { candidateName: candidate.name }),
    ...(baseline && ('id' in baseline ? { baseline: baseline.id } : { baselineName: baseline.name })),
    withBaseline: baseline !== undefined,
  };
  const { data } = await post({ query: STATES, variables }, endpoint);
  return data?.candidate?.state === null || data?.baseline?.state === null;
}

async function post(body: object, { url, apiKey }: Endpoint): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': apiKey },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  } catch (error) {
    const reason =
      error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new CannotAsk(`${url} cannot be reached: ${reason}`);
  }
  const text = await response.text();
  try {
    return JSON.parse(text) as Answer;
  } catch {
    throw new CannotAsk(`${url} answered ${response.status} without JSON.`);
  }
}
