/** GraphQL types of the filter language: its vocabulary and the judgement of a text. */
import { Field, Int, ObjectType } from 'type-graphql';
import type { FieldType } from './vocabulary.js';

@ObjectType({ simpleResolvers: true, description: 'A field filters can use.' })
export class FilterField {
  @Field(() => String)
  name!: string;

  @Field(() => [String], { description: 'Other names that are understood.' })
  aliases!: readonly string[];

  @Field(() => String, {
    description:
      'uuid, string, enum, datetime, duration, integer, number, decimal, boolean, error, tags, metadata, json, key or value.',
  })
  type!: FieldType;

  @Field(() => [String])
  operators!: readonly string[];

  @Field(() => String)
  description!: string;

  @Field(() => [String], { nullable: true, description: 'All values of an enum.' })
  values?: readonly string[];

  @Field(() => Boolean, { description: 'Whether eq(field, null) can hold.' })
  nullable!: boolean;

  @Field(() => Boolean, { description: 'Whether looking at it needs the content scope.' })
  content!: boolean;

  @Field(() => String, {
    nullable: true,
    description:
      'The index that serves it; null where the runs of the project and time range are read and tested.',
  })
  index?: string | undefined;
}

@ObjectType({ simpleResolvers: true, description: 'An operator of the filter language.' })
export class FilterOperator {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: 'How it is written.' })
  usage!: string;

  @Field(() => String)
  description!: string;
}

@ObjectType({
  simpleResolvers: true,
  description: 'Everything the filter language knows, for completion and help.',
})
export class FilterVocabulary {
  @Field(() => [FilterField])
  fields!: readonly FilterField[];

  @Field(() => [FilterOperator])
  operators!: readonly FilterOperator[];

  @Field(() => Int, { description: 'Characters of a filter.' })
  maxLength!: number;

  @Field(() => Int, { description: 'Expressions in a filter.' })
  maxNodes!: number;

  @Field(() => Int, { description: 'Levels of nesting.' })
  maxDepth!: number;

  @Field(() => Int, { description: 'Values in one list.' })
  maxListLength!: number;
}

@ObjectType({ simpleResolvers: true, description: 'What is wrong with a filter, and where.' })
export class FilterError {
  @Field(() => String)
  message!: string;

  @Field(() => Int, { description: 'UTF-16 units before the place.' })
  offset!: number;

  @Field(() => Int, { description: 'From 1.' })
  line!: number;

  @Field(() => Int, { description: 'From 1.' })
  column!: number;
}

@ObjectType({ simpleResolvers: true, description: 'Whether a filter can be used.' })
export class FilterValidation {
  @Field(() => Boolean)
  valid!: boolean;

  @Field(() => String, { nullable: true, description: 'The same filter in canonical form.' })
  canonical?: string;

  @Field(() => FilterError, { nullable: true })
  error?: FilterError;

  @Field(() => Boolean, {
    nullable: true,
    description: 'Whether it looks into inputs, outputs or error text, which needs the content scope.',
  })
  needsContent?: boolean;
}
