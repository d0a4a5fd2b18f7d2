/** A provider of a workspace that leads to a fake model server. */
import type { App } from '../../src/app.js';
import { PROVIDER_DEFAULTS } from '../../src/models/model-provider.js';
import type { ProviderSettings } from '../../src/models/model-provider.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Principal } from '../../src/tenancy/principal.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import type { ModelServer } from './model-server.js';

export interface Place {
  readonly organizationId: string;
  readonly workspaceId: string;
}

/** Who may do everything in one workspace. */
export const adminOf = ({ organizationId, workspaceId }: Place): Principal => ({
  keyId: '00000000-0000-4000-8000-000000000001',
  kind: 'service',
  organizationId,
  workspaceId,
  userId: undefined,
  scopes: new Set(SCOPES),
  expiresAtMs: undefined,
});

/** The server's own prices, so that both sides count the same. */
export const SERVER_PRICES = [{ model: '*', input: '2.5', output: '10' }] as const;

/** Its id. The server has to be allowed: OUTBOUND_ALLOWED_PRIVATE_HOSTS. */
export async function addModelProvider(
  app: Pick<App, 'modelProviders'>,
  place: Place,
  server: Pick<ModelServer, 'baseUrl'>,
  settings: Partial<ProviderSettings> = {},
): Promise<string> {
  const made = await inWorkspace(place.workspaceId, () =>
    app.modelProviders.create(adminOf(place), {
      ...PROVIDER_DEFAULTS,
      name: 'fake',
      kind: 'openai_compatible',
      baseUrl: server.baseUrl,
      secret: 'sk-fake-0123456789',
      headers: {},
      defaultModel: 'fake-1',
      prices: SERVER_PRICES,
      ...settings,
    }),
  );
  if (!made.ok) throw new Error(made.problems.map(({ message }) => message).join(' '));
  return made.value.uuid;
}
