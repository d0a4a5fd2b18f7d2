/**
 * One look at a message of runs before it is parsed: whether it will take long, whether it nests too deep, and where
 * the payloads are in it, so that the client's own text is stored instead of one that is written again.
 */
import { closingQuote, LONG_TEXT, MANY_CONTAINERS, MAX_JSON_DEPTH } from '../platform/json-text.js';

const FIELDS = ['inputs', 'outputs', 'events', 'serialized'] as const;
type Field = (typeof FIELDS)[number];

/** Texts of those payloads of a run that are objects or lists. */
export type RunTexts = { [K in Field]?: string | undefined };

export interface MessageScan {
  /** Whether parsing it in one go would hold others up. Then nothing else is known. */
  readonly takesLong: boolean;
  readonly mayBeDeep: boolean;
  /** Runs by list and position; the only run of a message is the first of `run`. Empty where a key is written oddly. */
  readonly texts: Readonly<Record<'post' | 'patch' | 'run', readonly (RunTexts | undefined)[]>>;
}

const NOTHING: MessageScan['texts'] = { post: [], patch: [], run: [] };
const SLOW: MessageScan = { takesLong: true, mayBeDeep: false, texts: NOTHING };

const isField = (key: string): key is Field => (FIELDS as readonly string[]).includes(key);

/** `text` need not be JSON; what is said of one that is none means nothing. */
export function scanRuns(text: string, shape: 'run' | 'batch'): MessageScan {
  if (text.length > LONG_TEXT) return SLOW;
  // Depth at which members of runs are: {post: [{here}]} or {here}.
  const level = shape === 'batch' ? 3 : 1;
  const texts: Record<'post' | 'patch' | 'run', (RunTexts | undefined)[]> = { post: [], patch: [], run: [] };
  let list: (RunTexts | undefined)[] | undefined = shape === 'run' ? texts.run : undefined;
  let index = 0;
  let run: RunTexts = {};
  let field: Field | undefined;
  let start = 0;
  let expectsKey = false;
  let depth = 0;
  let deepest = 0;
  let containers = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x22 /* " */) {
      const close = closingQuote(text, at);
      if (close === -1) break;
      if (expectsKey && (depth === level || depth === 1)) {
        expectsKey = false;
        const key = text.slice(at + 1, close);
        // It may be a name we know in disguise.
        if (key.includes('\\')) return { takesLong: false, mayBeDeep: true, texts: NOTHING };
        if (depth === level) {
          field = isField(key) ? key : undefined;
          // Said twice, the last one counts.
          if (field !== undefined) run[field] = undefined;
        } else {
          list = key === 'post' || key === 'patch' ? (texts[key] = []) : undefined;
          index = 0;
        }
      }
      at = close;
    } else if (code === 0x7b /* { */ || code === 0x5b /* [ */) {
      if (depth === level) start = at;
      depth += 1;
      if (depth > deepest) deepest = depth;
      containers += 1;
      if (containers > MANY_CONTAINERS) return SLOW;
      if (depth === level) {
        run = {};
        field = undefined;
        if (list !== undefined) list[index] = run;
      }
      expectsKey = code === 0x7b;
    } else if (code === 0x7d /* } */ || code === 0x5d /* ] */) {
      depth -= 1;
      if (depth === level && field !== undefined) {
        run[field] = text.slice(start, at + 1);
        field = undefined;
      }
    } else if (code === 0x2c /* , */) {
      if (depth === level || depth === 1) expectsKey = true;
      else if (depth === 2) index += 1;
    }
  }
  return { takesLong: false, mayBeDeep: deepest > MAX_JSON_DEPTH, texts };
}
