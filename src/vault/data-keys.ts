import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import type { KeySource } from './key-source.ts';
import type { VaultStore } from './store.ts';

export type DataKey = { id: string; bytes: Buffer };

/** The data keys of one tenant. Its content is replaced in place when keys are added, so it can be held on to. */
export type KeyRing = {
  /** Seals: the newest one that is not retired. */
  newest: DataKey;
  byId: ReadonlyMap<string, DataKey>;
};

export type DataKeys = {
  /** The tenant's keys; the first one is made when there is none. */
  ring(tenant: TenantId): Promise<KeyRing>;
  /** A key by its id, looked up in the store when this process does not have it yet. */
  find(tenant: TenantId, id: string): Promise<DataKey | undefined>;
  /** Adds a key that seals from now on; older ones still open. */
  add(tenant: TenantId): Promise<string>;
  /** Reads a tenant's keys again, or everybody's. */
  refresh(tenant: TenantId | null): Promise<void>;
};

const context = (tenant: string, id: string): string => JSON.stringify(['data key', tenant, id]);
const ordinal = (id: string): number => Number(id.slice(1));

/** Key ids are `k1`, `k2`, … within a tenant, so that processes that create one at once agree on which came first. */
export function createDataKeys(options: { store: VaultStore; keySource: KeySource; clock: Clock }): DataKeys {
  const { store, keySource, clock } = options;
  const rings = new Map<TenantId, Promise<KeyRing>>();

  async function load(tenant: TenantId): Promise<KeyRing | undefined> {
    const rows = (await store.dataKeys(tenant)).sort((a, b) => ordinal(b.id) - ordinal(a.id));
    const byId = new Map<string, DataKey>();
    for (const row of rows) {
      const bytes = await keySource.unwrap(row.wrapped, context(tenant, row.id));
      if (bytes === undefined) throw fail('key_wrong', { detail: { tenant, dataKey: row.id } });
      byId.set(row.id, { id: row.id, bytes });
    }
    const newest = byId.get(rows.find((row) => row.retiredAt === null)?.id ?? '');
    return newest === undefined ? undefined : { newest, byId };
  }

  /** False when another process was first with this number. */
  async function insert(tenant: TenantId, number: number): Promise<boolean> {
    const id = `k${number}`;
    const wrapped = await keySource.wrap(randomBytes(32), context(tenant, id));
    return await store.addDataKey({ tenant, id, wrapped, keySource: keySource.name, at: clock.now() });
  }

  async function ring(tenant: TenantId): Promise<KeyRing> {
    let pending = rings.get(tenant);
    if (pending === undefined) {
      pending = (async () => {
        const found = await load(tenant);
        if (found !== undefined) return found;
        // Whoever comes second takes the key of whoever came first.
        await insert(tenant, 1);
        const made = await load(tenant);
        if (made === undefined) throw fail('internal', { detail: { reason: 'every data key is retired', tenant } });
        return made;
      })();
      rings.set(tenant, pending);
      pending.catch(() => rings.delete(tenant));
    }
    return await pending;
  }

  async function refresh(tenant: TenantId | null): Promise<void> {
    for (const name of tenant === null ? [...rings.keys()] : [tenant]) {
      const held = await rings.get(name);
      const fresh = held === undefined ? undefined : await load(name);
      if (held !== undefined && fresh !== undefined) Object.assign(held, fresh);
    }
  }

  return {
    ring,
    refresh,
    async find(tenant, id) {
      // Opening must not bring keys of a tenant into being.
      if (!rings.has(tenant) && (await store.dataKeys(tenant)).length === 0) return undefined;
      const held = await ring(tenant);
      if (!held.byId.has(id)) await refresh(tenant);
      return held.byId.get(id);
    },
    async add(tenant) {
      await ring(tenant);
      for (;;) {
        const next = Math.max(...(await store.dataKeys(tenant)).map((row) => ordinal(row.id))) + 1;
        if (!(await insert(tenant, next))) continue;
        await refresh(tenant);
        return `k${next}`;
      }
    },
  };
}
