import type { Database } from '../database/database.ts';
import type { TenantId } from '../ids.ts';
import type { ConnectionStatus, LastError, Terms } from './connection.ts';
import type { HealthFacts } from './health.ts';

export type HealthRow = HealthFacts & {
  connector: string;
  tokenEndpoint: string | null;
  lastRefreshAt: number | null;
  nextRefreshAt: number | null;
};

export type HealthStore = ReturnType<typeof createHealthStore>;

/** Connections without their secrets, many at a time. */
export function createHealthStore({ query }: Database) {
  return {
    /** Those that were made and not ended. @param sight.owner a user, who sees the shared ones too; null: everybody's */
    async rows(tenant: TenantId, connectors: readonly string[], sight: { owner: string | null }): Promise<HealthRow[]> {
      if (connectors.length === 0) return [];
      let select = query
        .selectFrom('connections')
        .select([
          'connector_id',
          'status',
          'issued_at',
          'expires_at',
          'grant_expires_at',
          'scopes_granted',
          'terms',
          'last_refresh_at',
          'next_refresh_at',
          'last_error',
        ])
        .where('tenant', '=', tenant)
        .where('connector_id', 'in', connectors)
        .where('status', 'not in', ['pending', 'revoked']);
      const { owner } = sight;
      if (owner !== null) {
        select = select.where((where) => where.or([where('owner_type', '=', 'tenant'), where('owner_id', '=', owner)]));
      }
      return (await select.execute()).map((row) => ({
        connector: row.connector_id,
        status: row.status as ConnectionStatus,
        issuedAt: row.issued_at,
        expiresAt: row.expires_at,
        grantExpiresAt: row.grant_expires_at,
        scopesGranted: JSON.parse(row.scopes_granted) as string[],
        tokenEndpoint: (JSON.parse(row.terms) as Terms | null)?.tokenEndpoint ?? null,
        lastRefreshAt: row.last_refresh_at,
        nextRefreshAt: row.next_refresh_at,
        lastError: row.last_error === null ? null : (JSON.parse(row.last_error) as LastError),
      }));
    },
  };
}
