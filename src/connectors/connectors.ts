import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { fail } from '../errors.ts';
import { newId, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Secret } from '../secret.ts';
import { createCatalogue, type Catalogue } from './catalogue.ts';
import { createChecks, type Checks } from './check-store.ts';
import type { Connector, ConnectorDocument } from './connector.ts';
import type { Credential } from './credential.ts';
import { createDeclare, nameOf, type Stored } from './declare.ts';
import { secretFields } from './plain-secrets.ts';
import type { Providers } from './provider.ts';
import { createRegistry } from './registry.ts';
import {
  clientSecret,
  clientSecrets,
  missingOf,
  secretAt,
  staticCredential,
  type Missing,
} from './static-credential.ts';
import { createStore, type ConnectorRow } from './store.ts';
import { mergeDocument, openSecrets, prepare, sealSecrets, type Sealer } from './write.ts';

/** Who changes something, as the audit names actors: `user:<id>`, `admin-token`, `file`. */
export type Actor = string;

export type Connectors = {
  /** From memory; the data plane calls it for every request. */
  readonly find: (tenant: TenantId, name: string) => Connector | undefined;
  readonly byId: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  /** Of every tenant. */
  readonly all: () => Connector[];
  /** In alphabetical order. */
  readonly list: (tenant: TenantId) => Connector[];
  /** @throws ValetkeyError connector_exists, connector_invalid, connector_unsupported */
  readonly create: (tenant: TenantId, input: unknown, actor: Actor) => Promise<Connector>;
  /**
   * Writes the whole document, and makes the connector when there is none.
   * @param ifRevision the revision that the change is based on; any when left out
   * @throws ValetkeyError conflict, connector_declared, connector_invalid, connector_unsupported, secret_required
   */
  readonly put: (
    tenant: TenantId,
    name: string,
    input: unknown,
    actor: Actor,
    ifRevision?: number,
  ) => Promise<{ connector: Connector; created: boolean }>;
  /** RFC 7396 on the stored document. Throws what `put` throws, and not_found. */
  readonly patch: (
    tenant: TenantId,
    name: string,
    patch: unknown,
    actor: Actor,
    ifRevision?: number,
  ) => Promise<Connector>;
  readonly remove: (tenant: TenantId, name: string, actor: Actor, ifRevision?: number) => Promise<void>;
  /** `put` without writing anything: throws what it would throw. */
  readonly check: (tenant: TenantId, name: string, input: unknown, ifRevision?: number) => Promise<ConnectorDocument>;
  /** Makes the declared connectors of a tenant what the file says: all of it is validated before any is written. */
  readonly declare: (tenant: TenantId, documents: readonly unknown[]) => Promise<void>;
  /** The credential of auth types bearer, api-key, basic and headers; null for the others or while something is missing. */
  readonly staticCredential: (connector: Connector) => Promise<Credential | null>;
  readonly clientSecret: (connector: Connector) => Promise<Secret | undefined>;
  /** In order, while one is rolled over. */
  readonly clientSecrets: (connector: Connector) => Promise<Secret[]>;
  /** A secret of the document by its path, such as `auth.privateKey`. */
  readonly secretAt: (connector: Connector, path: string) => Promise<Secret | undefined>;
  /** What has to be added before calls can carry a credential. */
  readonly missing: (connector: Connector) => Promise<Missing[]>;
  /** Called in every process when a connector, or a secret it uses, has changed; undefined: it was removed. */
  readonly onChanged: (listener: (id: ConnectorId, connector: Connector | undefined) => void) => () => void;
  readonly catalogue: Catalogue;
  /** The rows that `auth.provider` can name. */
  readonly providers: Providers;
  readonly checks: Checks;
  readonly close: () => void;
};

const TOPIC = 'connectors';

