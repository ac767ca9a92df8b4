import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { SqliteDialect, type Dialect, type SqliteDatabase } from 'kysely';
import { fail } from '../errors.ts';

/** Kysely expects better-sqlite3; node:sqlite differs in how a statement takes its parameters. */
function adapt(database: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, StatementSync>();
  const statement = (sql: string): StatementSync => {
    let prepared = statements.get(sql);
    if (prepared === undefined) {
      prepared = database.prepare(sql);
      if (statements.size < 500) statements.set(sql, prepared);
    }
    return prepared;
  };
  return {
    close: () => {
      statements.clear();
      database.close();
    },
    prepare(text) {
      // A deferred transaction that turns into a writer fails where an immediate one would have waited.
      const sql = text === 'begin' ? 'begin immediate' : text;
      const prepared = statement(sql);
      return {
        reader: prepared.columns().length > 0,
        all: (parameters) => prepared.all(...(parameters as SQLInputValue[])),
        run: (parameters) => prepared.run(...(parameters as SQLInputValue[])),
        iterate: (parameters) => prepared.iterate(...(parameters as SQLInputValue[])) as IterableIterator<unknown>,
      };
    },
  };
}

/**
 * The embedded store: WAL, every commit on disk before it is acknowledged, and one process per file, held by an
 * exclusive lock that the operating system drops when the process dies.
 */
export function openSqlite(file: string): Dialect {
  if (file !== ':memory:') mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(file, { timeout: 5_000 });
  try {
    database.exec('pragma locking_mode = exclusive');
    database.exec('pragma journal_mode = wal');
    database.exec('pragma synchronous = full');
    database.exec('pragma foreign_keys = on');
    database.exec('pragma secure_delete = on');
    database.exec('begin immediate; commit');
  } catch (cause) {
    database.close();
    if ((cause as Error).message.includes('locked')) throw fail('database_in_use', { cause });
    throw cause;
  }
  if (file !== ':memory:') chmodSync(file, 0o600);
  return new SqliteDialect({ database: adapt(database) });
}
