import { sql } from 'kysely';
import type { Database, Query } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

type Sessions = Schema['sessions'];
type ApiTokens = Schema['api_tokens'];
type Invitations = Schema['invitations'];
export type UserRow = Schema['users'];
export type SessionRow = Sessions;
export type ApiTokenRow = ApiTokens;

export type IdentityStore = ReturnType<typeof createIdentityStore>;

/** With `query` of a transaction the same statements run inside it. */
function statements(query: Query) {
  return {
    /** Locks the tenant's row, so that what follows happens once at a time; on SQLite a transaction does so anyway. */
    async lockTenant(tenant: string): Promise<void> {
      await query
        .updateTable('tenants')
        .set({ title: sql`title` })
        .where('id', '=', tenant)
        .execute();
    },
    async addTenant(id: string, at: number): Promise<void> {
      await query
        .insertInto('tenants')
        .values({ id, title: id, created_at: at, suspended_at: null })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    },

    async user(tenant: string, id: string): Promise<UserRow | undefined> {
      return await query
        .selectFrom('users')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst();
    },
    async userByEmail(tenant: string, email: string): Promise<UserRow | undefined> {
      return await query
        .selectFrom('users')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('email', '=', email)
        .executeTakeFirst();
    },
    async users(tenant: string): Promise<UserRow[]> {
      return await query.selectFrom('users').selectAll().where('tenant', '=', tenant).orderBy('email').execute();
    },
    /** Owners who can sign in. */
    async activeOwners(tenant: string): Promise<string[]> {
      const rows = await query
        .selectFrom('users')
        .select('id')
        .where('tenant', '=', tenant)
        .where('role', '=', 'owner')
        .where('password_hash', 'is not', null)
        .where('disabled_at', 'is', null)
        .execute();
      return rows.map((row) => row.id);
    },
    /** False when the tenant has this e-mail address already. */
    async addUser(row: UserRow): Promise<boolean> {
      const inserted = await query
        .insertInto('users')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      return Number(inserted.numInsertedOrUpdatedRows ?? 0) === 1;
    },
    async changeUser(tenant: string, id: string, set: Partial<UserRow>): Promise<void> {
      await query.updateTable('users').set(set).where('tenant', '=', tenant).where('id', '=', id).execute();
    },
    async removeUser(tenant: string, id: string): Promise<boolean> {
      for (const table of ['invitations', 'sessions', 'api_tokens'] as const) {
        await query.deleteFrom(table).where('tenant', '=', tenant).where('user_id', '=', id).execute();
      }
      const removed = await query
        .deleteFrom('users')
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst();
      return Number(removed.numDeletedRows) === 1;
    },

    /** Replaces whatever link of this kind (and user) there was. */
    async replaceLink(row: Invitations): Promise<void> {
      const former = query.deleteFrom('invitations').where('tenant', '=', row.tenant).where('kind', '=', row.kind);
      await (row.user_id === null ? former : former.where('user_id', '=', row.user_id)).execute();
      await query.insertInto('invitations').values(row).execute();
    },
    async link(kind: string, hash: string, now: number): Promise<Invitations | undefined> {
      return await query
        .selectFrom('invitations')
        .selectAll()
        .where('kind', '=', kind)
        .where('hash', '=', hash)
        .where('used_at', 'is', null)
        .where('expires_at', '>', now)
        .executeTakeFirst();
    },
    /** True for the one caller who got it. */
    async useLink(hash: string, now: number): Promise<boolean> {
      const used = await query
        .updateTable('invitations')
        .set({ used_at: now })
        .where('hash', '=', hash)
        .where('used_at', 'is', null)
        .where('expires_at', '>', now)
        .executeTakeFirst();
      return Number(used.numUpdatedRows) === 1;
    },

    async addSession(row: Sessions): Promise<void> {
      await query.insertInto('sessions').values(row).execute();
    },
    /** A live session and its user, both of a tenant that is not suspended. */
    async session(
      hash: string,
      now: number,
      seenAfter: number,
    ): Promise<{ session: Sessions; user: UserRow } | undefined> {
      const session = await query
        .selectFrom('sessions')
        .innerJoin('tenants', 'tenants.id', 'sessions.tenant')
        .selectAll('sessions')
        .where('hash', '=', hash)
        .where('expires_at', '>', now)
        .where('last_seen_at', '>', seenAfter)
        .where('tenants.suspended_at', 'is', null)
        .executeTakeFirst();
      const user = session === undefined ? undefined : await this.user(session.tenant, session.user_id);
      return session === undefined || user === undefined || user.disabled_at !== null ? undefined : { session, user };
    },
    async sessions(tenant: string, user: string, now: number, seenAfter: number): Promise<Sessions[]> {
      return await query
        .selectFrom('sessions')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('user_id', '=', user)
        .where('expires_at', '>', now)
        .where('last_seen_at', '>', seenAfter)
        .orderBy('last_seen_at', 'desc')
        .execute();
    },
    async sawSession(tenant: string, id: string, at: number, unlessAfter: number): Promise<void> {
      await query
        .updateTable('sessions')
        .set({ last_seen_at: at })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .where('last_seen_at', '<=', unlessAfter)
        .execute();
    },
    /** Ends sessions of one user: `only` one, or all but `except`; returns how many. */
    async endSessions(tenant: string, user: string, which: { only?: string; except?: string }): Promise<number> {
      let ending = query.deleteFrom('sessions').where('tenant', '=', tenant).where('user_id', '=', user);
      if (which.only !== undefined) ending = ending.where('id', '=', which.only);
      if (which.except !== undefined) ending = ending.where('id', '!=', which.except);
      return Number((await ending.executeTakeFirst()).numDeletedRows);
    },
    async dropStaleSessions(now: number, seenBefore: number): Promise<void> {
      await query
        .deleteFrom('sessions')
        .where((or) => or.or([or('expires_at', '<=', now), or('last_seen_at', '<=', seenBefore)]))
        .execute();
    },

    async addApiToken(row: ApiTokens): Promise<void> {
      await query.insertInto('api_tokens').values(row).execute();
    },
    async apiTokens(tenant: string, user?: string): Promise<ApiTokens[]> {
      const all = query.selectFrom('api_tokens').selectAll().where('tenant', '=', tenant).orderBy('created_at');
      return await (user === undefined ? all : all.where('user_id', '=', user)).execute();
    },
    async apiToken(hash: string, now: number): Promise<{ token: ApiTokens; user: UserRow } | undefined> {
      const token = await query
        .selectFrom('api_tokens')
        .innerJoin('tenants', 'tenants.id', 'api_tokens.tenant')
        .selectAll('api_tokens')
        .where('hash', '=', hash)
        .where('revoked_at', 'is', null)
        .where((or) => or.or([or('expires_at', 'is', null), or('expires_at', '>', now)]))
        .where('tenants.suspended_at', 'is', null)
        .executeTakeFirst();
      const user = token === undefined ? undefined : await this.user(token.tenant, token.user_id);
      return token === undefined || user === undefined || user.disabled_at !== null ? undefined : { token, user };
    },
    async usedApiToken(tenant: string, id: string, at: number): Promise<void> {
      await query
        .updateTable('api_tokens')
        .set({ last_used_at: at })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .execute();
    },
    async revokeApiTokens(tenant: string, user: string, at: number): Promise<void> {
      await query
        .updateTable('api_tokens')
        .set({ revoked_at: at })
        .where('tenant', '=', tenant)
        .where('user_id', '=', user)
        .where('revoked_at', 'is', null)
        .execute();
    },
    async revokeApiToken(tenant: string, id: string, at: number, user?: string): Promise<boolean> {
      const revoking = query
        .updateTable('api_tokens')
        .set({ revoked_at: at })
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .where('revoked_at', 'is', null);
      const done = await (user === undefined ? revoking : revoking.where('user_id', '=', user)).executeTakeFirst();
      return Number(done.numUpdatedRows) === 1;
    },
  };
}

