/** What editors of filters ask: the vocabulary, and whether a text is a filter. Reads no data. */
import { Arg, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { MAX_FILTER_DEPTH, MAX_FILTER_LENGTH, MAX_FILTER_NODES, MAX_LIST_LENGTH } from './filter-check.js';
import { checkFilter, parseFilter, type FilterCheck } from './filter-text.js';
import { filterNeeds } from './filter.plan.js';
import { FilterValidation, FilterVocabulary } from './filter.types.js';
import { OPERATORS, VOCABULARY, type FieldSpec, type OperatorSpec } from './vocabulary.js';

interface VocabularyView {
  readonly fields: readonly FieldSpec[];
  readonly operators: readonly OperatorSpec[];
  readonly maxLength: number;
  readonly maxNodes: number;
  readonly maxDepth: number;
  readonly maxListLength: number;
}

@Resolver()
export class FilterResolver {
  @RequiresAccess('authenticated')
  @Query(() => FilterVocabulary, { description: 'The fields and operators of the filter language.' })
  filterVocabulary(): VocabularyView {
    return {
      fields: VOCABULARY,
      operators: OPERATORS,
      maxLength: MAX_FILTER_LENGTH,
      maxNodes: MAX_FILTER_NODES,
      maxDepth: MAX_FILTER_DEPTH,
      maxListLength: MAX_LIST_LENGTH,
    };
  }

  @RequiresAccess('authenticated')
  @Query(() => FilterValidation, { description: 'Judges a filter without running it.' })
  validateFilter(@Arg('filter', () => String) filter: string): FilterCheck & { needsContent?: boolean } {
    const check = checkFilter(filter);
    return check.valid
      ? { ...check, needsContent: filterNeeds({ run: parseFilter(filter) }).byContent }
      : check;
  }
}
