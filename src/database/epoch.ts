import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { newToken } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Database } from './database.ts';
import { createEpochStore, type Marks } from './epoch-store.ts';

/** `copied`: the database stands elsewhere than where it was adopted. `restored`: it knows less than this folder does. */
export type Doubt = 'copied' | 'restored';

/**
 * Tells a database from its copies and from its own past. Two gateways on two copies would spend the same refresh tokens,
 * and so would one on a state from before its last refreshes: the providers end such grants.
 */
export type Epoch = {
  /** Undefined while tokens may be spent. */
  doubt(): Doubt | undefined;
  /** @throws ValetkeyError instance_not_adopted while there is doubt */
  permit(): void;
  /** Grows with each adoption. */
  number(): number;
  /** Looks again, and moves the mark on where there is no doubt. */
  check(): Promise<void>;
  /** From here on this database is the one that spends tokens. Returns what was doubted. */
  adopt(): Promise<{ epoch: number; was: Doubt | null }>;
  stop(): void;
};

const FILE = 'instance.json';
const EVERY_MS = 60_000;
const TOPIC = 'instance';

const fileSchema = z.object({ instance: z.string(), epoch: z.number().int(), mark: z.number().int() });

/**
 * What the database says of itself is compared with where it is and with what the data folder last saw: `mark` is a
 * counter that every start and every minute moves on, and a restored database is behind it.
 */
export async function createEpoch(options: {
  database: Database;
  dataDir: string;
  clock: Clock;
  log: Log;
}): Promise<Epoch> {
  const { database, dataDir, clock, log } = options;
  const store = createEpochStore(database);
  const file = join(dataDir, FILE);
  let doubt: Doubt | undefined;
  let unwritable = false;
  let seen = readFile();

  function readFile(): Marks | undefined {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      return fileSchema.parse(JSON.parse(text));
    } catch {
      // Cut off by a crash while it was written: as good as none.
      log.warn({ file }, 'the instance file cannot be read; it is written anew');
      return undefined;
    }
  }

  function remember(marks: Marks): void {
    seen = { instance: marks.instance, epoch: marks.epoch, mark: marks.mark };
    try {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      writeFileSync(file, `${JSON.stringify(seen)}\n`, { mode: 0o600 });
      unwritable = false;
    } catch (error) {
      // A replica whose folder is read-only remembers while it runs.
      if (!unwritable) log.warn({ err: error, file }, 'the instance file cannot be written');
      unwritable = true;
    }
  }

  async function place(): Promise<string> {
    return database.kind === 'sqlite' ? filePlace(join(dataDir, 'valetkey.db')) : await postgresPlace(database);
  }

  function judge(marks: Marks & { place: string }, here: string): Doubt | undefined {
    if (marks.place !== here) return 'copied';
    if (seen?.instance !== marks.instance) return undefined;
    const behind = marks.epoch < seen.epoch || (marks.epoch === seen.epoch && marks.mark < seen.mark);
    return behind ? 'restored' : undefined;
  }

  async function check(): Promise<void> {
    const here = await place();
    const marks = await store.read();
    const before = doubt;
    if (marks === undefined) {
      // A new database, or one from before there were epochs.
      await store.create({ instance: newToken(12), epoch: 1, mark: 1, place: here });
      return await check();
    }
    doubt = judge(marks, here);
    if (doubt !== undefined) {
      if (before !== doubt) log.error({ doubt }, fail('instance_not_adopted').message);
      return;
    }
    const next = await store.advance(marks);
    remember(next);
  }

  await check();
  const ends = [database.subscribe(TOPIC, () => void look()), clock.every(EVERY_MS, () => void look())];

  async function look(): Promise<void> {
    try {
      await check();
    } catch (error) {
      log.warn({ err: asValetkeyError(error) }, 'the instance could not be checked');
    }
  }

  return {
    doubt: () => doubt,
    permit() {
      if (doubt !== undefined) throw fail('instance_not_adopted', { detail: { doubt } });
    },
    number: () => seen?.epoch ?? 0,
    check,
    async adopt() {
      await check();
      const was = doubt ?? null;
      if (was === null) return { epoch: seen?.epoch ?? 1, was };
      const marks = await store.read();
      if (marks === undefined) throw fail('conflict');
      const epoch = Math.max(marks.epoch, seen?.instance === marks.instance ? seen.epoch : 0) + 1;
      const adopted = { instance: marks.instance, epoch, mark: marks.mark + 1, place: await place() };
      await store.write(adopted);
      remember(adopted);
      doubt = undefined;
      await database.publish(TOPIC, String(epoch));
      return { epoch, was };
    },
    stop() {
      for (const end of ends) end();
    },
  };
}

/** A copy is another file: it has another number, or was born at another time. A move within one disk keeps both. */
function filePlace(file: string): string {
  const { ino, birthtimeNs } = statSync(file, { bigint: true });
  return `file/${ino}/${birthtimeNs}`;
}

/** A dump restored elsewhere has another database id or another cluster; a standby that takes over has the same. */
async function postgresPlace({ query }: Database): Promise<string> {
  const { rows } = await sql<{ oid: string }>`
    select oid::text as oid from pg_database where datname = current_database()`.execute(query);
  let cluster = 'unknown';
  try {
    const found = await sql<{ id: string }>`select system_identifier::text as id from pg_control_system()`.execute(
      query,
    );
    cluster = found.rows[0]?.id ?? cluster;
  } catch (error) {
    // Some hosts do not let anyone ask. The database's id remains.
    if ((error as { code?: unknown }).code !== '42501') throw error;
  }
  return `postgres/${cluster}/${rows[0]?.oid ?? ''}`;
}
