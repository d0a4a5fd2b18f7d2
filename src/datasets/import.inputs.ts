/** GraphQL inputs of files that are imported as text, and what an export can be. */
import { Field, ID, InputType, registerEnumType } from 'type-graphql';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { ImportModeEnum } from './dataset.types.js';
import { MAX_TEXT_BYTES } from './import.service.js';
import type { TextImport } from './import.service.js';
import type { ImportMode } from './import.store.js';
import type { ExportFormat } from './export.service.js';

export const ImportFileFormat = { CSV: 'csv', JSONL: 'jsonl' } as const satisfies Record<
  string,
  TextImport['format']
>;
registerEnumType(ImportFileFormat, { name: 'ImportFileFormat' });

export const ExportFormatEnum = {
  JSONL: 'jsonl',
  CSV: 'csv',
  OPENAI: 'openai',
  PREFERENCES: 'preferences',
} as const satisfies Record<string, ExportFormat>;
registerEnumType(ExportFormatEnum, {
  name: 'ExportFormat',
  valuesConfig: {
    JSONL: { description: 'Examples as an import takes them.' },
    CSV: { description: 'A column for each key of inputs, outputs and metadata.' },
    OPENAI: { description: 'Fine-tuning: one conversation for each example with outputs.' },
    PREFERENCES: {
      description: 'Prompt, chosen and rejected, of runs over the examples that feedback has corrected.',
    },
  },
});

@InputType({ description: 'Which columns, or keys of JSON objects without "inputs", are what.' })
export class ImportMappingInput {
  @Field(() => [String], { nullable: true })
  inputKeys?: string[] | null;

  @Field(() => [String], { nullable: true })
  outputKeys?: string[] | null;

  @Field(() => [String], { nullable: true })
  metadataKeys?: string[] | null;

  @Field(() => String, { nullable: true, description: 'Of names, separated by commas.' })
  splitKey?: string | null;

  @Field(() => String, { nullable: true })
  idKey?: string | null;
}

@InputType()
export class ImportCsvInput {
  @Field(() => String, { defaultValue: ',', description: 'One ASCII character.' })
  delimiter!: string;

  @Field(() => Boolean, {
    defaultValue: false,
    description: 'Cells that are JSON and no string become what they say. Else all cells are strings.',
  })
  jsonCells!: boolean;

  @Field(() => Boolean, {
    defaultValue: false,
    description: 'Takes back the apostrophe that exports put before cells a spreadsheet would run.',
  })
  guardedCells!: boolean;
}

@InputType()
export class ImportExamplesInput extends IdempotentInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => ImportFileFormat)
  format!: TextImport['format'];

  @Field(() => String, {
    description:
      `The file, of at most ${MAX_TEXT_BYTES / 1_024} KiB; within what a GraphQL request may have. ` +
      'Larger ones go to POST /datasets/{id}/import.',
  })
  content!: string;

  @Field(() => ImportModeEnum, { defaultValue: 'all_or_nothing' })
  mode!: ImportMode;

  @Field(() => ImportMappingInput, { nullable: true, description: 'As exports name things where not given.' })
  mapping?: ImportMappingInput | null;

  @Field(() => ImportCsvInput, { nullable: true })
  csv?: ImportCsvInput | null;

  @Field(() => String, { nullable: true, description: 'Kept with the version.' })
  note?: string | null;
}
