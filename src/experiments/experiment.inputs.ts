/** GraphQL arguments of reading experiments. */
import { ArgsType, Field, Float, ID, InputType } from 'type-graphql';
import { UuidScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import type { ExperimentFilter, ExperimentKind as Kind, RowFilter } from './experiment.js';
import { ExperimentKind } from './experiment.types.js';

const MAX_CONDITIONS = 20;
const MAX_EXAMPLES = 1_000;

@ArgsType()
export class ExperimentListArgs {
  @Field(() => [UuidScalar], { nullable: true, description: 'On these datasets.' })
  datasetIds?: string[] | null;

  @Field(() => String, { nullable: true, description: 'A part of the name, in any case.' })
  nameContains?: string | null;

  @Field(() => ExperimentKind, { nullable: true })
  kind?: Kind | null;
}

export const toExperimentFilter = (args: ExperimentListArgs): ExperimentFilter => ({
  datasetIds: args.datasetIds ?? undefined,
  nameContains: args.nameContains ?? undefined,
  kind: args.kind ?? undefined,
});

@ArgsType()
export class ExperimentArgs {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;
}

@InputType({
  description: 'Rows by their score under a key; the mean where a row has several. All bounds hold.',
})
export class ScoreConditionInput {
  @Field(() => String)
  key!: string;

  @Field(() => Float, { nullable: true })
  gt?: number | null;

  @Field(() => Float, { nullable: true })
  gte?: number | null;

  @Field(() => Float, { nullable: true })
  lt?: number | null;

  @Field(() => Float, { nullable: true })
  lte?: number | null;

  @Field(() => Boolean, { nullable: true, description: 'True: rows without such a score.' })
  missing?: boolean | null;
}

@InputType({ description: 'Conditions on rows, all of which hold.' })
export class ExperimentRowWhereInput {
  @Field(() => [UuidScalar], { nullable: true })
  exampleIds?: string[] | null;

  @Field(() => Boolean, { nullable: true, description: 'Whether the target failed.' })
  failed?: boolean | null;

  @Field(() => Boolean, { nullable: true, description: 'Whether an evaluator failed.' })
  evaluatorFailed?: boolean | null;

  @Field(() => Boolean, { nullable: true, description: 'Whether the output was used again.' })
  cached?: boolean | null;

  @Field(() => [ScoreConditionInput], { nullable: true })
  scores?: ScoreConditionInput[] | null;
}

/** @throws AppError BAD_USER_INPUT for more conditions than a statement should carry. */
export function toRowFilter(where: ExperimentRowWhereInput | null | undefined): RowFilter {
  const { exampleIds, failed, evaluatorFailed, cached, scores } = where ?? {};
  if ((scores?.length ?? 0) > MAX_CONDITIONS || (exampleIds?.length ?? 0) > MAX_EXAMPLES) {
    throw new AppError(
      'BAD_USER_INPUT',
      `At most ${MAX_CONDITIONS} conditions on scores and ${MAX_EXAMPLES} examples fit one question.`,
      { path: ['where'] },
    );
  }
  return {
    exampleIds: exampleIds ?? undefined,
    failed: failed ?? undefined,
    evaluatorFailed: evaluatorFailed ?? undefined,
    cached: cached ?? undefined,
    scores: scores?.map(({ key, gt, gte, lt, lte, missing }) => ({
      key,
      gt: gt ?? undefined,
      gte: gte ?? undefined,
      lt: lt ?? undefined,
      lte: lte ?? undefined,
      missing: missing ?? undefined,
    })),
  };
}
