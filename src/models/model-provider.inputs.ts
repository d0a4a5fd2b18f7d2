/** GraphQL inputs of model providers. */
import { Field, Float, ID, InputType, Int } from 'type-graphql';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DecimalScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import { PROVIDER_DEFAULTS } from './model-provider.js';
import type { ModelPrice, ProviderKind, ProviderSettings, StructuredOutput } from './model-provider.js';
import type { ProviderPatch } from './model-provider.service.js';
import { ModelProviderKind, StructuredOutputEnum } from './model-provider.types.js';

@InputType({ description: 'A header that is sent along with every request.' })
export class HeaderInput {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: 'Kept secret.' })
  value!: string;
}

@InputType({ description: 'US dollars per million tokens, at most six decimals.' })
export class ModelPriceInput {
  @Field(() => String, { description: '"*" stands for every model that is not listed.' })
  model!: string;

  @Field(() => DecimalScalar)
  inputPerMillion!: string;

  @Field(() => DecimalScalar)
  outputPerMillion!: string;
}

@InputType()
export class CreateModelProviderInput extends IdempotentInput {
  @Field(() => String, { description: '1 to 100 characters, unique in the workspace.' })
  name!: string;

  @Field(() => ModelProviderKind)
  kind!: ProviderKind;

  @Field(() => String, {
    description:
      'Up to and without /chat/completions or /messages, e.g. https://api.openai.com/v1. ' +
      'Private addresses and other ports than 80 and 443 have to be allowed by the operator.',
  })
  baseUrl!: string;

  @Field(() => String, {
    nullable: true,
    description: 'The API key. Encrypted at rest and never shown again.',
  })
  secret?: string | null;

  @Field(() => [HeaderInput], { nullable: true, description: 'At most 20.' })
  headers?: HeaderInput[] | null;

  @Field(() => Int, { defaultValue: PROVIDER_DEFAULTS.maxConcurrency, description: '1 to 1000.' })
  maxConcurrency!: number;

  @Field(() => Int, { nullable: true, description: 'Null: no limit.' })
  requestsPerMinute?: number | null;

  @Field(() => Float, {
    defaultValue: PROVIDER_DEFAULTS.timeoutMs / 1_000,
    description: 'Seconds, 1 to 600.',
  })
  timeout!: number;

  @Field(() => StructuredOutputEnum, { defaultValue: PROVIDER_DEFAULTS.structuredOutput })
  structuredOutput!: StructuredOutput;

  @Field(() => String, { nullable: true })
  defaultModel?: string | null;

  @Field(() => [ModelPriceInput], { nullable: true, description: 'Calls of other models have no cost.' })
  prices?: ModelPriceInput[] | null;
}

@InputType({ description: 'What to change: a missing key leaves, null clears.' })
export class ModelProviderPatchInput {
  @Field(() => String, { nullable: true, description: 'Cannot be cleared.' })
  name?: string | null;

  @Field(() => ModelProviderKind, { nullable: true, description: 'Cannot be cleared.' })
  kind?: ProviderKind | null;

  @Field(() => String, {
    nullable: true,
    description:
      'Cannot be cleared. Goes with a new secret and new headers: the old ones were for the old address.',
  })
  baseUrl?: string | null;

  @Field(() => String, { nullable: true })
  secret?: string | null;

  @Field(() => [HeaderInput], { nullable: true, description: 'Replaces all.' })
  headers?: HeaderInput[] | null;

  @Field(() => Int, { nullable: true, description: 'Cannot be cleared.' })
  maxConcurrency?: number | null;

  @Field(() => Int, { nullable: true })
  requestsPerMinute?: number | null;

  @Field(() => Float, { nullable: true, description: 'Seconds. Cannot be cleared.' })
  timeout?: number | null;

  @Field(() => StructuredOutputEnum, { nullable: true, description: 'Cannot be cleared.' })
  structuredOutput?: StructuredOutput | null;

  @Field(() => String, { nullable: true })
  defaultModel?: string | null;

  @Field(() => [ModelPriceInput], { nullable: true, description: 'Replaces all.' })
  prices?: ModelPriceInput[] | null;
}

@InputType()
export class UpdateModelProviderInput {
  @Field(() => ID)
  id!: string;

  @Field(() => ModelProviderPatchInput)
  patch!: ModelProviderPatchInput;
}

@InputType()
export class DeleteModelProviderInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class TestModelProviderInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true, description: "The provider's default model where not given." })
  model?: string | null;
}

/** @throws AppError BAD_USER_INPUT for a header that is there twice. */
export function toProviderSettings(input: CreateModelProviderInput): ProviderSettings {
  const { name, kind, baseUrl, maxConcurrency, structuredOutput } = input;
  return {
    name,
    kind,
    baseUrl,
    maxConcurrency,
    structuredOutput,
    secret: input.secret ?? null,
    headers: toHeaders(input.headers ?? [], ['input', 'headers']),
    requestsPerMinute: input.requestsPerMinute ?? null,
    timeoutMs: toMilliseconds(input.timeout),
    defaultModel: input.defaultModel ?? null,
    prices: toPrices(input.prices ?? []),
  };
}

/** @throws AppError BAD_USER_INPUT for a header that is there twice and where something is cleared that has to be. */
export function toProviderPatch(patch: ModelProviderPatchInput): ProviderPatch {
  for (const field of ['name', 'kind', 'baseUrl', 'maxConcurrency', 'timeout', 'structuredOutput'] as const) {
    if (patch[field] === null) {
      throw new AppError('BAD_USER_INPUT', `"${field}" cannot be cleared.`, {
        path: ['input', 'patch', field],
      });
    }
  }
  const { headers, prices, timeout } = patch;
  return {
    name: patch.name ?? undefined,
    kind: patch.kind ?? undefined,
    baseUrl: patch.baseUrl ?? undefined,
    secret: patch.secret,
    headers: headers === undefined ? undefined : toHeaders(headers ?? [], ['input', 'patch', 'headers']),
    maxConcurrency: patch.maxConcurrency ?? undefined,
    requestsPerMinute: patch.requestsPerMinute,
    timeoutMs: typeof timeout === 'number' ? toMilliseconds(timeout) : undefined,
    structuredOutput: patch.structuredOutput ?? undefined,
    defaultModel: patch.defaultModel,
    prices: prices === undefined ? undefined : toPrices(prices ?? []),
  };
}

const toMilliseconds = (seconds: number): number => Math.round(seconds * 1_000);

const toPrices = (prices: readonly ModelPriceInput[]): ModelPrice[] =>
  prices.map(({ model, inputPerMillion, outputPerMillion }) => ({
    model,
    input: inputPerMillion,
    output: outputPerMillion,
  }));

function toHeaders(headers: readonly HeaderInput[], path: readonly string[]): Record<string, string> {
  const seen = new Map<string, string>();
  for (const [index, { name, value }] of headers.entries()) {
    const lower = name.toLowerCase();
    if (seen.has(lower)) {
      throw new AppError('BAD_USER_INPUT', `The header "${name}" is there twice.`, {
        path: [...path, index],
      });
    }
    seen.set(lower, value);
  }
  return Object.fromEntries(seen);
}
