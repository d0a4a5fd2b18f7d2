/** The app on a database of its own with a fake model server, and calls of its model client. */
import { ModelCallStore } from '../../src/models/model-call.store.js';
import type { ModelCallContext, ModelRequest } from '../../src/models/model-call.js';
import { RecordingModelClient } from '../../src/models/model-client.js';
import type { ModelClientDeps } from '../../src/models/model-client.js';
import { ProviderClient } from '../../src/models/provider-client.js';
import { ProviderGate } from '../../src/models/provider-gate.js';
import { ProviderGateStore } from '../../src/models/provider-gate.store.js';
import type { ProviderSettings } from '../../src/models/model-provider.js';
import { systemClock } from '../../src/platform/clock.js';
import { systemIds } from '../../src/platform/ids.js';
import { systemSleep } from '../../src/platform/sleep.js';
import { startHarness } from '../support/harness.js';
import type { Harness, HarnessOptions } from '../support/harness.js';
import { addModelProvider } from '../support/model-provider.js';
import { startModelServer } from '../support/model-server.js';
import type { ModelServer, ModelServerOptions } from '../support/model-server.js';

export interface World {
  readonly harness: Harness;
  readonly server: ModelServer;
  /** A client like the app's, with other parts where a test needs them. */
  client(parts?: Partial<ModelClientDeps>): RecordingModelClient;
  addProvider(settings?: Partial<ProviderSettings>): Promise<string>;
  request(providerId: string, request?: Partial<ModelRequest>): ModelRequest;
  context(context?: Partial<ModelCallContext>): ModelCallContext;
  close(): Promise<void>;
}

/** Waits that are over at once, and how long they would have been. */
export function noSleep(): { sleep: ModelClientDeps['sleep']; waits: number[] } {
  const waits: number[] = [];
  return {
    waits,
    sleep: async (ms, signal) => {
      signal.throwIfAborted();
      waits.push(ms);
    },
  };
}

export async function createWorld(
  options: { server?: ModelServerOptions; harness?: HarnessOptions } = {},
): Promise<World> {
  const server = await startModelServer(options.server);
  const harness = await startHarness({
    ...options.harness,
    env: { OUTBOUND_ALLOWED_PRIVATE_HOSTS: server.host, ...options.harness?.env },
  });
  const { app, home } = harness;
  const pool = app.writes;
  const gates = new ProviderGateStore();
  let names = 0;
  return {
    harness,
    server,
    client: (parts = {}) =>
      new RecordingModelClient({
        pool,
        calls: new ModelCallStore(),
        providers: app.modelProviders,
        gate: new ProviderGate({ pool, store: gates, ids: systemIds, sleep: systemSleep, log: app.log }),
        gates,
        client: new ProviderClient({ outbound: app.outbound, clock: systemClock }),
        runs: app.runSink,
        clock: systemClock,
        sleep: systemSleep,
        log: app.log,
        metrics: app.metrics,
        ...parts,
      }),
    addProvider: (settings = {}) => {
      names += 1;
      return addModelProvider(app, home, server, { name: `provider ${names}`, ...settings });
    },
    request: (providerId, request = {}) => ({
      providerId,
      model: 'fake-1',
      messages: [
        { role: 'system', content: 'You are a judge.' },
        { role: 'user', content: 'How good is it?' },
      ],
      parameters: {},
      ...request,
    }),
    context: (context = {}) => ({
      workspaceId: home.workspaceId,
      callId: systemIds.uuid(),
      trace: { projectName: 'evaluators', name: 'correctness', metadata: {} },
      signal: new AbortController().signal,
      ...context,
    }),
    close: async () => {
      await harness.close();
      await server.close();
    },
  };
}
