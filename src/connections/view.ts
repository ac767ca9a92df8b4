import { rfc3339 } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connection, ConnectionStatus, LastError } from './connection.ts';
import { connectionHealth, type Health } from './health.ts';

/** A connection as the admin API, the CLI and the console show it. Times are RFC 3339 in UTC. */
export type ConnectionView = {
  id: string;
  connector: string;
  owner: { type: 'user' | 'tenant'; id: string; email: string | null };
  account: { subject: string | null; label: string | null };
  status: ConnectionStatus;
  health: Health;
  healthReason: string;
  nextStep: string | null;
  warnings: LastError[];
  scopes: { requested: string[]; granted: string[] };
  expiresAt: string | null;
  grantExpiresAt: string | null;
  lastRefreshAt: string | null;
  nextRefreshAt: string | null;
  lastUsedAt: string | null;
  generation: number;
  lastError: LastError | null;
};

/** Reads and never refreshes. */
export function viewOf(
  row: Connection,
  connector: Connector | undefined,
  email: string | null,
  seen: { now: number; skewMs: number | null },
): ConnectionView {
  const { health, reason, nextStep, warnings } = connectionHealth(row, seen);
  return {
    id: row.id,
    connector: connector?.name ?? row.connector,
    owner: { ...row.owner, email },
    account: { subject: row.accountSubject, label: row.accountLabel },
    status: row.status,
    health,
    healthReason: reason,
    nextStep,
    warnings,
    scopes: { requested: row.scopesRequested, granted: row.scopesGranted },
    expiresAt: rfc3339(row.expiresAt),
    grantExpiresAt: rfc3339(row.grantExpiresAt),
    lastRefreshAt: rfc3339(row.lastRefreshAt),
    nextRefreshAt: rfc3339(row.nextRefreshAt),
    lastUsedAt: rfc3339(row.lastUsedAt),
    generation: row.generation,
    lastError: row.lastError,
  };
}
