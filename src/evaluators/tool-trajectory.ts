/** Compares the tool calls a run made, read from the steps of its trace, with those it should have made. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { canonicalJson } from '../platform/canonical-json.js';
import type { EvaluationStep, EvaluationSubject } from './evaluation.js';
import type { ConfigOf, ExpectedToolCall } from './evaluator-config.js';
import { NotApplicable } from './pick.js';
import { named, referenceOf, type Verdict } from './text-kinds.js';

/** Calls on either side: finding out which belongs to which takes time in their product. */
export const MAX_CALLS = 200;

export interface ToolCall {
  readonly name: string;
  /** Undefined: any. */
  readonly arguments: JsonValue | undefined;
}

export function toolTrajectory(config: ConfigOf<'tool_trajectory'>, subject: EvaluationSubject): Verdict {
  const actual = callsOf(subject.steps);
  const expected = config.expected?.map(toCall) ?? expectedCalls(referenceOf(subject, config.referencePath));
  if (actual.length > MAX_CALLS || expected.length > MAX_CALLS) {
    throw new NotApplicable(`More than ${MAX_CALLS} tool calls cannot be compared.`);
  }
  const equal = (made: ToolCall, wanted: ToolCall): boolean => sameCall(made, wanted, config.arguments);
  const pairs =
    config.match === 'strict'
      ? longestCommonOrder(actual, expected, equal)
      : matching(actual, expected, equal);
  const missing = expected.filter((_, index) => !pairs.some(([, wanted]) => wanted === index));
  const extra = actual.filter((_, index) => !pairs.some(([made]) => made === index));
  const score =
    (config.match === 'subset' || missing.length === 0) &&
    (config.match === 'superset' || extra.length === 0);
  if (score) return { score };
  const differences = [
    missing.length > 0 && config.match !== 'subset' && `Missing: ${named(missing.map(describe))}`,
    extra.length > 0 && config.match !== 'superset' && `Not expected: ${named(extra.map(describe))}`,
  ].filter((text) => text !== false);
  return { score, comment: differences.join('. ') };
}

/** In the order in which they were started. */
function callsOf(steps: readonly EvaluationStep[] | undefined): ToolCall[] {
  if (steps === undefined) throw new NotApplicable('The steps of the trace are not known.');
  return steps
    .filter(({ runType }) => runType === 'tool')
    .map(({ name, inputs }) => ({ name, arguments: argumentsOf(inputs) }));
}

/** Frameworks wrap arguments as {"input": "…"}, with JSON or Python's notation of it in the text. */
function argumentsOf(inputs: JsonValue): JsonValue {
  if (inputs === null || typeof inputs !== 'object' || Array.isArray(inputs)) return inputs;
  const { input } = inputs;
  if (Object.keys(inputs).length !== 1 || input === undefined) return inputs;
  const inner = typeof input === 'string' ? parsed(input) : input;
  return inner !== null && typeof inner === 'object' && !Array.isArray(inner) ? inner : inputs;
}

function parsed(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}

const toCall = (call: ExpectedToolCall): ToolCall => ({ name: call.name, arguments: call.arguments });

/** A list of names, of {name, arguments} or of tool calls as OpenAI writes them; also below "tool_calls". */
export function expectedCalls(reference: JsonValue): ToolCall[] {
  const list = isObject(reference) && 'tool_calls' in reference ? reference['tool_calls'] : reference;
  if (!Array.isArray(list)) throw new NotApplicable('The reference output is not a list of tool calls.');
  return list.map((item, index) => {
    const call = isObject(item) && isObject(item['function']) ? item['function'] : item;
    if (typeof call === 'string') return { name: call, arguments: undefined };
    if (!isObject(call) || typeof call['name'] !== 'string') {
      throw new NotApplicable(`Tool call ${index} of the reference output has no name.`);
    }
    const given = call['arguments'] ?? call['args'] ?? call['input'] ?? call['kwargs'];
    return { name: call['name'], arguments: typeof given === 'string' ? parsed(given) : given };
  });
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function sameCall(made: ToolCall, wanted: ToolCall, mode: ConfigOf<'tool_trajectory'>['arguments']): boolean {
  if (made.name !== wanted.name) return false;
  if (mode === 'ignore' || wanted.arguments === undefined) return true;
  const given = made.arguments ?? null;
  if (mode === 'contained' && isObject(given) && isObject(wanted.arguments)) {
    return Object.entries(wanted.arguments).every(
      ([key, value]) => Object.hasOwn(given, key) && canonicalJson(given[key]) === canonicalJson(value),
    );
  }
  return canonicalJson(given) === canonicalJson(wanted.arguments);
}

type Equal = (made: ToolCall, wanted: ToolCall) => boolean;
type Pair = readonly [made: number, wanted: number];

/** Pairs in the same order on both sides, as many as there can be: all of them where the sequences are equal. */
function longestCommonOrder(
  actual: readonly ToolCall[],
  expected: readonly ToolCall[],
  equal: Equal,
): Pair[] {
  const width = expected.length + 1;
  const best = new Uint16Array((actual.length + 1) * width);
  const at = (made: number, wanted: number): number => best[made * width + wanted] ?? 0;
  const pairs = actual.map((made) => expected.map((wanted) => equal(made, wanted)));
  for (let made = actual.length - 1; made >= 0; made -= 1) {
    for (let wanted = expected.length - 1; wanted >= 0; wanted -= 1) {
      best[made * width + wanted] = pairs[made]?.[wanted]
        ? at(made + 1, wanted + 1) + 1
        : Math.max(at(made + 1, wanted), at(made, wanted + 1));
    }
  }
  const found: Pair[] = [];
  for (let made = 0, wanted = 0; made < actual.length && wanted < expected.length;) {
    if (pairs[made]?.[wanted]) {
      found.push([made, wanted]);
      made += 1;
      wanted += 1;
    } else if (at(made + 1, wanted) >= at(made, wanted + 1)) made += 1;
    else wanted += 1;
  }
  return found;
}

/**
 * As many pairs as there can be in any order, each call used once. With contained arguments one call can fit several
 * expectations, so taking the first that fits could leave another without one: augmenting paths.
 */
function matching(actual: readonly ToolCall[], expected: readonly ToolCall[], equal: Equal): Pair[] {
  const fits = actual.map((made) =>
    expected.flatMap((wanted, index) => (equal(made, wanted) ? [index] : [])),
  );
  const takenBy = new Map<number, number>();
  const place = (made: number, seen: Set<number>): boolean =>
    (fits[made] ?? []).some((wanted) => {
      if (seen.has(wanted)) return false;
      seen.add(wanted);
      const holder = takenBy.get(wanted);
      if (holder !== undefined && !place(holder, seen)) return false;
      takenBy.set(wanted, made);
      return true;
    });
  for (const made of actual.keys()) place(made, new Set());
  return [...takenBy].map(([wanted, made]) => [made, wanted] as const);
}

function describe({ name, arguments: given }: ToolCall): string {
  const text = given === undefined ? name : `${name}(${canonicalJson(given)})`;
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
