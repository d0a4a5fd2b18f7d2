/** Files in and out: importing small ones as text, what imports did and would not take, where exports are. */
import { Arg, Ctx, FieldResolver, Int, Mutation, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { assertFirst } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { parseId } from '../graphql/global-id.js';
import { UuidScalar } from '../graphql/scalars.js';
import { toUserErrors } from '../graphql/user-error.js';
import { mayReadContent } from '../tenancy/principal.js';
import { AsOfInput, DATASET_NODE, toAsOf } from './dataset.inputs.js';
import type { Dataset } from './dataset.js';
import {
  DatasetImportObject,
  DatasetObject,
  ImportExamplesPayload,
  ImportRejectObject,
} from './dataset.types.js';
import type { ExampleService } from './example.service.js';
import type { ExportFormat } from './export.service.js';
import { ExportFormatEnum, ImportExamplesInput } from './import.inputs.js';
import type { ImportService } from './import.service.js';
import type { DatasetImport, RejectedRow } from './import.store.js';

const IMPORT_COMPLEXITY = 200;
const MAX_IMPORTS = 100;
const MAX_REJECTS = 1_000;

export interface DatasetFilesDeps {
  readonly examples: ExampleService;
  readonly imports: ImportService;
  /** What links start with; undefined where it is not configured. */
  readonly publicUrl: string | undefined;
}

@Resolver(() => DatasetObject)
export class DatasetFilesResolver {
  readonly #deps: DatasetFilesDeps;

  constructor(deps: DatasetFilesDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => DatasetImportObject, { nullable: true })
  async datasetImport(
    @Arg('id', () => UuidScalar) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<DatasetImport | undefined> {
    return this.#deps.imports.findImport(requirePrincipal(context), id);
  }

  @FieldResolver(() => [DatasetImportObject], { description: 'Newest first, at most 100 at once.' })
  @ListSize({ argument: 'first' })
  imports(
    @Root() dataset: Dataset,
    @Arg('first', () => Int, { defaultValue: 10 }) first: number,
    @Arg('after', () => UuidScalar, { nullable: true, description: 'The import behind which to go on.' })
    after: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<DatasetImport[]> {
    assertFirst(first, MAX_IMPORTS);
    const page = { limit: first, after: after ?? undefined };
    return this.#deps.imports.listImports(requirePrincipal(context), dataset.uuid, page);
  }

  @FieldResolver(() => String, {
    complexity: 1,
    description:
      'Where the file is, always of the same version: GET it with the same key, which needs the scope "content" too. Without PUBLIC_URL it is a path of this server.',
  })
  async exportUrl(
    @Root() dataset: Dataset,
    @Arg('format', () => ExportFormatEnum, { defaultValue: 'jsonl' }) format: ExportFormat,
    @Arg('asOf', () => AsOfInput, { nullable: true, description: 'The newest version where not given.' })
    asOf: AsOfInput | null | undefined,
    @Arg('splits', () => [String], { nullable: true, description: 'Only examples in any of these.' })
    splits: string[] | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<string> {
    const pin = await this.#deps.examples.pin(requirePrincipal(context), dataset, toAsOf(asOf));
    const query = new URLSearchParams({ format, version: String(pin === 'newest' ? dataset.version : pin) });
    for (const split of splits ?? []) query.append('splits', split);
    return `${this.#deps.publicUrl ?? ''}/datasets/${dataset.uuid}/export?${query.toString()}`;
  }

  @RequiresAccess('write')
  @Mutation(() => ImportExamplesPayload, {
    complexity: IMPORT_COMPLEXITY,
    description: 'Takes in a file given as text, as one version.',
  })
  async importExamples(
    @Arg('input', () => ImportExamplesInput) input: ImportExamplesInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ImportExamplesPayload> {
    const { format, content, mode, note, idempotencyKey, csv, mapping } = input;
    const id = parseId(DATASET_NODE, input.datasetId, ['input', 'datasetId']);
    const file = {
      format,
      content,
      mode,
      note,
      csv: csv ?? undefined,
      mapping: {
        inputKeys: mapping?.inputKeys ?? undefined,
        outputKeys: mapping?.outputKeys ?? undefined,
        metadataKeys: mapping?.metadataKeys ?? undefined,
        splitKey: mapping?.splitKey ?? undefined,
        idKey: mapping?.idKey ?? undefined,
      },
    };
    const principal = requirePrincipal(context);
    const result = await this.#deps.imports.importText(principal, id, file, idempotencyKey);
    return result.ok
      ? { import: result.value, version: result.value.made, errors: [] }
      : { import: null, version: null, errors: toUserErrors(result.problems) };
  }
}

@Resolver(() => DatasetImportObject)
export class DatasetImportResolver {
  readonly #imports: ImportService;

  constructor({ imports }: Pick<DatasetFilesDeps, 'imports'>) {
    this.#imports = imports;
  }

  @FieldResolver(() => [ImportRejectObject], {
    description:
      'Content. Rows that were put aside, in order; empty without the scope "content". Up to 1000.',
  })
  @ListSize({ argument: 'first' })
  async rejects(
    @Root() one: DatasetImport,
    @Arg('first', () => Int, { defaultValue: 20 }) first: number,
    @Arg('after', () => Int, { defaultValue: 0, description: 'The row behind which to go on.' })
    after: number,
    @Ctx() context: GraphqlContext,
  ): Promise<RejectedRow[]> {
    assertFirst(first, MAX_REJECTS);
    const principal = requirePrincipal(context);
    if (!mayReadContent(principal) || one.rejected === 0) return [];
    return this.#imports.listRejects(principal, one.uuid, { after, limit: first });
  }
}
