/** What runs on the comparison's threads. */
import { compare } from './compare.js';

export const run = compare;
