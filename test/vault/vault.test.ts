import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { tmpdir } from 'node:os';
import { systemClock as clock } from '../../src/clock.ts';
import type { Database } from '../../src/database/database.ts';
import type { TenantId } from '../../src/ids.ts';
import { Secret } from '../../src/secret.ts';
import { envKeySource, fileKeySource } from '../../src/vault/key-source.ts';
import { createVault, type SealContext, type Vault } from '../../src/vault/vault.ts';
import { describeStores } from '../database/stores.ts';

const tenant = 'default' as TenantId;
const other = 'other' as TenantId;
const place: SealContext = { tenant, row: 'connection:1', field: 'credential', generation: 1 };
const randomKey = (): Secret => new Secret(randomBytes(32).toString('base64'));
const open = (database: Database, key: Secret | undefined): Promise<Vault> =>
  createVault({ database, clock, keySource: envKeySource(key) });

describeStores('the vault', (openDatabase, store) => {
  it('opens after a restart what it sealed before, with the same key', async () => {
    const key = randomKey();
    const sealed = await (await open(await openDatabase(), key)).seal(place, new Secret('token'));
    expect(sealed).toMatch(/^vk1\.k1\.[\w-]{16}\.[\w-]+$/);
    const again = await open(await store.restart(), key);
    expect((await again.open(place, sealed)).unwrap()).toBe('token');
  });

  it('does not start with another key than the database was written with', async () => {
    await open(await openDatabase(), randomKey());
    await expect(open(await store.restart(), randomKey())).rejects.toMatchObject({ code: 'key_wrong' });
  });

  it('does not start with another key even when the key check was removed', async () => {
    const key = randomKey();
    const database = await openDatabase();
    await (await open(database, key)).seal(place, 'token');
    await database.query.deleteFrom('instance').where('name', '=', 'key_check').execute();
    await expect(open(database, randomKey())).rejects.toMatchObject({ code: 'key_wrong' });
    expect(await database.query.selectFrom('instance').selectAll().execute()).toEqual([]);
    await expect(open(database, key)).resolves.toBeDefined();
  });

  it('does not start without a key, and does not make a new one over data', async () => {
    const database = await openDatabase();
    const dataDir = await store.dataDir();
    await expect(open(database, undefined)).rejects.toMatchObject({ code: 'key_missing' });
    await createVault({ database, clock, keySource: fileKeySource({ dataDir }) });
    await rm(join(dataDir, 'master.key'));
    const again = createVault({ database, clock, keySource: fileKeySource({ dataDir }) });
    await expect(again).rejects.toMatchObject({ code: 'key_missing' });
    expect(await readdir(dataDir)).not.toContain('master.key');
  });

  it('lets the same key move from the file to the environment', async () => {
    const database = await openDatabase();
    const dataDir = await store.dataDir();
    const sealed = await (
      await createVault({ database, clock, keySource: fileKeySource({ dataDir }) })
    ).seal(place, 'token');
    const text = (await readFile(join(dataDir, 'master.key'), 'utf8')).trim();
    expect((await (await open(database, new Secret(text))).open(place, sealed)).unwrap()).toBe('token');
  });

  it('keeps neither a value nor a data key in the database in the clear', async () => {
    const key = randomKey();
    const database = await openDatabase();
    const vault = await open(database, key);
    await vault.secrets.put(tenant, 'API_KEY', new Secret('canary-value'));
    const dump = JSON.stringify([
      await database.query.selectFrom('secrets').selectAll().execute(),
      await database.query.selectFrom('data_keys').selectAll().execute(),
      await database.query.selectFrom('instance').selectAll().execute(),
    ]);
    expect(dump).toContain('API_KEY');
    expect(dump).not.toContain('canary-value');
    expect(dump).not.toContain(key.unwrap().replace('=', ''));
  });

  it('gives each tenant a data key of its own: a value moved to another tenant does not open', async () => {
    const database = await openDatabase();
    const vault = await open(database, randomKey());
    const [mine, theirs] = [await vault.seal(place, 'mine'), await vault.seal({ ...place, tenant: other }, 'theirs')];
    expect((await vault.open(place, mine)).unwrap()).toBe('mine');
    await expect(vault.open({ ...place, tenant: other }, mine)).rejects.toMatchObject({ code: 'unsealing_failed' });
    await expect(vault.open(place, theirs)).rejects.toMatchObject({ code: 'unsealing_failed' });
  });

  it('opens nothing when the wrapped keys of two tenants are swapped in the database', async () => {
    const key = randomKey();
    const database = await openDatabase();
    const vault = await open(database, key);
    const sealed = await vault.seal(place, 'mine');
    await vault.seal({ ...place, tenant: other }, 'theirs');
    const theirs = await database.query
      .selectFrom('data_keys')
      .select('wrapped')
      .where('tenant', '=', other)
      .executeTakeFirstOrThrow();
    await database.query.updateTable('data_keys').set(theirs).where('tenant', '=', tenant).execute();
    const again = await open(database, key);
    await expect(again.open(place, sealed)).rejects.toMatchObject({ code: 'key_wrong' });
  });

  it('makes no key for a tenant from whom something is only opened', async () => {
    const database = await openDatabase();
    const vault = await open(database, randomKey());
    const sealed = await vault.seal(place, 'mine');
    await expect(vault.open({ ...place, tenant: other }, sealed)).rejects.toMatchObject({ code: 'unsealing_failed' });
    await expect(vault.open(place, sealed.replace('.k1.', '.k9.'))).rejects.toMatchObject({ code: 'unsealing_failed' });
    expect(await database.query.selectFrom('data_keys').select(['tenant', 'id']).execute()).toEqual([
      { tenant, id: 'k1' },
    ]);
  });

  it('seals with the newest data key and still opens what older ones sealed', async () => {
    const key = randomKey();
    const database = await openDatabase();
    const vault = await open(database, key);
    const box = await vault.box(tenant, 'session ids');
    const [before, boxed] = [await vault.seal(place, 'before'), box.seal('me', Buffer.from('before'))];
    expect(await vault.addDataKey(tenant)).toBe('k2');
    const after = await vault.seal(place, 'after');
    expect(after).toMatch(/^vk1\.k2\./);
    expect(box.seal('me', Buffer.from('after'))).toMatch(/^k2\./);
    for (const each of [vault, await open(database, key)]) {
      expect((await each.open(place, before)).unwrap()).toBe('before');
      expect((await each.open(place, after)).unwrap()).toBe('after');
      expect((await each.box(tenant, 'session ids')).open('me', boxed)?.toString()).toBe('before');
    }
  });

  it('does not seal with a retired data key', async () => {
    const key = randomKey();
    const database = await openDatabase();
    const vault = await open(database, key);
    const sealed = await vault.seal(place, 'x');
    await vault.addDataKey(tenant);
    await database.query.updateTable('data_keys').set({ retired_at: 1 }).where('id', '=', 'k2').execute();
    const again = await open(database, key);
    expect(await again.seal(place, 'y')).toMatch(/^vk1\.k1\./);
    expect((await again.open(place, sealed)).unwrap()).toBe('x');
  });

  it('boxes values for one purpose, tenant and binding', async () => {
    const vault = await open(await openDatabase(), randomKey());
    const box = await vault.box(tenant, 'session ids');
    const sealed = box.seal('ada', Buffer.from([1, 2, 3]));
    expect(box.open('ada', sealed)).toEqual(Buffer.from([1, 2, 3]));
    expect(box.open('bob', sealed)).toBeUndefined();
    expect((await vault.box(tenant, 'states')).open('ada', sealed)).toBeUndefined();
    expect((await vault.box(other, 'session ids')).open('ada', sealed)).toBeUndefined();
    for (const text of ['', '.', 'k1.', 'k9.AAAA', sealed.slice(0, -1), `${sealed}A`, sealed.slice(3)]) {
      expect(box.open('ada', text)).toBeUndefined();
    }
  });

  it('keeps named secrets by version, shows their names and never their values', async () => {
    const vault = await open(await openDatabase(), randomKey());
    const changes: unknown[] = [];
    vault.secrets.onChanged((of, name) => changes.push([of, name]));
    expect(await vault.secrets.put(tenant, 'API_KEY', new Secret('first'))).toBe(1);
    expect(await vault.secrets.put(tenant, 'API_KEY', new Secret('second'))).toBe(2);
    expect((await vault.secrets.get(tenant, 'API_KEY'))?.unwrap()).toBe('second');
    expect(await vault.secrets.get(other, 'API_KEY')).toBeUndefined();
    const list = await vault.secrets.list(tenant);
    expect(list).toMatchObject([{ name: 'API_KEY', version: 2 }]);
    expect(inspect([list, await vault.secrets.get(tenant, 'API_KEY')], { depth: 9 })).not.toContain('second');
    expect(await vault.secrets.remove(other, 'API_KEY')).toBe(false);
    expect(await vault.secrets.remove(tenant, 'API_KEY')).toBe(true);
    expect(await vault.secrets.get(tenant, 'API_KEY')).toBeUndefined();
    expect(changes).toEqual(Array.from({ length: 3 }, () => [tenant, 'API_KEY']));
    for (const name of ['', '1A', 'A B', '../x', 'a'.repeat(65), 'ü', '__proto__']) {
      await expect(vault.secrets.put(tenant, name, new Secret('x'))).rejects.toMatchObject({
        code: 'secret_name_invalid',
      });
    }
  });

  it('does not take an older version of a secret for the present one', async () => {
    const database = await openDatabase();
    const vault = await open(database, randomKey());
    await vault.secrets.put(tenant, 'API_KEY', new Secret('first'));
    const before = await database.query.selectFrom('secrets').select('sealed').executeTakeFirstOrThrow();
    await vault.secrets.put(tenant, 'API_KEY', new Secret('second'));
    await database.query.updateTable('secrets').set(before).execute();
    await expect(vault.secrets.get(tenant, 'API_KEY')).rejects.toMatchObject({ code: 'unsealing_failed' });
  });

  it('loses none of several writes of one secret at once', async () => {
    const vault = await open(await openDatabase(), randomKey());
    const versions = await Promise.all(
      Array.from({ length: 8 }, (_, index) => vault.secrets.put(tenant, 'API_KEY', new Secret(`value ${index}`))),
    );
    expect(versions.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const last = versions.indexOf(8);
    expect((await vault.secrets.get(tenant, 'API_KEY'))?.unwrap()).toBe(`value ${last}`);
  });

  if (store.kind === 'postgres') {
    it('agrees on one first data key when several processes start and seal at once', async () => {
      const key = randomKey();
      const databases = await Promise.all([openDatabase(), store.replica(), store.replica(), store.replica()]);
      const vaults = await Promise.all(databases.map((database) => open(database, key)));
      const sealed = await Promise.all(vaults.map((vault, index) => vault.seal(place, `value ${index}`)));
      for (const [index, text] of sealed.entries()) {
        for (const vault of vaults) expect((await vault.open(place, text)).unwrap()).toBe(`value ${index}`);
      }
      const rows = await databases[0].query.selectFrom('data_keys').select('id').execute();
      expect(rows).toEqual([{ id: 'k1' }]);
    });

    it('lets one of several keys stand when processes start at once with different ones', async () => {
      const databases = await Promise.all([openDatabase(), store.replica(), store.replica()]);
      const outcomes = await Promise.allSettled(databases.map((database) => open(database, randomKey())));
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const outcome of outcomes) {
        expect(outcome.status === 'fulfilled' || outcome.reason.code === 'key_wrong').toBe(true);
      }
    });

    it('opens what another process has sealed with a data key made in the meantime', async () => {
      const key = randomKey();
      const here = await open(await openDatabase(), key);
      const there = await open(await store.replica(), key);
      await there.seal(place, 'x');
      await here.addDataKey(tenant);
      expect((await there.open(place, await here.seal(place, 'y'))).unwrap()).toBe('y');
    });
  }
});

