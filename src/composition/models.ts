/** Language models, and the way out to what else users name an address for. */
import type { RunSink } from '../ingest/intake.js';
import { ModelCallStore } from '../models/model-call.store.js';
import { RecordingModelClient } from '../models/model-client.js';
import { ModelProviderService } from '../models/model-provider.service.js';
import { ModelProviderStore } from '../models/model-provider.store.js';
import { ModelSpend } from '../models/model-spend.js';
import { ProviderClient } from '../models/provider-client.js';
import { ProviderGate } from '../models/provider-gate.js';
import { ProviderGateStore } from '../models/provider-gate.store.js';
import { ProviderTrial } from '../models/provider-trial.js';
import { OutboundClient } from '../platform/outbound.js';
import { systemSleep } from '../platform/sleep.js';
import { Vault } from '../platform/vault.js';
import { clock, ids } from './foundation.js';
import type { AppOptions, Foundation } from './foundation.js';

/** Language models and what else users name an address for. */
export function createModels(
  { writes: pool, idempotency, metrics, log }: Foundation,
  { config, vaultKeys, lifecycle }: AppOptions,
  runs: RunSink,
) {
  const outbound = new OutboundClient({ allowedHosts: config.outbound.allowedHosts });
  lifecycle.onStop('outbound', () => outbound.close());
  const vault = new Vault({ keys: vaultKeys });
  const calls = new ModelCallStore();
  const gates = new ProviderGateStore();
  const providers = new ModelProviderService({
    pool,
    store: new ModelProviderStore(),
    vault,
    outbound,
    idempotency,
    ids,
    clock,
  });
  const client = new ProviderClient({ outbound, clock });
  const gate = new ProviderGate({ pool, store: gates, ids, sleep: systemSleep, log });
  return {
    outbound,
    vault,
    modelProviders: providers,
    modelSpend: new ModelSpend({ pool, calls }),
    providerTrial: new ProviderTrial({ providers, gate, client }),
    models: new RecordingModelClient({
      pool,
      calls,
      providers,
      gate,
      gates,
      client,
      runs,
      clock,
      sleep: systemSleep,
      metrics,
      log,
    }),
  };
}
