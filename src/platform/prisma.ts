/** The Prisma client, for plain single-table work. Runs, feed and other hot paths are SQL in their stores. */
import { PrismaPg } from '@prisma/adapter-pg';
import type pg from 'pg';
import { PrismaClient } from '../generated/prisma/client.js';

export type { PrismaClient } from '../generated/prisma/client.js';

/** A client on a pool of ours: its timeouts and its size then hold for Prisma's statements too. */
export function createPrisma(pool: pg.Pool): PrismaClient {
  return new PrismaClient({ adapter: new PrismaPg(pool) });
}
