import type { Database } from '../database/database.ts';

export type DataKeyRow = { id: string; wrapped: string; retiredAt: number | null };
export type SecretRow = { name: string; version: number; createdAt: number; updatedAt: number };

export type VaultStore = ReturnType<typeof createVaultStore>;

export function createVaultStore({ query }: Database) {
  return {
    async keyCheck(): Promise<string | undefined> {
      const row = await query.selectFrom('instance').select('value').where('name', '=', 'key_check').executeTakeFirst();
      return row?.value;
    },

    /** The check that stands afterwards, which may be another process's. */
    async proposeKeyCheck(value: string): Promise<string> {
      await query
        .insertInto('instance')
        .values({ name: 'key_check', value })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      return (await this.keyCheck()) ?? value;
    },

    async anyDataKey(): Promise<{ tenant: string; id: string; wrapped: string } | undefined> {
      return await query.selectFrom('data_keys').select(['tenant', 'id', 'wrapped']).limit(1).executeTakeFirst();
    },

    async dataKeys(tenant: string): Promise<DataKeyRow[]> {
      const rows = await query
        .selectFrom('data_keys')
        .select(['id', 'wrapped', 'retired_at'])
        .where('tenant', '=', tenant)
        .execute();
      return rows.map((row) => ({ id: row.id, wrapped: row.wrapped, retiredAt: row.retired_at }));
    },

    /** False when the id is taken already. */
    async addDataKey(row: {
      tenant: string;
      id: string;
      wrapped: string;
      keySource: string;
      at: number;
    }): Promise<boolean> {
      const inserted = await query
        .insertInto('data_keys')
        .values({
          tenant: row.tenant,
          id: row.id,
          wrapped: row.wrapped,
          key_source: row.keySource,
          created_at: row.at,
          retired_at: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      return Number(inserted.numInsertedOrUpdatedRows ?? 0) === 1;
    },

    async secret(tenant: string, name: string): Promise<{ sealed: string; version: number } | undefined> {
      return await query
        .selectFrom('secrets')
        .select(['sealed', 'version'])
        .where('tenant', '=', tenant)
        .where('name', '=', name)
        .executeTakeFirst();
    },

    async listSecrets(tenant: string): Promise<SecretRow[]> {
      const rows = await query
        .selectFrom('secrets')
        .select(['name', 'version', 'created_at', 'updated_at'])
        .where('tenant', '=', tenant)
        .orderBy('name')
        .execute();
      return rows.map((row) => ({
        name: row.name,
        version: row.version,
        createdAt: row.created_at,
        updatedAt: row.updated_at,
      }));
    },

    /** Writes version `version` over version `version - 1`; false when that is not what stands there. */
    async writeSecret(row: {
      tenant: string;
      name: string;
      sealed: string;
      version: number;
      at: number;
    }): Promise<boolean> {
      if (row.version === 1) {
        const inserted = await query
          .insertInto('secrets')
          .values({
            tenant: row.tenant,
            name: row.name,
            sealed: row.sealed,
            version: 1,
            created_at: row.at,
            updated_at: row.at,
          })
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        return Number(inserted.numInsertedOrUpdatedRows ?? 0) === 1;
      }
      const updated = await query
        .updateTable('secrets')
        .set({ sealed: row.sealed, version: row.version, updated_at: row.at })
        .where('tenant', '=', row.tenant)
        .where('name', '=', row.name)
        .where('version', '=', row.version - 1)
        .executeTakeFirst();
      return Number(updated.numUpdatedRows) === 1;
    },

    async removeSecret(tenant: string, name: string): Promise<boolean> {
      const removed = await query
        .deleteFrom('secrets')
        .where('tenant', '=', tenant)
        .where('name', '=', name)
        .executeTakeFirst();
      return Number(removed.numDeletedRows) === 1;
    },
  };
}
