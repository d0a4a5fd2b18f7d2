/** GraphQL types of harvests, their executions and candidates, and the payloads of their mutations. */
import { Field, ID, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { rawJson } from '../graphql/raw-json.js';
import type { RawJson } from '../graphql/raw-json.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type {
  Harvest,
  HarvestCandidate,
  HarvestDefinition,
  HarvestPick,
  HarvestRun,
  HarvestRunState,
  Verdict,
} from './harvest.js';
import type { HarvestPreview } from './harvest-preview.service.js';
import type { RedactionKind } from './secret-patterns.js';

/** The names of the types in global ids. */
export const HARVEST_NODE = 'Harvest';
export const HARVEST_RUN_NODE = 'HarvestRun';

export const HarvestStateEnum = {
  RUNNING: 'running',
  PROPOSED: 'proposed',
  APPLIED: 'applied',
  REJECTED: 'rejected',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
} as const satisfies Record<string, HarvestRunState>;
registerEnumType(HarvestStateEnum, {
  name: 'HarvestRunState',
  valuesConfig: {
    PROPOSED: { description: 'Waits for approveHarvestRun or rejectHarvestRun.' },
    APPLIED: { description: 'What was left is in the dataset, as one version.' },
  },
});

export const VerdictEnum = {
  PENDING: 'pending',
  ADDED: 'added',
  KNOWN: 'known',
  EXACT_DUPLICATE: 'exact_duplicate',
  NEAR_DUPLICATE: 'near_duplicate',
  OVER_CAP: 'over_cap',
  REJECTED: 'rejected',
  FAILED: 'failed',
} as const satisfies Record<string, Verdict>;
registerEnumType(VerdictEnum, {
  name: 'HarvestVerdict',
  valuesConfig: {
    KNOWN: { description: 'The dataset has an example of the run, or the harvest has met it before.' },
    FAILED: { description: 'It makes no example, or could not be redacted; see `reason`.' },
  },
});

export const RedactionKindEnum = {
  SECRET: 'secret',
  EMAIL: 'email',
  IBAN: 'iban',
  CREDIT_CARD: 'credit_card',
  IP: 'ip',
  PHONE: 'phone',
} as const satisfies Record<string, RedactionKind>;
registerEnumType(RedactionKindEnum, {
  name: 'RedactionPattern',
  valuesConfig: { SECRET: { description: 'API keys, tokens, private keys, and what is named a password.' } },
});

export const PickEnum = { NEWEST: 'newest', OLDEST: 'oldest', RANDOM: 'random' } as const satisfies Record<
  string,
  HarvestPick
>;
registerEnumType(PickEnum, { name: 'HarvestPick' });

@ObjectType('Harvest', {
  implements: Node,
  simpleResolvers: true,
  description: 'A rule by which examples are made from runs: once, again and again, or on a schedule.',
})
export class HarvestType extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => UuidScalar, { description: 'Where the examples go.' })
  datasetId!: string;

  @Field(() => JsonScalar, { description: 'With all defaults filled in.' })
  definition!: HarvestDefinition;

  @Field(() => Int, { description: 'Grows with each change of the definition or the dataset.' })
  revision!: number;

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: 'Runs that started before this were looked at by an execution that ended well.',
  })
  harvestedTo!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

@ObjectType('HarvestRun', {
  implements: Node,
  simpleResolvers: true,
  description: 'One execution of a harvest. Its counts are complete once it does not run any more.',
})
export class HarvestRunType extends Node {
  @Field(() => UuidScalar)
  harvestId!: string;

  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => Int, { description: 'Of the harvest, when it was started.' })
  revision!: number;

  @Field(() => JsonScalar, { description: 'What it was carried out by.' })
  definition!: HarvestDefinition;

  @Field(() => HarvestStateEnum)
  state!: HarvestRunState;

  @Field(() => String, { nullable: true, description: 'Why it failed.' })
  reason!: string | null;

  @Field(() => DateTimeScalar, { description: "Of the runs' start times, half-open." })
  windowFrom!: string;

  @Field(() => DateTimeScalar)
  windowTo!: string;

  @Field(() => Int, { description: 'Runs the filters let through.' })
  matched!: number;

  @Field(() => Int, {
    description: 'Made by evaluation among them: of judges, evaluators and experiments. Left out.',
  })
  internal!: number;

  @Field(() => Int, {
    description:
      'In the dataset already, or met by an earlier execution: added, proposed, rejected or passed over.',
  })
  known!: number;

  @Field(() => Int, { description: 'In which something was redacted, whatever became of them.' })
  redacted!: number;

  @Field(() => Int)
  exactDuplicates!: number;

  @Field(() => Int)
  nearDuplicates!: number;

  @Field(() => Int)
  overCap!: number;

  @Field(() => Int)
  pending!: number;

  @Field(() => Int)
  added!: number;

  @Field(() => Int)
  rejected!: number;

  @Field(() => Int)
  failed!: number;

  @Field(() => Int, {
    nullable: true,
    description: 'The version of the dataset it made; null where it made none.',
  })
  version!: number | null;

  @Field(() => UuidScalar, { nullable: true, description: 'The job that carries it out.' })
  jobId!: string | null;

  @Field(() => String, { nullable: true, description: 'Who started it.' })
  actor!: string | null;

  @Field(() => String, { nullable: true, description: 'Who approved, rejected or cancelled it.' })
  decidedBy!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  finishedAt!: string | null;
}

