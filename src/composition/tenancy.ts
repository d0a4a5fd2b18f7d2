/** Who may do what, and how much of it. */
import { createRedis } from '../platform/redis.js';
import { Authenticator } from '../tenancy/authenticator.js';
import { KeyService } from '../tenancy/key.service.js';
import { KeyStore } from '../tenancy/key.store.js';
import { MemberService } from '../tenancy/member.service.js';
import { MemberStore } from '../tenancy/member.store.js';
import { LocalRateLimiter, limitShapes } from '../tenancy/rate-limiter.js';
import type { RateLimiter } from '../tenancy/rate-limiter.js';
import { RedisRateLimiter } from '../tenancy/redis-rate-limiter.js';
import { WorkspaceService } from '../tenancy/workspace.service.js';
import { WorkspaceStore } from '../tenancy/workspace.store.js';
import { clock, ids } from './foundation.js';
import type { AppOptions, Foundation } from './foundation.js';

export function createTenancy(foundation: Foundation, { pepper, lifecycle }: AppOptions) {
  const { prisma, writes, reads, idempotency, doorbell, log } = foundation;
  const members = new MemberStore({ db: reads });
  const keys = new KeyStore({ db: writes });
  const authenticator = new Authenticator({ pepper, keys, clock, doorbell, log });
  lifecycle.onStop('authenticator', () => authenticator.close());
  return {
    authenticator,
    keys: new KeyService({ pool: writes, pepper, keys, members, idempotency, doorbell, ids, clock }),
    workspaces: new WorkspaceService({
      workspaces: new WorkspaceStore({ prisma }),
      idempotency,
      doorbell,
      ids,
      clock,
    }),
    members: new MemberService({ pool: writes, members, keys, doorbell, ids, clock }),
  };
}

export function createRateLimiter(
  { redisUrl, log }: Foundation,
  { config, lifecycle }: AppOptions,
): RateLimiter {
  const shapes = limitShapes({
    ingest: config.limits.ingestRequestsPerMinute,
    api: config.limits.apiRequestsPerMinute,
    cost: config.limits.graphqlCostPerMinute,
  });
  if (redisUrl === undefined) return new LocalRateLimiter({ shapes, clock });
  const redis = createRedis({ url: redisUrl, name: 'limits', use: 'commands', log });
  lifecycle.onStop('redis limits', () => Promise.resolve(redis.disconnect()));
  return new RedisRateLimiter({ redis, shapes, clock, log });
}
