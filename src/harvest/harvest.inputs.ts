/** GraphQL inputs of harvests, and the definitions they become. */
import { ArgsType, Directive, Field, Float, ID, InputType, Int } from 'type-graphql';
import { DATASET_NODE } from '../datasets/dataset.inputs.js';
import { RunMappingInput } from '../datasets/example.inputs.js';
import type { Filter } from '../filters/filter.js';
import { printFilter } from '../filters/filter-text.js';
import { RunWhereInput, toRunFilters } from '../filters/filter.inputs.js';
import { parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { BigIntScalar, DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import { PROJECT_NODE } from '../projects/project.inputs.js';
import { ScheduleTimesInput } from '../schedules/schedule.inputs.js';
import { HARVEST_LIMITS } from './harvest.js';
import type { HarvestPick, HarvestRunState, Verdict } from './harvest.js';
import type { PreviewOf } from './harvest-preview.service.js';
import {
  HARVEST_NODE,
  HARVEST_RUN_NODE,
  HarvestStateEnum,
  PickEnum,
  RedactionKindEnum,
  VerdictEnum,
} from './harvest.types.js';
import { MIN_THRESHOLD } from './near-duplicates.js';
import { MAX_PATTERN_LENGTH } from './redaction.js';
import type { RedactionKind } from './secret-patterns.js';

const LIMITS = HARVEST_LIMITS;

@InputType()
export class SinceLastHarvestInput {
  @Field(() => Int, {
    defaultValue: 24,
    description: `How far to reach back behind the last harvest, up to ${LIMITS.overlapHours}: runs and feedback come late, and no run is harvested twice.`,
  })
  overlapHours!: number;

  @Field(() => Int, { defaultValue: 30, description: 'How many days the first harvest looks back.' })
  firstDays!: number;
}

@InputType({ description: 'Half-open.' })
export class HarvestRangeInput {
  @Field(() => DateTimeScalar)
  from!: string;

  @Field(() => DateTimeScalar, { nullable: true, description: 'When the harvest runs where not given.' })
  to?: string | null;
}

@Directive('@oneOf')
@InputType({ description: 'Which start times a harvest looks at: exactly one of these.' })
export class HarvestWindowInput {
  @Field(() => SinceLastHarvestInput, { nullable: true })
  sinceLast?: SinceLastHarvestInput | null;

  @Field(() => Int, { nullable: true, description: `1 to ${LIMITS.days}.` })
  lastDays?: number | null;

  @Field(() => HarvestRangeInput, { nullable: true })
  range?: HarvestRangeInput | null;
}

@InputType()
export class CustomRedactionInput {
  @Field(() => String, {
    description: 'Capital letters, digits and _: what is found is replaced by [NAME_1].',
  })
  name!: string;

  @Field(() => String, { description: `In RE2 syntax, up to ${MAX_PATTERN_LENGTH} characters.` })
  pattern!: string;
}

@InputType({
  description:
    'What is taken out of examples before anything else looks at them. A run that cannot be redacted is not harvested.',
})
export class HarvestRedactionInput {
  @Field(() => [RedactionKindEnum], { nullable: true, description: 'All where not given.' })
  patterns?: RedactionKind[] | null;

  @Field(() => [CustomRedactionInput], { defaultValue: [] })
  custom!: CustomRedactionInput[];

  @Field(() => [String], {
    defaultValue: [],
    description:
      'JSON pointers into {inputs, outputs, metadata} of the example, such as /inputs/user or /inputs/messages/*/name: they are removed.',
  })
  drop!: string[];
}

@InputType()
export class HarvestDuplicatesInput {
  @Field(() => Boolean, {
    defaultValue: true,
    description: 'Drops runs whose inputs, redacted, are those of an example or of another run.',
  })
  exact!: boolean;

  @Field(() => Float, {
    nullable: true,
    description: `Drops runs whose inputs are nearly those of an example or of another run: the share of overlapping pieces of text, ${MIN_THRESHOLD} to 1. None are where not given.`,
  })
  nearThreshold?: number | null;
}

@InputType({ description: 'Which runs become examples, and how.' })
export class HarvestDefinitionInput {
  @Field(() => [ID], {
    nullable: true,
    description: `At most ${LIMITS.projects}; all projects where not given.`,
  })
  projectIds?: string[] | null;

  @Field(() => Boolean, { defaultValue: true, description: 'Only the roots of traces.' })
  rootsOnly!: boolean;

  @Field(() => RunWhereInput, { nullable: true })
  where?: RunWhereInput | null;

  @Field(() => HarvestWindowInput, {
    nullable: true,
    description: 'Since the last harvest where not given.',
  })
  window?: HarvestWindowInput | null;

  @Field(() => RunMappingInput, { nullable: true })
  mapping?: RunMappingInput | null;

  @Field(() => HarvestRedactionInput, {
    nullable: true,
    description: 'All built-in patterns where not given.',
  })
  redaction?: HarvestRedactionInput | null;

  @Field(() => HarvestDuplicatesInput, { nullable: true, description: 'Exact ones where not given.' })
  duplicates?: HarvestDuplicatesInput | null;

  @Field(() => Int, {
    nullable: true,
    description: `Examples one execution adds at most, 1 to ${LIMITS.cap}; 1000 where not given.`,
  })
  cap?: number | null;

  @Field(() => PickEnum, {
    defaultValue: 'newest',
    description: 'Which runs are taken where there are more than the cap.',
  })
  pick!: HarvestPick;

  @Field(() => BigIntScalar, { nullable: true, description: 'Of RANDOM; 0 where not given.' })
  seed?: string | null;

  @Field(() => String, {
    nullable: true,
    description: 'A key of the metadata of runs: the cap is shared out evenly over its values.',
  })
  stratifyBy?: string | null;

  @Field(() => [String], { nullable: true, description: 'The splits of the examples.' })
  splits?: string[] | null;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'An object: added to the metadata of each example.',
  })
  metadata?: unknown;

  @Field(() => Boolean, { defaultValue: false, description: 'Whether somebody must approve first.' })
  approval!: boolean;
}

