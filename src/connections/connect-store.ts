import type { Selectable } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';
import type { ConnectorId, FlowId, RegistrationId, TenantId, UserId } from '../ids.ts';

type RegistrationKind = 'static' | 'metadata_document' | 'dynamic';

/** Our client identity at an issuer, for one connector. */
export type Registration = {
  tenant: TenantId;
  id: RegistrationId;
  connector: ConnectorId;
  /** Empty while a static registration has not been used: the first connect pins it. */
  issuer: string;
  kind: RegistrationKind;
  clientId: string;
  redirectUri: string;
  authMethod: string;
  /** Sealed JSON {client_secret?, registration_access_token?}. */
  sealed: string | null;
  secretExpiresAt: number | null;
  createdAt: number;
};

export type Ticket = {
  tenant: TenantId;
  hash: string;
  user: UserId;
  connector: ConnectorId;
  scopes: string[];
  flow: FlowId;
  returnTo: string | null;
  expiresAt: number;
  usedAt: number | null;
};

export type Pending = {
  tenant: TenantId;
  stateHash: string;
  user: UserId;
  connector: ConnectorId;
  registration: RegistrationId;
  browserHash: string;
  sealed: string;
  flow: FlowId;
  createdAt: number;
  expiresAt: number;
  consumedAt: number | null;
  outcome: string | null;
};

export type ConnectStore = ReturnType<typeof createConnectStore>;

