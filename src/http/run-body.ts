/**
 * JSON bodies of runs, one run or a batch, as items for the intake. What parses in a moment is parsed at once;
 * anything else is read a piece per turn.
 */
import { readLargeRun } from '../ingest/large-run.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import { parseWireText, withoutNonFinite } from '../ingest/payload.js';
import type { WireText } from '../ingest/payload.js';
import type { JsonObject, JsonValue, Refusal } from '../ingest/run-event.js';
import { scanRuns } from '../ingest/run-texts.js';
import type { MessageScan, RunTexts } from '../ingest/run-texts.js';
import type { WireRun } from '../ingest/wire-run.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { JsonCursor, OPEN_BRACE, OPEN_BRACKET } from '../platform/json-cursor.js';
import { cleanJsonText } from '../platform/json-text.js';
import { utf8 } from './body.js';
import { tooManyRuns } from './run-parts.js';

export interface RunItems {
  readonly runs: readonly WireRun[];
  readonly refusals: readonly Refusal[];
}

const KINDS = { post: 'create', patch: 'update' } as const;

/** @throws AppError BAD_USER_INPUT for what is no JSON, or no object. */
export async function readRun(
  bytes: Buffer,
  kind: WireRun['kind'],
  id: string | undefined,
  ids: Ids,
): Promise<WireRun> {
  const text = cleanJsonText(utf8(bytes));
  const mayBeLarge = bytes.length > INTAKE_LIMITS.runFieldBytes;
  const run = await refusingBroken(async () => {
    const scan = scanRuns(text, 'run');
    if (!scan.takesLong) {
      const body = parse(text, scan, mayBeLarge, ids);
      return wireRun(kind, body, body.value, scan.texts.run[0], id);
    }
    const cursor = new JsonCursor(text);
    const found = await largeRun(text, cursor, kind, mayBeLarge, id);
    cursor.end();
    return found;
  });
  if (run === undefined) throw new AppError('BAD_USER_INPUT', 'The body is not a run object.');
  return run;
}

/** @throws AppError as readRun, and PAYLOAD_TOO_LARGE for more items than a request may have. */
export async function readBatch(bytes: Buffer, ids: Ids): Promise<RunItems> {
  const text = cleanJsonText(utf8(bytes));
  const mayBeLarge = bytes.length > INTAKE_LIMITS.runFieldBytes;
  return refusingBroken(() => {
    const scan = scanRuns(text, 'batch');
    return scan.takesLong ? largeBatch(text, mayBeLarge) : batch(parse(text, scan, mayBeLarge, ids));
  });
}

async function refusingBroken<T>(work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new AppError('BAD_USER_INPUT', 'The body is not valid JSON.', { cause });
  }
}

interface Body extends WireText {
  readonly texts: MessageScan['texts'];
  readonly mayBeDeep: boolean;
  readonly mayBeLarge: boolean;
}

const parse = (text: string, { texts, mayBeDeep }: MessageScan, mayBeLarge: boolean, ids: Ids): Body => ({
  ...parseWireText(text, () => `non-finite ${ids.uuid()}`),
  texts,
  mayBeDeep,
  mayBeLarge,
});

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined for what is no object. */
function wireRun(
  kind: WireRun['kind'],
  { nonFinite, mayBeDeep, mayBeLarge }: Body,
  item: JsonValue,
  texts: RunTexts | undefined,
  id?: string,
): WireRun | undefined {
  if (nonFinite === undefined) {
    return isObject(item) ? { kind, id, run: item, texts, mayBeDeep, mayBeLarge } : undefined;
  }
  const finite = withoutNonFinite(item, nonFinite);
  if (!isObject(finite.item)) return undefined;
  const notes = finite.note === undefined ? undefined : [`run: ${finite.note}`];
  return { kind, id, run: finite.item, mayBeDeep, mayBeLarge, ...(notes && { notes }) };
}

const noBatch = (): AppError =>
  new AppError('BAD_USER_INPUT', 'The body is not an object with "post" and "patch".');
const noList = (field: string): AppError =>
  new AppError('BAD_USER_INPUT', `"${field}" is not a list of runs.`);
const noRun = (field: string, index: number): Refusal => ({
  id: undefined,
  field: `${field}.${index}`,
  message: 'The item is not a run object.',
});

function batch(body: Body): RunItems {
  if (!isObject(body.value)) throw noBatch();
  const runs: WireRun[] = [];
  const refusals: Refusal[] = [];
  for (const field of ['post', 'patch'] as const) {
    const items = body.value[field] ?? [];
    if (!Array.isArray(items)) throw noList(field);
    if (runs.length + items.length > INTAKE_LIMITS.runsPerRequest) throw tooManyRuns();
    for (const [index, item] of items.entries()) {
      const run = wireRun(KINDS[field], body, item, body.texts[field][index]);
      if (run === undefined) refusals.push(noRun(field, index));
      else runs.push(run);
    }
  }
  return { runs, refusals };
}

async function largeRun(
  text: string,
  cursor: JsonCursor,
  kind: WireRun['kind'],
  mayBeLarge: boolean,
  id?: string,
): Promise<WireRun | undefined> {
  const found = await readLargeRun(text, cursor);
  // Depth was seen to field by field.
  return found === undefined ? undefined : { kind, id, ...found, mayBeDeep: false, mayBeLarge };
}

async function largeBatch(text: string, mayBeLarge: boolean): Promise<RunItems> {
  const cursor = new JsonCursor(text);
  if (cursor.peek() !== OPEN_BRACE) {
    await cursor.skip();
    throw noBatch();
  }
  // The last of a name counts, as it does where all is parsed.
  const lists: Partial<Record<'post' | 'patch', { runs: WireRun[]; refusals: Refusal[] }>> = {};
  await cursor.members(async (field) => {
    if (field !== 'post' && field !== 'patch') {
      await cursor.skip();
      return;
    }
    const list: { runs: WireRun[]; refusals: Refusal[] } = { runs: [], refusals: [] };
    lists[field] = list;
    if (cursor.peek() !== OPEN_BRACKET) {
      const { start, end } = await cursor.skip();
      if (text.slice(start, end) !== 'null') throw noList(field);
      return;
    }
    await cursor.items(async (index) => {
      if (index === INTAKE_LIMITS.runsPerRequest) throw tooManyRuns();
      const run = await largeRun(text, cursor, KINDS[field], mayBeLarge);
      if (run === undefined) list.refusals.push(noRun(field, index));
      else list.runs.push(run);
    });
  });
  cursor.end();
  const { post, patch } = lists;
  const runs = [...(post?.runs ?? []), ...(patch?.runs ?? [])];
  const refusals = [...(post?.refusals ?? []), ...(patch?.refusals ?? [])];
  if (runs.length + refusals.length > INTAKE_LIMITS.runsPerRequest) throw tooManyRuns();
  return { runs, refusals };
}