describe('the key file', () => {
  async function folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'valetkey-test-'));
    onTestFinished(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  it('is made for its owner alone, whole, with nothing left beside it', async () => {
    const dataDir = await folder();
    await fileKeySource({ dataDir }).prepare(true);
    expect(await readdir(dataDir)).toEqual(['master.key']);
    expect((await stat(join(dataDir, 'master.key'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(dataDir, 'master.key'), 'utf8')).toMatch(/^[A-Za-z0-9+/]{43}=\n$/);
  });

  it('is one and the same for all who make it at once', async () => {
    for (let round = 0; round < 20; round++) {
      const dataDir = await folder();
      const sources = Array.from({ length: 8 }, () => fileKeySource({ dataDir }));
      await Promise.all(
        sources.map(async (source, index) => {
          for (let turn = 0; turn < index * round * 5; turn++) await nextTurn();
          await source.prepare(true);
        }),
      );
      const wrapped = (await sources[0]?.wrap(Buffer.from('x'), 'context')) ?? '';
      for (const source of sources) {
        expect((await source.unwrap(wrapped, 'context'))?.toString()).toBe('x');
        expect(await source.unwrap(wrapped, 'another context')).toBeUndefined();
      }
      expect(await readdir(dataDir)).toEqual(['master.key']);
    }
  });

  it.each(['640', '604', '644', '660'])('is refused with mode %s, which lets others in', async (text) => {
    const mode = Number.parseInt(text, 8);
    const dataDir = await folder();
    const path = join(dataDir, 'master.key');
    await writeFile(path, randomKey().unwrap());
    await chmod(path, mode);
    await expect(fileKeySource({ dataDir }).prepare(false)).rejects.toMatchObject({ code: 'key_exposed' });
    await chmod(path, 0o400);
    await expect(fileKeySource({ dataDir }).prepare(false)).resolves.toBeUndefined();
  });

  it('is refused when it is weak, empty or cut off', async () => {
    const dataDir = await folder();
    const path = join(dataDir, 'master.key');
    for (const text of ['', 'AAAA', Buffer.alloc(32).toString('base64'), randomKey().unwrap().slice(0, 20)]) {
      await writeFile(path, text, { mode: 0o600 });
      await expect(fileKeySource({ dataDir }).prepare(true)).rejects.toMatchObject({ code: 'key_weak' });
    }
  });
});
