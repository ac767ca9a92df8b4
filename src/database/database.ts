import { Kysely, sql, type Transaction } from 'kysely';
import { Migrator } from 'kysely/migration';
import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { newToken } from '../ids.ts';
import type { Log } from '../log.ts';
import { MIGRATIONS } from './migrations.ts';
import { listen, openPostgres, type Notices } from './postgres.ts';
import type { Schema } from './schema.ts';
import { openSqlite } from './sqlite.ts';

export type Query = Kysely<Schema> | Transaction<Schema>;

export type Database = {
  readonly kind: 'sqlite' | 'postgres';
  readonly query: Kysely<Schema>;
  /** Runs `work` in one transaction; a thrown error rolls back. No network inside: on SQLite it holds the only writer. */
  transaction<T>(work: (query: Transaction<Schema>) => Promise<T>): Promise<T>;
  /** Tells every process (this one too) that what stands under `topic` and `key` has changed. After the commit. */
  publish(topic: string, key: string): Promise<void>;
  /** Calls `listener` with the key that changed, or with null when anything may have changed. Returns the way out. */
  subscribe(topic: string, listener: (key: string | null) => void): () => void;
  /** Answers when the store can be read; throws `database_unreachable`. */
  ping(): Promise<void>;
  close(): Promise<void>;
};

/** Opens `url` (`postgres://…`) or the embedded store in `dataDir`, and brings its schema up to date. */
export async function openDatabase(options: {
  url?: string | undefined;
  dataDir: string;
  clock: Clock;
  log: Log;
}): Promise<Database> {
  const { url, log } = options;
  const postgres = url === undefined ? undefined : openPostgres(url, log);
  const dialect = postgres?.dialect ?? openSqlite(join(options.dataDir, 'valetkey.db'));
  const query = new Kysely<Schema>({ dialect });
  try {
    await migrate(query);
  } catch (error) {
    await query.destroy();
    throw error;
  }

  const listeners = new Map<string, Set<(key: string | null) => void>>();
  const origin = newToken(8);
  const deliver = (topic: string, key: string | null): void => {
    for (const listener of listeners.get(topic) ?? []) listener(key);
  };
  let notices: Notices | undefined;
  if (postgres !== undefined && url !== undefined) {
    notices = await listen(
      { url, log, pool: postgres.pool },
      (payload) => {
        const [from, topic, key] = payload.split('\n');
        if (from !== origin && topic !== undefined && key !== undefined) deliver(topic, key);
      },
      () => {
        for (const topic of listeners.keys()) deliver(topic, null);
      },
    );
  }

  return {
    kind: postgres === undefined ? 'sqlite' : 'postgres',
    query,
    transaction: (work) => query.transaction().execute(work),
    async publish(topic, key) {
      deliver(topic, key);
      await notices?.send(`${origin}\n${topic}\n${key}`);
    },
    subscribe(topic, listener) {
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set.add(listener));
      return () => set.delete(listener);
    },
    async ping() {
      try {
        await sql`select 1`.execute(query);
      } catch (cause) {
        throw fail('database_unreachable', { cause });
      }
    },
    async close() {
      await notices?.close();
      await query.destroy();
    },
  };
}

async function migrate(query: Kysely<Schema>): Promise<void> {
  const migrator = new Migrator({ db: query, provider: { getMigrations: () => Promise.resolve(MIGRATIONS) } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  if (error instanceof Error && error.message.includes('previously executed migration')) {
    throw fail('database_newer', { cause: error });
  }
  if (isConnectionError(error)) throw fail('database_unreachable', { cause: error });
  throw error;
}

function isConnectionError(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' && /^(ECONN|ENOTFOUND|ETIMEDOUT|EHOSTUNREACH|28|3D|57P)/.test(code);
}
