import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('oauth_records')
    .addColumn('model', 'text', (column) => column.notNull())
    .addColumn('id_hash', 'text', (column) => column.notNull())
    .addColumn('payload', 'text', (column) => column.notNull())
    .addColumn('grant_id', 'text')
    .addColumn('account', 'text')
    .addColumn('client_id', 'text')
    .addColumn('expires_at', 'bigint')
    .addColumn('consumed_at', 'bigint')
    .addColumn('successor', 'text')
    .addPrimaryKeyConstraint('oauth_records_key', ['model', 'id_hash'])
    .execute();
  await db.schema.createIndex('oauth_records_by_grant_id').on('oauth_records').columns(['grant_id']).execute();
  await db.schema.createIndex('oauth_records_by_account').on('oauth_records').columns(['account']).execute();
  await db.schema.createIndex('oauth_records_by_expires_at').on('oauth_records').columns(['expires_at']).execute();
  await db.schema
    .createTable('consents')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text', (column) => column.notNull())
    .addColumn('client_id', 'text', (column) => column.notNull())
    .addColumn('redirect_uri', 'text', (column) => column.notNull())
    .addColumn('resource', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('client_fingerprint', 'text', (column) => column.notNull())
    .addColumn('client_name', 'text', (column) => column.notNull())
    .addColumn('created_at', 'bigint', (column) => column.notNull())
    .addColumn('last_used_at', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('consents_key', ['tenant', 'user_id', 'client_id', 'redirect_uri', 'resource'])
    .execute();
  await db.schema
    .createTable('client_documents')
    .addColumn('client_id', 'text', (column) => column.notNull())
    .addColumn('document', 'text', (column) => column.notNull())
    .addColumn('fetched_at', 'bigint', (column) => column.notNull())
    .addColumn('fresh_until', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('client_documents_key', ['client_id'])
    .execute();
}
