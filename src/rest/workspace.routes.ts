/** `/settings`, `/workspaces` and `/tenants` of the LangSmith protocol: where a key is at home. */
import { principalOf, type RouteModule } from '../http/ports.js';
import type { Principal } from '../tenancy/principal.js';
import type { TenantDescription, WorkspaceService } from '../tenancy/workspace.service.js';

/** What else clients expect to be there; roles are not told apart here. */
const toWireWorkspace = (tenant: TenantDescription, principal: Principal) => ({
  ...tenant,
  is_personal: false,
  is_deleted: false,
  read_only: !principal.scopes.has('write'),
  role_id: null,
  role_name: null,
  permissions: [...principal.scopes],
});

export function workspaceRoutes({ workspaces }: { workspaces: WorkspaceService }): RouteModule {
  return {
    name: 'workspaces',
    mount: 'v1',
    register(app) {
      app.get('/settings', { config: { access: 'any' } }, async (request) =>
        workspaces.describeTenant(principalOf(request)),
      );
      for (const path of ['/workspaces', '/tenants']) {
        app.get(path, { config: { access: 'any' } }, async (request) => {
          const principal = principalOf(request);
          const tenants = await workspaces.describeTenants(principal);
          return tenants.map((tenant) => toWireWorkspace(tenant, principal));
        });
      }
    },
  };
}
