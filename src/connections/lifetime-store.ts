import type { Transaction } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';
import type { ConnectionId, TenantId } from '../ids.ts';
import { DAY_MS, WARNING_DAYS } from './health.ts';

type Place = { tenant: TenantId; id: ConnectionId };

export type Ending = Place & {
  grantExpiresAt: number;
  /** Of the warnings about this very end, the last one: 14, 3, 1, or null. */
  warnedDays: number | null;
};

export type LifetimeStore = ReturnType<typeof createLifetimeStore>;

/** What becomes of grants with time, and who has been told. */
export function createLifetimeStore({ query }: Database) {
  return {
    /** Connections that need their owner, who has not been told since the credential last changed. */
    async untold(limit: number): Promise<(Place & { generation: number })[]> {
      const rows = await query
        .selectFrom('connections as c')
        .leftJoin('connection_notices as n', (join) =>
          join.onRef('n.tenant', '=', 'c.tenant').onRef('n.connection_id', '=', 'c.id'),
        )
        .select(['c.tenant', 'c.id', 'c.generation'])
        .where('c.status', 'in', ['needs_reconnect', 'quarantined'])
        .where((where) =>
          where.or([
            where('n.told_generation', 'is', null),
            where('n.told_generation', '<>', where.ref('c.generation')),
          ]),
        )
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        tenant: row.tenant as TenantId,
        id: row.id as ConnectionId,
        generation: row.generation,
      }));
    },

    /** True for the one who may tell; false when it has been told, perhaps by another process just now. */
    async tell(at: Transaction<Schema>, row: Place & { generation: number }): Promise<boolean> {
      const result = await at
        .insertInto('connection_notices')
        .values({
          tenant: row.tenant,
          connection_id: row.id,
          told_generation: row.generation,
          warned_end: null,
          warned_days: null,
        })
        .onConflict((conflict) =>
          conflict
            .columns(['tenant', 'connection_id'])
            .doUpdateSet({ told_generation: row.generation })
            .where('connection_notices.told_generation', '<>', row.generation),
        )
        .executeTakeFirst();
      return result.numInsertedOrUpdatedRows === 1n;
    },

    /** Connections whose grant ends within the time of the first warning. */
    async ending(now: number): Promise<Ending[]> {
      const rows = await query
        .selectFrom('connections as c')
        .leftJoin('connection_notices as n', (join) =>
          join.onRef('n.tenant', '=', 'c.tenant').onRef('n.connection_id', '=', 'c.id'),
        )
        .select(['c.tenant', 'c.id', 'c.grant_expires_at', 'n.warned_end', 'n.warned_days'])
        .where('c.status', 'in', ['connected', 'suspect'])
        .where('c.grant_expires_at', '>', now)
        .where('c.grant_expires_at', '<=', now + WARNING_DAYS[0] * DAY_MS)
        .execute();
      return rows.map((row) => ({
        tenant: row.tenant as TenantId,
        id: row.id as ConnectionId,
        grantExpiresAt: row.grant_expires_at ?? 0,
        warnedDays: row.warned_end === row.grant_expires_at ? row.warned_days : null,
      }));
    },

    /** As `tell`, for a warning about the end of a grant. */
    async warn(at: Transaction<Schema>, row: Place & { grantExpiresAt: number; days: number }): Promise<boolean> {
      const warned = { warned_end: row.grantExpiresAt, warned_days: row.days };
      const result = await at
        .insertInto('connection_notices')
        .values({ tenant: row.tenant, connection_id: row.id, told_generation: -1, ...warned })
        .onConflict((conflict) =>
          conflict
            .columns(['tenant', 'connection_id'])
            .doUpdateSet(warned)
            .where((where) =>
              where.or([
                where('connection_notices.warned_end', 'is', null),
                where('connection_notices.warned_end', '<>', row.grantExpiresAt),
                where('connection_notices.warned_days', '>', row.days),
              ]),
            ),
        )
        .executeTakeFirst();
      return result.numInsertedOrUpdatedRows === 1n;
    },

    /** Healthy connections of a connector that have not been renewed since `before`. */
    async unrenewed(connector: string, before: number, limit: number): Promise<Place[]> {
      const rows = await query
        .selectFrom('connections')
        .select(['tenant', 'id'])
        .where('connector_id', '=', connector)
        .where('status', '=', 'connected')
        .where('attempt', 'is', null)
        .where('issued_at', '<=', before)
        .orderBy('issued_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({ tenant: row.tenant as TenantId, id: row.id as ConnectionId }));
    },

    /** Healthy connections whose grant has lived through half of the time that the service gave it. */
    async halfLived(now: number, limit: number): Promise<(Place & { connector: string })[]> {
      const rows = await query
        .selectFrom('connections')
        .select(['tenant', 'id', 'connector_id'])
        .where('status', '=', 'connected')
        .where('attempt', 'is', null)
        .where('grant_expires_at', '>', now)
        .where((where) => where(where('grant_expires_at', '+', where.ref('issued_at')), '<=', now * 2))
        .orderBy('grant_expires_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        tenant: row.tenant as TenantId,
        id: row.id as ConnectionId,
        connector: row.connector_id,
      }));
    },
  };
}
