/** A dataset's JSON schemas held against examples. What a schema may be and cost is platform/json-schema.ts. */
import type { JsonValue } from '../ingest/run-event.js';
import { JsonSchema, SchemaTooCostly } from '../platform/json-schema.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import type { Dataset, SchemaViolation } from './dataset.js';

/** Inputs and outputs as values or as the texts they are stored as. */
export interface Checked {
  readonly inputs: { readonly value: JsonValue } | { readonly text: string };
  readonly outputs: { readonly value: JsonValue } | { readonly text: string } | null;
}

type Schemas = Pick<Dataset, 'inputsSchema' | 'outputsSchema'>;

const valueOf = (said: { readonly value: JsonValue } | { readonly text: string }): unknown =>
  'value' in said ? said.value : JSON.parse(said.text);

export class ExampleSchemas {
  readonly #inputs: JsonSchema | undefined;
  readonly #outputs: JsonSchema | undefined;

  private constructor(inputs: JsonSchema | undefined, outputs: JsonSchema | undefined) {
    this.#inputs = inputs;
    this.#outputs = outputs;
  }

  /** Problems name the schema: `inputsSchema` or `outputsSchema`. */
  static of({ inputsSchema, outputsSchema }: Schemas): Result<ExampleSchemas> {
    const inputs = compile('inputsSchema', inputsSchema);
    const outputs = compile('outputsSchema', outputsSchema);
    if (inputs.ok && outputs.ok) return ok(new ExampleSchemas(inputs.value, outputs.value));
    return failed(...(inputs.ok ? [] : inputs.problems), ...(outputs.ok ? [] : outputs.problems));
  }

  /** Of a stored dataset, whose schemas were good when they were set. */
  static stored(dataset: Schemas): ExampleSchemas {
    const schemas = ExampleSchemas.of(dataset);
    if (!schemas.ok) throw new Error(`a stored schema is not usable: ${schemas.problems[0]?.message ?? ''}`);
    return schemas.value;
  }

  get areEmpty(): boolean {
    return this.#inputs === undefined && this.#outputs === undefined;
  }

  /** What of an example is not as the schemas want it. An example without outputs has no outputs to check. */
  violations({ inputs, outputs }: Checked): SchemaViolation[] {
    return [
      ...violationsOf('inputs', this.#inputs, inputs),
      ...(outputs === null ? [] : violationsOf('outputs', this.#outputs, outputs)),
    ];
  }
}

function compile(field: string, schema: JsonValue): Result<JsonSchema | undefined> {
  if (schema === null) return ok(undefined);
  const compiled = JsonSchema.compile(schema);
  return compiled.ok
    ? compiled
    : failed(...compiled.problems.map(({ code, message }) => problem(code, message, [field])));
}

function violationsOf(
  field: 'inputs' | 'outputs',
  schema: JsonSchema | undefined,
  said: { readonly value: JsonValue } | { readonly text: string },
): SchemaViolation[] {
  if (schema === undefined) return [];
  try {
    return schema.check(valueOf(said)).map(({ path, message }) => ({ field, pointer: path, message }));
  } catch (error) {
    if (error instanceof SchemaTooCostly) return [{ field, pointer: '', message: error.message }];
    throw error;
  }
}

const unescaped = (part: string): string => part.replaceAll('~1', '/').replaceAll('~0', '~');

/** The violation as a problem of the input at `path`. */
export function violationProblem(
  { field, pointer, message }: SchemaViolation,
  path: readonly string[],
): Problem {
  const where = pointer.split('/').slice(1).map(unescaped);
  return problem('INVALID', `${field}${pointer} ${message}`, [...path, field, ...where]);
}
