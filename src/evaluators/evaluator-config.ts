/**
 * The kinds of evaluators and the settings each takes. A config is checked once, when its version is made, and
 * stored with all defaults filled in: what a version does never depends on a default of the day. Pure.
 */
import { RE2JS } from 're2js';
import { z } from 'zod';
import type { JsonObject } from '../ingest/run-event.js';
import { JsonSchema } from '../platform/json-schema.js';
import { failed, ok, problem, type Problem, type Result } from '../platform/result.js';
import { placeholderProblems } from './judge-template.js';
import { pointerProblem } from './pick.js';

export const MAX_PATTERN_LENGTH = 256;
export const MAX_CODE_LENGTH = 65_536;
/** Of a whole config as JSON text. */
export const MAX_CONFIG_LENGTH = 262_144;
export const MAX_REPEATS = 9;
const MAX_PHRASES = 200;
const MAX_PHRASE_LENGTH = 1_000;
const MAX_MESSAGES = 10;
const MAX_TEMPLATE_LENGTH = 32_768;
const MAX_LABELS = 50;

const pointer = z
  .string()
  .max(500)
  .superRefine((text, context) => {
    const message = pointerProblem(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
const phrase = z.string().min(1).max(MAX_PHRASE_LENGTH);
const phrases = z.array(phrase).min(1).max(MAX_PHRASES);
const count = z.number().int().min(0).max(100_000_000);
const amount = z.number().min(0).max(1e15);

/** How texts are made comparable before they are compared. */
const normalisation = {
  ignoreCase: z.boolean().default(false),
  whitespace: z.enum(['keep', 'trim', 'collapse']).default('trim'),
  unicode: z.enum(['none', 'NFC', 'NFKC']).default('NFC'),
};

const exactMatch = z.strictObject({
  outputPath: pointer.default(''),
  referencePath: pointer.default(''),
  /** Compared with instead of the reference. */
  expected: z.json().optional(),
  compare: z.enum(['text', 'json']).default('text'),
  ...normalisation,
});

const phraseSource = {
  outputPath: pointer.default(''),
  phrases: phrases.optional(),
  /** Where the reference has the phrases, a text or a list of texts, if the config has none. */
  referencePath: pointer.default(''),
  ...normalisation,
  ignoreCase: z.boolean().default(true),
  whitespace: z.enum(['keep', 'trim', 'collapse']).default('collapse'),
  /** Only where no letter or digit stands directly before or behind. */
  wholeWords: z.boolean().default(false),
};

const contains = z.strictObject({ ...phraseSource, match: z.enum(['any', 'all']).default('all') });
const forbiddenPhrases = z.strictObject({ ...phraseSource, phrases });
const requiredKeywords = z.strictObject(phraseSource);

const regex = z.strictObject({
  outputPath: pointer.default(''),
  pattern: z
    .string()
    .min(1)
    .max(MAX_PATTERN_LENGTH)
    .superRefine((pattern, context) => {
      try {
        RE2JS.compile(pattern);
      } catch (error) {
        const reason = error instanceof Error ? error.message : 'unknown';
        context.addIssue({ code: 'custom', message: `This is not a pattern in RE2 syntax: ${reason}.` });
      }
    }),
  ignoreCase: z.boolean().default(false),
  multiline: z.boolean().default(false),
  dotAll: z.boolean().default(false),
  /** `search` finds the pattern anywhere, `full` wants the whole text to match. */
  match: z.enum(['search', 'full']).default('search'),
  expect: z.enum(['match', 'no_match']).default('match'),
});

const length = z
  .strictObject({
    outputPath: pointer.default(''),
    unit: z.enum(['characters', 'words', 'tokens']).default('characters'),
    min: count.optional(),
    max: count.optional(),
  })
  .superRefine(({ min, max }, context) => {
    if (min === undefined && max === undefined) {
      context.addIssue({ code: 'custom', message: 'Give min, max or both.', path: ['min'] });
    }
    if (min !== undefined && max !== undefined && min > max) {
      context.addIssue({ code: 'custom', message: `min (${min}) is above max (${max}).`, path: ['min'] });
    }
  });

const jsonSchema = z.strictObject({
  outputPath: pointer.default(''),
  schema: z.record(z.string(), z.json()).superRefine((schema, context) => {
    const compiled = JsonSchema.compile(schema);
    if (compiled.ok) return;
    for (const { message } of compiled.problems) context.addIssue({ code: 'custom', message });
  }),
});

const editDistance = z.strictObject({
  outputPath: pointer.default(''),
  referencePath: pointer.default(''),
  /** `similarity` is 1 for equal texts, `distance` is 0 for them; both lie between 0 and 1. */
  measure: z.enum(['similarity', 'distance']).default('similarity'),
  /** Makes the score a boolean: at least this similar, or at most this distant. */
  threshold: z.number().min(0).max(1).optional(),
  ...normalisation,
});

const numericTolerance = z
  .strictObject({
    outputPath: pointer.default(''),
    referencePath: pointer.default(''),
    expected: z.number().optional(),
    absolute: amount.optional(),
    /** Share of the expected number. */
    relative: z.number().min(0).max(1_000).optional(),
    /** How a number is found in a text. */
    extract: z.enum(['whole', 'first', 'last']).default('whole'),
  })
  .superRefine(({ absolute, relative }, context) => {
    if (absolute === undefined && relative === undefined) {
      context.addIssue({
        code: 'custom',
        message: 'Give absolute, relative or both.',
        path: ['absolute'],
      });
    }
  });

const latency = z.strictObject({
  measure: z.enum(['total', 'first_token']).default('total'),
  /** Makes the score a boolean; without it the seconds are the score. */
  maxSeconds: amount.optional(),
});

const cost = z.strictObject({
  measure: z.enum(['usd', 'tokens']).default('usd'),
  /** Makes the score a boolean; without it the amount is the score. */
  max: amount.optional(),
});

const toolCall = z.strictObject({
  name: z.string().min(1).max(500),
  arguments: z.record(z.string(), z.json()).optional(),
});
export type ExpectedToolCall = z.infer<typeof toolCall>;

const toolTrajectory = z.strictObject({
  /** The calls the reference holds are expected where this is absent. */
  expected: z.array(toolCall).max(200).optional(),
  referencePath: pointer.default(''),
  /** `subset`: no call but expected ones. `superset`: all expected calls, others may come on top. */
  match: z.enum(['strict', 'unordered', 'subset', 'superset']).default('strict'),
  arguments: z.enum(['exact', 'contained', 'ignore']).default('exact'),
});

const message = z.strictObject({
  role: z.enum(['system', 'user']),
  content: z.string().min(1).max(MAX_TEMPLATE_LENGTH),
});

const modelCall = {
  providerId: z.guid(),
  model: z.string().min(1).max(200),
  /** Temperature and whatever else the provider takes. */
  parameters: z.record(z.string(), z.json()).default({}),
  messages: z
    .array(message)
    .min(1)
    .max(MAX_MESSAGES)
    .refine(
      (messages) => messages.some(({ role }) => role === 'user'),
      "At least one message is the user's.",
    ),
  repeats: z.number().int().min(1).max(MAX_REPEATS).default(1),
  /** Whether the judge says why, before it says what. */
  reasoning: z.boolean().default(true),
  inputPath: pointer.default(''),
  outputPath: pointer.default(''),
  referencePath: pointer.default(''),
};

const label = z.strictObject({
  label: z.string().min(1).max(100),
  score: z.number().min(-1e9).max(1e9),
  description: z.string().max(1_000).optional(),
});

const judgeScore = z.discriminatedUnion('type', [
  z
    .strictObject({
      type: z.literal('number'),
      min: z.number().min(-1e9).max(1e9),
      max: z.number().min(-1e9).max(1e9),
      integer: z.boolean().default(false),
    })
    .refine(({ min, max }) => min < max, { message: 'min must be below max.', path: ['min'] }),
  z.strictObject({ type: z.literal('boolean') }),
  z.strictObject({
    type: z.literal('labels'),
    labels: z
      .array(label)
      .min(2)
      .max(MAX_LABELS)
      .refine((labels) => new Set(labels.map((item) => item.label)).size === labels.length, {
        message: 'Two labels are the same.',
      }),
  }),
]);

const llmJudge = z
  .strictObject({ ...modelCall, score: judgeScore })
  .superRefine(({ messages }, context) => reportPlaceholders(messages, 'judge', context));

const pairwise = z
  .strictObject({ ...modelCall, allowTie: z.boolean().default(true) })
  .superRefine(({ messages }, context) => reportPlaceholders(messages, 'pair', context));

const code = z.strictObject({
  language: z.literal('javascript').default('javascript'),
  code: z.string().min(1).max(MAX_CODE_LENGTH),
  /** Whether the code wants the runs of the whole trace. */
  steps: z.boolean().default(false),
});

const webhook = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).max(2_000),
  timeoutMs: z.number().int().min(100).max(60_000).default(10_000),
  steps: z.boolean().default(false),
});

