/** GraphQL types of experiments, their figures and their rows. */
import { Field, Float, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { PlacedRow } from './experiment.service.js';
import type {
  Execution,
  Experiment,
  ExperimentKind as Kind,
  ExperimentProgress,
  ExperimentState as State,
  KeySummary,
  RowEvaluation,
  RowScore,
  RowState,
  UnitError,
  UsageSummary,
} from './experiment.js';

/** The name of the type in global ids. */
export const EXPERIMENT_NODE = 'Experiment';

export const ExperimentKind = { CLIENT: 'client', WORKER: 'worker' } as const satisfies Record<string, Kind>;
registerEnumType(ExperimentKind, {
  name: 'ExperimentKind',
  valuesConfig: {
    CLIENT: { description: "An SDK's evaluate() or a test suite called the target." },
    WORKER: { description: 'Workers of this installation call the target.' },
  },
});

export const ExperimentState = {
  PLANNING: 'planning',
  RUNNING: 'running',
  PAUSED: 'paused',
  CANCELLED: 'cancelled',
  COMPLETED: 'completed',
  FAILED: 'failed',
} as const satisfies Record<string, State>;
registerEnumType(ExperimentState, {
  name: 'ExperimentState',
  valuesConfig: {
    PLANNING: { description: 'Its rows are being laid out.' },
    RUNNING: { description: 'Workers are on it.' },
    PAUSED: { description: 'By a caller or by its spend cap; `stateReason` says which. It can be resumed.' },
    CANCELLED: { description: 'Ended by a caller. What it had done by then stays.' },
    COMPLETED: { description: 'Nothing is left to do. Single rows and evaluations may have failed.' },
    FAILED: { description: 'It could not be laid out; `stateReason` says why.' },
  },
});

export const ExperimentRowState = {
  PENDING: 'pending',
  RUNNING: 'running',
  DONE: 'done',
  FAILED: 'failed',
} as const satisfies Record<string, RowState>;
registerEnumType(ExperimentRowState, { name: 'ExperimentRowState' });

export const EvaluationState = {
  PENDING: 'pending',
  RUNNING: 'running',
  SCORED: 'scored',
  FAILED: 'failed',
  SKIPPED: 'skipped',
} as const satisfies Record<string, RowEvaluation['state']>;
registerEnumType(EvaluationState, {
  name: 'EvaluationState',
  valuesConfig: {
    FAILED: { description: 'The evaluator failed: an error, never a score.' },
    SKIPPED: { description: 'There was no output to evaluate.' },
  },
});

@ObjectType('UnitError', { simpleResolvers: true, description: 'Why a target or an evaluator failed.' })
export class UnitErrorType {
  @Field(() => String, { description: 'Such as TIMEOUT, UNREADABLE_ANSWER or PROVIDER_REFUSED.' })
  code!: string;

  @Field(() => String, {
    description: 'Says only that it is hidden where the key lacks the scope "content".',
  })
  message!: string;
}

@ObjectType('ExperimentExecution', {
  simpleResolvers: true,
  description: 'How workers carry an experiment out.',
})
export class ExecutionType {
  @Field(() => Int, { description: 'Pinned: the examples are those of this version.' })
  datasetVersion!: number;

  @Field(() => [String], { description: 'Empty: all.' })
  splits!: readonly string[];

  @Field(() => JsonScalar, { description: 'What is called for each row; secrets are blotted out.' })
  target!: JsonObject;

  @Field(() => [UuidScalar])
  evaluatorVersionIds!: readonly string[];

  @Field(() => Int)
  repetitions!: number;

  @Field(() => Int, { description: 'Targets and evaluators that are called at once.' })
  concurrency!: number;

  @Field(() => Int, { description: 'Times something is tried before its error is kept.' })
  maxAttempts!: number;

  @Field(() => Int, { description: 'What one call of the target may take.' })
  deadlineMs!: number;

  @Field(() => BigIntScalar)
  seed!: string;

  @Field(() => Boolean)
  useCache!: boolean;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  spendCap!: string | null;

  @Field(() => DecimalScalar, { description: 'US dollars of all calls so far; each call counts once.' })
  spend!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  startedAt!: string | null;

  @Field(() => DateTimeScalar, { nullable: true })
  finishedAt!: string | null;
}

@ObjectType('ExperimentRowCounts', { simpleResolvers: true })
export class RowCountsType {
  @Field(() => Int)
  total!: number;

  @Field(() => Int)
  pending!: number;

  @Field(() => Int)
  running!: number;

  @Field(() => Int)
  done!: number;

  @Field(() => Int, { description: 'The target failed.' })
  failed!: number;

  @Field(() => Int, { description: 'Outputs that were used again; they are among those that are done.' })
  cached!: number;
}

@ObjectType('EvaluatorProgress', { simpleResolvers: true })
export class EvaluatorProgressType {
  @Field(() => UuidScalar)
  evaluatorVersionId!: string;

  @Field(() => UuidScalar)
  evaluatorId!: string;

  @Field(() => String)
  evaluatorName!: string;

  @Field(() => Int)
  version!: number;

  @Field(() => String)
  feedbackKey!: string;

  @Field(() => Int, { description: 'Evaluations that are still to be made.' })
  open!: number;

  @Field(() => Int)
  scored!: number;

  @Field(() => Int, { description: 'Errors of the evaluator; never scores.' })
  failed!: number;

  @Field(() => Int, { description: 'There was no output to evaluate.' })
  skipped!: number;

  @Field(() => Int, {
    description: 'Scores of earlier, equal evaluations: no new evidence. Among those that are scored.',
  })
  cached!: number;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars; null where no price is known.' })
  cost!: string | null;
}

@ObjectType('ExperimentProgress', { simpleResolvers: true })
export class ExperimentProgressType implements Omit<ExperimentProgress, 'experimentId'> {
  @Field(() => Int, { description: 'Distinct examples among the rows.' })
  examples!: number;

  @Field(() => RowCountsType)
  rows!: ExperimentProgress['rows'];

  @Field(() => [EvaluatorProgressType], { description: 'What workers make; empty where they do nothing.' })
  evaluators!: ExperimentProgress['evaluators'];
}

@ObjectType('ExperimentKeyScores', {
  simpleResolvers: true,
  description: 'Scores of one key over the rows. A row with several scores counts once, with their mean.',
})
export class KeyScoresType implements KeySummary {
  @Field(() => String)
  key!: string;

  @Field(() => Int, { description: 'Rows with a score.' })
  n!: number;

  @Field(() => Float, { nullable: true })
  mean!: number | null;

  @Field(() => Float, { nullable: true, description: 'Of the sample; null below two.' })
  standardDeviation!: number | null;

  @Field(() => Float, { nullable: true })
  min!: number | null;

  @Field(() => Float, { nullable: true })
  max!: number | null;

  @Field(() => Int, { description: 'Rows whose evaluator failed. Never part of the mean.' })
  errors!: number;

  @Field(() => Int, { description: 'Scores of earlier, equal evaluations: no new evidence.' })
  cached!: number;
}

@ObjectType('ExperimentUsage', {
  simpleResolvers: true,
  description: 'Durations in seconds, of rows whose target was called; tokens and money of all runs.',
})
export class UsageType implements Omit<UsageSummary, 'experimentId'> {
  @Field(() => Float, { nullable: true })
  latencyMean!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP50!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP95!: number | null;

  @Field(() => BigIntScalar)
  totalTokens!: number;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars. Null where no run has a cost.' })
  totalCost!: string | null;
}

@ObjectType('Experiment', {
  implements: Node,
  simpleResolvers: true,
  description:
    'A dataset answered and scored. It is a project with a reference dataset: its rows are the root runs that name an example, its scores the feedback on them, whoever made them.',
})
export class ExperimentType extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => JsonScalar)
  metadata!: JsonObject;

  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => ExperimentKind)
  kind!: Kind;

  @Field(() => ExperimentState, {
    nullable: true,
    description: 'Null for one a client carries out and has not said to have ended.',
  })
  state!: State | null;

  @Field(() => String, { nullable: true, description: 'Why it is paused or failed.' })
  stateReason!: string | null;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;

  @Field(() => ExecutionType, { nullable: true, description: 'Null where workers have no part in it.' })
  execution!: Execution | null;
}