export async function createConnectors(options: {
  database: Database;
  vault: Sealer;
  clock: Clock;
  audit: Pick<Audit, 'record'>;
  log: Log;
  providers: Providers;
  /** `egress.check` */
  checkUrl: (url: string) => void;
}): Promise<Connectors> {
  const { database, vault, clock, audit, log, providers, checkUrl } = options;
  const store = createStore(database);
  const listeners = new Set<(id: ConnectorId, connector: Connector | undefined) => void>();
  const credentials = new Map<ConnectorId, Promise<Credential | null>>();

  function changed(id: ConnectorId, connector: Connector | undefined): void {
    credentials.delete(id);
    for (const listener of listeners) listener(id, connector);
  }
  const registry = createRegistry({ store, providers, log, checkUrl, changed });
  await registry.refreshAll();

  const unsubscribe = database.subscribe(TOPIC, (key) => {
    const [tenant, id] = key?.split('/') ?? [];
    if (tenant === undefined || id === undefined) {
      registry.refreshAll().catch((error: unknown) => log.error({ err: error }, 'connectors could not be read again'));
    } else {
      registry
        .refresh(tenant as TenantId, id as ConnectorId)
        .catch((error: unknown) => log.error({ err: error, connector: id }, 'a connector could not be read again'));
    }
  });

  const unsubscribeSecrets = vault.secrets.onChanged((tenant, name) => {
    const tenants = tenant === null ? registry.tenants() : [tenant];
    for (const connector of tenants.flatMap((one) => registry.list(one))) {
      const uses = secretFields(connector.document).some(
        ([, field]) => field !== '***' && (name === null || field.secret === name),
      );
      if (uses) changed(connector.id, connector);
    }
  });

  /** After a write: this process sees it before the writer is answered, the others soon after. */
  async function announce(row: ConnectorRow): Promise<Connector | undefined> {
    await registry.refresh(row.tenant, row.id);
    await database.publish(TOPIC, `${row.tenant}/${row.id}`);
    return registry.byId(row.tenant, row.id);
  }

  async function stored(tenant: TenantId, name: string): Promise<Stored | undefined> {
    const row = await store.byName(tenant, name);
    return row === undefined ? undefined : { row, document: row.document, secrets: await openSecrets(vault, row) };
  }

  async function write(
    tenant: TenantId,
    before: Stored | undefined,
    input: unknown,
    actor: Actor,
    source: 'api' | 'file',
  ): Promise<Connector> {
    const { document, secrets } = prepare(input, before, { providers, checkUrl });
    if (before !== undefined && before.row.name !== document.name) {
      throw fail('connector_invalid', {
        message: `name: a connector keeps its name, here ${before.row.name}: it is part of its address.`,
      });
    }
    const now = clock.now();
    const identity = {
      tenant,
      id: before?.row.id ?? newId<ConnectorId>('con'),
      revision: (before?.row.revision ?? 0) + 1,
    };
    const row: ConnectorRow = {
      ...identity,
      name: document.name,
      document,
      sealed: await sealSecrets(vault, identity, secrets),
      source,
      createdAt: before?.row.createdAt ?? now,
      updatedAt: now,
    };
    if (before === undefined && !(await store.insert(row))) {
      throw fail('connector_exists', { message: `A connector named ${document.name} exists already.` });
    }
    if (before !== undefined && !(await store.replace(row))) throw fail('conflict');
    await audit.record({
      tenant,
      action: before === undefined ? 'connector.created' : 'connector.changed',
      actor,
      object: `connector:${row.id}`,
      outcome: 'success',
      detail: { name: row.name, revision: row.revision, source },
    });
    const connector = await announce(row);
    if (connector === undefined) throw fail('conflict', { message: 'The connector was removed in the meantime.' });
    return connector;
  }

  function mayChange(before: Stored, ifRevision: number | undefined): void {
    if (before.row.source === 'file') {
      throw fail('connector_declared', { message: `${before.row.name} is declared in the configuration file.` });
    }
    if (ifRevision !== undefined && ifRevision !== before.row.revision) throw fail('conflict');
  }

  async function existing(tenant: TenantId, name: string, ifRevision: number | undefined): Promise<Stored> {
    const before = await stored(tenant, name);
    if (before === undefined) throw fail('not_found', { message: `There is no connector named ${name}.` });
    mayChange(before, ifRevision);
    return before;
  }

  /** What a `put` replaces, and its document with the name of the address filled in. */
  async function replaced(
    tenant: TenantId,
    name: string,
    input: unknown,
    ifRevision: number | undefined,
  ): Promise<{ before: Stored | undefined; named: unknown }> {
    const named = typeof input === 'object' && input !== null && !('name' in input) ? { name, ...input } : input;
    const before = await stored(tenant, name);
    if (before === undefined && ifRevision !== undefined) throw fail('conflict');
    if (nameOf(named) !== name) {
      throw fail('connector_invalid', {
        message: `name: a connector keeps its name, which is part of its address: here ${name}.`,
      });
    }
    if (before !== undefined) mayChange(before, ifRevision);
    return { before, named };
  }

  return {
    find: (tenant, name) => registry.find(tenant, name),
    byId: (tenant, id) => registry.byId(tenant, id),
    all: () => registry.tenants().flatMap((tenant) => registry.list(tenant)),
    list: (tenant) => registry.list(tenant),
    create: async (tenant, input, actor) => await write(tenant, undefined, input, actor, 'api'),
    async put(tenant, name, input, actor, ifRevision) {
      const { before, named } = await replaced(tenant, name, input, ifRevision);
      return { connector: await write(tenant, before, named, actor, 'api'), created: before === undefined };
    },
    async patch(tenant, name, patch, actor, ifRevision) {
      const before = await existing(tenant, name, ifRevision);
      return await write(tenant, before, mergeDocument(before.document, patch), actor, 'api');
    },
    async remove(tenant, name, actor, ifRevision) {
      const { row } = await existing(tenant, name, ifRevision);
      if (!(await store.remove(row))) throw fail('conflict');
      await audit.record({
        tenant,
        action: 'connector.removed',
        actor,
        object: `connector:${row.id}`,
        outcome: 'success',
        detail: { name },
      });
      await announce(row);
    },
    async check(tenant, name, input, ifRevision) {
      const { before, named } = await replaced(tenant, name, input, ifRevision);
      return prepare(named, before, { providers, checkUrl }).document;
    },
    declare: createDeclare({
      log,
      list: (tenant) => registry.list(tenant),
      stored,
      prepare: (input, before) => prepare(input, before, { providers, checkUrl }),
      write: async (tenant, before, input, source) => await write(tenant, before, input, 'file', source),
    }),
    staticCredential(connector) {
      const held = credentials.get(connector.id);
      if (held !== undefined) return held;
      const fresh = store
        .byId(connector.tenant, connector.id)
        .then((row) => (row === undefined ? null : staticCredential(vault, row)));
      credentials.set(connector.id, fresh);
      fresh.catch(() => credentials.delete(connector.id));
      return fresh;
    },
    async clientSecret(connector) {
      const row = await store.byId(connector.tenant, connector.id);
      return row === undefined ? undefined : await clientSecret(vault, row);
    },
    async clientSecrets(connector) {
      const row = await store.byId(connector.tenant, connector.id);
      return row === undefined ? [] : await clientSecrets(vault, row);
    },
    async secretAt(connector, path) {
      const row = await store.byId(connector.tenant, connector.id);
      return row === undefined ? undefined : await secretAt(vault, row, path);
    },
    async missing(connector) {
      const row = await store.byId(connector.tenant, connector.id);
      return row === undefined ? [] : await missingOf(vault, row);
    },
    onChanged(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    catalogue: createCatalogue({ store, clock }),
    providers,
    checks: createChecks({ database, clock }),
    close() {
      unsubscribe();
      unsubscribeSecrets();
    },
  };
}