const CONFIGS = {
  exact_match: exactMatch,
  contains,
  forbidden_phrases: forbiddenPhrases,
  required_keywords: requiredKeywords,
  regex,
  length,
  json_schema: jsonSchema,
  edit_distance: editDistance,
  numeric_tolerance: numericTolerance,
  latency,
  cost,
  tool_trajectory: toolTrajectory,
  llm_judge: llmJudge,
  code,
  webhook,
  pairwise,
} as const;

export type EvaluatorKind = keyof typeof CONFIGS;
export type ConfigOf<Kind extends EvaluatorKind> = z.infer<(typeof CONFIGS)[Kind]>;
/** A kind with its checked settings. */
export type EvaluatorSpec = {
  [Kind in EvaluatorKind]: { readonly kind: Kind; readonly config: ConfigOf<Kind> };
}[EvaluatorKind];
export type JudgeScore = ConfigOf<'llm_judge'>['score'];
export type ModelCallConfig = Pick<ConfigOf<'llm_judge'>, keyof typeof modelCall>;

export const EVALUATOR_KINDS = Object.keys(CONFIGS) as readonly EvaluatorKind[];

export const isEvaluatorKind = (kind: string): kind is EvaluatorKind => Object.hasOwn(CONFIGS, kind);

/** The settings with all defaults, or every problem at once; paths start with "config". */
export function parseConfig(kind: EvaluatorKind, config: unknown): Result<EvaluatorSpec> {
  const parsed = CONFIGS[kind].safeParse(config);
  if (!parsed.success) return failed(...parsed.error.issues.flatMap(toProblems));
  if (JSON.stringify(parsed.data).length > MAX_CONFIG_LENGTH) {
    return failed(
      problem('INVALID', `A config may have at most ${MAX_CONFIG_LENGTH} characters as JSON.`, ['config']),
    );
  }
  return ok({ kind, config: parsed.data } as EvaluatorSpec);
}

