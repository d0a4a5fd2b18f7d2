/** What runs on the comparison's threads. */
export { compare } from './compare.js';
export { estimate } from './estimate.js';