@InputType()
export class CreateHarvestInput extends IdempotentInput {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => ID)
  datasetId!: string;

  @Field(() => HarvestDefinitionInput)
  definition!: HarvestDefinitionInput;
}

@InputType({ description: 'Missing keys leave.' })
export class UpdateHarvestInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => String, { nullable: true, description: 'Null clears.' })
  description?: string | null;

  @Field(() => ID, { nullable: true, description: 'Another dataset is harvested from the beginning.' })
  datasetId?: string | null;

  @Field(() => HarvestDefinitionInput, { nullable: true, description: 'Replaces the whole definition.' })
  definition?: HarvestDefinitionInput | null;
}

@InputType()
export class DeleteHarvestInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class RunHarvestInput extends IdempotentInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class ApproveHarvestRunInput {
  @Field(() => ID)
  id!: string;

  @Field(() => [UuidScalar], {
    nullable: true,
    description: 'Only these runs; the others are rejected. All that is pending where not given.',
  })
  candidates?: string[] | null;
}

@InputType()
export class HarvestRunIdInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class CreateHarvestScheduleInput extends IdempotentInput {
  @Field(() => ScheduleTimesInput)
  schedule!: ScheduleTimesInput;

  @Field(() => ID)
  harvestId!: string;
}

@InputType()
export class HarvestDraftInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => HarvestDefinitionInput)
  definition!: HarvestDefinitionInput;
}

@Directive('@oneOf')
@InputType({ description: 'Exactly one of these.' })
export class PreviewHarvestInput {
  @Field(() => ID, { nullable: true })
  harvestId?: string | null;

  @Field(() => HarvestDraftInput, { nullable: true, description: 'One that is not stored.' })
  draft?: HarvestDraftInput | null;
}

@ArgsType()
export class HarvestListArgs {
  @Field(() => ID, { nullable: true })
  datasetId?: string | null;
}

