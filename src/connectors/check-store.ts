import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import type { ConnectorId, TenantId } from '../ids.ts';
import type { Connector } from './connector.ts';

/** What testing a connector found. */
export type CheckResult = {
  reachable: boolean;
  auth: 'open' | 'required' | 'accepted' | 'refused' | 'unknown';
  error: { code: string; message: string; hint: string } | null;
};

/** The last test of each connector. One of an earlier revision says nothing about this one, and is not shown. */
export type Checks = {
  record(connector: Connector, result: CheckResult): Promise<void>;
  of(tenant: TenantId, connectors: readonly Connector[]): Promise<Map<ConnectorId, CheckResult & { at: number }>>;
};

export function createChecks(options: { database: Database; clock: Clock }): Checks {
  const { query } = options.database;
  return {
    async record(connector, result) {
      const row = { revision: connector.revision, checked_at: options.clock.now(), result: JSON.stringify(result) };
      await query
        .insertInto('connector_checks')
        .values({ tenant: connector.tenant, connector_id: connector.id, ...row })
        .onConflict((conflict) => conflict.columns(['tenant', 'connector_id']).doUpdateSet(row))
        .execute();
    },
    async of(tenant, connectors) {
      if (connectors.length === 0) return new Map();
      const revisions = new Map<string, number>(connectors.map(({ id, revision }) => [id, revision]));
      const rows = await query
        .selectFrom('connector_checks')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('connector_id', 'in', [...revisions.keys()])
        .execute();
      return new Map(
        rows
          .filter((row) => row.revision === revisions.get(row.connector_id))
          .map((row) => [
            row.connector_id as ConnectorId,
            { ...(JSON.parse(row.result) as CheckResult), at: row.checked_at },
          ]),
      );
    },
  };
}
