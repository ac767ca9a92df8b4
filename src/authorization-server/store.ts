import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';
import type { TenantId, UserId } from '../ids.ts';

export type StoredRecord = Schema['oauth_records'];
export type StoredConsent = Schema['consents'];
export type StoredDocument = Schema['client_documents'];

export type Store = ReturnType<typeof createStore>;

/**
 * The SQL of the authorization server. One issuer serves the instance, so a record is found by the hash of its bearer
 * value alone; `account` (`tenant/user`) carries the tenant of whatever belongs to a person.
 */
export function createStore(database: Database) {
  const { query } = database;

  return {
    async upsert(record: StoredRecord): Promise<void> {
      const { model: _model, id_hash: _hash, ...rest } = record;
      await query
        .insertInto('oauth_records')
        .values(record)
        .onConflict((conflict) => conflict.columns(['model', 'id_hash']).doUpdateSet(rest))
        .execute();
    },

    async find(model: string, idHash: string, now: number): Promise<StoredRecord | undefined> {
      return await query
        .selectFrom('oauth_records')
        .selectAll()
        .where('model', '=', model)
        .where('id_hash', '=', idHash)
        .where((where) => where.or([where('expires_at', 'is', null), where('expires_at', '>', now)]))
        .executeTakeFirst();
    },

    /** The token and, in the same query, whether the grant behind it still stands. */
    async findUnderGrant(model: string, idHash: string, now: number): Promise<StoredRecord | undefined> {
      return await query
        .selectFrom('oauth_records as token')
        .innerJoin('oauth_records as grant', (join) =>
          join.on('grant.model', '=', 'Grant').onRef('grant.grant_id', '=', 'token.grant_id'),
        )
        .selectAll('token')
        .where('token.model', '=', model)
        .where('token.id_hash', '=', idHash)
        .where('token.expires_at', '>', now)
        .where('token.consumed_at', 'is', null)
        .where('grant.expires_at', '>', now)
        .executeTakeFirst();
    },

    /** True for exactly one caller. */
    async consume(model: string, idHash: string, now: number): Promise<boolean> {
      const result = await query
        .updateTable('oauth_records')
        .set({ consumed_at: now })
        .where('model', '=', model)
        .where('id_hash', '=', idHash)
        .where('consumed_at', 'is', null)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /**
     * Consumes one record and writes what it was exchanged for, or neither. False when another exchange came first, or
     * when the grant was revoked meanwhile.
     */
    async exchange(
      spent: { model: string; idHash: string; now: number; successor: string | null; keepUntil: number },
      issued: StoredRecord[],
    ): Promise<boolean> {
      return await database.transaction(async (transaction) => {
        const claim = await transaction
          .updateTable('oauth_records')
          .set({ consumed_at: spent.now, successor: spent.successor, expires_at: spent.keepUntil })
          .where('model', '=', spent.model)
          .where('id_hash', '=', spent.idHash)
          .where('consumed_at', 'is', null)
          .executeTakeFirst();
        if (claim.numUpdatedRows !== 1n) return false;
        await transaction.insertInto('oauth_records').values(issued).execute();
        return true;
      });
    },

    /** Writes a person's answer to a device, once. */
    async answerDevice(
      idHash: string,
      answer: { payload: string; grant_id: string | null; account: string | null },
      unanswered: string,
    ): Promise<boolean> {
      const result = await query
        .updateTable('oauth_records')
        .set(answer)
        .where('model', '=', 'DeviceCode')
        .where('id_hash', '=', idHash)
        .where('payload', '=', unanswered)
        .where('grant_id', 'is', null)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async remove(model: string, idHash: string): Promise<void> {
      await query.deleteFrom('oauth_records').where('model', '=', model).where('id_hash', '=', idHash).execute();
    },

    async removeOfGrant(grant: string, model?: string): Promise<number> {
      let statement = query.deleteFrom('oauth_records').where('grant_id', '=', grant);
      if (model !== undefined) statement = statement.where('model', '=', model);
      const result = await statement.executeTakeFirst();
      return Number(result.numDeletedRows);
    },

    /** Everything that was issued to a person, or to one client for that person. */
    async removeOfAccount(account: string, clientId?: string): Promise<void> {
      let statement = query.deleteFrom('oauth_records').where('account', '=', account);
      if (clientId !== undefined) statement = statement.where('client_id', '=', clientId);
      await statement.execute();
    },

    async grantsOf(account: string, clientId?: string): Promise<StoredRecord[]> {
      let statement = query
        .selectFrom('oauth_records')
        .selectAll()
        .where('model', '=', 'Grant')
        .where('account', '=', account);
      if (clientId !== undefined) statement = statement.where('client_id', '=', clientId);
      return await statement.execute();
    },

    async countClients(): Promise<number> {
      const row = await query
        .selectFrom('oauth_records')
        .select((select) => select.fn.countAll<number>().as('count'))
        .where('model', '=', 'Client')
        .executeTakeFirstOrThrow();
      return row.count;
    },

    /** Removes the clients that go before `expiresBefore` by themselves. */
    async removeUnusedClients(expiresBefore: number): Promise<void> {
      await query
        .deleteFrom('oauth_records')
        .where('model', '=', 'Client')
        .where('expires_at', '<=', expiresBefore)
        .execute();
    },

    /** Keeps a client at least until `expiresAt`. */
    async keepClient(idHash: string, expiresAt: number): Promise<void> {
      await query
        .updateTable('oauth_records')
        .set({ expires_at: expiresAt })
        .where('model', '=', 'Client')
        .where('id_hash', '=', idHash)
        .where('expires_at', '<', expiresAt)
        .execute();
    },

    async findConsent(key: ConsentKey): Promise<StoredConsent | undefined> {
      return await query
        .selectFrom('consents')
        .selectAll()
        .where('tenant', '=', key.tenant)
        .where('user_id', '=', key.user)
        .where('client_id', '=', key.client)
        .where('redirect_uri', '=', key.redirect)
        .where('resource', '=', key.resource)
        .executeTakeFirst();
    },

    async hasConsent(tenant: TenantId, user: UserId, client: string, redirect: string): Promise<boolean> {
      const row = await query
        .selectFrom('consents')
        .select('client_id')
        .where('tenant', '=', tenant)
        .where('user_id', '=', user)
        .where('client_id', '=', client)
        .where('redirect_uri', '=', redirect)
        .executeTakeFirst();
      return row !== undefined;
    },

    async saveConsent(consent: StoredConsent): Promise<void> {
      const { scopes, client_fingerprint, client_name, last_used_at } = consent;
      await query
        .insertInto('consents')
        .values(consent)
        .onConflict((conflict) =>
          conflict
            .columns(['tenant', 'user_id', 'client_id', 'redirect_uri', 'resource'])
            .doUpdateSet({ scopes, client_fingerprint, client_name, last_used_at }),
        )
        .execute();
    },

    async listConsents(tenant: TenantId, user: UserId): Promise<StoredConsent[]> {
      return await query
        .selectFrom('consents')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('user_id', '=', user)
        .orderBy('last_used_at', 'desc')
        .execute();
    },

    async removeConsents(tenant: TenantId, user: UserId, client?: string): Promise<void> {
      let statement = query.deleteFrom('consents').where('tenant', '=', tenant).where('user_id', '=', user);
      if (client !== undefined) statement = statement.where('client_id', '=', client);
      await statement.execute();
    },

    async findDocument(clientId: string): Promise<StoredDocument | undefined> {
      return await query
        .selectFrom('client_documents')
        .selectAll()
        .where('client_id', '=', clientId)
        .executeTakeFirst();
    },

    async saveDocument(document: StoredDocument): Promise<void> {
      const { client_id: _id, ...rest } = document;
      await query
        .insertInto('client_documents')
        .values(document)
        .onConflict((conflict) => conflict.column('client_id').doUpdateSet(rest))
        .execute();
    },

    /** Removes what has expired; documents that nobody has needed for `keepDocumentsMs` go as well. */
    async sweep(now: number, keepDocumentsMs: number): Promise<number> {
      const result = await query.deleteFrom('oauth_records').where('expires_at', '<=', now).executeTakeFirst();
      await query
        .deleteFrom('client_documents')
        .where('fetched_at', '<', now - keepDocumentsMs)
        .execute();
      return Number(result.numDeletedRows);
    },
  };
}

export type ConsentKey = { tenant: TenantId; user: UserId; client: string; redirect: string; resource: string };
