import { isIP } from 'node:net';
import { join } from 'node:path';
import { createAdmin } from './admin/admin.ts';
import { createAudit } from './audit/audit.ts';
import { createAuthorizationServer, type ResourceDirectory } from './authorization-server/authorization-server.ts';
import type { Clock } from './clock.ts';
import type { Config } from './config.ts';
import { createConnections } from './connections/connections.ts';
import type { Step } from './connections/refresh.ts';
import type { ConnectStep } from './connections/settle.ts';
import type { Connector } from './connectors/connector.ts';
import { createConnectors } from './connectors/connectors.ts';
import { loadProviders } from './connectors/provider.ts';
import { openDatabase } from './database/database.ts';
import { createEpoch } from './database/epoch.ts';
import { createEgress } from './egress/egress.ts';
import { createGateway } from './gateway/gateway.ts';
import { createIdentity } from './identity/identity.ts';
import { DEFAULT_TENANT } from './identity/principal.ts';
import { mountIdentity } from './identity/routes.ts';
import type { TenantId } from './ids.ts';
import type { Log } from './log.ts';
import { createProtectedResource } from './protected-resource/protected-resource.ts';
import { envKeySource, fileKeySource } from './vault/key-source.ts';
import { createVault } from './vault/vault.ts';
import { mountHealth } from './web/health.ts';
import { createWeb } from './web/web.ts';
import { createWebhooks } from './webhooks/webhooks.ts';

export type RunningServer = {
  /** The public URL. */
  url: string;
  port: number;
  /** Address of the one-time set-up page while there is no owner. */
  setUpLink: string | null;
  /** Lets calls in flight finish for at most `graceMs` (default 10 s), and waits for token exchanges under way. */
  close(graceMs?: number): Promise<void>;
};

/**
 * Builds every room in order and opens the gateway.
 * @param options.clientMetadataUrl what to present as our client-id metadata document instead of our own address
 * @param options.onStep for drills: called at each named step of a refresh and of a connect
 * @throws ValetkeyError of settings, database and key: nothing listens then
 */
