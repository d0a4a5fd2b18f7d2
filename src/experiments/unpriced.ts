/** Spend caps need prices: which model of what is about to be started has none. */
import type { EvaluatorVersion } from '../evaluators/evaluation.js';
import { hasPrice } from '../models/model-provider.js';
import type { ModelProviderService } from '../models/model-provider.service.js';
import { problem } from '../platform/result.js';
import type { Problem } from '../platform/result.js';
import type { Principal } from '../tenancy/principal.js';
import type { Target } from './target.js';

/** A cap over calls of unknown cost is none. Undefined where every model, of target and judges, has a price. */
export async function unpricedProblem(
  source: Pick<ModelProviderService, 'find'>,
  principal: Principal,
  target: Target,
  versions: readonly EvaluatorVersion[],
): Promise<Problem | undefined> {
  const asked = [
    ...(target.kind === 'model' ? [target] : []),
    ...versions.flatMap(({ config: { providerId, model } }) =>
      typeof providerId === 'string' && typeof model === 'string' ? [{ providerId, model }] : [],
    ),
  ].map(({ providerId, model }) => ({ providerId: providerId.toLowerCase(), model }));
  if (asked.length === 0) return undefined;
  const providers = await source.find(principal, [...new Set(asked.map(({ providerId }) => providerId))]);
  const unpriced = asked.find(({ providerId, model }) => {
    const provider = providers.find(({ uuid }) => uuid === providerId);
    return provider !== undefined && !hasPrice(provider, model);
  });
  return (
    unpriced &&
    problem(
      'NOT_ALLOWED',
      `The provider has no price for the model "${unpriced.model}": a spend cap cannot be kept. Set the price, or leave the cap away.`,
      ['spendCap'],
    )
  );
}
