import { expect, test } from '@jest/globals';
import { ENGINES, startHarness } from '../support/harness.js';

test.each(ENGINES)('a gateway with workers on %s serves and stops without a trace', async (engine) => {
  const harness = await startHarness({ engine, workers: true });
  const { gql, keys } = harness;
  const answer = await gql('{ viewer { workspace { uuid } scopes } }', {}, { key: keys.full.secret });
  expect(answer.body.errors).toBeUndefined();
  expect(answer.body.data).toEqual({
    viewer: {
      workspace: { uuid: harness.home.workspaceId },
      scopes: ['INGEST', 'READ', 'CONTENT', 'WRITE', 'ADMIN'],
    },
  });
  await harness.close();
});
