import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { Database } from '../database/database.ts';
import type { Egress } from '../egress/egress.ts';
import { fail } from '../errors.ts';
import { type ConnectionId, type FlowId, type TenantId, type UserId } from '../ids.ts';
import type { Identity } from '../identity/identity.ts';
import type { Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import type { Vault } from '../vault/vault.ts';
import type { Web } from '../web/web.ts';
import { createConnectLinks } from './connect-link.ts';
import { createConnectStore } from './connect-store.ts';
import { createConnect, type Connect } from './connect.ts';
import type { Connection, Owner } from './connection.ts';
import type { Entered } from './entered.ts';
import type { Mint } from './mint.ts';
import { withRollOver } from './client-secrets.ts';
import { createCredentialSource, type CredentialSource } from './credential-source.ts';
import { createHandedTokens, type HandedTokens } from './handed-tokens.ts';
import { createDoctor, type Doctor } from './diagnosis.ts';
import { createDiscovery } from './discovery.ts';
import { createEndpointWatch } from './endpoint-watch.ts';
import { mountHeaderCheck } from './header-check.ts';
import { createHealthStore } from './health-store.ts';
import { createHealthView } from './health-view.ts';
import { createKeepAlive } from './keep-alive.ts';
import { createLifetimeStore } from './lifetime-store.ts';
import { createLive, keyOfRow, ownerFor } from './live.ts';
import { createNotices, type Enqueue } from './notices.ts';
import { createLookups } from './lookup.ts';
import { createPersist } from './persist.ts';
import { createRefresh, type Step } from './refresh.ts';
import { createRegistrations, type Registrations } from './registration.ts';
import { createRevocationStore } from './revocation-store.ts';
import { revocationLink } from './revocation-call.ts';
import { createRevoke, type UpstreamRevocation } from './revoke.ts';
import { mountConnections } from './routes.ts';
import { createSealing } from './sealing.ts';
import { createSettle, type ConnectStep } from './settle.ts';
import { createSpool } from './spool.ts';
import { createConnectionStore } from './store.ts';
import { createSweep } from './sweep.ts';
import { createTokenEndpoint } from './token-request.ts';
import { createWithoutConsent } from './without-consent.ts';
import { viewOf, type ConnectionView } from './view.ts';

export type { ConnectionView } from './view.ts';

export type Connections = CredentialSource & {
  /**
   * A link to our connect page, which carries no authority: whoever opens it has to be signed in as that user.
   * @param request.returnTo a path of ours where the browser goes afterwards
   */
  connectUrl(
    connector: Connector,
    principal: Pick<Principal, 'tenant' | 'user'>,
    request: { scopes?: readonly string[] | undefined; flow: FlowId; returnTo?: string | null | undefined },
  ): Promise<{ url: string; expiresAt: number }>;
  /** The callback to register by hand at the service; the same for the life of the connector. */
  callbackUrl(connector: Connector): Promise<string>;
  list(filter: {
    tenant: TenantId;
    owner?: Owner | undefined;
    connector?: string | undefined;
    cursor?: string | undefined;
    limit?: number | undefined;
  }): Promise<{ items: ConnectionView[]; next: string | null }>;
  get(tenant: TenantId, id: string): Promise<ConnectionView | undefined>;
  /** The connection that this principal's calls would use; undefined when there has never been one. */
  of(connector: Connector, principal: Pick<Principal, 'tenant' | 'user'>): Promise<ConnectionView | undefined>;
  /** Of connectors of one tenant, by id, in the sight of one person. A look renews nothing and asks no service. */
  health: ReturnType<typeof createHealthView>;
  /** Tokens from elsewhere, and tokens for their own owners. */
  handedTokens: HandedTokens;
  /** What `valetkey doctor` and `valetkey auth rotate` find out. */
  doctor: Doctor;
  /** Ends it here at once, and at the service if it can be. @throws ValetkeyError not_found */
  disconnect(
    tenant: TenantId,
    id: string,
    actor: string,
  ): Promise<{ upstream: UpstreamRevocation; /** With unsupported: where the person ends it there. */ link?: string }>;
  /** Called in every process with `tenant/connector/owner type/owner id`, or null when anything may have changed. */
  onChanged(listener: (key: string | null) => void): () => void;
  /**
   * For the sign-in of a client: the path of the connect page when this person has yet to connect, or connect again, and
   * can; else null.
   */
  connectStep(step: { connector: Connector; user: UserId; flow: FlowId; returnTo: string }): Promise<string | null>;
  /** Settles what a stop left behind, then renews ahead of time and cleans up every five seconds. */
  start(): void;
  /** Resolves when no round of cleaning and renewing is running. */
  idle(): Promise<void>;
  /** Resolves when exchanges in flight have been answered and stored. */
  stop(): Promise<void>;
};

/** What the routes of this room work with. */
export type Flows = {
  connect: Connect;
  registrations: Registrations;
  store: ReturnType<typeof createConnectStore>;
  entered: Entered;
  mint: Mint;
};

const TOPIC = 'connections';

export function createConnections(options: {
  database: Database;
  vault: Vault;
  egress: Egress;
  clock: Clock;
  log: Log;
  audit: Pick<Audit, 'record'>;
  connectors: Pick<
    Connectors,
    'find' | 'list' | 'all' | 'byId' | 'clientSecrets' | 'secretAt' | 'staticCredential' | 'onChanged'
  >;
  identity: Pick<Identity, 'session' | 'onUserChanged'> & { users: Pick<Identity['users'], 'find'> };
  /** Where the connect and connections pages are mounted. */
  web: Web;
  publicUrl: string;
  /** The address of the client-id metadata document when an operator hosts it elsewhere. */
  clientMetadataUrl?: string | undefined;
  /** Takes events for whoever the operator wants told, see `src/webhooks`. */
  enqueue?: Enqueue | undefined;
  /** A folder of this process, on disk, for refreshed pairs that the store does not take. */
  spoolDir?: string | undefined;
  /** See `createRefresh`; makes attempts that a crash left open on Postgres recoverable at once. */
  instance?: string | undefined;
  /** Whether this database is the one that renews tokens, see `src/database/epoch.ts`. */
  epoch?: { doubt(): unknown; number(): number } | undefined;
  /** For drills: called at each named step of a refresh and of a connect. */
  onStep?: ((step: Step | ConnectStep, connection: ConnectionId) => void | Promise<void>) | undefined;
}): Connections {
  const { database, vault, egress, clock, log, audit, connectors, publicUrl } = options;
  const exclusive = database.kind === 'sqlite';
  const store = createConnectionStore(database);
  const connectStore = createConnectStore(database);
  const sealing = createSealing(vault);
  const watch = createEndpointWatch({ clock, log });
  const tokens = withRollOver(createTokenEndpoint({ egress, clock, onAnswer: (answer) => watch.saw(answer) }), { log });
  const health = createHealthView({ store: createHealthStore(database), watch, clock });
  const discovery = createDiscovery({ egress, clock });
  const live = createLive({ clock });
  const connectorById: typeof connectors.byId = (tenant, id) => connectors.byId(tenant, id);

  const announce = async (row: Connection): Promise<void> => await database.publish(TOPIC, keyOfRow(row));

  const registrations = createRegistrations({
    store: connectStore,
    vault,
    egress,
    tokens,
    clock,
    log,
    publicUrl,
    clientSecrets: async (connector) => await connectors.clientSecrets(connector),
    clientMetadataUrl: options.clientMetadataUrl,
    async onGone(registration, why) {
      const { message, hint } = fail(why);
      const stranded = await store.list({ tenant: registration.tenant, registration: registration.id });
      await store.strand(registration.tenant, registration.id, { code: why, message, hint }, clock.now());
      for (const row of stranded) await announce(row);
    },
  });
  const revoke = createRevoke({
    store,
    outbox: createRevocationStore(database),
    registrationOf: async (tenant, id) => await connectStore.registration(tenant, id),
    registrations,
    tokens,
    egress,
    sealing,
    clock,
    log,
    connectorById,
  });
  const persist = createPersist({
    store,
    sealing,
    spool: createSpool({ dir: options.spoolDir, sealing, log }),
    connectorById,
    clock,
    log,
    exclusive,
    onHeld: (row, held) => void live.put(row, held, connectorById(row.tenant, row.connector), live.version()),
    onLate: async (row, held) => await revoke.late(row, held),
  });

  const needsOwner = async (row: Connection, reason: string): Promise<void> =>
    await audit.record({
      tenant: row.tenant,
      action: 'connection.refresh_failed',
      actor: 'gateway',
      object: `connection:${row.id}`,
      outcome: 'failure',
      detail: { connector: row.connector, status: row.status, reason },
    });

  const refresh = createRefresh({
    store,
    registrationOf: async (tenant, id) => await connectStore.registration(tenant, id),
    registrations,
    tokens,
    sealing,
    persist,
    clock,
    log,
    exclusive,
    instance: options.instance,
    epoch: options.epoch,
    connectorById,
    onChanged: announce,
    onDead: async (row, refusal) => await needsOwner(row, refusal.code),
    onStep: options.onStep,
  });
  async function connected(row: Connection, user: UserId | null, flow: FlowId | null): Promise<void> {
    await audit.record({
      tenant: row.tenant,
      action: 'connection.connected',
      actor: user === null ? 'gateway' : `user:${user}`,
      object: `connection:${row.id}`,
      outcome: 'success',
      flow,
      detail: { connector: row.connector, generation: row.generation, scopes: row.scopesGranted },
    });
    await announce(row);
  }
  const ways = createWithoutConsent({
    store,
    sealing,
    tokens,
    egress,
    discovery,
    refresh,
    connectors,
    users: options.identity.users,
    clock,
    log,
    exclusive,
    instance: options.instance,
    connectorById,
    credential: (connector, principal) => source.credential(connector, principal),
    onChanged: announce,
    onConnected: connected,
    onDead: async (row, code) => await needsOwner(row, code),
  });
  const settle = createSettle({
    store: connectStore,
    connections: store,
    registrations,
    tokens,
    sealing,
    egress,
    lookups: createLookups({ store, egress, log }),
    clock,
    log,
    connectorById,
    onReplaced: async (former) => await revoke.replaced(former),
    onStep: options.onStep,
    onConnected: connected,
  });
  const connect = createConnect({
    store: connectStore,
    connections: store,
    discovery,
    registrations,
    tokens,
    sealing,
    settle,
    clock,
    log,
    connectorById,
  });
  const source: CredentialSource = createCredentialSource({
    store,
    live,
    refresh: ways.renewal,
    sealing,
    discovery,
    clock,
    log,
    staticCredential: (connector) => connectors.staticCredential(connector),
    reserve: async (connector, owner) => await ways.mint.reserve(connector, owner),
    standing: (connector, tokens) => ways.standing(connector, tokens),
    onReleased: async (row, principal) =>
      await audit.record({
        tenant: row.tenant,
        action: 'credential.released',
        actor: principal.user === null ? 'gateway' : `user:${principal.user}`,
        client: principal.client,
        object: `connection:${row.id}`,
        outcome: 'success',
        detail: { connector: row.connector, generation: row.generation },
      }),
    async onScopeRefused(row, needed, exhausted) {
      const code = exhausted && needed.length > 0 ? 'scope_not_given' : 'insufficient_scope';
      const { message, hint } = fail(code);
      const names = needed.filter((scope) => /^[!#-[\]-~]{1,128}$/.test(scope)).slice(0, 10);
      const said = names.length === 0 ? message : `${message.replace(/\.$/, '')}: ${names.join(', ')}.`;
      if (row.lastError?.message === said || row.attempt !== null) return;
      // Its time of change stays: nothing about the grant is different.
      await store.change(row, { lastError: { code, message: said, hint } }, row.updatedAt);
    },
    async onTokenRejected(row) {
      const { message, hint } = fail('token_rejected');
      const change = {
        status: 'needs_reconnect',
        lastError: { code: 'token_rejected', message, hint },
        nextRefreshAt: null,
      } as const;
      if (!(await store.change(row, change, clock.now()))) return;
      await needsOwner({ ...row, status: 'needs_reconnect' }, 'token_rejected');
      await announce(row);
    },
  });
  const lifetimes = createLifetimeStore(database);
  const keepAlive = createKeepAlive({
    store,
    lifetimes,
    refresh,
    sealing,
    connectors: () => connectors.all(),
    connectorById,
    clock,
    log,
  });
  const notices = createNotices({
    database,
    store,
    lifetimes,
    enqueue: options.enqueue ?? (async () => undefined),
    emailOf,
    connectorById,
    publicUrl,
    clock,
    log,
  });
  const sweep = createSweep({
    store,
    live,
    refresh: ways.renewal,
    revoke,
    care: [keepAlive, notices],
    recoverSpooled: async () => await persist.recoverSpooled(),
    recoverStaged: async (minimumAgeMs) => await connect.recoverStaged(minimumAgeMs),
    clock,
    log,
    exclusive,
  });

  const ends = [
    database.subscribe(TOPIC, (key) => {
      live.drop(key);
      ways.renewal.wake();
    }),
    connectors.onChanged((id, connector) => {
      // Its settings decide when and how its credentials are renewed.
      live.drop(null);
      if (connector === undefined) void endAll('a connector was removed', async () => await store.ofConnector(id));
    }),
    options.identity.onUserChanged((tenant, user) => {
      if (tenant === null || user === null) return;
      void endAll('a person was removed', async () => {
        if ((await options.identity.users.find(tenant, user)) !== undefined) return [];
        return await store.list({ tenant, owner: { type: 'user', id: user } });
      });
    }),
  ];

  /** What nobody can use any more is revoked upstream as well. */
  async function endAll(why: string, rows: () => Promise<Connection[]>): Promise<void> {
    try {
      for (const row of await rows()) {
        if (row.status !== 'revoked') await connections.disconnect(row.tenant, row.id, 'gateway');
      }
    } catch (error) {
      log.error({ err: error }, `${why}, and its connections could not be ended`);
    }
  }

  async function emailOf({ tenant, owner }: Connection): Promise<string | null> {
    if (owner.type !== 'user') return null;
    return (await options.identity.users.find(tenant, owner.id as UserId))?.email ?? null;
  }

  async function view(row: Connection): Promise<ConnectionView> {
    const skewMs = watch.skewMs(row.terms?.tokenEndpoint ?? '');
    const seen = { now: clock.now(), skewMs };
    return viewOf(row, connectorById(row.tenant, row.connector), await emailOf(row), seen);
  }

  const doctor = createDoctor({
    discovery,
    tokens,
    egress,
    watch,
    registrations,
    publicUrl,
    clock,
  });
  mountHeaderCheck(options.web.app);

  const handedTokens = createHandedTokens({
    store,
    source,
    refresh,
    discovery,
    registrations,
    sealing,
    termsOf: (connector, found, scopes) => connect.termsOf(connector, found, scopes),
    audit,
    announce,
    disconnect: async (tenant, id) => await connections.disconnect(tenant, id, 'gateway'),
    clock,
  });
  const connections: Connections = {
    ...source,
    ...createConnectLinks({
      store: connectStore,
      lacking: async (connector, principal) => await ways.lacking(connector, principal),
      users: options.identity.users,
      of: async (connector, principal) => await connections.of(connector, principal),
      clock,
      publicUrl,
    }),
    callbackUrl: async (connector) => await registrations.callbackUrl(connector),
    async list({ limit = 100, ...filter }) {
      const rows = await store.list({ ...filter, limit: limit + 1 });
      const shown = rows.slice(0, limit);
      return {
        items: await Promise.all(shown.map(view)),
        next: rows.length > limit ? (shown.at(-1)?.id ?? null) : null,
      };
    },
    async get(tenant, id) {
      const row = await store.find(tenant, id);
      return row === undefined ? undefined : await view(row);
    },
    async of(connector, principal) {
      const owner = ownerFor(connector, principal);
      const row = owner === undefined ? undefined : await store.findOwned(connector.tenant, connector.id, owner);
      return row === undefined ? undefined : await view(row);
    },
    health,
    doctor,
    handedTokens,
    async disconnect(tenant, id, actor) {
      for (;;) {
        const row = await store.find(tenant, id);
        if (row === undefined) throw fail('not_found', { message: 'There is no such connection.' });
        if (row.status === 'revoked') return { upstream: 'nothing_to_revoke' };
        const { done, upstream } = await revoke.disconnect(row);
        // A refresh was committed in between: its result is disconnected as well.
        if (!done) continue;
        await announce(row);
        const connectorName = connectorById(row.tenant, row.connector)?.name;
        log.info(
          { connection: id, connector: connectorName, generation: row.generation, upstream },
          'a connection was disconnected',
        );
        await audit.record({
          tenant,
          action: 'connection.disconnected',
          actor,
          object: `connection:${id}`,
          outcome: 'success',
          detail: { connector: row.connector, upstream },
        });
        const link = upstream === 'unsupported' ? revocationLink(connectorById(row.tenant, row.connector)) : undefined;
        return { upstream, ...(link === undefined ? {} : { link }) };
      }
    },
    onChanged: (listener) => database.subscribe(TOPIC, listener),
    start: () => sweep.start(),
    idle: async () => await sweep.idle(),
    async stop() {
      persist.stop();
      await Promise.all([sweep.stop(), ways.renewal.stop(), connect.settled()]);
      for (const end of ends) end();
    },
  };
  const flows: Flows = { connect, registrations, store: connectStore, entered: ways.entered, mint: ways.mint };
  mountConnections({
    web: options.web,
    identity: options.identity,
    connectors,
    connections,
    flows,
    clock,
    log,
    publicUrl,
  });
  return connections;
}
