/** What runs on the comparison's threads. */
export { compare } from './compare.js';
export { matrix } from './comparison-matrix.js';
export { estimate } from './estimate.js';
