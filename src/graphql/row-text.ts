/**
 * Lists of plain rows as JSON text: what a page has most of is written straight from its rows, without a result object
 * per row that is walked, copied and printed again. Only for compiled queries (see executor.ts), and only where every
 * selected field is a property of its row; anything else is executed as ever, and both give the same JSON.
 *
 * A list field that says `asText` in its extensions gets a second field beside it, a leaf that gives the whole list.
 * The compiler's copy of a document names it in the place of the list. Clients cannot: `$` is no part of a name in
 * GraphQL, and what goes through all fields of a type does not see it.
 */
import {
  getNullableType,
  GraphQLNonNull,
  GraphQLScalarType,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  Kind,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';
import type {
  DocumentNode,
  FieldNode,
  GraphQLField,
  GraphQLLeafType,
  GraphQLObjectType,
  GraphQLOutputType,
  GraphQLResolveInfo,
  GraphQLSchema,
  SelectionNode,
  SelectionSetNode,
} from 'graphql';
import { fragmentsOf } from './fragments.js';
import type { Fragments } from './fragments.js';
import { bareId, toGlobalId } from './global-id.js';
import { RawJson } from './raw-json.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, JsonScalar, UuidScalar } from './scalars.js';
import { TEXT_SUFFIX } from './text-name.js';

/** Of a list field whose rows may be written as text. */
export const AS_TEXT = { asText: true } as const;
/** Extension of the fields `id` and `uuid` of nodes, which are both made of the row's uuid: says which of them it is. */
export const MADE_OF_UUID = 'madeOfUuid';

/** The text of a list, and what its price is made of. */
export class RawRows extends RawJson {
  constructor(
    text: string,
    readonly length: number,
    /** Objects within the rows. */
    readonly objects: number,
  ) {
    super(text);
  }
}

const ROWS = new GraphQLScalarType<RawRows, RawRows>({ name: 'Rows' });

/** Puts the second field beside each list field that says so. */
export function addTextFields(schema: GraphQLSchema): void {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue;
    const fields = type.getFields();
    for (const field of Object.values(fields)) {
      if (field.extensions['asText'] !== true) continue;
      const name = field.name + TEXT_SUFFIX;
      Object.defineProperty(fields, name, { value: textField(field, name), enumerable: false });
    }
  }
}

type AnyField = GraphQLField<unknown, unknown>;

function textField(list: AnyField, name: string): AnyField {
  return {
    ...list,
    name,
    type: new GraphQLNonNull(ROWS),
    resolve: (source, args, context, info) => {
      const rows =
        list.resolve === undefined
          ? (source as Record<string, unknown>)[list.name]
          : list.resolve(source, args as Record<string, unknown>, context, info);
      const write = writerOf(list, info);
      return rows instanceof Promise ? rows.then(write) : write(rows);
    },
  };
}

// ── Documents ──────────────────────────────────────────────────────────────────────────────────────────────

/**
 * The document with its lists of plain rows as text. All lists that could be text are, or none is: fields of one
 * name are merged, and two kinds of them could not be.
 */
export function withTextRows(document: DocumentNode, schema: GraphQLSchema): DocumentNode {
  const fragments = fragmentsOf(document);
  const types = new TypeInfo(schema);
  const refusals: FieldNode[] = [];
  const rewritten = visit(
    document,
    visitWithTypeInfo(types, {
      Field(node) {
        const parent = types.getParentType();
        const field = types.getFieldDef();
        if (!isObjectType(parent) || field?.extensions['asText'] !== true) return undefined;
        const row = rowTypeOf(field.type);
        if (hasDirectives(node) || row === undefined || !isPlain(node.selectionSet, row, fragments)) {
          refusals.push(node);
          return undefined;
        }
        return {
          ...node,
          alias: node.alias ?? node.name,
          name: { kind: Kind.NAME, value: node.name.value + TEXT_SUFFIX },
        } satisfies FieldNode;
      },
    }),
  );
  return refusals.length === 0 ? rewritten : document;
}

const hasDirectives = (node: SelectionNode): boolean => (node.directives ?? []).length > 0;