@ObjectType('HarvestCandidate', {
  simpleResolvers: true,
  description:
    'A run that was looked at, and the example it would become. Content and metadata are kept while it is pending only; candidates are removed 30 days after their execution has ended.',
})
export class HarvestCandidateType {
  @Field(() => UuidScalar)
  sourceRunId!: string;

  @Field(() => DateTimeScalar, { description: 'When the run started.' })
  startTime!: string;

  @Field(() => VerdictEnum)
  verdict!: Verdict;

  @Field(() => String, { nullable: true, description: 'Why it failed.' })
  reason!: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'The example or run it is a duplicate of.' })
  duplicateOf!: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'How often which pattern was found.' })
  redactions!: HarvestCandidate['redactions'];

  @Field(() => JsonScalar, { nullable: true, description: 'Content. Redacted.' })
  inputs!: RawJson | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Content. Redacted.' })
  outputs!: RawJson | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Redacted.' })
  metadata!: RawJson | null;

  @Field(() => UuidScalar, { nullable: true, description: 'The example it became.' })
  exampleId!: string | null;
}

export type GraphqlCandidate = Omit<HarvestCandidate, 'inputs' | 'outputs' | 'metadata'> &
  Pick<HarvestCandidateType, 'inputs' | 'outputs' | 'metadata'>;

export const toGraphqlCandidate = (candidate: HarvestCandidate): GraphqlCandidate => ({
  ...candidate,
  inputs: rawJson(candidate.inputs),
  outputs: rawJson(candidate.outputs),
  metadata: rawJson(candidate.metadata),
});

@ObjectType('HarvestPreview', {
  simpleResolvers: true,
  description: 'What a harvest would do with the oldest runs of its window. Nothing was written.',
})
export class HarvestPreviewType {
  @Field(() => [HarvestCandidateType], {
    description: 'Runs that would become examples, before the cap; oldest first.',
  })
  candidates!: readonly GraphqlCandidate[];

  @Field(() => DateTimeScalar)
  windowFrom!: string;

  @Field(() => DateTimeScalar)
  windowTo!: string;

  @Field(() => Int, { description: 'Runs that were looked at.' })
  lookedAt!: number;

  @Field(() => Int)
  internal!: number;

  @Field(() => Int)
  known!: number;

  @Field(() => Int)
  exactDuplicates!: number;

  @Field(() => Int)
  nearDuplicates!: number;

  @Field(() => Int)
  failed!: number;

  @Field(() => Boolean, { description: 'Whether all runs of the window were looked at.' })
  complete!: boolean;
}

export const toGraphqlPreview = (preview: HarvestPreview): HarvestPreviewType => {
  const { candidates, window, lookedAt, internal, known, exactDuplicates, nearDuplicates, failed } = preview;
  return {
    candidates: candidates.map(toGraphqlCandidate),
    windowFrom: window.from,
    windowTo: window.to,
    lookedAt,
    internal,
    known,
    exactDuplicates,
    nearDuplicates,
    failed,
    complete: preview.complete,
  };
};

export const { Connection: HarvestConnection } = connectionTypes<Harvest>(
  () => HarvestType as never,
  'Harvest',
);

export const { Connection: HarvestRunConnection } = connectionTypes<HarvestRun>(
  () => HarvestRunType as never,
  'HarvestRun',
);

export const { Connection: HarvestCandidateConnection } = connectionTypes<GraphqlCandidate>(
  () => HarvestCandidateType as never,
  'HarvestCandidate',
);

@ObjectType({ simpleResolvers: true })
export class HarvestPayload {
  @Field(() => HarvestType, { nullable: true })
  harvest!: Harvest | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteHarvestPayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class HarvestRunPayload {
  @Field(() => HarvestRunType, { nullable: true })
  harvestRun!: HarvestRun | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
