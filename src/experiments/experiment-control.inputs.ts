/** GraphQL inputs of starting and steering experiments, and the drafts they become. */
import { Directive, Field, ID, InputType, Int, registerEnumType } from 'type-graphql';
import { parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, JsonScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import { ScheduleTimesInput } from '../schedules/schedule.inputs.js';
import { START_LIMITS } from './experiment-start.js';
import { EXPERIMENT_NODE } from './experiment.types.js';

const MessageRole = { SYSTEM: 'system', USER: 'user', ASSISTANT: 'assistant' } as const;
registerEnumType(MessageRole, { name: 'PromptMessageRole' });

const TargetMethod = { POST: 'POST', PUT: 'PUT', GET: 'GET' } as const;
registerEnumType(TargetMethod, { name: 'HttpTargetMethod' });

@InputType({ description: 'Texts may hold {{inputs.path}} and {{metadata.path}} of the example.' })
export class PromptMessageInput {
  @Field(() => MessageRole)
  role!: (typeof MessageRole)[keyof typeof MessageRole];

  @Field(() => String)
  content!: string;
}

@InputType({ description: 'A prompt and the model that answers it. The output is the text under `output`.' })
export class ModelTargetInput {
  @Field(() => ID)
  providerId!: string;

  @Field(() => String)
  model!: string;

  @Field(() => [PromptMessageInput])
  messages!: PromptMessageInput[];

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'Temperature and the like, as the provider names them.',
  })
  parameters?: unknown;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'A JSON schema of the answer; the output is then the answer itself.',
  })
  schema?: unknown;
}

@InputType()
export class HttpHeaderInput {
  @Field(() => String)
  name!: string;

  @Field(() => String)
  value!: string;

  @Field(() => Boolean, { defaultValue: true, description: 'Kept sealed, and never shown again.' })
  secret!: boolean;
}

@InputType({ description: 'An address that answers with JSON. Addresses of private networks are refused.' })
export class HttpTargetInput {
  @Field(() => String)
  url!: string;

  @Field(() => TargetMethod, { defaultValue: 'POST' })
  method!: string;

  @Field(() => [HttpHeaderInput], { defaultValue: [] })
  headers!: HttpHeaderInput[];

  @Field(() => JsonScalar, {
    nullable: true,
    description:
      "What is sent, with placeholders in its texts; a text that is nothing but one becomes the value itself. The example's inputs where not given.",
  })
  body?: unknown;

  @Field(() => String, {
    defaultValue: '',
    description: 'JSON pointer to the output in the answer; the whole answer where empty.',
  })
  outputPath!: string;

  @Field(() => String, {
    nullable: true,
    description:
      'Names what stands behind the address, such as a commit. Answers are used again only between equal versions, and never where none is given: an address says nothing about the code behind it.',
  })
  version?: string | null;
}

@InputType({
  description: 'Runs that are there: only scores are made, and they join those of the experiment.',
})
export class RunsTargetInput {
  @Field(() => ID)
  experimentId!: string;
}

@Directive('@oneOf')
@InputType({ description: 'What is called for each row: exactly one of these.' })
export class ExperimentTargetInput {
  @Field(() => ModelTargetInput, { nullable: true })
  model?: ModelTargetInput | null;

  @Field(() => HttpTargetInput, { nullable: true })
  http?: HttpTargetInput | null;

  @Field(() => RunsTargetInput, { nullable: true })
  runs?: RunsTargetInput | null;
}

@Directive('@oneOf')
@InputType({ description: 'A state of a dataset: exactly one of these.' })
export class ExperimentAsOfInput {
  @Field(() => Int, { nullable: true })
  version?: number | null;

  @Field(() => String, { nullable: true })
  tag?: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'The newest version made then or before.' })
  time?: string | null;
}

@InputType({ description: 'An evaluator by id or by name.' })
export class ExperimentEvaluatorInput {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => Int, { nullable: true, description: 'The newest where not given.' })
  version?: number | null;
}

@InputType({ description: 'What is answered and scored, and how.' })
export class ExperimentDefinitionInput {
  @Field(() => ID, { nullable: true, description: 'Not for runs that are there.' })
  datasetId?: string | null;

  @Field(() => ExperimentAsOfInput, {
    nullable: true,
    description: 'Pinned to the version it names when it starts; the newest where not given.',
  })
  asOf?: ExperimentAsOfInput | null;

  @Field(() => [String], {
    nullable: true,
    description: 'Examples in any of these splits; all where not given.',
  })
  splits?: string[] | null;

  @Field(() => String, { nullable: true, description: 'Unique among projects; made up where not given.' })
  name?: string | null;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object.' })
  metadata?: unknown;

  @Field(() => ExperimentTargetInput)
  target!: ExperimentTargetInput;

  @Field(() => [ExperimentEvaluatorInput])
  evaluators!: ExperimentEvaluatorInput[];

  @Field(() => Int, { nullable: true, description: `1 to ${START_LIMITS.repetitions}; 1 where not given.` })
  repetitions?: number | null;