export const { Connection: ExperimentConnection } = connectionTypes<Experiment>(
  () => ExperimentType as never,
  'Experiment',
);

@ObjectType('ExperimentRowScore', { simpleResolvers: true, description: 'One feedback on a row.' })
export class RowScoreType implements Omit<RowScore, 'runId'> {
  @Field(() => UuidScalar)
  feedbackId!: string;

  @Field(() => String)
  key!: string;

  @Field(() => Float, { nullable: true })
  score!: number | null;

  @Field(() => JsonScalar, { nullable: true })
  value!: JsonValue;

  @Field(() => String, { nullable: true })
  comment!: string | null;

  @Field(() => UuidScalar, {
    nullable: true,
    description: 'Where an evaluator of this installation gave it.',
  })
  evaluatorVersionId!: string | null;

  @Field(() => Boolean, { description: 'Of an earlier, equal evaluation: no new evidence.' })
  cached!: boolean;
}

@ObjectType('EvaluationSpread', {
  simpleResolvers: true,
  description: 'How far the repeats of a judge lie apart.',
})
export class SpreadType {
  @Field(() => Int)
  repeats!: number;

  @Field(() => JsonScalar, { description: 'A number or a label per repeat that could be read.' })
  values!: JsonValue;

  @Field(() => Int, { description: 'Repeats that could not be read.' })
  unreadable!: number;

