/**
 * `eventually` with a deadline for the feed: its horizon waits for every open transaction of the server, such as
 * the `create database` of test files that run beside.
 */
import { eventually } from '../../support/eventually.js';

export const patiently: typeof eventually = (check, options) =>
  eventually(check, { timeoutMs: 30_000, ...options });