  @Field(() => Int, {
    nullable: true,
    description: `Targets and evaluators at once, 1 to ${START_LIMITS.concurrency}; 8 where not given.`,
  })
  concurrency?: number | null;

  @Field(() => Int, {
    nullable: true,
    description: `Times something is tried before its error is kept, 1 to ${START_LIMITS.maxAttempts}; 3 where not given.`,
  })
  maxAttempts?: number | null;

  @Field(() => Int, {
    nullable: true,
    description: 'What one call of the target may take; a minute where not given.',
  })
  deadlineMs?: number | null;

  @Field(() => BigIntScalar, { nullable: true, description: '0 where not given.' })
  seed?: string | null;

  @Field(() => Boolean, {
    defaultValue: true,
    description:
      'Whether answers to the same example by the same target (a model; an address only with a `version`), and their scores, are used again. They are shown as such and count as no new evidence.',
  })
  useCache!: boolean;

  @Field(() => DecimalScalar, {
    nullable: true,
    description: 'US dollars. Calls that would start above it are not started, and the experiment is paused.',
  })
  spendCap?: string | null;
}

@InputType()
export class StartExperimentInput extends IdempotentInput {
  @Field(() => ExperimentDefinitionInput)
  experiment!: ExperimentDefinitionInput;
}

@InputType()
export class CreateExperimentScheduleInput extends IdempotentInput {
  @Field(() => ScheduleTimesInput)
  schedule!: ScheduleTimesInput;

  @Field(() => ExperimentDefinitionInput, {
    description:
      'Versions that are not named are the newest of each time. The time becomes part of the name.',
  })
  experiment!: ExperimentDefinitionInput;
}

@InputType()
export class ExperimentIdInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class ResumeExperimentInput extends ExperimentIdInput {
  @Field(() => DecimalScalar, {
    nullable: true,
    description: 'A new spend cap in US dollars; null takes it away, absent leaves it.',
  })
  spendCap?: string | null;
}

export const experimentIdOf = ({ id }: ExperimentIdInput): string =>
  parseId(EXPERIMENT_NODE, id, ['input', 'id']);

/** What the service checks; absent where the caller said nothing. */
export function toStartDraft(input: ExperimentDefinitionInput): Record<string, unknown> {
  const { target, experimentId } = toTarget(input.target);
  return present({
    experimentId,
    datasetId: idOf('Dataset', input.datasetId, ['input', 'experiment', 'datasetId']),
    asOf: toAsOf(input.asOf),
    splits: input.splits,
    name: input.name,
    description: input.description,
    metadata: input.metadata,
    target,
    evaluators: input.evaluators.map(({ id, name, version }, index) =>
      present({
        id: idOf('Evaluator', id, ['input', 'experiment', 'evaluators', index, 'id']),
        name,
        version,
      }),
    ),
    repetitions: input.repetitions,
    concurrency: input.concurrency,
    maxAttempts: input.maxAttempts,
    deadlineMs: input.deadlineMs,
    seed: input.seed,
    useCache: input.useCache,
    spendCap: input.spendCap,
  });
}

function toTarget({ model, http, runs }: ExperimentTargetInput): {
  readonly target: Record<string, unknown>;
  readonly experimentId: string | undefined;
} {
  if (model !== undefined && model !== null) {
    const providerId = idOf('ModelProvider', model.providerId, ['input', 'experiment', 'target', 'model']);
    const { messages, parameters, schema } = model;
    const target = present({
      kind: 'model',
      providerId,
      model: model.model,
      messages: messages.map(({ role, content }) => ({ role, content })),
      parameters: parameters ?? {},
      schema,
    });
    return { target, experimentId: undefined };
  }
  if (http !== undefined && http !== null) {
    const headers = http.headers.map(({ name, value, secret }) =>
      secret ? { name, value, secret } : { name, value },
    );
    const { url, method, body, outputPath, version } = http;
    const target = present({ kind: 'http', url, method, headers, body, outputPath, version });
    return { target, experimentId: undefined };
  }
  if (runs !== undefined && runs !== null) {
    const path = ['input', 'experiment', 'target', 'runs', 'experimentId'];
    return { target: { kind: 'runs' }, experimentId: parseId(EXPERIMENT_NODE, runs.experimentId, path) };
  }
  throw new AppError('BAD_USER_INPUT', 'Give exactly one target.', {
    path: ['input', 'experiment', 'target'],
  });
}

function toAsOf(asOf: ExperimentAsOfInput | null | undefined): Record<string, unknown> | undefined {
  return asOf ? present({ version: asOf.version, tag: asOf.tag, time: asOf.time }) : undefined;
}

const idOf = (
  type: string,
  id: string | null | undefined,
  path: readonly (string | number)[],
): string | undefined => (typeof id === 'string' ? parseId(type, id, path) : undefined);

/** GraphQL clients send null for what is not given. */
const present = (fields: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null));
