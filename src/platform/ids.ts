/** Ids: UUIDs everywhere, version 7 where we make them, so that key order is time order. */
import { v7 } from 'uuid';

export interface Ids {
  /** A new id, lower case with dashes. */
  uuid(): string;
}

export const systemIds: Ids = { uuid: () => v7() };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Any version: clients send 4, 7 and padded span ids. */
export function isUuid(value: unknown): value is string {
  return typeof value === 'string' && UUID.test(value);
}

/** Milliseconds since the epoch in a version 7 id; undefined for every other id. */
export function uuidTimeMs(id: string): number | undefined {
  if (id.charCodeAt(14) !== 0x37 /* 7 */) return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}