export function createIdentityStore(database: Database) {
  const { query } = database;
  return {
    ...statements(query),
    transaction: async <T>(work: (store: ReturnType<typeof statements>) => Promise<T>): Promise<T> =>
      await database.transaction(async (transaction) => await work(statements(transaction))),

    /**
     * Counts an attempt and lays the wait that `waitFor` gives on the key; or, while an earlier wait runs, counts
     * nothing and returns when it ends.
     */
    async countAttempt(
      tenant: string,
      key: string,
      now: number,
      forgetBefore: number,
      waitFor: (failures: number) => number,
    ): Promise<number | undefined> {
      return await database.transaction(async (transaction) => {
        await transaction
          .insertInto('sign_in_failures')
          .values({ tenant, key, failures: 0, last_at: now, blocked_until: 0 })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        const counted = await transaction
          .updateTable('sign_in_failures')
          .set({
            failures: sql<number>`case when last_at < ${forgetBefore} then 1 else failures + 1 end`,
            last_at: now,
          })
          .where('tenant', '=', tenant)
          .where('key', '=', key)
          .where('blocked_until', '<=', now)
          .returning('failures')
          .executeTakeFirst();
        if (counted !== undefined) {
          await transaction
            .updateTable('sign_in_failures')
            .set({ blocked_until: now + waitFor(counted.failures) })
            .where('tenant', '=', tenant)
            .where('key', '=', key)
            .execute();
          return undefined;
        }
        const blocked = await transaction
          .selectFrom('sign_in_failures')
          .select('blocked_until')
          .where('tenant', '=', tenant)
          .where('key', '=', key)
          .executeTakeFirstOrThrow();
        return blocked.blocked_until;
      });
    },
    async uncountAttempt(tenant: string, key: string): Promise<void> {
      await query
        .updateTable('sign_in_failures')
        .set({ failures: sql<number>`failures - 1`, blocked_until: 0 })
        .where('tenant', '=', tenant)
        .where('key', '=', key)
        .where('failures', '>', 0)
        .execute();
    },
    /** Forgets this key, and every key that has been quiet since `before`. */
    async forgetFailures(tenant: string, key: string, before: number): Promise<void> {
      await query
        .deleteFrom('sign_in_failures')
        .where((or) => or.or([or('last_at', '<', before), or.and([or('tenant', '=', tenant), or('key', '=', key)])]))
        .execute();
    },
  };
}