/** The rows of `[Row!]`; undefined for lists of anything else than objects. */
function rowTypeOf(type: GraphQLOutputType): GraphQLObjectType | undefined {
  const list = getNullableType(type);
  if (!isListType(list)) return undefined;
  const row = getNullableType(list.ofType);
  return isObjectType(row) ? row : undefined;
}

/** Whether everything selected is known from a row alone. */
function isPlain(set: SelectionSetNode | undefined, type: GraphQLObjectType, fragments: Fragments): boolean {
  return (set?.selections ?? []).every((selection) => {
    if (hasDirectives(selection)) return false;
    if (selection.kind !== Kind.FIELD) {
      const inner = selection.kind === Kind.INLINE_FRAGMENT ? selection : fragments.get(selection.name.value);
      return inner !== undefined && applies(inner, type) && isPlain(inner.selectionSet, type, fragments);
    }
    if (selection.name.value === '__typename') return true;
    const field = type.getFields()[selection.name.value];
    if (field === undefined || !isProperty(field)) return false;
    const named = elementOf(field.type);
    return isLeafType(named) || (isObjectType(named) && isPlain(selection.selectionSet, named, fragments));
  });
}

/** Validation leaves conditions on the type itself and on its interfaces. */
const applies = (
  { typeCondition }: { readonly typeCondition?: { readonly name: { readonly value: string } } | undefined },
  type: GraphQLObjectType,
): boolean =>
  typeCondition === undefined ||
  typeCondition.name.value === type.name ||
  type.getInterfaces().some(({ name }) => name === typeCondition.name.value);

/** Free of charge, and read from the row. */
function isProperty(field: AnyField): boolean {
  if (field.args.length > 0 || field.extensions['complexity'] !== undefined) return false;
  return field.resolve === undefined || field.extensions[MADE_OF_UUID] !== undefined;
}

/** What is in the list, or in the list of lists; the type itself where it is none. */
function elementOf(type: GraphQLOutputType): GraphQLOutputType {
  const nullable = getNullableType(type);
  return isListType(nullable) ? elementOf(nullable.ofType) : nullable;
}

// ── Writing ────────────────────────────────────────────────────────────────────────────────────────────────

type Write = (value: unknown) => string;
type Row = Readonly<Record<string, unknown>>;

/** A field of a row: the name in front, and the value. */
interface Part {
  readonly head: string;
  readonly write: (row: Row) => string;
}

// Writing is synchronous and does not nest, so one count of "the list being written" is enough.
let objects = 0;

// Compiled documents keep their nodes; what was made for one goes with it.
const writers = new WeakMap<FieldNode, (rows: unknown) => RawRows>();

function writerOf(list: AnyField, { fieldNodes, fragments }: GraphQLResolveInfo): (rows: unknown) => RawRows {
  const [first, ...others] = fieldNodes;
  const known = first === undefined || others.length > 0 ? undefined : writers.get(first);
  if (known !== undefined) return known;
  const row = rowTypeOf(list.type);
  if (row === undefined) throw new TypeError(`${list.name} is no list of objects.`);
  const writeRow = objectWriter(
    row,
    fieldNodes.flatMap(({ selectionSet }) => selectionSet ?? []),
    new Map(Object.entries(fragments)),
  );
  const write = (rows: unknown): RawRows => {
    if (!Array.isArray(rows)) throw new TypeError(`${list.name} gave no list.`);
    objects = 0;
    let text = '[';
    for (const [index, value] of rows.entries()) text += (index === 0 ? '' : ',') + writeRow(value);
    return new RawRows(`${text}]`, rows.length, objects);
  };
  if (first !== undefined && others.length === 0) writers.set(first, write);
  return write;
}

function objectWriter(
  type: GraphQLObjectType,
  sets: readonly SelectionSetNode[],
  fragments: Fragments,
): Write {
  const selected = new Map<string, FieldNode[]>();
  for (const set of sets) collect(set, fragments, selected);
  const parts: Part[] = [];
  for (const [key, nodes] of selected) {
    const comma = parts.length === 0 ? '' : ',';
    parts.push({ head: `${comma}${JSON.stringify(key)}:`, write: fieldWriter(type, nodes, fragments) });
  }
  return (row) => {
    let text = '{';
    for (const { head, write } of parts) text += head + write(row as Row);
    return `${text}}`;
  };
}

