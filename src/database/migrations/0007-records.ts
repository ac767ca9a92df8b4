import type { Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('audit_events')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('sequence', 'bigint', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('flow', 'text')
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('client', 'text')
    .addColumn('address', 'text')
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('object', 'text')
    .addColumn('outcome', 'text', (column) => column.notNull())
    .addColumn('detail', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('audit_events_key', ['tenant', 'sequence'])
    .execute();
  await db.schema.createIndex('audit_events_by_at').on('audit_events').columns(['tenant', 'at']).execute();
  await db.schema
    .createTable('calls')
    .addColumn('tenant', 'text', (column) => column.notNull())
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('at', 'bigint', (column) => column.notNull())
    .addColumn('connector', 'text', (column) => column.notNull())
    .addColumn('user_id', 'text')
    .addColumn('client_id', 'text')
    .addColumn('method', 'text', (column) => column.notNull())
    .addColumn('name', 'text')
    .addColumn('status', 'text', (column) => column.notNull())
    .addColumn('http_status', 'bigint', (column) => column.notNull())
    .addColumn('error_code', 'text')
    .addColumn('duration_ms', 'bigint', (column) => column.notNull())
    .addColumn('upstream_ms', 'bigint')
    .addColumn('request_bytes', 'bigint', (column) => column.notNull())
    .addColumn('response_bytes', 'bigint', (column) => column.notNull())
    .addColumn('address', 'text')
    .addColumn('flow', 'text')
    // In the order of time, and the only index: rows are appended by the thousand, next to the calls themselves.
    .addPrimaryKeyConstraint('calls_key', ['tenant', 'at', 'id'])
    .execute();
}
