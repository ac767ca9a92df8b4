import type { Selectable, UpdateObject } from 'kysely';
import type { Database, Query } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';
import type { ConnectionId, ConnectorId, RegistrationId, TenantId } from '../ids.ts';
import type { Connection, ConnectionStatus, Intent, LastError, Owner, Terms } from './connection.ts';
import { insertRevocation, type RevocationRow } from './revocation-store.ts';

type Row = Selectable<Schema['connections']>;
type Patch = UpdateObject<Schema, 'connections'>;

/** What a caller may write besides the fenced columns. */
export type Change = {
  status?: ConnectionStatus;
  lastError?: LastError | null;
  nextRefreshAt?: number | null;
  tombstone?: string | null;
  staged?: string | null;
};

export type Credentials = {
  sealed: string;
  generation: number;
  issuedAt: number;
  expiresAt: number | null;
  grantExpiresAt: number | null;
  nextRefreshAt: number | null;
  scopesGranted: string[];
};

export type ConnectionStore = ReturnType<typeof createConnectionStore>;

/** Connections. Every write of a credential is fenced by generation or attempt. */
export function createConnectionStore(database: Database) {
  const { query } = database;

  const update = (at: Query, row: { tenant: string; id: string }, patch: Patch) =>
    at.updateTable('connections').set(patch).where('tenant', '=', row.tenant).where('id', '=', row.id);

  return {
    async find(tenant: TenantId, id: string): Promise<Connection | undefined> {
      const row = await query
        .selectFrom('connections')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst();
      return row === undefined ? undefined : fromRow(row);
    },

    async findOwned(tenant: TenantId, connector: ConnectorId, owner: Owner): Promise<Connection | undefined> {
      const row = await query
        .selectFrom('connections')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('connector_id', '=', connector)
        .where('owner_type', '=', owner.type)
        .where('owner_id', '=', owner.id)
        .executeTakeFirst();
      return row === undefined ? undefined : fromRow(row);
    },

    /** In order of id, after `cursor`. */
    async list(filter: {
      tenant: TenantId;
      connector?: string | undefined;
      owner?: Owner | undefined;
      registration?: string | undefined;
      cursor?: string | undefined;
      limit?: number | undefined;
    }): Promise<Connection[]> {
      let select = query.selectFrom('connections').selectAll().where('tenant', '=', filter.tenant).orderBy('id');
      if (filter.connector !== undefined) select = select.where('connector_id', '=', filter.connector);
      if (filter.registration !== undefined) select = select.where('registration_id', '=', filter.registration);
      if (filter.owner !== undefined) {
        select = select.where('owner_type', '=', filter.owner.type).where('owner_id', '=', filter.owner.id);
      }
      if (filter.cursor !== undefined) select = select.where('id', '>', filter.cursor);
      return (await select.limit(filter.limit ?? 1_000).execute()).map(fromRow);
    },

    /** For a connector that is gone; ids are unique over tenants. */
    async ofConnector(connector: ConnectorId): Promise<Connection[]> {
      const rows = await query.selectFrom('connections').selectAll().where('connector_id', '=', connector).execute();
      return rows.map(fromRow);
    },

    /** Makes the row of an owner's first connect; does nothing when there is one. */
    async reserve(row: {
      tenant: TenantId;
      id: ConnectionId;
      connector: ConnectorId;
      owner: Owner;
      now: number;
    }): Promise<void> {
      await query
        .insertInto('connections')
        .values({
          tenant: row.tenant,
          id: row.id,
          connector_id: row.connector,
          owner_type: row.owner.type,
          owner_id: row.owner.id,
          registration_id: null,
          status: 'pending',
          generation: 0,
          sealed: null,
          staged: null,
          attempt: null,
          intent: null,
          tombstone: null,
          issued_at: row.now,
          expires_at: null,
          grant_expires_at: null,
          terms: 'null',
          scopes_requested: '[]',
          scopes_granted: '[]',
          account_subject: null,
          account_label: null,
          created_at: row.now,
          updated_at: row.now,
          last_refresh_at: null,
          next_refresh_at: null,
          last_used_at: null,
          last_error: null,
        })
        .onConflict((conflict) => conflict.columns(['tenant', 'connector_id', 'owner_type', 'owner_id']).doNothing())
        .execute();
    },

    /** The answer of a code exchange, before it is judged. */
    async stageConnect(row: Connection, staged: string): Promise<void> {
      await update(query, row, { staged }).execute();
    },

    /** A new grant replaces the credential, whatever refresh is under way; that one finds its fence gone. */
    async connect(
      row: Connection,
      given: Credentials & {
        registration: RegistrationId | null;
        terms: Terms | null;
        scopesRequested: string[];
        account: { subject: string | null; label: string | null };
        lastError?: LastError | null;
        now: number;
      },
    ): Promise<boolean> {
      const result = await update(query, row, {
        ...credentialColumns(given),
        registration_id: given.registration,
        terms: JSON.stringify(given.terms),
        status: 'connected',
        staged: null,
        attempt: null,
        intent: null,
        tombstone: null,
        scopes_requested: JSON.stringify(given.scopesRequested),
        account_subject: given.account.subject,
        account_label: given.account.label,
        updated_at: given.now,
        last_used_at: given.now,
        last_error: given.lastError == null ? null : JSON.stringify(given.lastError),
      })
        .where('generation', '=', row.generation)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** Column-scoped: never touches a credential. */
    async nameAccount(row: Connection, account: { subject: string | null; label: string | null }): Promise<void> {
      await update(query, row, { account_subject: account.subject, account_label: account.label })
        .where('generation', '=', row.generation)
        .execute();
    },

    /** Compare-and-set on the terms, which no refresh writes: never touches a credential. */
    async changeTerms(row: Connection, terms: Terms): Promise<boolean> {
      const result = await update(query, row, { terms: JSON.stringify(terms) })
        .where('terms', '=', JSON.stringify(row.terms))
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** Step 2 of a refresh: durable before anything is sent. */
    async takeIntent(row: Connection, attempt: string, intent: Intent): Promise<boolean> {
      const result = await update(query, row, {
        attempt,
        intent: JSON.stringify(intent),
        next_refresh_at: Math.max(intent.deadline, intent.notBefore),
      })
        .where('generation', '=', row.generation)
        .where('attempt', 'is', null)
        .where('status', '=', row.status)
        .where('status', 'in', ['pending', 'connected', 'suspect'])
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** Takes over, postpones or prolongs an attempt that has had no definite answer, under the same fence. */
    async moveIntent(row: Connection, intent: Intent, lastError?: LastError | null): Promise<boolean> {
      if (row.attempt === null || row.intentText === null) return false;
      const result = await update(query, row, {
        intent: JSON.stringify(intent),
        next_refresh_at: Math.max(intent.deadline, intent.notBefore),
        ...(lastError === undefined ? {} : { last_error: lastError === null ? null : JSON.stringify(lastError) }),
      })
        .where('attempt', '=', row.attempt)
        .where('intent', '=', row.intentText)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async stage(row: Connection, attempt: string, staged: string): Promise<boolean> {
      const result = await update(query, row, { staged })
        .where('attempt', '=', attempt)
        .where('intent', '=', row.intentText)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /**
     * Step 4 of a refresh: both tokens, expiry and generation in one statement, for the holder of the fence only: a
     * process from which the attempt was taken over finds another intent there.
     */
    async commitRefresh(row: Connection, attempt: string, given: Credentials, now: number): Promise<boolean> {
      const result = await update(query, row, {
        ...credentialColumns(given),
        status: 'connected',
        staged: null,
        attempt: null,
        intent: null,
        tombstone: null,
        updated_at: now,
        last_refresh_at: now,
        last_error: null,
      })
        .where('attempt', '=', attempt)
        .where('intent', '=', row.intentText)
        .where('generation', '=', row.generation)
        .where('status', '<>', 'revoked')
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /**
     * A pair whose attempt another process has taken over and closed with a refusal: the refusal was about the token that
     * this pair has replaced. It is tried before anybody relies on it.
     * @param tombstone of the token that the pair was given for
     */
    async adoptRefresh(row: Connection, tombstone: string, given: Credentials, now: number): Promise<boolean> {
      const result = await update(query, row, {
        ...credentialColumns(given),
        next_refresh_at: now,
        status: 'suspect',
        staged: null,
        tombstone: null,
        updated_at: now,
      })
        .where('attempt', 'is', null)
        .where('tombstone', '=', tombstone)
        .where('generation', '=', row.generation)
        .where('status', 'in', ['suspect', 'needs_reconnect'])
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** Closes an attempt that got a definite refusal, or never left. The tokens stay where they are. */
    async closeAttempt(row: Connection, attempt: string, change: Change, now: number): Promise<boolean> {
      const result = await update(query, row, {
        ...changeColumns(change),
        attempt: null,
        intent: null,
        updated_at: now,
      })
        .where('attempt', '=', attempt)
        .where('intent', '=', row.intentText)
        .where('generation', '=', row.generation)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** For a row without a refresh under way, while its credential is still the one that was judged. */
    async change(row: Connection, change: Change, now: number): Promise<boolean> {
      const result = await update(query, row, { ...changeColumns(change), updated_at: now })
        .where('generation', '=', row.generation)
        .where('attempt', 'is', null)
        .where('status', '=', row.status)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /**
     * Refresh tokens are bound to the client that got them: when it is gone, its connections need their owners. A
     * refresh under way keeps its fence: should it succeed all the same, what it brings is kept.
     */
    async strand(tenant: TenantId, registration: string, error: LastError, now: number): Promise<void> {
      await query
        .updateTable('connections')
        .set({
          status: 'needs_reconnect',
          next_refresh_at: null,
          last_error: JSON.stringify(error),
          updated_at: now,
        })
        .where('tenant', '=', tenant)
        .where('registration_id', '=', registration)
        .where('status', 'in', ['connected', 'suspect'])
        .execute();
    },

    /** What the sweep looks at: refreshes due ahead of time, attempts whose holder is late, staged answers. */
    async due(now: number, limit: number): Promise<Connection[]> {
      const rows = await query
        .selectFrom('connections')
        .selectAll()
        .where('next_refresh_at', '<=', now)
        .where('status', 'in', ['connected', 'suspect'])
        .orderBy('next_refresh_at')
        .limit(limit)
        .execute();
      return rows.map(fromRow);
    },

    /**
     * Attempts that `due` does not find: whose time has not come by the clock that it was written with, or whose connection
     * has ended meanwhile.
     */
    async openIntents(
      now: number,
      limit: number,
    ): Promise<Pick<Connection, 'tenant' | 'id' | 'intent' | 'intentText'>[]> {
      const rows = await query
        .selectFrom('connections')
        .select(['tenant', 'id', 'intent'])
        .where('attempt', 'is not', null)
        .where((or) =>
          or.or([
            or('next_refresh_at', '>', now),
            or('next_refresh_at', 'is', null),
            or('status', '=', 'needs_reconnect'),
          ]),
        )
        .orderBy('next_refresh_at')
        .limit(limit)
        .execute();
      return rows.map(({ tenant, id, intent }) => ({
        tenant: tenant as TenantId,
        id: id as ConnectionId,
        intent: intent === null ? null : (JSON.parse(intent) as Intent),
        intentText: intent,
      }));
    },

    /** Attempts without a definite answer, whoever has them. */
    async open(): Promise<Connection[]> {
      const rows = await query.selectFrom('connections').selectAll().where('attempt', 'is not', null).execute();
      return rows.map(fromRow);
    },

    /** Answers of code exchanges that were committed and not judged. */
    async stagedConnects(): Promise<Connection[]> {
      const rows = await query
        .selectFrom('connections')
        .selectAll()
        .where('staged', 'is not', null)
        .where('attempt', 'is', null)
        .execute();
      return rows.map(fromRow);
    },

    async used(tenant: TenantId, id: ConnectionId, at: number): Promise<void> {
      await update(query, { tenant, id }, { last_used_at: at }).execute();
    },

    /** Ends the connection here, first and whatever happens upstream; the tokens move to the outbox in one commit. */
    async disconnect(row: Connection, outbox: RevocationRow | null, now: number): Promise<boolean> {
      return await database.transaction(async (at) => {
        const result = await update(at, row, {
          status: 'revoked',
          generation: row.generation + 1,
          sealed: null,
          staged: null,
          attempt: null,
          intent: null,
          expires_at: null,
          next_refresh_at: null,
          last_error: null,
          updated_at: now,
        })
          .where('generation', '=', row.generation)
          .where('status', '=', row.status)
          .executeTakeFirst();
        if (result.numUpdatedRows !== 1n) return false;
        if (outbox !== null) await insertRevocation(at, outbox);
        return true;
      });
    },
  };
}

function credentialColumns(given: Credentials): Patch {
  return {
    sealed: given.sealed,
    generation: given.generation,
    issued_at: given.issuedAt,
    expires_at: given.expiresAt,
    grant_expires_at: given.grantExpiresAt,
    next_refresh_at: given.nextRefreshAt,
    scopes_granted: JSON.stringify(given.scopesGranted),
  };
}

function changeColumns(change: Change): Patch {
  return {
    ...(change.status === undefined ? {} : { status: change.status }),
    ...(change.lastError === undefined
      ? {}
      : { last_error: change.lastError === null ? null : JSON.stringify(change.lastError) }),
    ...(change.nextRefreshAt === undefined ? {} : { next_refresh_at: change.nextRefreshAt }),
    ...(change.tombstone === undefined ? {} : { tombstone: change.tombstone }),
    ...(change.staged === undefined ? {} : { staged: change.staged }),
  };
}

function fromRow(row: Row): Connection {
  return {
    tenant: row.tenant as TenantId,
    id: row.id as ConnectionId,
    connector: row.connector_id as ConnectorId,
    owner: { type: row.owner_type as Owner['type'], id: row.owner_id },
    registration: row.registration_id as RegistrationId | null,
    status: row.status as ConnectionStatus,
    generation: row.generation,
    sealed: row.sealed,
    staged: row.staged,
    attempt: row.attempt,
    intent: row.intent === null ? null : (JSON.parse(row.intent) as Intent),
    intentText: row.intent,
    tombstone: row.tombstone,
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    grantExpiresAt: row.grant_expires_at,
    terms: JSON.parse(row.terms) as Terms | null,
    scopesRequested: JSON.parse(row.scopes_requested) as string[],
    scopesGranted: JSON.parse(row.scopes_granted) as string[],
    accountSubject: row.account_subject,
    accountLabel: row.account_label,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    lastRefreshAt: row.last_refresh_at,
    nextRefreshAt: row.next_refresh_at,
    lastUsedAt: row.last_used_at,
    lastError: row.last_error === null ? null : (JSON.parse(row.last_error) as LastError),
  };
}