/** Fields by the key they answer under, in the order they are met. */
function collect(set: SelectionSetNode, fragments: Fragments, found: Map<string, FieldNode[]>): void {
  for (const selection of set.selections) {
    if (selection.kind === Kind.FIELD) {
      const key = (selection.alias ?? selection.name).value;
      const present = found.get(key);
      if (present === undefined) found.set(key, [selection]);
      else present.push(selection);
      continue;
    }
    const inner = selection.kind === Kind.INLINE_FRAGMENT ? selection : fragments.get(selection.name.value);
    if (inner !== undefined) collect(inner.selectionSet, fragments, found);
  }
}

function fieldWriter(
  type: GraphQLObjectType,
  nodes: readonly FieldNode[],
  fragments: Fragments,
): Part['write'] {
  const name = nodes[0]?.name.value ?? '';
  if (name === '__typename') return () => JSON.stringify(type.name);
  const field = type.getFields()[name];
  if (field === undefined) throw new TypeError(`${type.name} has no ${name}.`);
  const made = field.extensions[MADE_OF_UUID];
  const uuidOf = (row: Row): string => {
    const uuid = bareId(row);
    if (uuid === undefined) throw new TypeError(`A row of ${type.name} has no id.`);
    return uuid;
  };
  if (made === 'id') return (row) => `"${toGlobalId(type.name, uuidOf(row))}"`;
  if (made === 'uuid') return (row) => `"${uuidOf(row)}"`;
  const sets = nodes.flatMap(({ selectionSet }) => selectionSet ?? []);
  const composite = isObjectType(elementOf(field.type));
  const write = typeWriter(field.type, `${type.name}.${name}`, (named) =>
    isObjectType(named) ? objectWriter(named, sets, fragments) : leafWriter(named as GraphQLLeafType),
  );
  if (!composite) return (row) => write(row[name]);
  return (row) => {
    const value = row[name];
    objects += Array.isArray(value) ? value.length : 1;
    return write(value);
  };
}

function typeWriter(
  type: GraphQLOutputType,
  where: string,
  writerFor: (named: GraphQLOutputType) => Write,
): Write {
  const inner = getNullableType(type);
  const write = isListType(inner) ? listWriter(typeWriter(inner.ofType, where, writerFor)) : writerFor(inner);
  if (!isNonNullType(type)) {
    return (value) => (value === null || value === undefined ? 'null' : write(value));
  }
  return (value) => {
    if (value === null || value === undefined) {
      throw new TypeError(`Cannot return null for non-nullable field ${where}.`);
    }
    return write(value);
  };
}

const listWriter =
  (write: Write): Write =>
  (values) => {
    let text = '[';
    for (const value of values as readonly unknown[]) text += (text.length === 1 ? '' : ',') + write(value);
    return `${text}]`;
  };

const SHORT = 200;
// Neither quotes nor backslashes, controls or surrogates.
const NEEDS_NO_ESCAPE = /^[\x20\x21\x23-\x5b\x5d-\x7e\xa0-\ud7ff\ue000-\uffff]*$/;

/** JSON.stringify of a string: most are short and plain, and looking costs less than calling out. */
const quoted = (text: string): string =>
  text.length <= SHORT && NEEDS_NO_ESCAPE.test(text) ? `"${text}"` : JSON.stringify(text);

/** Scalars whose serialised text never holds what has to be escaped. */
const PLAIN_SCALARS: ReadonlySet<GraphQLLeafType> = new Set([
  UuidScalar,
  DateTimeScalar,
  DecimalScalar,
  BigIntScalar,
]);

function leafWriter(type: GraphQLLeafType): Write {
  if (type === JsonScalar) {
    return (value) => (value instanceof RawJson ? value.text : JSON.stringify(value));
  }
  if (isEnumType(type)) {
    const names = new Map<unknown, string>(type.getValues().map(({ name, value }) => [value, `"${name}"`]));
    return (value) => names.get(value) ?? JSON.stringify(type.serialize(value));
  }
  if (PLAIN_SCALARS.has(type)) return (value) => `"${type.serialize(value) as string}"`;
  return (value) => {
    const serialized: unknown = type.serialize(value);
    return typeof serialized === 'string' ? quoted(serialized) : JSON.stringify(serialized);
  };
}
