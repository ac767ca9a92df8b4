import { sql, type Transaction } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

export type AuditRow = Schema['audit_events'];

export type AuditStore = ReturnType<typeof createAuditStore>;

export function createAuditStore(database: Database) {
  const { query } = database;
  return {
    /** Runs `work` while nobody else, in any process, can append to this tenant's chain. */
    async append(
      tenant: string,
      work: (last: { sequence: number; hash: string } | undefined) => readonly AuditRow[],
    ): Promise<void> {
      await database.transaction(async (transaction) => {
        // On SQLite a transaction is the only writer anyway.
        if (database.kind === 'postgres') {
          await sql`select pg_advisory_xact_lock(hashtextextended(${`audit/${tenant}`}, 0))`.execute(transaction);
        }
        const rows = work(await last(transaction, tenant));
        if (rows.length > 0)
          await transaction
            .insertInto('audit_events')
            .values([...rows])
            .execute();
      });
    },

    async after(tenant: string, sequence: number, limit: number): Promise<AuditRow[]> {
      return await query
        .selectFrom('audit_events')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('sequence', '>', sequence)
        .orderBy('sequence')
        .limit(limit)
        .execute();
    },
  };
}

async function last(
  transaction: Transaction<Schema>,
  tenant: string,
): Promise<{ sequence: number; hash: string } | undefined> {
  return await transaction
    .selectFrom('audit_events')
    .select(['sequence', 'hash'])
    .where('tenant', '=', tenant)
    .orderBy('sequence', 'desc')
    .limit(1)
    .executeTakeFirst();
}
