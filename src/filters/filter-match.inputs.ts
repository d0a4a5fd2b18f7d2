/**
 * GraphQL's comparators: one per kind of value. The conditions given in one comparator all hold. Null is never a
 * value here: `isNull` asks for it.
 */
import { Field, Float, ID, InputType } from 'type-graphql';
import { DateTimeScalar, JsonScalar } from '../graphql/scalars.js';

const optional = { nullable: true } as const;

@InputType({ description: 'Conditions on an id. Opaque ids and bare UUIDs are both taken.' })
export class IdMatchInput {
  @Field(() => ID, optional)
  eq?: string;

  @Field(() => ID, optional)
  neq?: string;

  @Field(() => [ID], { nullable: true, description: 'One of at most 1000.' })
  in?: string[];

  @Field(() => Boolean, optional)
  isNull?: boolean;
}

@InputType({ description: 'Conditions on a word of a fixed list, in any case.' })
export class ChoiceMatchInput {
  @Field(() => String, optional)
  eq?: string;

  @Field(() => String, optional)
  neq?: string;

  @Field(() => [String], optional)
  in?: string[];
}

@InputType({ description: 'Conditions on a text.' })
export class StringMatchInput {
  @Field(() => String, optional)
  eq?: string;

  @Field(() => String, { nullable: true, description: 'Holds where there is no value.' })
  neq?: string;

  @Field(() => [String], { nullable: true, description: 'One of at most 1000.' })
  in?: string[];

  @Field(() => String, {
    nullable: true,
    description:
      'Case matters; % is any text, _ one character, \\ takes the next literally; without % it is looked for anywhere.',
  })
  like?: string;

  @Field(() => String, { nullable: true, description: 'Holds where there is no value.' })
  notLike?: string;

  @Field(() => Boolean, optional)
  isNull?: boolean;

  @Field(() => [StringMatchInput], { nullable: true, description: 'Further conditions on the same text.' })
  and?: StringMatchInput[];
}

@InputType({ description: 'Conditions on the name of a run.' })
export class NameMatchInput {
  @Field(() => String, optional)
  eq?: string;

  @Field(() => String, optional)
  neq?: string;

  @Field(() => [String], { nullable: true, description: 'One of at most 1000.' })
  in?: string[];

  @Field(() => String, { nullable: true, description: 'As in StringMatchInput.' })
  like?: string;

  @Field(() => String, optional)
  notLike?: string;

  @Field(() => String, { nullable: true, description: 'Every word occurs; ASCII letters in any case.' })
  search?: string;
}

@InputType({ description: 'Conditions on what a run failed with.' })
export class ErrorMatchInput {
  @Field(() => Boolean, { nullable: true, description: 'True: it did not fail.' })
  isNull?: boolean;

  @Field(() => String, { nullable: true, description: 'As in StringMatchInput. Needs the content scope.' })
  like?: string;

  @Field(() => String, { nullable: true, description: 'Needs the content scope.' })
  notLike?: string;

  @Field(() => String, {
    nullable: true,
    description: 'Every word occurs; ASCII letters in any case. Needs the content scope.',
  })
  search?: string;
}

@InputType({ description: 'Conditions on a number. A missing number passes only neq and isNull.' })
export class NumberMatchInput {
  @Field(() => Float, optional)
  eq?: number;

  @Field(() => Float, optional)
  neq?: number;

  @Field(() => Float, optional)
  gt?: number;

  @Field(() => Float, optional)
  gte?: number;

  @Field(() => Float, optional)
  lt?: number;

  @Field(() => Float, optional)
  lte?: number;

  @Field(() => Boolean, optional)
  isNull?: boolean;
}

@InputType({ description: 'Conditions on a moment. A missing one passes only neq and isNull.' })
export class DateTimeMatchInput {
  @Field(() => DateTimeScalar, optional)
  eq?: string;

  @Field(() => DateTimeScalar, optional)
  neq?: string;

  @Field(() => DateTimeScalar, optional)
  gt?: string;

  @Field(() => DateTimeScalar, optional)
  gte?: string;

  @Field(() => DateTimeScalar, optional)
  lt?: string;

  @Field(() => DateTimeScalar, optional)
  lte?: string;

  @Field(() => Boolean, optional)
  isNull?: boolean;
}

