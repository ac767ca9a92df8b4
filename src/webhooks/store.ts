import type { Database, Query } from '../database/database.ts';
import type { TenantId } from '../ids.ts';

/** An event on its way to the receiver. */
export type OutgoingEvent = {
  tenant: TenantId;
  id: string;
  type: string;
  body: string;
  attempts: number;
  nextAttemptAt: number;
  createdAt: number;
  expiresAt: number;
};

export type WebhookStore = ReturnType<typeof createWebhookStore>;

export function createWebhookStore({ query }: Database) {
  return {
    /** @param at the transaction of whatever the event is about */
    async add(at: Query, event: OutgoingEvent): Promise<void> {
      await at
        .insertInto('webhook_events')
        .values({
          tenant: event.tenant,
          id: event.id,
          type: event.type,
          body: event.body,
          attempts: event.attempts,
          next_attempt_at: event.nextAttemptAt,
          created_at: event.createdAt,
          expires_at: event.expiresAt,
        })
        .execute();
    },

    async due(now: number, limit: number): Promise<OutgoingEvent[]> {
      const rows = await query
        .selectFrom('webhook_events')
        .selectAll()
        .where('next_attempt_at', '<=', now)
        .orderBy('next_attempt_at')
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        tenant: row.tenant as TenantId,
        id: row.id,
        type: row.type,
        body: row.body,
        attempts: row.attempts,
        nextAttemptAt: row.next_attempt_at,
        createdAt: row.created_at,
        expiresAt: row.expires_at,
      }));
    },

    /** For one try; false when another process has it. */
    async claim(event: OutgoingEvent, nextAttemptAt: number): Promise<boolean> {
      const result = await query
        .updateTable('webhook_events')
        .set({ attempts: event.attempts + 1, next_attempt_at: nextAttemptAt })
        .where('tenant', '=', event.tenant)
        .where('id', '=', event.id)
        .where('attempts', '=', event.attempts)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async postpone(event: OutgoingEvent, nextAttemptAt: number): Promise<void> {
      await query
        .updateTable('webhook_events')
        .set({ next_attempt_at: nextAttemptAt })
        .where('tenant', '=', event.tenant)
        .where('id', '=', event.id)
        .execute();
    },

    async remove(event: OutgoingEvent): Promise<void> {
      await query.deleteFrom('webhook_events').where('tenant', '=', event.tenant).where('id', '=', event.id).execute();
    },
  };
}
