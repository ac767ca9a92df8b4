import type { CompiledQuery, Insertable } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

export type CallRow = Insertable<Schema['calls']>;

export type Store = {
  /**
   * Appends calls in one transaction.
   * @param values of one call after the other, as `pushCall` puts them
   */
  appendCalls(values: readonly unknown[]): Promise<void>;
};

/** In the order in which `pushCall` puts their values. */
const COLUMNS = [
  'tenant',
  'id',
  'at',
  'connector',
  'user_id',
  'client_id',
  'method',
  'name',
  'status',
  'http_status',
  'error_code',
  'duration_ms',
  'upstream_ms',
  'request_bytes',
  'response_bytes',
  'address',
  'flow',
] as const satisfies readonly (keyof CallRow)[];

/** How many values one call takes. */
export const CALL_WIDTH = COLUMNS.length;

/** A flat list of values keeps thousands of calls without an object for each. */
export function pushCall(values: unknown[], id: string, call: Omit<CallRow, 'id'>): void {
  values.push(
    call.tenant,
    id,
    call.at,
    call.connector,
    call.user_id,
    call.client_id,
    call.method,
    call.name,
    call.status,
    call.http_status,
    call.error_code,
    call.duration_ms,
    call.upstream_ms,
    call.request_bytes,
    call.response_bytes,
    call.address,
    call.flow,
  );
}

/** Rows of one statement: each size is composed once, which costs more than running it. */
const SIZES = [128, 16, 1];

export function createStore(database: Pick<Database, 'query'>): Store {
  const { query } = database;
  const template = Object.fromEntries(COLUMNS.map((column) => [column, ''])) as CallRow;
  const statements = SIZES.map((rows): { width: number; statement: CompiledQuery } => ({
    width: rows * CALL_WIDTH,
    statement: query
      .insertInto('calls')
      .values(Array.from({ length: rows }, () => template))
      .compile(),
  }));

  return {
    async appendCalls(values) {
      await query.transaction().execute(async (transaction) => {
        let at = 0;
        for (const { width, statement } of statements) {
          for (; at + width <= values.length; at += width) {
            await transaction.executeQuery({ ...statement, parameters: values.slice(at, at + width) });
          }
        }
      });
    },
  };
}
