/**
 * Every table, grouped by the room that owns it. Only that room's `store.ts` reads or writes it.
 *
 * Conventions on both stores: snake_case columns; text ids; times are milliseconds since 1970 as bigint (number here);
 * booleans are 0 or 1; JSON is text; ciphertexts are text in the vault's format. Every key carries the tenant.
 */
import type { AuthorizationServerTables } from './schema-authorization-server.ts';
import type { ConnectionTables } from './schema-connections.ts';
import type { ConnectorTables } from './schema-connectors.ts';
import type { IdentityTables } from './schema-identity.ts';
import type { VaultTables } from './schema-vault.ts';
import type { RecordTables } from './schema-records.ts';
import type { WebhookTables } from './schema-webhooks.ts';

export type InstanceTable = {
  /** `instance_id`, `epoch`, `mark`, `place` (which database this is, and where), `key_check`. */
  name: string;
  value: string;
};

export type Schema = { instance: InstanceTable } & VaultTables &
  IdentityTables &
  ConnectorTables &
  ConnectionTables &
  AuthorizationServerTables &
  RecordTables &
  WebhookTables;
