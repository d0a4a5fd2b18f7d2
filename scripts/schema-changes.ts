/**
 * Whether the schema breaks clients of the last release: what changed since docs/schema-baseline.graphql, judged by
 * graphql-js. A change that breaks clients, or may surprise them, needs an entry with a reason in
 * docs/schema-changes.json. At a release the baseline becomes the schema, and the list is emptied.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  BreakingChangeType,
  buildSchema,
  DangerousChangeType,
  findBreakingChanges,
  findDangerousChanges,
  isEnumType,
  isInterfaceType,
  isObjectType,
} from 'graphql';
import type { BreakingChange, GraphQLSchema } from 'graphql';
import { z } from 'zod';

const file = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
export const BASELINE = file('docs/schema-baseline.graphql');
export const ALLOWED = file('docs/schema-changes.json');
const SCHEMA = file('schema.graphql');

/** `change` is the sentence the check prints. */
const allowedChanges = z.array(z.strictObject({ change: z.string().min(1), reason: z.string().min(20) }));
export type AllowedChange = z.infer<typeof allowedChanges>[number];

/** Clients that send names, as all do, do not notice these. */
const UNNOTICED: ReadonlySet<DangerousChangeType> = new Set([
  DangerousChangeType.OPTIONAL_ARG_ADDED,
  DangerousChangeType.OPTIONAL_INPUT_FIELD_ADDED,
]);
const ANNOUNCED = /\b[Vv]alues may be added\b/;
const REMOVAL = /Removal on (\d{4}-\d{2}-\d{2}) UTC/;

/**
 * One sentence for each change without a good reason, and for each reason without a change.
 * @param today `YYYY-MM-DD`: a deprecated field may go when the day its deprecation names is past.
 */
export function schemaChangeProblems(
  before: string,
  after: string,
  allowed: readonly AllowedChange[],
  today: string,
): string[] {
  const [old, next] = [buildSchema(before), buildSchema(after)];
  const reasons = new Set(allowed.map(({ change }) => change));
  const found = [
    ...findBreakingChanges(old, next)
      .filter((change) => !wasDue(old, change, today))
      .map(({ description }) => ({ kind: 'breaks clients', description })),
    ...findDangerousChanges(old, next)
      .filter(({ type }) => !UNNOTICED.has(type))
      .filter(({ type, description }) => !wasAnnounced(old, type, description))
      .map(({ description }) => ({ kind: 'may surprise clients', description })),
  ];
  const described = new Set(found.map(({ description }) => description));
  return [
    ...found
      .filter(({ description }) => !reasons.has(description))
      .map(({ kind, description }) => `${description} This ${kind} of the last release.`),
    ...[...reasons]
      .filter((reason) => !described.has(reason))
      .map((reason) => `"${reason}" is allowed, but it is not a change since the last release.`),
  ];
}

/** A field of the old schema that was deprecated with a day that is past. */
function wasDue(old: GraphQLSchema, { type, description }: BreakingChange, today: string): boolean {
  if (type !== BreakingChangeType.FIELD_REMOVED) return false;
  const [typeName = '', fieldName = ''] = description.split(' ')[0]?.split('.') ?? [];
  const owner = old.getType(typeName);
  if (!isObjectType(owner) && !isInterfaceType(owner)) return false;
  const due = REMOVAL.exec(owner.getFields()[fieldName]?.deprecationReason ?? '')?.[1];
  return due !== undefined && due < today;
}

/** Values of an enum whose description has told clients from the start that there may be more. */
function wasAnnounced(old: GraphQLSchema, type: DangerousChangeType, description: string): boolean {
  if (type !== DangerousChangeType.VALUE_ADDED_TO_ENUM) return false;
  const name = /enum type (\w+)/.exec(description)?.[1] ?? '';
  const found = old.getType(name);
  return isEnumType(found) && ANNOUNCED.test(found.description ?? '');
}

/** The same for the files of this repository. */
export function repositoryProblems(today: string): string[] {
  const allowed = allowedChanges.parse(JSON.parse(readFileSync(ALLOWED, 'utf8')));
  return schemaChangeProblems(readFileSync(BASELINE, 'utf8'), readFileSync(SCHEMA, 'utf8'), allowed, today);
}

function main(mode: string | undefined): void {
  if (mode === '--check') {
    const problems = repositoryProblems(new Date().toISOString().slice(0, 10));
    if (problems.length === 0) return;
    process.stderr.write(`${problems.join('\n')}\nSee docs/graphql.md, "How the schema may change".\n`);
    process.exitCode = 1;
  } else if (mode === '--release') {
    writeFileSync(BASELINE, readFileSync(SCHEMA, 'utf8'));
    writeFileSync(ALLOWED, '[]\n');
  } else {
    process.stderr.write('usage: schema-changes.ts --check | --release\n');
    process.exitCode = 64;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main(process.argv[2]);