/** Registrations, tickets and authorization requests under way. */
export function createConnectStore(database: Database) {
  const { query } = database;
  return {
    async registration(tenant: TenantId, id: string): Promise<Registration | undefined> {
      const row = await query
        .selectFrom('registrations')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('id', '=', id)
        .executeTakeFirst();
      return row === undefined ? undefined : registrationFrom(row);
    },

    /** For the callback and the client-id metadata document, whose paths carry no tenant. Ids are 128 random bits. */
    async registrationById(id: string): Promise<Registration | undefined> {
      const row = await query.selectFrom('registrations').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? undefined : registrationFrom(row);
    },

    async registrationInSlot(
      tenant: TenantId,
      connector: ConnectorId,
      slot: string,
    ): Promise<Registration | undefined> {
      const row = await query
        .selectFrom('registrations')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('connector_id', '=', connector)
        .where('slot', '=', slot)
        .executeTakeFirst();
      return row === undefined ? undefined : registrationFrom(row);
    },

    /** Two processes may register at once: the slot keeps the first. */
    async addRegistration(registration: Registration, slot: string): Promise<void> {
      await query
        .insertInto('registrations')
        .values({
          tenant: registration.tenant,
          id: registration.id,
          connector_id: registration.connector,
          issuer: registration.issuer,
          slot,
          kind: registration.kind,
          client_id: registration.clientId,
          redirect_uri: registration.redirectUri,
          token_endpoint_auth_method: registration.authMethod,
          sealed: registration.sealed,
          secret_expires_at: registration.secretExpiresAt,
          created_at: registration.createdAt,
          retired_at: null,
        })
        .onConflict((conflict) => conflict.columns(['tenant', 'connector_id', 'slot']).doNothing())
        .execute();
    },

    /** Static registrations only: what the connector document says about the client may change. */
    async changeRegistration(
      registration: Registration,
      change: { issuer?: string; clientId?: string; authMethod?: string; redirectUri?: string },
    ): Promise<void> {
      await query
        .updateTable('registrations')
        .set({
          ...(change.issuer === undefined ? {} : { issuer: change.issuer }),
          ...(change.clientId === undefined ? {} : { client_id: change.clientId }),
          ...(change.authMethod === undefined ? {} : { token_endpoint_auth_method: change.authMethod }),
          ...(change.redirectUri === undefined ? {} : { redirect_uri: change.redirectUri }),
        })
        .where('tenant', '=', registration.tenant)
        .where('id', '=', registration.id)
        .execute();
    },

    /** Frees the slot. True for the one that did it. */
    async retireRegistration(registration: Registration, now: number): Promise<boolean> {
      const result = await query
        .updateTable('registrations')
        .set({ slot: registration.id, retired_at: now })
        .where('tenant', '=', registration.tenant)
        .where('id', '=', registration.id)
        .where('retired_at', 'is', null)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async addTicket(ticket: Ticket, now: number): Promise<void> {
      await query
        .deleteFrom('tickets')
        .where('expires_at', '<', now - 86_400_000)
        .execute();
      await query
        .insertInto('tickets')
        .values({
          tenant: ticket.tenant,
          hash: ticket.hash,
          user_id: ticket.user,
          connector_id: ticket.connector,
          scopes: JSON.stringify(ticket.scopes),
          flow: ticket.flow,
          return_to: ticket.returnTo,
          created_at: now,
          expires_at: ticket.expiresAt,
          used_at: null,
        })
        .execute();
    },

    async ticket(tenant: TenantId, hash: string): Promise<Ticket | undefined> {
      const row = await query
        .selectFrom('tickets')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('hash', '=', hash)
        .executeTakeFirst();
      if (row === undefined) return undefined;
      return {
        tenant: row.tenant as TenantId,
        hash: row.hash,
        user: row.user_id as UserId,
        connector: row.connector_id as ConnectorId,
        scopes: JSON.parse(row.scopes) as string[],
        flow: row.flow as FlowId,
        returnTo: row.return_to,
        expiresAt: row.expires_at,
        usedAt: row.used_at,
      };
    },

    /** Single use: true for the one that used it. */
    async useTicket(ticket: Ticket, now: number): Promise<boolean> {
      const result = await query
        .updateTable('tickets')
        .set({ used_at: now })
        .where('tenant', '=', ticket.tenant)
        .where('hash', '=', ticket.hash)
        .where('used_at', 'is', null)
        .where('expires_at', '>', now)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    async addPending(pending: Pending, now: number): Promise<void> {
      await query
        .deleteFrom('pending_authorizations')
        .where('expires_at', '<', now - 86_400_000)
        .execute();
      await query
        .insertInto('pending_authorizations')
        .values({
          tenant: pending.tenant,
          state_hash: pending.stateHash,
          user_id: pending.user,
          connector_id: pending.connector,
          registration_id: pending.registration,
          browser_hash: pending.browserHash,
          sealed: pending.sealed,
          flow: pending.flow,
          created_at: pending.createdAt,
          expires_at: pending.expiresAt,
          consumed_at: null,
          outcome: null,
        })
        .execute();
    },

    async pending(registration: Registration, stateHash: string): Promise<Pending | undefined> {
      const row = await query
        .selectFrom('pending_authorizations')
        .selectAll()
        .where('tenant', '=', registration.tenant)
        .where('state_hash', '=', stateHash)
        .executeTakeFirst();
      return row === undefined ? undefined : pendingFrom(row);
    },

    /** Single use: true for the one callback that may go on. */
    async consumePending(pending: Pending, now: number): Promise<boolean> {
      const result = await query
        .updateTable('pending_authorizations')
        .set({ consumed_at: now })
        .where('tenant', '=', pending.tenant)
        .where('state_hash', '=', pending.stateHash)
        .where('consumed_at', 'is', null)
        .executeTakeFirst();
      return result.numUpdatedRows === 1n;
    },

    /** The verifier is of no use any more and goes; the outcome stays for a repeated callback. */
    async concludePending(pending: Pending, outcome: string): Promise<void> {
      await query
        .updateTable('pending_authorizations')
        .set({ outcome, sealed: '' })
        .where('tenant', '=', pending.tenant)
        .where('state_hash', '=', pending.stateHash)
        .execute();
    },
  };
}

function registrationFrom(row: Selectable<Schema['registrations']>): Registration {
  return {
    tenant: row.tenant as TenantId,
    id: row.id as RegistrationId,
    connector: row.connector_id as ConnectorId,
    issuer: row.issuer,
    kind: row.kind as RegistrationKind,
    clientId: row.client_id,
    redirectUri: row.redirect_uri,
    authMethod: row.token_endpoint_auth_method,
    sealed: row.sealed,
    secretExpiresAt: row.secret_expires_at,
    createdAt: row.created_at,
  };
}

function pendingFrom(row: Selectable<Schema['pending_authorizations']>): Pending {
  return {
    tenant: row.tenant as TenantId,
    stateHash: row.state_hash,
    user: row.user_id as UserId,
    connector: row.connector_id as ConnectorId,
    registration: row.registration_id as RegistrationId,
    browserHash: row.browser_hash,
    sealed: row.sealed,
    flow: row.flow as FlowId,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    consumedAt: row.consumed_at,
    outcome: row.outcome,
  };
}
