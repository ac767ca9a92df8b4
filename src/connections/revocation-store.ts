import type { Database, Query } from '../database/database.ts';
import type { ConnectionId, TenantId } from '../ids.ts';

/** Tokens still to be revoked at a service. `sealed` holds them and where they go. */
export type RevocationRow = {
  tenant: TenantId;
  id: string;
  connection: ConnectionId;
  sealed: string;
  attempts: number;
  nextAttemptAt: number;
  expiresAt: number;
};

export type RevocationStore = ReturnType<typeof createRevocationStore>;

/** The outbox of revocations; rows are put in by whoever ends a connection, in the same commit. */
export function createRevocationStore({ query }: Database) {
  return {
    add: async (row: RevocationRow): Promise<void> => await insertRevocation(query, row),

    async due(now: number, limit: number): Promise<RevocationRow[]> {
      const rows = await query
        .selectFrom('revocations')
        .selectAll()
        .where('next_attempt_at', '<=', now)
        .orderBy('next_attempt_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        tenant: row.tenant as TenantId,
        id: row.id,
        connection: row.connection_id as ConnectionId,
        sealed: row.sealed,
        attempts: row.attempts,
        nextAttemptAt: row.next_attempt_at,
        expiresAt: row.expires_at,
      }));
    },

    /** Claims a revocation for one try; false when another process has it. */
    async claim(row: RevocationRow, nextAttemptAt: number): Promise<boolean> {
      const result = await query
        .updateTable('revocations')
        .set({ attempts: row.attempts + 1, next_attempt_at: nextAttemptAt })
        .where('tenant', '=', row.tenant)
        .where('id', '=', row.id)
        .where('attempts', '=', row.attempts)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async remove(row: { tenant: TenantId; id: string }): Promise<void> {
      await query.deleteFrom('revocations').where('tenant', '=', row.tenant).where('id', '=', row.id).execute();
    },
  };
}

export async function insertRevocation(at: Query, row: RevocationRow): Promise<void> {
  await at
    .insertInto('revocations')
    .values({
      tenant: row.tenant,
      id: row.id,
      connection_id: row.connection,
      sealed: row.sealed,
      attempts: row.attempts,
      next_attempt_at: row.nextAttemptAt,
      expires_at: row.expiresAt,
    })
    .execute();
}
