/** GraphQL types of model providers and the payloads of their mutations. */
import { Field, Float, ID, Int, ObjectType, registerEnumType } from 'type-graphql';
import { ListSize } from '../graphql/access.js';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, DecimalScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import { PROVIDER_LIMITS } from './model-provider.js';
import type { ModelPrice, ModelProvider, ProviderKind, StructuredOutput } from './model-provider.js';

export const MODEL_PROVIDER_NODE = 'ModelProvider';

export const ModelProviderKind = {
  OPENAI_COMPATIBLE: 'openai_compatible',
  ANTHROPIC: 'anthropic',
} as const satisfies { [Name in Uppercase<ProviderKind>]: Lowercase<Name> };

registerEnumType(ModelProviderKind, {
  name: 'ModelProviderKind',
  description: 'The protocol a provider speaks.',
  valuesConfig: {
    OPENAI_COMPATIBLE: { description: 'Chat completions as OpenAI has them: OpenAI, Azure, vLLM, Ollama, …' },
    ANTHROPIC: { description: 'Messages as Anthropic has them.' },
  },
});

export const StructuredOutputEnum = {
  JSON_SCHEMA: 'json_schema',
  TOOL_CALL: 'tool_call',
} as const satisfies { [Name in Uppercase<StructuredOutput>]: Lowercase<Name> };

registerEnumType(StructuredOutputEnum, {
  name: 'StructuredOutput',
  description: 'How an answer of a given form is asked for. ANTHROPIC providers choose by themselves.',
  valuesConfig: {
    JSON_SCHEMA: { description: 'As a response format with a JSON schema.' },
    TOOL_CALL: { description: 'As the input of a tool, for servers without response formats.' },
  },
});

@ObjectType('ModelPrice', { simpleResolvers: true, description: 'US dollars per million tokens.' })
export class ModelPriceObject {
  @Field(() => String, { description: '"*" stands for every model that is not listed.' })
  model!: string;

  @Field(() => DecimalScalar)
  inputPerMillion!: string;

  @Field(() => DecimalScalar)
  outputPerMillion!: string;
}

@ObjectType('ModelProvider', {
  implements: Node,
  simpleResolvers: true,
  description: 'Where language models are called, with which key, and within which limits.',
})
export class ModelProviderObject extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => ModelProviderKind)
  kind!: ProviderKind;

  @Field(() => String)
  baseUrl!: string;

  @Field(() => String, {
    nullable: true,
    description: 'The last four characters of the secret; null where there is none or a short one.',
  })
  secretHint!: string | null;

  @ListSize(PROVIDER_LIMITS.headers)
  @Field(() => [String], { description: 'Headers that are sent along. Their values are secret.' })
  headerNames!: readonly string[];

  @Field(() => Int, { description: 'Calls at once, over all processes.' })
  maxConcurrency!: number;

  @Field(() => Int, { nullable: true, description: 'Calls per minute, over all processes. Null: no limit.' })
  requestsPerMinute!: number | null;

  @Field(() => Float, { description: 'Seconds a request may take.' })
  timeout!: number;

  @Field(() => StructuredOutputEnum)
  structuredOutput!: StructuredOutput;

  @Field(() => String, { nullable: true })
  defaultModel!: string | null;

  @ListSize(PROVIDER_LIMITS.prices)
  @Field(() => [ModelPriceObject], { description: 'In order of model. Calls of other models have no cost.' })
  prices!: readonly ModelPriceObject[];

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export type ModelProviderRow = Omit<ModelProviderObject, 'id'>;

export const toModelProviderRow = ({ timeoutMs, prices, ...provider }: ModelProvider): ModelProviderRow => ({
  ...provider,
  timeout: timeoutMs / 1_000,
  prices: prices.map(({ model, input, output }: ModelPrice) => ({
    model,
    inputPerMillion: input,
    outputPerMillion: output,
  })),
});

export const { Connection: ModelProviderConnection, Edge: ModelProviderEdge } =
  connectionTypes<ModelProviderRow>(() => ModelProviderObject as never, 'ModelProvider');

@ObjectType({ simpleResolvers: true })
export class ModelProviderPayload {
  @Field(() => ModelProviderObject, { nullable: true })
  modelProvider!: ModelProviderRow | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteModelProviderPayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType('ModelProviderTrial', { simpleResolvers: true, description: 'What came of one small request.' })
export class ModelProviderTrialObject {
  @Field(() => Boolean)
  answered!: boolean;

  @Field(() => String)
  model!: string;

  @Field(() => Float, { nullable: true, description: 'Seconds. Null where nothing was answered.' })
  latency!: number | null;

  @Field(() => String, { nullable: true, description: 'What went wrong. Null where nothing did.' })
  message!: string | null;
}

@ObjectType({ simpleResolvers: true })
export class TestModelProviderPayload {
  @Field(() => ModelProviderTrialObject, { nullable: true })
  trial!: ModelProviderTrialObject | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