@InputType({ description: 'Conditions on the place of a run in its trace, ordered byte by byte.' })
export class OrderedTextMatchInput {
  @Field(() => String, optional)
  eq?: string;

  @Field(() => String, optional)
  neq?: string;

  @Field(() => String, optional)
  gt?: string;

  @Field(() => String, optional)
  gte?: string;

  @Field(() => String, optional)
  lt?: string;

  @Field(() => String, optional)
  lte?: string;

  @Field(() => [String], optional)
  in?: string[];

  @Field(() => String, { nullable: true, description: 'As in StringMatchInput.' })
  like?: string;

  @Field(() => String, optional)
  notLike?: string;
}

@InputType({ description: 'Conditions on the tags of a run.' })
export class TagsMatchInput {
  @Field(() => String, { nullable: true, description: 'This one is among them.' })
  has?: string;

  @Field(() => String, { nullable: true, description: 'This one is not among them.' })
  hasNot?: string;

  @Field(() => [String], { nullable: true, description: 'Any of these is among them.' })
  hasAny?: string[];
}

@InputType({ description: 'Conditions on metadata. key and value speak of the same pair.' })
export class MetadataMatchInput {
  @Field(() => StringMatchInput, {
    nullable: true,
    description: 'Nested keys are joined with dots, arrays are transparent.',
  })
  key?: StringMatchInput;

  @Field(() => StringMatchInput, { nullable: true, description: 'Compared as text.' })
  value?: StringMatchInput;

  @Field(() => JsonScalar, { nullable: true, description: 'An object: all of its pairs are there.' })
  has?: unknown;

  @Field(() => String, { nullable: true, description: 'This key is there.' })
  exists?: string;
}

@InputType({
  description:
    'Conditions on inputs or outputs. key and value speak of the same pair. Needs the content scope.',
})
export class PayloadMatchInput {
  @Field(() => StringMatchInput, {
    nullable: true,
    description: 'Nested keys are joined with dots, arrays are transparent. The first 200 keys of a run.',
  })
  key?: StringMatchInput;

  @Field(() => StringMatchInput, {
    nullable: true,
    description: 'Compared as text, by its first 512 characters.',
  })
  value?: StringMatchInput;

  @Field(() => String, { nullable: true, description: 'A pattern, on the JSON text as it was sent.' })
  like?: string;

  @Field(() => String, optional)
  notLike?: string;

  @Field(() => String, {
    nullable: true,
    description: 'Every word occurs in the JSON text; ASCII letters in any case.',
  })
  search?: string;
}

@InputType({ description: 'Conditions on the score of one feedback.' })
export class ScoreMatchInput extends NumberMatchInput {
  @Field(() => [Float], { nullable: true, description: 'One of at most 1000.' })
  in?: number[];

  @Field(() => [ScoreMatchInput], { nullable: true, description: 'Further conditions on the same score.' })
  and?: ScoreMatchInput[];
}

@InputType({
  description: 'Conditions on the value of one feedback: a text, number or boolean, written as text.',
})
export class FeedbackValueMatchInput {
  @Field(() => String, optional)
  eq?: string;

  @Field(() => String, optional)
  neq?: string;

  @Field(() => [String], optional)
  in?: string[];

  @Field(() => Float, { nullable: true, description: 'It is a number, and greater.' })
  gt?: number;

  @Field(() => Float, optional)
  gte?: number;

  @Field(() => Float, optional)
  lt?: number;

  @Field(() => Float, optional)
  lte?: number;

  @Field(() => Boolean, optional)
  isNull?: boolean;

  @Field(() => [FeedbackValueMatchInput], {
    nullable: true,
    description: 'Further conditions on the same value.',
  })
  and?: FeedbackValueMatchInput[];
}

@InputType({
  description:
    'One feedback on the run passes all of these. neq and notLike say that no feedback (with the key) does otherwise.',
})
export class FeedbackMatchInput {
  @Field(() => StringMatchInput, optional)
  key?: StringMatchInput;

  @Field(() => ScoreMatchInput, { nullable: true, description: 'true and false are 1 and 0.' })
  score?: ScoreMatchInput;

  @Field(() => FeedbackValueMatchInput, optional)
  value?: FeedbackValueMatchInput;

  @Field(() => StringMatchInput, optional)
  comment?: StringMatchInput;

  @Field(() => StringMatchInput, { nullable: true, description: 'api, app, model, ...' })
  source?: StringMatchInput;
}
