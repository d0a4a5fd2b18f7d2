/**
 * A judge that compares two outputs. Judges prefer a place as well as an output, so every question is asked twice
 * with the places swapped: the same output has to win both times, everything else is a tie.
 */
import type { JsonValue } from '../ingest/run-event.js';
import type {
  EvaluationContext,
  EvaluatorVersion,
  PairOutcome,
  PairSubject,
  PositionBias,
  Preference,
} from './evaluation.js';
import type { ConfigOf } from './evaluator-config.js';
import {
  ask,
  objectSchema,
  spreadOf,
  tooFewRead,
  type Answer,
  type JudgeDeps,
  type Question,
} from './judge.js';
import type { TemplateValues } from './judge-template.js';
import { pick, pickPresent } from './pick.js';

const PLACES = ['first', 'second', 'tie'] as const;
type Place = (typeof PLACES)[number];

const TASK =
  'You are a judge. Compare two outputs, named first and second, by the criteria in the messages. Their order means nothing. ' +
  'Answer with JSON of the required form only.';

export async function comparePair(
  deps: JudgeDeps,
  evaluator: EvaluatorVersion,
  config: ConfigOf<'pairwise'>,
  pair: PairSubject,
  context: EvaluationContext,
): Promise<PairOutcome> {
  const places = config.allowTie ? PLACES : PLACES.slice(0, 2);
  const schema = objectSchema(config.reasoning, 'preferred', { type: 'string', enum: [...places] });
  const questions = Array.from({ length: config.repeats }, (_, repeat): Question[] =>
    [false, true].map((swapped) => ({
      label: `${repeat}/${swapped ? 'swapped' : 'given'}`,
      values: pairValues(config, pair, swapped),
      task: TASK,
      schema,
    })),
  ).flat();
  const asked = await ask(deps, evaluator, config, questions, context, (answer) => readPlace(places, answer));
  const failure = tooFewRead(asked);
  if (failure !== undefined) return failure;

  const { answers, judgeRunIds, cost } = asked;
  const verdicts = pairsOf(answers);
  if (verdicts.length * 2 <= config.repeats) {
    const error = {
      code: 'UNREADABLE_ANSWER',
      message: `Of ${config.repeats} pairs of answers, ${verdicts.length} could be used.`,
      retryable: answers.some((answer) => answer.kind === 'lost' && answer.error.retryable),
    } as const;
    return { kind: 'failed', error, judgeRunIds, cost };
  }
  const preferences = verdicts.map(preferenceOf);
  const preference = majority(preferences);
  const comment = reasonFor(answers, preference);
  const [first, second] = pointsOf(preference);
  const score = { key: evaluator.feedbackKey, ...(comment !== undefined && { comment }) };
  return {
    kind: 'compared',
    preference,
    scores: [
      { ...score, score: first },
      { ...score, score: second },
    ],
    spread: spreadOf(config.repeats, preferences.map(String), String(preference)),
    positionBias: biasOf(verdicts),
    judgeRunIds,
    cost,
  };
}

function pairValues(
  config: ConfigOf<'pairwise'>,
  { runs, example }: PairSubject,
  swapped: boolean,
): TemplateValues {
  const outputs = runs.map(({ outputs: value }, index) =>
    pickPresent(value, config.outputPath, `output of run ${index + 1}`),
  );
  const [first = null, second = null] = swapped ? outputs.toReversed() : outputs;
  const input = pick(example?.inputs ?? runs[0].inputs, config.inputPath);
  const reference =
    example === undefined || example.reference === null
      ? undefined
      : pick(example.reference, config.referencePath);
  return {
    first,
    second,
    ...(input !== undefined && { input }),
    ...(reference !== undefined && { reference }),
    ...(example && { exampleMetadata: example.metadata }),
  };
}

function readPlace(places: readonly Place[], answer: JsonValue): Place | undefined {
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) return undefined;
  return Object.hasOwn(answer, 'preferred')
    ? places.find((place) => place === answer['preferred'])
    : undefined;
}

/** The answers to one question in both orders. */
interface Verdict {
  readonly given: Place;
  readonly swapped: Place;
}

function pairsOf(answers: readonly Answer<Place>[]): Verdict[] {
  const verdicts: Verdict[] = [];
  for (let index = 0; index < answers.length; index += 2) {
    const given = answers[index];
    const swapped = answers[index + 1];
    if (given?.kind === 'read' && swapped?.kind === 'read') {
      verdicts.push({ given: given.value, swapped: swapped.value });
    }
  }
  return verdicts;
}

function preferenceOf({ given, swapped }: Verdict): Preference {
  if (given === 'first' && swapped === 'second') return 0;
  return given === 'second' && swapped === 'first' ? 1 : 'tie';
}

/** More than any other; a tie where there is no such. */
function majority(preferences: readonly Preference[]): Preference {
  const times = (wanted: Preference): number =>
    preferences.filter((preference) => preference === wanted).length;
  const [first, second, tie] = [times(0), times(1), times('tie')];
  if (first > second && first > tie) return 0;
  return second > first && second > tie ? 1 : 'tie';
}

function pointsOf(preference: Preference): readonly [number, number] {
  if (preference === 'tie') return [0.5, 0.5];
  return preference === 0 ? [1, 0] : [0, 1];
}

function biasOf(verdicts: readonly Verdict[]): PositionBias {
  const both = (place: Place): number =>
    verdicts.filter(({ given, swapped }) => given === place && swapped === place).length;
  return { pairs: verdicts.length, firstPlace: both('first'), secondPlace: both('second') };
}

/** What the judge said where it preferred what was kept, in the order of the runs if there is such an answer. */
function reasonFor(answers: readonly Answer<Place>[], preference: Preference): string | undefined {
  const wanted: Place = preference === 'tie' ? 'tie' : preference === 0 ? 'first' : 'second';
  const given = answers.filter((_, index) => index % 2 === 0);
  const fitting = given.find((answer) => answer.kind === 'read' && answer.value === wanted) ?? given[0];
  return fitting?.kind === 'read' ? fitting.reasoning : undefined;
}
