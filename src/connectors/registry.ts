import type { ConnectorId, TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Connector, OAuth2Settings } from './connector.ts';
import { connectionSettings } from './connection-settings.ts';
import { compileInjection } from './injection.ts';
import { injectionOf, resolveOAuth, type Providers } from './provider.ts';
import type { ConnectorRow, Store } from './store.ts';
import { compileTools } from './tools.ts';

/** Every connector in memory, compiled: a look-up costs two maps, however many there are. */
export type Registry = {
  find(tenant: TenantId, name: string): Connector | undefined;
  byId(tenant: TenantId, id: ConnectorId): Connector | undefined;
  /** By name, in alphabetical order. */
  list(tenant: TenantId): Connector[];
  tenants(): TenantId[];
  /** Reads one connector again, or all; answers what was there before and what is there now. */
  refresh(tenant: TenantId, id: ConnectorId): Promise<void>;
  refreshAll(): Promise<void>;
};

export function createRegistry(options: {
  store: Store;
  providers: Providers;
  log: Log;
  checkUrl: (url: string) => void;
  changed: (id: ConnectorId, connector: Connector | undefined) => void;
}): Registry {
  const { store, log, changed } = options;
  const byName = new Map<TenantId, Map<string, Connector>>();
  const byId = new Map<ConnectorId, Connector>();
  const inOrder = new Map<TenantId, Connector[]>();

  function compile(row: ConnectorRow): Connector {
    const { sealed: _, ...plain } = row;
    const oauth = oauthOf(row);
    const given = row.document.inject;
    const inject = given.length > 0 || oauth === null ? given : injectionOf(oauth, options.providers, row.document.url);
    return {
      ...plain,
      oauth,
      connection: connectionSettings(row.document.auth),
      injection: compileInjection({ ...row.document, inject }),
      tools: compileTools(row.document.tools),
    };
  }

  function oauthOf(row: ConnectorRow): OAuth2Settings | null {
    const { auth } = row.document;
    if (auth.type !== 'oauth2') return null;
    try {
      return resolveOAuth(auth, options.providers, options.checkUrl, row.document.url);
    } catch (error) {
      // Accepted once; a row of the catalogue or the network policy has changed since. The rest of it still serves.
      log.error({ err: error, tenant: row.tenant, connector: row.name }, 'a connector no longer fits');
      const bare = {
        ...auth,
        provider: undefined,
        parameters: {},
        scopeSets: {},
        authorizationUrl: undefined,
        tokenUrl: undefined,
      };
      return resolveOAuth({ ...bare, revocationUrl: undefined }, options.providers, options.checkUrl);
    }
  }

  function install(row: ConnectorRow): void {
    const known = byId.get(row.id);
    // Two reads may arrive in the wrong order.
    if (known !== undefined && known.revision >= row.revision) return;
    const connector = compile(row);
    byId.set(row.id, connector);
    const names = byName.get(row.tenant) ?? new Map<string, Connector>();
    byName.set(row.tenant, names.set(row.name, connector));
    inOrder.delete(row.tenant);
    changed(row.id, connector);
  }

  function drop(id: ConnectorId): void {
    const known = byId.get(id);
    if (known === undefined) return;
    byId.delete(id);
    const names = byName.get(known.tenant);
    if (names?.get(known.name)?.id === id) names.delete(known.name);
    inOrder.delete(known.tenant);
    changed(id, undefined);
  }

  return {
    find: (tenant, name) => byName.get(tenant)?.get(name),
    byId(tenant, id) {
      const found = byId.get(id);
      return found?.tenant === tenant ? found : undefined;
    },
    list(tenant) {
      let list = inOrder.get(tenant);
      if (list === undefined) {
        list = [...(byName.get(tenant)?.values() ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1));
        inOrder.set(tenant, list);
      }
      return [...list];
    },
    tenants: () => [...byName.keys()],
    async refresh(tenant, id) {
      const row = await store.byId(tenant, id);
      if (row === undefined) drop(id);
      else install(row);
    },
    async refreshAll() {
      // What appears while the rows are read is not missing from them.
      const known = [...byId.keys()];
      const rows = await store.all();
      const present = new Set(rows.map((row) => row.id));
      for (const id of known) if (!present.has(id)) drop(id);
      for (const row of rows) install(row);
    },
  };
}
