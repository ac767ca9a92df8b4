import { rfc3339, type Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Principal } from '../identity/principal.ts';
import type { LastError } from './connection.ts';
import type { EndpointWatch } from './endpoint-watch.ts';
import { connectionHealth, worst, type ConnectionHealth, type Health } from './health.ts';
import type { HealthRow, HealthStore } from './health-store.ts';

/** The connections of one connector in the sight of one person. Times are RFC 3339 in UTC. */
export type ConnectionsHealth = {
  all: ConnectionHealth[];
  count: Record<Health, number>;
  /** The latest and the soonest. */
  lastRefreshAt: string | null;
  nextRefreshAt: string | null;
  /** Of the worst connection. */
  lastError: LastError | null;
};

/** By connector id; a connector without a connection has no entry. */
export function createHealthView(deps: { store: HealthStore; watch: Pick<EndpointWatch, 'skewMs'>; clock: Clock }) {
  const { store, watch, clock } = deps;
  return async (
    connectors: readonly Connector[],
    viewer: Pick<Principal, 'tenant' | 'user' | 'role'>,
  ): Promise<Map<string, ConnectionsHealth>> => {
    const ids = connectors.filter(({ connection }) => connection !== null).map(({ id }) => id);
    const owner = viewer.role === 'owner' ? null : (viewer.user ?? '');
    const byConnector = Map.groupBy(await store.rows(viewer.tenant, ids, { owner }), ({ connector }) => connector);
    const now = clock.now();
    return new Map([...byConnector].map(([id, rows]) => [id, summary(rows, now)]));
  };

  function summary(rows: readonly HealthRow[], now: number): ConnectionsHealth {
    const all = rows.map((row) => connectionHealth(row, { now, skewMs: watch.skewMs(row.tokenEndpoint ?? '') }));
    const count = { healthy: 0, unhealthy: 0, unknown: 0 };
    for (const { health } of all) count[health] += 1;
    const last = rows.map((row) => row.lastRefreshAt).filter((at) => at !== null);
    const next = rows.map((row) => row.nextRefreshAt).filter((at) => at !== null);
    return {
      all,
      count,
      lastRefreshAt: last.length === 0 ? null : rfc3339(Math.max(...last)),
      nextRefreshAt: next.length === 0 ? null : rfc3339(Math.min(...next)),
      lastError: worst(all.map(({ health }, index) => ({ health, error: rows[index]?.lastError })))?.error ?? null,
    };
  }
}
