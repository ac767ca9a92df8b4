import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('registrations')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('connector_id', 'text', (column) => column.notNull())
    .addColumn('issuer', 'text', (column) => column.notNull())
    .addColumn('slot', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('client_id', 'text', (column) => column.notNull())
    .addColumn('redirect_uri', 'text', (column) => column.notNull())
    .addColumn('token_endpoint_auth_method', 'text', (column) => column.notNull())
    .addColumn('sealed', 'text')
    .addColumn('secret_expires_at', 'bigint')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('retired_at', 'bigint')
    .addPrimaryKeyConstraint('registrations_key', ['tenant', 'id'])
    .execute();
  await db.schema
    .createIndex('registrations_by_connector_id_slot')
    .on('registrations')
    .unique()
    .columns(['tenant', 'connector_id', 'slot'])
    .execute();
  await db.schema
    .createTable('tickets')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('connector_id', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('flow', 'text', (column) => column.notNull())
    .addColumn('return_to', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('used_at', 'bigint')
    .addPrimaryKeyConstraint('tickets_key', ['hash'])
    .execute();
  await db.schema.createIndex('tickets_by_expires_at').on('tickets').columns(['expires_at']).execute();
  await db.schema
    .createTable('pending_authorizations')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('state_hash', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('connector_id', 'text', (column) => column.notNull())
    .addColumn('registration_id', 'text', (column) => column.notNull())
    .addColumn('browser_hash', 'text', (column) => column.notNull())
    .addColumn('sealed', 'text', (column) => column.notNull())
    .addColumn('flow', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addColumn('consumed_at', 'bigint')
    .addColumn('outcome', 'text')
    .addPrimaryKeyConstraint('pending_authorizations_key', ['state_hash'])
    .execute();
  await db.schema
    .createIndex('pending_authorizations_by_expires_at')
    .on('pending_authorizations')
    .columns(['expires_at'])
    .execute();
  await db.schema
    .createTable('connections')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('connector_id', 'text', (column) => column.notNull())
    .addColumn('owner_type', 'text', (column) => column.notNull())
    .addColumn('owner_id', 'text', (column) => column.notNull())
    .addColumn('registration_id', 'text')
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('generation', 'bigint', (column) => column.notNull())
    .addColumn('sealed', 'text')
    .addColumn('staged', 'text')
    .addColumn('attempt', 'text')
    .addColumn('intent', 'text')
    .addColumn('tombstone', 'text')
    .addColumn('issued_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint')
    .addColumn('grant_expires_at', 'bigint')
    .addColumn('terms', 'text', (column) => column.notNull())
    .addColumn('scopes_requested', 'text', (column) => column.notNull())
    .addColumn('scopes_granted', 'text', (column) => column.notNull())
    .addColumn('account_subject', 'text')
    .addColumn('account_label', 'text')
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('updated_at', 'bigint', (column) => column.notNull())
    .addColumn('last_refresh_at', 'bigint')
    .addColumn('next_refresh_at', 'bigint')
    .addColumn('last_used_at', 'bigint')
    .addColumn('last_error', 'text')
    .addPrimaryKeyConstraint('connections_key', ['tenant', 'id'])
    .execute();
  await db.schema
    .createIndex('connections_by_connector_id_owner_type_owner_id')
    .on('connections')
    .unique()
    .columns(['tenant', 'connector_id', 'owner_type', 'owner_id'])
    .execute();
  await db.schema.createIndex('connections_by_owner_id').on('connections').columns(['tenant', 'owner_id']).execute();
  await db.schema
    .createIndex('connections_by_next_refresh_at')
    .on('connections')
    .columns(['next_refresh_at'])
    .execute();
  await db.schema.createIndex('connections_by_status').on('connections').columns(['status']).execute();
  await db.schema
    .createTable('connection_notices')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('connection_id', 'text', (column) => column.notNull())
    .addColumn('told_generation', 'bigint', (column) => column.notNull())
    .addColumn('warned_end', 'bigint')
    .addColumn('warned_days', 'bigint')
    .addPrimaryKeyConstraint('connection_notices_key', ['tenant', 'connection_id'])
    .execute();
  await db.schema
    .createIndex('connections_by_attempt')
    .on('connections')
    .columns(['attempt'])
    .where('attempt', 'is not', null)
    .execute();
  await db.schema
    .createTable('revocations')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('connection_id', 'text', (column) => column.notNull())
    .addColumn('sealed', 'text', (column) => column.notNull())
    .addColumn('attempts', 'bigint', (column) => column.notNull())
    .addColumn('next_attempt_at', 'bigint', (column) => column.notNull())
    .addColumn('expires_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('revocations_key', ['tenant', 'id'])
    .execute();
  await db.schema
    .createIndex('revocations_by_next_attempt_at')
    .on('revocations')
    .columns(['next_attempt_at'])
    .execute();
}
