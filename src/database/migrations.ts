import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import * as instance from './migrations/0001-instance.ts';
import * as vault from './migrations/0002-vault.ts';
import * as identity from './migrations/0003-identity.ts';
import * as connectors from './migrations/0004-connectors.ts';
import * as connections from './migrations/0005-connections.ts';
import * as authorizationServer from './migrations/0006-authorization-server.ts';
import * as records from './migrations/0007-records.ts';
import * as webhooks from './migrations/0008-webhooks.ts';

/** In the order in which they run. A released migration is never edited; a change is a new one. */
export const MIGRATIONS: Record<string, Migration & { up(db: Kysely<unknown>): Promise<void> }> = {
  '0001-instance': instance,
  '0002-vault': vault,
  '0003-identity': identity,
  '0004-connectors': connectors,
  '0005-connections': connections,
  '0006-authorization-server': authorizationServer,
  '0007-records': records,
  '0008-webhooks': webhooks,
};
