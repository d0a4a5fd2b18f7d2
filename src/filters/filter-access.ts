/** Who may ask what: a filter that looks into content is an oracle for it. */
import { AppError } from '../platform/errors.js';
import type { Principal } from '../tenancy/principal.js';
import type { RunFilters } from './filter.js';
import { filterNeeds } from './filter.plan.js';

/**
 * @throws AppError FORBIDDEN when the filters look into inputs, outputs, error text or comments and the caller may not. Whether
 * a run failed at all is no content.
 */
export function assertFilterAllowed(principal: Principal, filters: RunFilters): void {
  if (principal.scopes.has('content') || !filterNeeds(filters).byContent) return;
  throw new AppError(
    'FORBIDDEN',
    'Filters on inputs, outputs, error text, comments and search need the scope "content".',
    {
      details: { missingScope: 'content' },
    },
  );
}