  @Field(() => Float, { nullable: true })
  standardDeviation!: number | null;

  @Field(() => Float, { description: 'Share of the repeats that agree with the answer that was kept.' })
  agreement!: number;
}

@ObjectType('ExperimentEvaluation', {
  simpleResolvers: true,
  description: 'One evaluation that workers make, or have made, of a row.',
})
export class RowEvaluationType {
  @Field(() => UuidScalar)
  evaluatorVersionId!: string;

  @Field(() => String)
  evaluatorName!: string;

  @Field(() => Int)
  version!: number;

  @Field(() => String)
  feedbackKey!: string;

  @Field(() => EvaluationState)
  state!: RowEvaluation['state'];

  @Field(() => Int)
  attempts!: number;

  @Field(() => UnitErrorType, { nullable: true })
  error!: UnitError | null;

  @Field(() => Boolean, { description: 'Of an earlier, equal evaluation: no new evidence.' })
  cached!: boolean;

  @Field(() => SpreadType, { nullable: true })
  spread!: JsonObject | null;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  cost!: string | null;
}

@ObjectType('ExperimentRow', {
  simpleResolvers: true,
  description: 'One example answered, or to be answered, once.',
})
export class ExperimentRowType {
  @Field(() => UuidScalar)
  exampleId!: string;

  @Field(() => Int, { description: 'From 0. Runs of an SDK are numbered per example by their start.' })
  repetition!: number;

  @Field(() => ExperimentRowState)
  state!: RowState;

  @Field(() => UuidScalar, { nullable: true, description: 'Null until the target was called.' })
  runId!: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'The run whose output was used again.' })
  cachedFrom!: string | null;

  @Field(() => Int, { description: 'Times the target was called.' })
  attempts!: number;

  @Field(() => UnitErrorType, { nullable: true, description: 'Where a worker gave the target up.' })
  error!: UnitError | null;
}

export const { Connection: ExperimentRowConnection } = connectionTypes<PlacedRow>(
  () => ExperimentRowType as never,
  'ExperimentRow',
);
