import type { Clock } from '../clock.ts';
import type { Connector } from './connector.ts';
import type { Store } from './store.ts';
import type { UpstreamTool } from './tools.ts';

/** `anonymous`, `tenant` for a shared credential, or the id of the user whose credential listed the tools. */
export type Audience = string;

/** What upstreams listed last, for showing tools when nobody is connected. */
export type Catalogue = {
  /** What this audience saw, else what anyone may see; never what another user's credential listed. */
  tools(
    connector: Connector,
    audience: Audience,
  ): Promise<{ tools: UpstreamTool[]; fetchedAt: number; audience: Audience } | undefined>;
  /** False when the list is too large to be kept. */
  record(connector: Connector, audience: Audience, tools: readonly UpstreamTool[]): Promise<boolean>;
};

const MAX_BYTES = 4 * 1024 * 1024;

export function createCatalogue({ store, clock }: { store: Store; clock: Clock }): Catalogue {
  return {
    async tools(connector, audience) {
      for (const candidate of new Set([audience, 'tenant', 'anonymous'])) {
        const found = await store.readCatalogue(connector.tenant, connector.id, candidate);
        if (found !== undefined) return { ...found, audience: candidate };
      }
      return undefined;
    },
    async record(connector, audience, tools) {
      const text = JSON.stringify(tools);
      if (text.length > MAX_BYTES) return false;
      await store.writeCatalogue(connector.tenant, connector.id, audience, text, clock.now());
      return true;
    },
  };
}
