import { rfc3339, type Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Database, Query } from '../database/database.ts';
import type { ConnectorId, TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Connection } from './connection.ts';
import { connectionHealth, DAY_MS, warningDays } from './health.ts';
import type { LifetimeStore } from './lifetime-store.ts';
import type { ConnectionStore } from './store.ts';

/** Takes an event with the commit of `at`; its data leave the gateway. */
export type Enqueue = (
  at: Query,
  event: { tenant: TenantId; type: string; data: Record<string, unknown> },
) => Promise<void>;

export type Notices = {
  /** Tells of connections that need their owners, and warns of grants that end: each once. */
  run(): Promise<void>;
};

const AT_ONCE = 100;
const WARN_EVERY_MS = 3_600_000;

/**
 * Finds out from the rows what has to be told, so that it is told whatever led to it and however often a process dies in
 * between: the mark and the event are one commit.
 */
export function createNotices(options: {
  database: Database;
  store: Pick<ConnectionStore, 'find'>;
  lifetimes: LifetimeStore;
  enqueue: Enqueue;
  emailOf: (row: Connection) => Promise<string | null>;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  publicUrl: string;
  clock: Clock;
  log: Log;
}): Notices {
  const { database, store, lifetimes, enqueue, clock, log } = options;
  let warnedAt = Number.NEGATIVE_INFINITY;

  /** What the receiver gets: nothing that opens anything, and nothing that a service said. */
  async function described(row: Connection): Promise<Record<string, unknown>> {
    const connector = options.connectorById(row.tenant, row.connector);
    const { reason, nextStep } = connectionHealth(row, { now: clock.now(), skewMs: null });
    return {
      tenant: row.tenant,
      connection: row.id,
      connector: connector?.name ?? row.connector,
      owner: { ...row.owner, email: await options.emailOf(row) },
      status: row.status,
      code: row.lastError?.code ?? null,
      reason,
      nextStep,
      grantExpiresAt: rfc3339(row.grantExpiresAt),
      reconnectUrl: connector === undefined ? null : `${options.publicUrl}/connect/${row.tenant}/${connector.name}`,
    };
  }

  async function tellOwners(): Promise<void> {
    for (const found of await lifetimes.untold(AT_ONCE)) {
      const row = await store.find(found.tenant, found.id);
      if (row?.status !== 'needs_reconnect' && row?.status !== 'quarantined') continue;
      const data = await described(row);
      const told = await database.transaction(async (at) => {
        if (!(await lifetimes.tell(at, row))) return false;
        await enqueue(at, { tenant: row.tenant, type: `connection.${row.status}`, data });
        return true;
      });
      if (told)
        log.warn({ connection: row.id, connector: row.connector, code: data['code'] }, 'a connection needs its owner');
    }
  }

  async function warnOwners(): Promise<void> {
    const now = clock.now();
    for (const { tenant, id, grantExpiresAt, warnedDays } of await lifetimes.ending(now)) {
      const days = warningDays(grantExpiresAt, now);
      if (days === null || (warnedDays !== null && warnedDays <= days)) continue;
      const row = await store.find(tenant, id);
      if (row === undefined || row.grantExpiresAt !== grantExpiresAt) continue;
      const left = Math.ceil((grantExpiresAt - now) / DAY_MS);
      const data = { ...(await described(row)), daysLeft: left };
      const warned = await database.transaction(async (at) => {
        if (!(await lifetimes.warn(at, { tenant, id, grantExpiresAt, days }))) return false;
        await enqueue(at, { tenant, type: 'connection.grant_ending', data });
        return true;
      });
      if (warned) log.warn({ connection: id, connector: row.connector, daysLeft: left }, 'a grant ends soon');
    }
  }

  return {
    async run() {
      await tellOwners();
      if (Math.abs(clock.now() - warnedAt) < WARN_EVERY_MS) return;
      warnedAt = clock.now();
      await warnOwners();
    },
  };
}
