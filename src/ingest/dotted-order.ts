/**
 * dotted_order: one segment per ancestor, root first, joined with dots. A segment is a UTC time in 22 characters
 * (`20261121T100000123456Z`) followed by the run's id; text order is the depth-first order of the tree.
 */
import { isUuid } from '../platform/ids.js';

const TIME_LENGTH = 22;
const SEGMENT = TIME_LENGTH + 36;
const TIME = /^\d{8}T\d{12}Z$/;

export interface DottedOrder {
  /** Normalised: ids in lower case. */
  readonly text: string;
  readonly id: string;
  readonly traceId: string;
  readonly parentId: string | undefined;
}

const idAt = (text: string, segment: number): string =>
  text.slice(segment * (SEGMENT + 1) + TIME_LENGTH, segment * (SEGMENT + 1) + SEGMENT).toLowerCase();

function isoOf(compact: string): string {
  const at = (from: number, to: number): string => compact.slice(from, to);
  return `${at(0, 4)}-${at(4, 6)}-${at(6, 8)}T${at(9, 11)}:${at(11, 13)}:${at(13, 15)}.${at(15, 21)}Z`;
}

/** Undefined when the text does not follow the grammar. */
export function parseDottedOrder(text: string): DottedOrder | undefined {
  const segments = (text.length + 1) / (SEGMENT + 1);
  if (!Number.isInteger(segments) || segments < 1) return undefined;
  for (let segment = 0; segment < segments; segment += 1) {
    const from = segment * (SEGMENT + 1);
    if (segment > 0 && text.charCodeAt(from - 1) !== 0x2e /* . */) return undefined;
    if (!TIME.test(text.slice(from, from + TIME_LENGTH)) || !isUuid(idAt(text, segment))) return undefined;
  }
  const last = segments - 1;
  return {
    text: normalised(text),
    id: idAt(text, last),
    traceId: idAt(text, 0),
    parentId: last === 0 ? undefined : idAt(text, last - 1),
  };
}

/** Start of the run itself as ISO text, microseconds included. */
export const dottedStart = ({ text }: Pick<DottedOrder, 'text'>): string =>
  isoOf(text.slice(-SEGMENT, TIME_LENGTH - SEGMENT));

/** A second spelling of the same ids would be a second place in the tree. */
function normalised(text: string): string {
  return /[A-F]/.test(text) ? text.replace(/[A-F]/g, (letter) => letter.toLowerCase()) : text;
}

/** The segment of a run that starts at `us` microseconds since the epoch. */
export function dottedSegment(us: number, id: string): string {
  const ms = Math.floor(us / 1_000);
  const micros = String(us - ms * 1_000).padStart(3, '0');
  return `${new Date(ms).toISOString().replace(/[-:.Z]/g, '')}${micros}Z${id}`;
}
