import { spawn } from 'node:child_process';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { expect, it, onTestFinished, describe, vi } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { openDatabase } from '../../src/database/database.ts';
import { MIGRATIONS } from '../../src/database/migrations.ts';
import { createLog } from '../../src/log.ts';
import { createPostgresDatabase, describeStores } from './stores.ts';

const log = createLog({ level: 'silent' });

describeStores('the store', (open, store) => {
  it('runs every migration once and keeps what was written over a restart', async () => {
    const first = await open();
    await first.query.insertInto('instance').values({ name: 'kept', value: 'yes' }).execute();
    const second = await store.restart();
    const applied = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(second.query);
    expect(applied.rows.map((row) => row.name)).toEqual(Object.keys(MIGRATIONS));
    expect(await second.query.selectFrom('instance').selectAll().execute()).toEqual([{ name: 'kept', value: 'yes' }]);
  });

  it('refuses a database that a newer version has written', async () => {
    const database = await open();
    await sql`insert into kysely_migration (name, timestamp) values ('9999-from-the-future', '2030-01-01')`.execute(
      database.query,
    );
    await expect(store.restart()).rejects.toMatchObject({ code: 'database_newer' });
  });

  it('takes back everything that a failed transaction wrote', async () => {
    const database = await open();
    await expect(
      database.transaction(async (query) => {
        await query.insertInto('instance').values({ name: 'half', value: 'written' }).execute();
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect(await database.query.selectFrom('instance').selectAll().execute()).toEqual([]);
  });

  it('lets concurrent transactions that read and then write all finish', async () => {
    const database = await open();
    await database.query.insertInto('instance').values({ name: 'count', value: '0' }).execute();
    await Promise.all(
      Array.from({ length: 20 }, () =>
        database.transaction(async (query) => {
          await sql`update instance set value = value where name = 'count'`.execute(query);
          const { value } = await query
            .selectFrom('instance')
            .select('value')
            .where('name', '=', 'count')
            .executeTakeFirstOrThrow();
          await query
            .updateTable('instance')
            .set({ value: String(Number(value) + 1) })
            .where('name', '=', 'count')
            .execute();
        }),
      ),
    );
    expect(await database.query.selectFrom('instance').select('value').executeTakeFirst()).toEqual({ value: '20' });
  });

  it('gives times back as numbers', async () => {
    const database = await open();
    const at = 1_900_000_000_123;
    await database.query
      .insertInto('tenants')
      .values({ id: 'a', title: 'A', created_at: at, suspended_at: null })
      .execute();
    expect(await database.query.selectFrom('tenants').select('created_at').executeTakeFirst()).toEqual({
      created_at: at,
    });
  });

  it('tells the subscribers of a topic in the same process, until they leave', async () => {
    const database = await open();
    const heard: (string | null)[] = [];
    const leave = database.subscribe('fruit', (key) => heard.push(key));
    await database.publish('fruit', 'apple');
    await database.publish('tree', 'oak');
    leave();
    await database.publish('fruit', 'pear');
    expect(heard).toEqual(['apple']);
  });

  it('answers a ping while it is open', async () => {
    await expect((await open()).ping()).resolves.toBeUndefined();
  });

  if (store.kind === 'sqlite') {
    it('refuses a second process on the same embedded file', async () => {
      await open();
      await expect(openDatabase({ dataDir: await store.dataDir(), clock: systemClock, log })).rejects.toMatchObject({
        code: 'database_in_use',
      });
    });

    it('keeps the embedded file from other users of the machine', async () => {
      await open();
      const { mode } = await stat(join(await store.dataDir(), 'valetkey.db'));
      expect(mode & 0o777).toBe(0o600);
    });
  } else {
    it('carries a notice to another process, and only once to the one that sent it', async () => {
      const here = await open();
      const there = await store.replica();
      const heardHere: (string | null)[] = [];
      const heardThere: (string | null)[] = [];
      here.subscribe('fruit', (key) => heardHere.push(key));
      there.subscribe('fruit', (key) => heardThere.push(key));
      await here.publish('fruit', 'apple');
      await there.publish('fruit', 'pear');
      await vi.waitFor(() => expect(heardThere).toContain('apple'));
      // Notices arrive in the order of their commits: whatever `here` sent itself has come back before this one.
      await there.publish('fruit', 'plum');
      await vi.waitFor(() => expect(heardHere).toContain('plum'));
      expect(heardHere).toEqual(['apple', 'pear', 'plum']);
      expect(heardThere).toHaveLength(3);
    });

    it('tells subscribers that anything may have changed after its listening connection was lost', async () => {
      const database = await open();
      const heard: (string | null)[] = [];
      database.subscribe('fruit', (key) => heard.push(key));
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and query like 'listen %'`.execute(database.query);
      await vi.waitFor(() => expect(heard).toEqual([null]), { timeout: 10_000 });
      await database.publish('fruit', 'apple');
      expect(heard).toEqual([null, 'apple']);
    });

    it('lets several processes bring the schema of an empty database up to date at once', async () => {
      const [url, dataDir] = [await createPostgresDatabase(), await store.dataDir()];
      const handles = await Promise.all(
        Array.from({ length: 3 }, () => openDatabase({ url, dataDir, clock: systemClock, log })),
      );
      for (const handle of handles) onTestFinished(() => handle.close());
      for (const handle of handles) {
        expect(await handle.query.selectFrom('instance').selectAll().execute()).toEqual([]);
      }
    });

    it('names a database that does not answer', async () => {
      const url = new URL((await store.url()) ?? '');
      url.port = '1';
      await expect(
        openDatabase({ url: url.href, dataDir: await store.dataDir(), clock: systemClock, log }),
      ).rejects.toMatchObject({ code: 'database_unreachable' });
    });
  }
});

describe('the embedded store', () => {
  it('has on disk what it acknowledged before it was killed', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-test-'));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const writer = spawn(process.execPath, [fileURLToPath(new URL('writer.ts', import.meta.url)), dataDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let acknowledged = '';
    const exited = new Promise((resolve) => writer.once('exit', (_, signal) => resolve(signal)));
    writer.stdout.setEncoding('utf8').on('data', (text: string) => {
      acknowledged += text;
      if (acknowledged.split('\n').length > 50) writer.kill('SIGKILL');
    });
    expect(await exited).toBe('SIGKILL');
    const names = acknowledged.split('\n').slice(0, -1);
    const database = await openDatabase({ dataDir, clock: systemClock, log });
    onTestFinished(() => database.close());
    const kept = await database.query.selectFrom('instance').select('name').execute();
    expect(names.length).toBeGreaterThanOrEqual(50);
    expect(kept.map((row) => row.name)).toEqual(expect.arrayContaining(names));
  });
});
