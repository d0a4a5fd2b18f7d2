/** `/feedback`, `/feedback/tokens` and `/feedback-configs` of the LangSmith protocol. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { FeedbackConfigService } from '../feedback/feedback-config.service.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { FeedbackFilter } from '../feedback/feedback.store.js';
import type {
  FeedbackTokenDraft,
  FeedbackTokenService,
  TokenFeedback,
} from '../feedback/feedback-token.service.js';
import { principalOf, type RouteModule } from '../http/ports.js';
import type { Clock } from '../platform/clock.js';
import { AppError } from '../platform/errors.js';
import type { PageWindow } from '../platform/keyset.js';
import {
  configBody,
  configPatch,
  feedbackBody,
  feedbackPatch,
  tokenBody,
  tokenFeedbackBody,
  toWireConfig,
  toWireFeedback,
  toWireToken,
} from './feedback.wire.js';
import { baseUrl, idParam, parseBody, Query, unwrap } from './wire-values.js';

export interface FeedbackRoutesOptions {
  readonly feedback: FeedbackService;
  readonly configs: FeedbackConfigService;
  readonly tokens: FeedbackTokenService;
  readonly clock: Clock;
  readonly publicUrl: string | undefined;
}

const MAX_PAGE = 1_000;

export function feedbackRoutes(options: FeedbackRoutesOptions): RouteModule {
  return {
    name: 'feedback',
    mount: 'v1',
    register(app) {
      registerFeedback(app, options);
      registerTokens(app, options);
      registerConfigs(app, options);
    },
  };
}

function registerFeedback(app: FastifyInstance, { feedback }: FeedbackRoutesOptions): void {
  // A key that may only send runs may judge them too, so the scope is the service's to check.
  for (const path of ['/feedback', '/feedback/eager']) {
    app.post(path, { config: { access: 'any', rateClass: 'ingest' } }, async (request) => {
      const [result] = await feedback.create(principalOf(request), [parseBody(feedbackBody, request.body)]);
      if (result === undefined) throw new Error('a draft came back without a result');
      return toWireFeedback(unwrap(result));
    });
  }

  app.get('/feedback', { config: { access: 'read' } }, async (request) => {
    const query = new Query(request);
    const { limit, offset } = query.page(MAX_PAGE);
    const window = { ...fromStart(limit), offset };
    const rows = await feedback.list(principalOf(request), feedbackFilter(query), window);
    return rows.slice(0, limit).map(toWireFeedback);
  });

  app.get('/feedback/:id', { config: { access: 'read' } }, async (request) => {
    const [found] = await feedback.find(principalOf(request), [idParam(request, 'Feedback')]);
    if (found === undefined) throw new AppError('NOT_FOUND', 'Feedback not found.');
    return toWireFeedback(found);
  });

  app.patch('/feedback/:id', { config: { access: 'write' } }, async (request) => {
    const patch = parseBody(feedbackPatch, request.body);
    return toWireFeedback(
      unwrap(await feedback.update(principalOf(request), idParam(request, 'Feedback'), patch)),
    );
  });

  app.delete('/feedback/:id', { config: { access: 'write' } }, async (request) => {
    const deleted = await feedback.delete(principalOf(request), [idParam(request, 'Feedback')]);
    if (deleted.length === 0) throw new AppError('NOT_FOUND', 'Feedback not found.');
    return {};
  });
}

const fromStart = (limit: number): PageWindow => ({ limit, backward: false, boundary: undefined });

function feedbackFilter(query: Query): FeedbackFilter {
  const level = query.one('level');
  if (level !== undefined && level !== 'run' && level !== 'session') {
    throw new AppError('UNPROCESSABLE', 'level must be "run" or "session".');
  }
  const values = {
    runIds: query.uuids('run'),
    projectIds: query.uuids('session'),
    keys: query.all('key'),
    sourceTypes: query.all('source'),
    userIds: query.all('user'),
    hasComment: query.flag('has_comment'),
    hasScore: query.flag('has_score'),
    level,
    createdFrom: query.time('min_created_at'),
    createdTo: query.time('max_created_at'),
    comparativeExperimentId: query.uuids('comparative_experiment_id')?.[0],
  };
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

// ── Tokens ─────────────────────────────────────────────────────────────────────────────────────────────────

const MINUTE_MS = 60_000;

function registerTokens(app: FastifyInstance, { tokens, clock, publicUrl }: FeedbackRoutesOptions): void {
  const toDraft = (body: z.output<typeof tokenBody>): FeedbackTokenDraft => {
    const { days, hours, minutes } = body.expires_in ?? {};
    const lifeMs = (((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * MINUTE_MS;
    const relative = body.expires_in ? new Date(clock.now().getTime() + lifeMs) : undefined;
    return {
      id: body.id ?? undefined,
      runId: body.run_id,
      key: body.feedback_key,
      config: body.feedback_config ?? undefined,
      expiresAt: body.expires_at === undefined ? relative : new Date(body.expires_at),
    };
  };

  app.post('/feedback/tokens', { config: { access: 'any' } }, async (request) => {
    const several = Array.isArray(request.body);
    const bodies = several
      ? parseBody(z.array(tokenBody), request.body)
      : [parseBody(tokenBody, request.body)];
    const created = unwrap(await tokens.create(principalOf(request), bodies.map(toDraft)));
    const base = baseUrl(request, publicUrl);
    const answers = created.map((token) => toWireToken(token, base));
    return several ? answers : answers[0];
  });

  app.get('/feedback/tokens', { config: { access: 'read' } }, async (request) => {
    const query = new Query(request);
    const [runId] = query.uuids('run_id') ?? [];
    if (runId === undefined) throw new AppError('UNPROCESSABLE', 'run_id is required.');
    const listed = await tokens.list(principalOf(request), runId, query.page(MAX_PAGE));
    const base = baseUrl(request, publicUrl);
    return listed.map((token) => toWireToken(token, base));
  });

  const tokenOf = (params: unknown): string => (params as { token: string }).token;

  app.post('/feedback/tokens/:token', { config: { access: 'public' } }, async (request) => {
    const { score, value, comment, correction, metadata } = parseBody(tokenFeedbackBody, request.body ?? {});
    return {
      id: unwrap(
        await tokens.redeem(tokenOf(request.params), said({ score, value, comment, correction, metadata })),
      ).id,
    };
  });

  // For links in mails: a browser can only follow them.
  app.get('/feedback/tokens/:token', { config: { access: 'public' } }, async (request) => {
    const query = new Query(request);
    const score = query.one('score');
    const number = score === undefined || score === '' ? undefined : Number(score);
    if (number !== undefined && !Number.isFinite(number)) {
      throw new AppError('UNPROCESSABLE', 'score must be a number.');
    }
    const redeemed = await tokens.redeem(
      tokenOf(request.params),
      said({
        score: number,
        value: query.one('value'),
        comment: query.one('comment'),
        correction: query.one('correction'),
      }),
    );
    return { id: unwrap(redeemed).id };
  });
}

const said = (parts: { [Part in keyof TokenFeedback]: TokenFeedback[Part] | undefined }): TokenFeedback =>
  Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined));

// ── Configs ────────────────────────────────────────────────────────────────────────────────────────────────

function registerConfigs(app: FastifyInstance, { configs }: FeedbackRoutesOptions): void {
  app.post('/feedback-configs', { config: { access: 'write' } }, async (request) => {
    const body = parseBody(configBody, request.body);
    const principal = principalOf(request);
    const result = await configs.create(
      principal,
      body.feedback_key,
      body.feedback_config,
      body.is_lower_score_better ?? false,
    );
    // The protocol has 400 here, where everything else that exists already is 409.
    if (!result.ok && result.problems[0]?.code === 'ALREADY_EXISTS') {
      throw new AppError('BAD_USER_INPUT', result.problems[0].message);
    }
    return toWireConfig(unwrap(result), principal.workspaceId);
  });

  app.get('/feedback-configs', { config: { access: 'read' } }, async (request) => {
    const query = new Query(request);
    const principal = principalOf(request);
    const { limit, offset } = query.page(MAX_PAGE);
    const keys = query.all('key');
    const nameContains = query.one('name_contains');
    const filter = { ...(keys && { keys }), ...(nameContains !== undefined && { nameContains }) };
    const rows = await configs.list(principal, filter, { ...fromStart(limit), offset });
    return rows.slice(0, limit).map((config) => toWireConfig(config, principal.workspaceId));
  });

  app.patch('/feedback-configs', { config: { access: 'write' } }, async (request) => {
    const body = parseBody(configPatch, request.body);
    const principal = principalOf(request);
    const patch = {
      ...(body.feedback_config && { definition: body.feedback_config }),
      ...(typeof body.is_lower_score_better === 'boolean' && {
        isLowerScoreBetter: body.is_lower_score_better,
      }),
    };
    return toWireConfig(
      unwrap(await configs.update(principal, body.feedback_key, patch)),
      principal.workspaceId,
    );
  });

  app.delete('/feedback-configs', { config: { access: 'write' } }, async (request, reply) => {
    const key = new Query(request).one('feedback_key');
    if (key === undefined) throw new AppError('UNPROCESSABLE', 'feedback_key is required.');
    unwrap(await configs.delete(principalOf(request), key));
    return reply.code(204).send();
  });
}
