import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEpoch, type Epoch } from '../../src/database/epoch.ts';
import { createLog } from '../../src/log.ts';
import { createPostgresDatabase, stopPostgres } from './stores.ts';

const log = createLog({ level: 'silent' });
const closers: (() => Promise<void>)[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'valetkey-epoch-'));
  folders.push(made);
  return made;
}

async function start(
  dataDir: string,
  url?: string,
): Promise<{ epoch: Epoch; database: Database; stop: () => Promise<void> }> {
  const database = await openDatabase({ dataDir, url, clock: systemClock, log });
  const epoch = await createEpoch({ database, dataDir, clock: systemClock, log });
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    epoch.stop();
    await database.close();
  };
  closers.push(stop);
  return { epoch, database, stop };
}

async function once(dataDir: string, url?: string): Promise<ReturnType<Epoch['doubt']>> {
  const { epoch, stop } = await start(dataDir, url);
  await stop();
  return epoch.doubt();
}

describe('The instance of an embedded database', () => {
  it('is not doubted at a first start, a restart, or after its folder was moved on the same disk', async () => {
    const dir = await folder();
    expect(await once(dir)).toBeUndefined();
    expect(await once(dir)).toBeUndefined();
    const moved = `${dir}-moved`;
    folders.push(moved);
    await rename(dir, moved);
    expect(await once(moved)).toBeUndefined();
  });

  it('is not doubted when it is from before there were epochs', async () => {
    const dir = await folder();
    const database = await openDatabase({ dataDir: dir, clock: systemClock, log });
    await database.close();
    expect(await once(dir)).toBeUndefined();
  });

  it('is not doubted when its file was lost or cut off, which a new volume or a crash can do', async () => {
    const dir = await folder();
    await once(dir);
    await rm(join(dir, 'instance.json'));
    expect(await once(dir)).toBeUndefined();
    await writeFile(join(dir, 'instance.json'), '{"inst');
    expect(await once(dir)).toBeUndefined();
  });

  it('is doubted in a copied folder until it is adopted, and the copy keeps what was said', async () => {
    const dir = await folder();
    await once(dir);
    const copy = await folder();
    await cp(dir, copy, { recursive: true, preserveTimestamps: true });
    const { epoch, stop } = await start(copy);
    expect(epoch.doubt()).toBe('copied');
    expect(() => epoch.permit()).toThrow(expect.objectContaining({ code: 'instance_not_adopted' }));
    await epoch.check();
    expect(epoch.doubt()).toBe('copied');
    expect(await epoch.adopt()).toEqual({ epoch: 2, was: 'copied' });
    epoch.permit();
    expect(await epoch.adopt()).toEqual({ epoch: 2, was: null });
    await stop();
    expect(await once(copy)).toBeUndefined();
    expect(await once(dir)).toBeUndefined();
  });

  it('is doubted when an older state was written over it in place', async () => {
    const dir = await folder();
    await once(dir);
    const older = await readFile(join(dir, 'valetkey.db'));
    await once(dir);
    await writeFile(join(dir, 'valetkey.db'), older);
    const { epoch, stop } = await start(dir);
    expect(epoch.doubt()).toBe('restored');
    // Looking again and again does not make it younger.
    for (let looks = 0; looks < 5; looks += 1) await epoch.check();
    expect(epoch.doubt()).toBe('restored');
    expect(await epoch.adopt()).toEqual({ epoch: 2, was: 'restored' });
    await stop();
    expect(await once(dir)).toBeUndefined();
  });
});

describe('The instance of a Postgres database', () => {
  afterAll(stopPostgres);

  it('is not doubted by replicas, with folders of their own or without what they wrote there', async () => {
    const url = await createPostgresDatabase();
    const [one, two] = [await folder(), await folder()];
    const [first, second] = [await start(one, url), await start(two, url)];
    for (const { epoch } of [first, second, first]) {
      await epoch.check();
      expect(epoch.doubt()).toBeUndefined();
    }
    await first.stop();
    await rm(join(one, 'instance.json'));
    expect(await once(one, url)).toBeUndefined();
  });

  it('is doubted in a copy of the database on the same server, by every replica, until one adopts it', async () => {
    const url = await createPostgresDatabase();
    await once(await folder(), url);
    const original = new URL(url).pathname.slice(1);
    const copyUrl = await createPostgresDatabase({ from: original });
    const [one, two] = [await start(await folder(), copyUrl), await start(await folder(), copyUrl)];
    expect([one.epoch.doubt(), two.epoch.doubt()]).toEqual(['copied', 'copied']);
    expect(await one.epoch.adopt()).toEqual({ epoch: 2, was: 'copied' });
    await expect.poll(() => two.epoch.doubt()).toBeUndefined();
    expect(await once(await folder(), url)).toBeUndefined();
  });

  it('is doubted by a running process under which an older state was restored', async () => {
    const url = await createPostgresDatabase();
    const { epoch, database } = await start(await folder(), url);
    await epoch.check();
    await database.query.updateTable('instance').set({ value: '1' }).where('name', '=', 'mark').execute();
    await epoch.check();
    expect(epoch.doubt()).toBe('restored');
  });
});
