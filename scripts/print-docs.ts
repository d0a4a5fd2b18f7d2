/** Writes the tables of README.md and docs/ (`--write`) or fails when they are not what the code says (`--check`). */
import { writeFileSync } from 'node:fs';
import { DOCUMENTS, documentFile, readDocument, withTables } from './document-tables.js';

const mode = process.argv[2];
for (const name of DOCUMENTS) {
  const text = readDocument(name);
  const made = withTables(text);
  if (mode === '--write') {
    writeFileSync(documentFile(name), made);
  } else if (made !== text) {
    process.stderr.write(`${name} is stale: run "npm run docs" and commit the difference.\n`);
    process.exitCode = 1;
  }
}
