/**
 * JSON schemas that users give, held against values that strangers give. A schema is code of sorts: patterns that
 * backtrack, references that double the work at every level. Patterns therefore run on a linear engine, and every
 * subschema that is looked at counts as a step, of which a check has a limited number.
 */
import ajv from 'ajv';
import ajv2020 from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { RE2JS } from 're2js';
import { canonicalJson } from './canonical-json.js';
import { nestsDeeper } from './json-text.js';
import { failed, ok, problem, type Result } from './result.js';

/** Of a schema as JSON text. */
export const MAX_SCHEMA_LENGTH = 65_536;
export const MAX_SCHEMA_DEPTH = 64;
/** Subschemas looked at in one check, some 50 ns each. */
export const MAX_STEPS = 250_000;
const MAX_VIOLATIONS = 20;
const MAX_CACHED = 100;
const STEP = 'x-tracewell-step';

export interface Violation {
  /** JSON pointer into the value; empty for the value as a whole. */
  readonly path: string;
  readonly message: string;
}

/** A check took more than MAX_STEPS. */
export class SchemaTooCostly extends Error {
  override readonly name = 'SchemaTooCostly';
}

/** Compiled, by canonical text, the one used last at the end. */
const compiled = new Map<string, JsonSchema>();

export class JsonSchema {
  readonly #validate: ReturnType<ajv.default['compile']>;
  readonly #steps: Steps;

  private constructor(schema: object, steps: Steps) {
    this.#steps = steps;
    this.#validate = engineFor(schema, steps).compile(withSteps(schema) as object);
  }

  /** Problems are relative to the schema. Draft 2020-12 where `$schema` does not say draft 7 or 6. */
  static compile(schema: unknown): Result<JsonSchema> {
    if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
      return failed(problem('INVALID', 'A JSON schema is an object.'));
    }
    if (nestsDeeper(schema, MAX_SCHEMA_DEPTH)) {
      return failed(problem('INVALID', `A JSON schema may be nested ${MAX_SCHEMA_DEPTH} levels deep.`));
    }
    const text = canonicalJson(schema);
    if (text.length > MAX_SCHEMA_LENGTH) {
      return failed(problem('INVALID', `A JSON schema may have ${MAX_SCHEMA_LENGTH} characters.`));
    }
    const known = compiled.get(text);
    try {
      const made = known ?? new JsonSchema(schema, { left: 0 });
      compiled.delete(text);
      compiled.set(text, made);
      const [oldest] = compiled.keys();
      if (compiled.size > MAX_CACHED && oldest !== undefined) compiled.delete(oldest);
      return ok(made);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return failed(problem('INVALID', `This is not a JSON schema that can be used: ${reason}`));
    }
  }

  /**
   * What of the value is not as the schema wants it: the first few; none where all is.
   * @throws SchemaTooCostly
   */
  check(value: unknown): Violation[] {
    this.#steps.left = MAX_STEPS;
    if (this.#validate(value)) return [];
    return (this.#validate.errors ?? [])
      .slice(0, MAX_VIOLATIONS)
      .map(({ instancePath, message, params, keyword }) => ({
        path: instancePath,
        message: describe(keyword, message ?? 'is not allowed', params),
      }));
  }
}

/** Only one check runs at a time: it is synchronous. */
interface Steps {
  left: number;
}

function engineFor(schema: object, steps: Steps): ajv.default {
  const dialect: unknown = '$schema' in schema ? schema.$schema : undefined;
  const isOld = typeof dialect === 'string' && /draft-0[4-7]/.test(dialect);
  const Engine = isOld ? ajv.default : ajv2020.default;
  const engine = new Engine({
    strict: false,
    allErrors: true,
    // An unknown dialect is read as the newest one.
    validateSchema: 'log',
    logger: false,
    code: { regExp: Object.assign(linearPattern, { code: 'linearPattern' }) },
  });
  formats.default(engine);
  engine.addKeyword({
    keyword: STEP,
    schemaType: 'boolean',
    errors: false,
    validate: () => {
      steps.left -= 1;
      if (steps.left < 0) {
        throw new SchemaTooCostly(`The schema takes more than ${MAX_STEPS} steps for this value.`);
      }
      return true;
    },
  });
  // The engine's own compares every two objects.
  engine.removeKeyword('uniqueItems');
  engine.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    errors: false,
    validate: (wanted: boolean, items: readonly unknown[]) =>
      !wanted || new Set(items.map((item) => canonicalJson(item))).size === items.length,
  });
  return engine;
}

function linearPattern(pattern: string): { test: (text: string) => boolean; toString: () => string } {
  const linear = RE2JS.compile(pattern);
  // The engine keeps one object per text a pattern prints as.
  return { test: (text) => linear.matcher(text).find(), toString: () => pattern };
}

const SCHEMAS_BY_NAME = [
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
  'dependencies',
];
const SCHEMA_LISTS = ['allOf', 'anyOf', 'oneOf', 'prefixItems'];
const SINGLE_SCHEMAS = [
  'not',
  'if',
  'then',
  'else',
  'items',
  'additionalItems',
  'unevaluatedItems',
  'contains',
  'additionalProperties',
  'unevaluatedProperties',
  'propertyNames',
];

/** A copy in which every subschema counts as a step. Constants, examples and the like stay as they are. */
function withSteps(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withSteps);
  if (typeof schema !== 'object' || schema === null) return schema;
  const entries = Object.entries(schema).map(([key, value]: [string, unknown]): [string, unknown] => {
    if (SINGLE_SCHEMAS.includes(key) || SCHEMA_LISTS.includes(key)) return [key, withSteps(value)];
    if (!SCHEMAS_BY_NAME.includes(key) || typeof value !== 'object' || value === null) return [key, value];
    // A dependency may also be a list of names.
    const inner = Object.entries(value).map(([name, item]: [string, unknown]): [string, unknown] => [
      name,
      Array.isArray(item) ? item : withSteps(item),
    ]);
    return [key, Object.fromEntries(inner)];
  });
  return Object.fromEntries([[STEP, true], ...entries.filter(([key]) => key !== STEP)]);
}

function describe(keyword: string, message: string, params: Record<string, unknown>): string {
  if (keyword === 'additionalProperties') {
    return `${message}: ${JSON.stringify(params['additionalProperty'])}`;
  }
  if (keyword === 'uniqueItems') return 'must not have equal items';
  if (keyword === 'enum') return `${message}: ${JSON.stringify(params['allowedValues']).slice(0, 200)}`;
  return message;
}