/** The JSON schema of a kind's settings, for people and tools that write them. */
export function configSchemaOf(kind: EvaluatorKind): JsonObject {
  return z.toJSONSchema(CONFIGS[kind], { io: 'input' }) as JsonObject;
}

function toProblems(issue: z.core.$ZodIssue): Problem[] {
  const path = ['config', ...issue.path.map(String)];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => problem('INVALID', `There is no setting "${key}".`, [...path, key]));
  }
  return [problem('INVALID', issue.message, path)];
}

function reportPlaceholders(
  messages: readonly { readonly content: string }[],
  use: 'judge' | 'pair',
  context: z.RefinementCtx,
): void {
  for (const [index, { content }] of messages.entries()) {
    for (const text of placeholderProblems(content, use)) {
      context.addIssue({ code: 'custom', message: text, path: ['messages', index, 'content'] });
    }
  }
  const needed = use === 'judge' ? [/\{\{\s*output\b/] : [/\{\{\s*first\b/, /\{\{\s*second\b/];
  const whole = messages.map(({ content }) => content).join('\n');
  if (!needed.every((name) => name.test(whole))) {
    const names = use === 'judge' ? '{{output}}' : '{{first}} and {{second}}';
    context.addIssue({ code: 'custom', message: `No message shows the judge ${names}.`, path: ['messages'] });
  }
}
