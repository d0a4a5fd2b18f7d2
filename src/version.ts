/** This program's version; the same as package.json's (test/conformance/version.test.ts). */
export const VERSION = '0.1.0';
