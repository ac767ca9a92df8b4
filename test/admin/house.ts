import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAdmin } from '../../src/admin/admin.ts';
import type { VerifyToken } from '../../src/admin/caller.ts';
import { createAudit } from '../../src/audit/audit.ts';
import { systemClock } from '../../src/clock.ts';
import { createConnections, type Connections } from '../../src/connections/connections.ts';
import { createConnectors, type Connectors } from '../../src/connectors/connectors.ts';
import { createMcpKind } from '../../src/connectors/kinds/mcp/mcp.ts';
import { listTools, probe } from '../../src/connectors/kinds/mcp/probe.ts';
import { loadProviders } from '../../src/connectors/provider.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEpoch } from '../../src/database/epoch.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { createIdentity, SESSION_COOKIE, type Identity } from '../../src/identity/identity.ts';
import type { Role, User } from '../../src/identity/principal.ts';
import type { TenantId } from '../../src/ids.ts';
import { createLog } from '../../src/log.ts';
import { Secret } from '../../src/secret.ts';
import { fileKeySource } from '../../src/vault/key-source.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import { createWeb } from '../../src/web/web.ts';

export const ADMIN_TOKEN = 'admin-token-for-these-tests-only';
export const tenant = 'default' as TenantId;

export type Reply = { status: number; headers: Headers; body: Record<string, unknown> };

export type House = {
  url: string;
  database: Database;
  identity: Identity;
  connectors: Connectors;
  connections: Connections;
  vault: Vault;
  /** Everything logged at debug level. */
  logged(): string;
  person(email: string, role: Role): Promise<{ user: User; token: string; cookie: string }>;
  call(
    method: string,
    path: string,
    options?: { token?: string; cookie?: string; body?: unknown; headers?: Record<string, string> },
  ): Promise<Reply>;
  close(): Promise<void>;
};

/** The rooms below the admin API, as the composition root puts them together, on a port of its own. */
export async function openHouse(verify: VerifyToken = () => Promise.resolve(undefined)): Promise<House> {
  const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-admin-'));
  let logged = '';
  const log = createLog({ level: 'debug', destination: { write: (line: string) => void (logged += line) } });
  const web = createWeb({ log, allowedHosts: () => true });
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  const publicUrl = `http://localhost:${port}`;
  const clock = systemClock;
  const database = await openDatabase({ dataDir, clock, log });
  const egress = createEgress({ allow: ['loopback'] });
  const vault = await createVault({ database, clock, keySource: fileKeySource({ dataDir }) });
  const audit = createAudit({ database, clock });
  const adminToken = new Secret(ADMIN_TOKEN);
  const identity = await createIdentity({ database, clock, audit, publicUrl, adminToken });
  const connectors = await createConnectors({
    database,
    vault,
    clock,
    audit,
    log,
    providers: loadProviders(),
    checkUrl: (url) => egress.check(url),
  });
  const connections = createConnections({
    database,
    vault,
    egress,
    clock,
    log,
    audit,
    connectors,
    identity,
    web,
    publicUrl,
  });
  const kind = createMcpKind({ egress, clock });
  const upstreamOf = async (connector: Parameters<typeof connectors.missing>[0]) => ({
    kind,
    connector,
    credential: await connectors.staticCredential(connector),
    signal: AbortSignal.timeout(5_000),
  });
  const epoch = await createEpoch({ database, dataDir, clock, log });
  createAdmin({
    app: web.app,
    publicUrl,
    identity,
    verify,
    connectors,
    connections,
    upstream: {
      async listTools(connector) {
        const tools = await listTools(await upstreamOf(connector));
        await connectors.catalogue.record(connector, 'tenant', tools);
        return tools;
      },
      probe: async (connector) => await probe(await upstreamOf(connector)),
    },
    callbackUrl: (connector) => connections.callbackUrl(connector),
    vault,
    audit,
    epoch,
    clock,
    log,
  });

  return {
    url: publicUrl,
    database,
    identity,
    connectors,
    connections,
    vault,
    logged: () => logged,
    async person(email, role) {
      const password = new Secret('a long enough passphrase 42');
      const user = await identity.users.create({ tenant, email, name: '', role, password });
      const { token } = await identity.apiTokens.create({ tenant, user: user.id, label: 'test' });
      const session = await identity.sessions.start(tenant, user.id, 'test');
      return { user, token: token.unwrap(), cookie: `${SESSION_COOKIE}=${session}` };
    },
    async call(method, path, { token, cookie, body, headers = {} } = {}) {
      const response = await fetch(`${publicUrl}/api/v1${path}`, {
        method,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(cookie === undefined ? {} : { cookie }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      const parsed = text === '' ? {} : (JSON.parse(text) as Reply['body']);
      return { status: response.status, headers: response.headers, body: parsed };
    },
    async close() {
      await web.close(1_000);
      connectors.close();
      await connections.stop();
      await egress.close();
      epoch.stop();
      await database.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
