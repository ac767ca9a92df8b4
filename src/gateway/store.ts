import type { Insertable } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

export type CallRow = Insertable<Schema['calls']>;

export type Store = {
  insertCalls(rows: readonly CallRow[]): Promise<void>;
};

export function createStore(database: Pick<Database, 'query'>): Store {
  return {
    async insertCalls(rows) {
      await database.query.insertInto('calls').values(rows).execute();
    },
  };
}
