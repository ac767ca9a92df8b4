import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import { Secret } from '../secret.ts';
import { createBox, type Box } from './box.ts';
import { createDataKeys } from './data-keys.ts';
import { envelopeKeyId, openEnvelope, sealEnvelope, type SealContext as Place } from './envelope.ts';
import type { KeySource } from './key-source.ts';
import { createNamedSecrets, type NamedSecrets } from './secrets.ts';
import { createVaultStore, type VaultStore } from './store.ts';

export type { Box } from './box.ts';
export type { KeySource } from './key-source.ts';
export type SealContext = Place & { tenant: TenantId };

/**
 * Envelope encryption: the key source wraps a data key per tenant, a data key seals values. A tenant's first data key
 * comes with the first value sealed for it.
 */
export type Vault = {
  /** Text that opens only under the same context; the format is described in envelope.ts. */
  seal(context: SealContext, value: string | Secret): Promise<string>;
  /** @throws ValetkeyError unsealing_failed when it was changed, moved, or sealed for another place */
  open(context: SealContext, sealed: string): Promise<Secret>;
  /** A box for one purpose; get it once and keep it. */
  box(tenant: TenantId, purpose: string): Promise<Box>;
  /** Makes a new data key that seals from now on; what older ones sealed still opens. Returns its id. */
  addDataKey(tenant: TenantId): Promise<string>;
  readonly secrets: NamedSecrets;
};

/**
 * Loads the master key and proves that it is the one that this database was written with.
 * @throws ValetkeyError key_missing, key_wrong, key_weak, key_exposed: the process must not start
 */
export async function createVault(options: { database: Database; clock: Clock; keySource: KeySource }): Promise<Vault> {
  const { database, clock, keySource } = options;
  const store = createVaultStore(database);
  await proveKey(store, keySource);
  const keys = createDataKeys({ store, keySource, clock });
  database.subscribe('vault.keys', (tenant) => {
    // A failure leaves the older keys in place; a key that is missing is looked up again when it is needed.
    keys.refresh(tenant as TenantId | null).catch(() => undefined);
  });

  const vault: Omit<Vault, 'secrets'> = {
    async seal(context, value) {
      const { newest } = await keys.ring(context.tenant);
      return sealEnvelope(newest, context, value instanceof Secret ? value.unwrap() : value);
    },
    async open(context, sealed) {
      const key = await keys.find(context.tenant, envelopeKeyId(sealed));
      if (key === undefined)
        throw fail('unsealing_failed', { detail: { reason: 'no such data key', row: context.row } });
      return new Secret(openEnvelope(key, context, sealed));
    },
    async box(tenant, purpose) {
      return createBox(await keys.ring(tenant), purpose);
    },
    async addDataKey(tenant) {
      const id = await keys.add(tenant);
      await database.publish('vault.keys', tenant);
      return id;
    },
  };
  const secrets = createNamedSecrets({
    store,
    clock,
    seal: (context, value) => vault.seal(context as SealContext, value),
    open: (context, sealed) => vault.open(context as SealContext, sealed),
    publish: (key) => database.publish('vault.secrets', key),
    subscribe: (listener) => database.subscribe('vault.secrets', listener),
  });
  return { ...vault, secrets };
}

const CHECK_CONTEXT = 'key check';
const CHECK_TEXT = 'valetkey';

/** A key check value stands in the database from the first start on: whoever opens it has the right key. */
async function proveKey(store: VaultStore, keySource: KeySource): Promise<void> {
  const standing = await store.keyCheck();
  const dataKey = await store.anyDataKey();
  await keySource.prepare(standing === undefined && dataKey === undefined);
  if (standing === undefined && dataKey !== undefined) {
    const context = JSON.stringify(['data key', dataKey.tenant, dataKey.id]);
    if ((await keySource.unwrap(dataKey.wrapped, context)) === undefined) throw fail('key_wrong');
  }
  // Processes that start at once on a new database propose one each; the first one stands, and judges the others.
  const check = standing ?? (await store.proposeKeyCheck(await keySource.wrap(Buffer.from(CHECK_TEXT), CHECK_CONTEXT)));
  if ((await keySource.unwrap(check, CHECK_CONTEXT))?.toString() !== CHECK_TEXT) throw fail('key_wrong');
}
