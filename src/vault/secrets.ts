import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import { Secret } from '../secret.ts';
import type { SealContext } from './envelope.ts';
import type { SecretRow, VaultStore } from './store.ts';

/** Named secrets of a tenant, which connector documents refer to by `{secret: NAME}`. Written, used, never shown. */
export type NamedSecrets = {
  /** @returns the version, counted from 1; @throws ValetkeyError secret_name_invalid */
  put(tenant: TenantId, name: string, value: Secret): Promise<number>;
  get(tenant: TenantId, name: string): Promise<Secret | undefined>;
  list(tenant: TenantId): Promise<SecretRow[]>;
  /** False when there was none. */
  remove(tenant: TenantId, name: string): Promise<boolean>;
  /** Called with the name that changed, or with null when any may have; returns the way out. */
  onChanged(listener: (tenant: TenantId | null, name: string | null) => void): () => void;
};

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/;

export function createNamedSecrets(options: {
  store: VaultStore;
  clock: Clock;
  seal: (context: SealContext, value: Secret) => Promise<string>;
  open: (context: SealContext, sealed: string) => Promise<Secret>;
  publish: (key: string) => Promise<void>;
  subscribe: (listener: (key: string | null) => void) => () => void;
}): NamedSecrets {
  const { store, clock } = options;
  const place = (tenant: TenantId, name: string, version: number): SealContext => ({
    tenant,
    row: `secret:${name}`,
    field: 'value',
    generation: version,
  });
  return {
    async put(tenant, name, value) {
      if (!NAME.test(name)) throw fail('secret_name_invalid');
      for (;;) {
        const version = ((await store.secret(tenant, name))?.version ?? 0) + 1;
        const sealed = await options.seal(place(tenant, name, version), value);
        if (await store.writeSecret({ tenant, name, sealed, version, at: clock.now() })) {
          await options.publish(`${tenant}/${name}`);
          return version;
        }
      }
    },
    async get(tenant, name) {
      const row = await store.secret(tenant, name);
      return row === undefined ? undefined : await options.open(place(tenant, name, row.version), row.sealed);
    },
    list: (tenant) => store.listSecrets(tenant),
    async remove(tenant, name) {
      const removed = await store.removeSecret(tenant, name);
      if (removed) await options.publish(`${tenant}/${name}`);
      return removed;
    },
    onChanged: (listener) =>
      options.subscribe((key) => {
        if (key === null) return listener(null, null);
        const slash = key.indexOf('/');
        listener(key.slice(0, slash) as TenantId, key.slice(slash + 1));
      }),
  };
}
