/** GraphQL types of gates. Rules travel as JSON of the shapes the field's description names. */
import { Field, Float, ID, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type {
  Finding,
  Gate,
  GateEvaluation,
  GateReport,
  GateSettings,
  GateVerdict,
  RuleOutcome,
} from './gate.js';
import type { Flakiness } from './gate.store.js';

export const GATE_NODE = 'Gate';
export const GATE_EVALUATION_NODE = 'GateEvaluation';

/** The shapes of rules, for the descriptions of every field that takes or gives them. */
export const RULE_SHAPES =
  '{kind: "no_regression", metrics?: [..], sliceBy?: [..], burden?: "regression" | "non_inferiority"}, ' +
  '{kind: "threshold", metric, atLeast?, atMost?, certainty?: "mean" | "interval", slice?: {key, value}}, ' +
  '{kind: "improvement", metric}, ' +
  '{kind: "label_spike", key, labels?: [..], maximumIncrease}';

export const GateVerdictEnum = {
  PASS: 'PASS',
  FAIL: 'FAIL',
  INCONCLUSIVE: 'INCONCLUSIVE',
} as const satisfies { [Each in GateVerdict]: Each };
registerEnumType(GateVerdictEnum, {
  name: 'GateVerdict',
  valuesConfig: {
    INCONCLUSIVE: {
      description: 'Too few pairs, too many failed evaluations, or figures that allow both answers.',
    },
  },
});

@ObjectType('GateSettings', { simpleResolvers: true })
export class GateSettingsType implements GateSettings {
  @Field(() => Float, { description: 'Significance level, over all questions of the rules together (Holm).' })
  alpha!: number;

  @Field(() => Float, { description: 'Smallest difference of practical meaning, in units of a score.' })
  threshold!: number;

  @Field(() => Float, {
    description: "The same for latency, cost and tokens, as a share of the baseline's mean.",
  })
  relativeThreshold!: number;

  @Field(() => Int)
  minimumPairs!: number;

  @Field(() => Float, {
    description: "Share of the baseline's examples the candidate must have a score for.",
  })
  minimumCoverage!: number;

  @Field(() => Float, { description: 'Share of evaluations that may fail before a metric is not believed.' })
  maximumErrorShare!: number;
}

@ObjectType('GateFlakiness', {
  simpleResolvers: true,
  description:
    'Over the last 90 days: candidates that were tried more than once, and those that got both answers.',
})
export class FlakinessType implements Flakiness {
  @Field(() => Int)
  candidates!: number;

  @Field(() => Int)
  flaky!: number;
}

@ObjectType('Gate', {
  implements: Node,
  simpleResolvers: true,
  description: 'Rules an experiment must meet before what it stands for may be released.',
})
export class GateType extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => [JsonScalar], { description: RULE_SHAPES })
  rules!: unknown;

  @Field(() => GateSettingsType)
  settings!: GateSettings;

  @Field(() => Int, { description: 'Failing evaluations of one candidate in a row before it is blocked.' })
  failuresToBlock!: number;

  @Field(() => Int, { description: 'Grows with each change.' })
  revision!: number;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

@ObjectType('GateFindingSlice', { simpleResolvers: true })
class FindingSliceType {
  @Field(() => String)
  key!: string;

  @Field(() => String)
  value!: string;
}

@ObjectType('GateFinding', { simpleResolvers: true, description: 'What one rule says of one metric.' })
class FindingType implements Finding {
  @Field(() => String)
  metric!: string;

  @Field(() => FindingSliceType, { nullable: true })
  slice!: Finding['slice'];

  @Field(() => GateVerdictEnum)
  verdict!: GateVerdict;

  @Field(() => String, { description: 'One sentence with the figures.' })
  reason!: string;

  @Field(() => Float, { nullable: true })
  baselineMean!: number | null;

  @Field(() => Float, { nullable: true })
  candidateMean!: number | null;

  @Field(() => Float, { nullable: true })
  delta!: number | null;

  @Field(() => Float, { nullable: true, description: 'Lower end of the interval of delta, or of the mean.' })
  lower!: number | null;

  @Field(() => Float, { nullable: true })
  upper!: number | null;

  @Field(() => Float, { nullable: true })
  pValue!: number | null;

  @Field(() => Float, { nullable: true })
  adjustedPValue!: number | null;

  @Field(() => Int, { description: 'Pairs, or examples where there is no baseline.' })
  n!: number;
}

@ObjectType('GateRuleOutcome', { simpleResolvers: true })
class RuleOutcomeType implements RuleOutcome {
  @Field(() => JsonScalar)
  rule!: RuleOutcome['rule'];

  @Field(() => GateVerdictEnum)
  verdict!: GateVerdict;

  @Field(() => [FindingType])
  findings!: readonly Finding[];
}

@ObjectType('GateReport', { simpleResolvers: true })
class GateReportType implements GateReport {
  @Field(() => [RuleOutcomeType])
  outcomes!: readonly RuleOutcome[];

  @Field(() => GateSettingsType)
  settings!: GateSettings;

  @Field(() => Float, {
    nullable: true,
    description: 'Of the resampling: the same seed gives the same figures.',
  })
  seed!: number | null;

  @Field(() => [String])
  warnings!: readonly string[];
}

@ObjectType('GateEvaluation', {
  implements: Node,
  simpleResolvers: true,
  description: 'One time a gate was asked. Never changes.',
})
export class GateEvaluationType extends Node {
  @Field(() => UuidScalar, { nullable: true, description: 'Null for rules given along with the question.' })
  gateId!: string | null;

  @Field(() => Int, { nullable: true })
  gateRevision!: number | null;

  @Field(() => String, { description: 'What is to be released, for example a commit.' })
  candidateRef!: string;

  @Field(() => UuidScalar)
  candidateExperimentId!: string;

  @Field(() => UuidScalar, { nullable: true })
  baselineExperimentId!: string | null;

  @Field(() => UuidScalar, {
    description:
      "Whose runs most of the candidate's outputs are: its own, or those of the experiment they were taken from. Evaluations that rest on the same runs are one try.",
  })
  evidenceExperimentId!: string;

  @Field(() => GateVerdictEnum)
  verdict!: GateVerdict;

  @Field(() => Int, { description: 'Failing evaluations of this candidate in a row, this one included.' })
  failures!: number;

  @Field(() => Boolean, { description: 'Whether a release must stop: FAIL, often enough in a row.' })
  blocks!: boolean;

  @Field(() => GateReportType)
  report!: GateReport;

  @Field(() => String, { nullable: true })
  actor!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;
}

export const { Connection: GateConnection } = connectionTypes<Gate>(() => GateType as never, 'Gate');

export const { Connection: GateEvaluationConnection } = connectionTypes<GateEvaluation>(
  () => GateEvaluationType as never,
  'GateEvaluation',
);

@ObjectType({ simpleResolvers: true })
export class GatePayload {
  @Field(() => GateType, { nullable: true })
  gate!: Gate | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteGatePayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class EvaluateGatePayload {
  @Field(() => GateEvaluationType, { nullable: true })
  evaluation!: GateEvaluation | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