@ArgsType()
export class HarvestRunFilterArgs {
  @Field(() => [HarvestStateEnum], { nullable: true })
  states?: HarvestRunState[] | null;
}

@ArgsType()
export class HarvestRunListArgs extends HarvestRunFilterArgs {
  @Field(() => ID, { nullable: true })
  harvestId?: string | null;
}

@ArgsType()
export class HarvestCandidateArgs {
  @Field(() => [VerdictEnum], { nullable: true })
  verdicts?: Verdict[] | null;
}

type Path = readonly (string | number)[];

export const harvestIdOf = ({ id }: { readonly id: string }): string =>
  parseId(HARVEST_NODE, id, ['input', 'id']);

export const harvestRunIdOf = ({ id }: { readonly id: string }): string =>
  parseId(HARVEST_RUN_NODE, id, ['input', 'id']);

export const datasetIdOf = (id: string, path: Path): string => parseId(DATASET_NODE, id, path);

/** What the service checks; absent where the caller said nothing. */
export function toDefinition(input: HarvestDefinitionInput, path: Path): Record<string, unknown> {
  const { redaction, duplicates } = input;
  return present({
    projectIds: input.projectIds?.map((id, index) =>
      parseId(PROJECT_NODE, id, [...path, 'projectIds', index]),
    ),
    rootsOnly: input.rootsOnly,
    where: toWhere(input.where, [...path, 'where']),
    window: toWindow(input.window, [...path, 'window']),
    mapping: input.mapping && toMapping(input.mapping),
    redaction:
      redaction &&
      present({
        patterns: redaction.patterns,
        custom: redaction.custom.map(({ name, pattern }) => ({ name, pattern })),
        drop: redaction.drop,
      }),
    duplicates: duplicates && present({ exact: duplicates.exact, nearThreshold: duplicates.nearThreshold }),
    cap: input.cap,
    pick: input.pick,
    seed: input.seed,
    stratifyBy: input.stratifyBy,
    splits: input.splits,
    metadata: input.metadata,
    approval: input.approval,
  });
}

function toWhere(where: RunWhereInput | null | undefined, path: Path): Record<string, unknown> | undefined {
  if (where === null || where === undefined) return undefined;
  const { run, root, tree } = toRunFilters(where, path);
  const text = (filter: Filter | undefined): string | undefined => filter && printFilter(filter);
  return present({ filter: text(run), traceFilter: text(root), treeFilter: text(tree) });
}

function toWindow(
  window: HarvestWindowInput | null | undefined,
  path: Path,
): Record<string, unknown> | undefined {
  if (window === null || window === undefined) return undefined;
  const { sinceLast, lastDays, range } = window;
  if (sinceLast) {
    const { overlapHours, firstDays } = sinceLast;
    return { kind: 'since_last', overlapHours, firstDays };
  }
  if (typeof lastDays === 'number') return { kind: 'last_days', days: lastDays };
  if (range) return present({ kind: 'range', from: range.from, to: range.to });
  throw new AppError('BAD_USER_INPUT', 'Give exactly one window.', { path });
}

const toMapping = ({ inputs, outputs, metadata }: RunMappingInput): Record<string, unknown> => {
  const plain = (fields: RunMappingInput['inputs']) => fields?.map(({ from, to }) => ({ from, to }));
  return present({ inputs: plain(inputs), outputs: plain(outputs), metadata: plain(metadata) });
};

/** @throws AppError BAD_USER_INPUT unless exactly one key is given. */
export function toPreviewOf({ harvestId, draft }: PreviewHarvestInput): PreviewOf {
  if (typeof harvestId === 'string') {
    return { harvestId: parseId(HARVEST_NODE, harvestId, ['of', 'harvestId']) };
  }
  if (draft) {
    return {
      datasetId: datasetIdOf(draft.datasetId, ['of', 'draft', 'datasetId']),
      definition: toDefinition(draft.definition, ['of', 'draft', 'definition']),
    };
  }
  throw new AppError('BAD_USER_INPUT', 'Give exactly one of "harvestId" and "draft".', { path: ['of'] });
}

const present = (fields: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
