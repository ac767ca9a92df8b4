import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { ConnectionId, ConnectorId, TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { LifetimeStore } from './lifetime-store.ts';
import type { Refresh } from './refresh.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';

export type KeepAlive = {
  /** Renews what nobody uses before it lapses; at most once a minute. */
  run(): Promise<void>;
};

const EVERY_MS = 60_000;
const ROWS = 500;
/** A round spends this many refreshes at most, so that a long stop does not end in a storm. */
const PER_ROUND = 100;
/** Until the same connection is looked at again, whatever came of it. */
const AGAIN_MS = 3_600_000;
const MAX_TRIED = 50_000;

/**
 * Some services end a grant that is not refreshed for a while. Where the catalogue or the token answer says for how long,
 * an unused connection is refreshed at half of it, unless its connector opts out.
 */
export function createKeepAlive(options: {
  store: Pick<ConnectionStore, 'find'>;
  lifetimes: LifetimeStore;
  refresh: Pick<Refresh, 'renew'>;
  sealing: Pick<Sealing, 'openTokens'>;
  connectors: () => readonly Connector[];
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  clock: Clock;
  log: Log;
}): KeepAlive {
  const { store, lifetimes, refresh, sealing, clock, log } = options;
  const tried = new Map<ConnectionId, number>();
  let ranAt = Number.NEGATIVE_INFINITY;

  const wanted = (connector: Connector | undefined): boolean =>
    connector?.oauth != null && connector.oauth.refreshToken.enabled && connector.oauth.refreshToken.keepAlive;

  async function candidates(now: number): Promise<{ tenant: TenantId; id: ConnectionId }[]> {
    const found: { tenant: TenantId; id: ConnectionId }[] = [];
    for (const connector of options.connectors()) {
      const idle = connector.oauth?.rules.lifetimes.idleSeconds;
      if (idle === undefined || !wanted(connector)) continue;
      found.push(...(await lifetimes.unrenewed(connector.id, now - idle * 500, ROWS)));
    }
    for (const { connector, ...place } of await lifetimes.halfLived(now, ROWS)) {
      const of = options.connectorById(place.tenant, connector as ConnectorId);
      // An end that counts from the consent comes whatever is done; refreshing would only spend requests.
      if (wanted(of) && of?.oauth?.rules.lifetimes.absoluteSeconds === undefined) found.push(place);
    }
    return found;
  }

  return {
    async run() {
      const now = clock.now();
      if (Math.abs(now - ranAt) < EVERY_MS) return;
      ranAt = now;
      if (tried.size > MAX_TRIED) tried.clear();
      let spent = 0;
      for (const { tenant, id } of await candidates(now)) {
        if (spent >= PER_ROUND) return;
        if (Math.abs(now - (tried.get(id) ?? Number.NEGATIVE_INFINITY)) < AGAIN_MS) continue;
        tried.set(id, now);
        const row = await store.find(tenant, id);
        if (row === undefined || row.status !== 'connected' || row.attempt !== null || row.sealed === null) continue;
        // Without a refresh token there is nothing to keep alive, and a refresh would only end the connection early.
        if ((await sealing.openTokens(row)).refresh_token === null) continue;
        spent += 1;
        const { kind } = await refresh.renew(row, 'ahead');
        log.info({ connection: id, outcome: kind }, 'an unused grant was renewed so that it does not lapse');
      }
    },
  };
}
