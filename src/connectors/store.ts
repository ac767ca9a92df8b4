import type { Database } from '../database/database.ts';
import type { ConnectorId, TenantId } from '../ids.ts';
import type { ConnectorDocument } from './connector.ts';
import type { UpstreamTool } from './tools.ts';

export type ConnectorRow = {
  tenant: TenantId;
  id: ConnectorId;
  name: string;
  document: ConnectorDocument;
  /** Sealed JSON: path → plain secret; null when there is none. Bound to the revision. */
  sealed: string | null;
  source: 'api' | 'file';
  revision: number;
  createdAt: number;
  updatedAt: number;
};

export type Store = {
  all(): Promise<ConnectorRow[]>;
  byId(tenant: TenantId, id: ConnectorId): Promise<ConnectorRow | undefined>;
  byName(tenant: TenantId, name: string): Promise<ConnectorRow | undefined>;
  /** False when the name is taken. */
  insert(row: ConnectorRow): Promise<boolean>;
  /** Writes `row` over the revision before it; false when that is not the current one. */
  replace(row: ConnectorRow): Promise<boolean>;
  /** False when it was changed or removed in the meantime. */
  remove(row: ConnectorRow): Promise<boolean>;
  readCatalogue(
    tenant: TenantId,
    id: ConnectorId,
    audience: string,
  ): Promise<{ tools: UpstreamTool[]; fetchedAt: number } | undefined>;
  writeCatalogue(tenant: TenantId, id: ConnectorId, audience: string, tools: string, fetchedAt: number): Promise<void>;
};

type StoredRow = {
  tenant: string;
  id: string;
  name: string;
  document: string;
  sealed: string | null;
  source: string;
  revision: number;
  created_at: number;
  updated_at: number;
};

const toRow = (stored: StoredRow): ConnectorRow => ({
  tenant: stored.tenant as TenantId,
  id: stored.id as ConnectorId,
  name: stored.name,
  document: JSON.parse(stored.document) as ConnectorDocument,
  sealed: stored.sealed,
  source: stored.source as 'api' | 'file',
  revision: stored.revision,
  createdAt: stored.created_at,
  updatedAt: stored.updated_at,
});

export function createStore(database: Database): Store {
  const { query } = database;
  const connectors = (tenant: TenantId) => query.selectFrom('connectors').selectAll().where('tenant', '=', tenant);
  return {
    all: async () => (await query.selectFrom('connectors').selectAll().execute()).map(toRow),
    async byId(tenant, id) {
      const stored = await connectors(tenant).where('id', '=', id).executeTakeFirst();
      return stored === undefined ? undefined : toRow(stored);
    },
    async byName(tenant, name) {
      const stored = await connectors(tenant).where('name', '=', name).executeTakeFirst();
      return stored === undefined ? undefined : toRow(stored);
    },
    async insert(row) {
      const result = await query
        .insertInto('connectors')
        .values({
          tenant: row.tenant,
          id: row.id,
          name: row.name,
          document: JSON.stringify(row.document),
          sealed: row.sealed,
          source: row.source,
          revision: row.revision,
          created_at: row.createdAt,
          updated_at: row.updatedAt,
        })
        .onConflict((conflict) => conflict.columns(['tenant', 'name']).doNothing())
        .executeTakeFirst();
      return result.numInsertedOrUpdatedRows === 1n;
    },
    async replace(row) {
      const result = await query
        .updateTable('connectors')
        .set({
          document: JSON.stringify(row.document),
          sealed: row.sealed,
          source: row.source,
          revision: row.revision,
          updated_at: row.updatedAt,
        })
        .where('tenant', '=', row.tenant)
        .where('id', '=', row.id)
        .where('revision', '=', row.revision - 1)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },
    remove: async (row) =>
      await database.transaction(async (transaction) => {
        const result = await transaction
          .deleteFrom('connectors')
          .where('tenant', '=', row.tenant)
          .where('id', '=', row.id)
          .where('revision', '=', row.revision)
          .executeTakeFirst();
        if (result.numDeletedRows !== 1n) return false;
        for (const table of ['tool_catalogue', 'connector_checks'] as const) {
          await transaction
            .deleteFrom(table)
            .where('tenant', '=', row.tenant)
            .where('connector_id', '=', row.id)
            .execute();
        }
        return true;
      }),
    async readCatalogue(tenant, id, audience) {
      const stored = await query
        .selectFrom('tool_catalogue')
        .select(['tools', 'fetched_at'])
        .where('tenant', '=', tenant)
        .where('connector_id', '=', id)
        .where('audience', '=', audience)
        .executeTakeFirst();
      if (stored === undefined) return undefined;
      return { tools: JSON.parse(stored.tools) as UpstreamTool[], fetchedAt: stored.fetched_at };
    },
    async writeCatalogue(tenant, id, audience, tools, fetchedAt) {
      await query
        .insertInto('tool_catalogue')
        .values({ tenant, connector_id: id, audience, tools, fetched_at: fetchedAt })
        .onConflict((conflict) =>
          conflict.columns(['tenant', 'connector_id', 'audience']).doUpdateSet({ tools, fetched_at: fetchedAt }),
        )
        .execute();
    },
  };
}