export async function startServer(options: {
  config: Config;
  log: Log;
  clock: Clock;
  clientMetadataUrl?: string;
  onStep?: (step: Step | ConnectStep) => void | Promise<void>;
}): Promise<RunningServer> {
  const { config, log, clock } = options;
  const closers: (() => unknown)[] = [];
  /** What was opened last closes first. */
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).toReversed()) await close();
  };

  try {
    const web = createWeb({ log, closed: true, allowedHosts: hostPolicy(config.publicUrl) });
    const { port } = await web.listen({ host: config.host, port: config.port });
    closers.push(() => web.close(0));
    // Port 0 asks the system for a port; an address that was left out then follows it.
    const publicUrl =
      config.port === 0 && config.sources['publicUrl'] === 'default' ? `http://localhost:${port}` : config.publicUrl;

    const database = await openDatabase({ url: config.databaseUrl?.unwrap(), dataDir: config.dataDir, clock, log });
    closers.push(() => database.close());
    const epoch = await createEpoch({ database, dataDir: config.dataDir, clock, log });
    closers.push(() => epoch.stop());
    const egress = createEgress({ allow: config.allowPrivateNetwork });
    closers.push(() => egress.close());
    const keySource =
      config.keySource === 'env' ? envKeySource(config.masterKey) : fileKeySource({ dataDir: config.dataDir });
    const vault = await createVault({ database, clock, keySource });
    const audit = createAudit({ database, clock });
    const identity = await createIdentity({ database, clock, audit, publicUrl, adminToken: config.adminToken });
    mountIdentity({ web, identity, publicUrl });

    const connectors = await createConnectors({
      database,
      vault,
      clock,
      audit,
      log,
      providers: loadProviders(),
      checkUrl: (url) => egress.check(url),
    });
    closers.push(() => connectors.close());
    await connectors.declare(DEFAULT_TENANT, config.connectors);

    const webhooks = createWebhooks({ database, egress, clock, log, receiver: config.webhook });
    webhooks.start();
    closers.push(() => webhooks.stop());

    const connections = createConnections({
      database,
      vault,
      egress: {
        ...egress,
        async request(url, request) {
          epoch.permit();
          return await egress.request(url, request);
        },
      },
      clock,
      log,
      audit,
      connectors,
      identity,
      web,
      publicUrl,
      enqueue: (at, event) => webhooks.enqueue(at, event),
      spoolDir: join(config.dataDir, 'spool'),
      clientMetadataUrl: options.clientMetadataUrl,
      epoch,
      onStep: options.onStep,
    });
    connections.start();
    closers.push(() => connections.stop());

    const authorizationServer = await createAuthorizationServer({
      database,
      identity,
      egress,
      clock,
      log,
      audit,
      web,
      publicUrl,
      accessTokenTtlSeconds: config.accessTokenTtlSeconds,
      resources: resourceDirectory(connectors.find, connectors.list, publicUrl),
      connectStep: async ({ resource, ...step }) => {
        const connector = connectorOf(resource, publicUrl, connectors.find);
        return connector === undefined ? null : await connections.connectStep({ connector, ...step });
      },
    });
    closers.push(() => authorizationServer.close());
    closers.push(clock.every(600_000, () => void authorizationServer.sweep()));

    const protectedResource = createProtectedResource({
      verify: (token) => authorizationServer.verify(token),
      connectors,
      clock,
      publicUrl,
      onRevoked: (listener) => authorizationServer.onRevoked(listener),
    });
    const gateway = createGateway({
      web,
      protectedResource,
      connectors,
      connections,
      vault,
      egress,
      clock,
      log,
      database,
      authorizationServerMetadata: () => authorizationServer.metadata(),
    });

    createAdmin({
      app: web.app,
      publicUrl,
      identity,
      verify: (token) => authorizationServer.verify(token),
      connectors,
      connections,
      upstream: gateway,
      callbackUrl: (connector) => connections.callbackUrl(connector),
      vault,
      audit,
      epoch,
      clock,
      log,
    });
    mountHealth(web.app, { database: () => database.ping() }, { instance: () => epoch.permit() });
    web.open();

    const setUpPath = await identity.setUpLink();
    return {
      url: publicUrl,
      port,
      setUpLink: setUpPath === null ? null : `${publicUrl}${setUpPath}`,
      async close(graceMs = 10_000) {
        const drained = web.close(graceMs);
        await gateway.stop();
        await drained;
        await closeAll();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

const RESOURCE = /^\/mcp\/([a-z0-9-]+)\/([a-z0-9-]+)$/;

function connectorOf(
  resource: string,
  publicUrl: string,
  find: (tenant: TenantId, name: string) => Connector | undefined,
): Connector | undefined {
  if (!resource.startsWith(`${publicUrl}/`)) return undefined;
  const [, tenant, name] = RESOURCE.exec(resource.slice(publicUrl.length)) ?? [];
  return tenant === undefined || name === undefined ? undefined : find(tenant as TenantId, name);
}

/** The connectors that ask for authorization, as resources of the authorization server. */
function resourceDirectory(
  find: (tenant: TenantId, name: string) => Connector | undefined,
  list: (tenant: TenantId) => Connector[],
  publicUrl: string,
): ResourceDirectory {
  const asks = (connector: Connector): boolean => connector.document.access.mode === 'oauth';
  const uriOf = ({ tenant, name }: Connector): string => `${publicUrl}/mcp/${tenant}/${name}`;
  return {
    find(uri) {
      const connector = connectorOf(uri, publicUrl, find);
      if (connector === undefined || !asks(connector)) return undefined;
      const title = connector.document.title === '' ? connector.name : connector.document.title;
      return { tenant: connector.tenant, connector: connector.name, title, uri: uriOf(connector) };
    },
    only(tenant) {
      const candidates = list(tenant).filter(asks);
      const [first] = candidates;
      return candidates.length === 1 && first !== undefined ? uriOf(first) : undefined;
    },
  };
}

/**
 * Our own name, `localhost`, and address literals. A page that binds a name of its own to our address sends that name,
 * so only names need a list.
 */
function hostPolicy(publicUrl: string): (host: string) => boolean {
  const own = new URL(publicUrl).host;
  const judged = new Map<string, boolean>();
  return (host) => {
    const known = judged.get(host);
    if (known !== undefined) return known;
    const name = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : '';
    const verdict = host === own || name === 'localhost' || isIP(name.replace(/^\[|\]$/g, '')) !== 0;
    if (judged.size < 1_000) judged.set(host, verdict);
    return verdict;
  };
}
