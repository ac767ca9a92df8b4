import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAudit } from '../../src/audit/audit.ts';
import { movableClock } from '../../src/clock.ts';
import { createConnectors, type Connectors } from '../../src/connectors/connectors.ts';
import { loadProviders } from '../../src/connectors/provider.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { fail } from '../../src/errors.ts';
import type { ConnectionSource } from '../../src/gateway/credentials.ts';
import { createGateway, type Gateway } from '../../src/gateway/gateway.ts';
import { hashToken, newToken, type TenantId, type UserId } from '../../src/ids.ts';
import { createLog } from '../../src/log.ts';
import type { VerifiedToken } from '../../src/protected-resource/bearer.ts';
import { createProtectedResource } from '../../src/protected-resource/protected-resource.ts';
import { fileKeySource } from '../../src/vault/key-source.ts';
import { createVault } from '../../src/vault/vault.ts';
import { createWeb } from '../../src/web/web.ts';

export const tenant = 'default' as TenantId;

/** The rooms that a call passes, on a port of loopback, with an issuer of tokens that fits in a map. */
export type House = {
  publicUrl: string;
  connectors: Connectors;
  database: Database;
  gateway: Gateway;
  clock: ReturnType<typeof movableClock>;
  /** How often the issuer was asked. */
  verified: () => number;
  mcpUrl(connector: string): string;
  put(document: Record<string, unknown> & { name: string }): Promise<string>;
  issue(connector: string, change?: Partial<VerifiedToken>): string;
  revoke(token: string): void;
  /** Another process of the same gateway; its base URL. */
  replica(): Promise<string>;
  logs(): string;
  close(): Promise<void>;
};

/** Until someone gives a source of connections, every connector that wants one is unconnected. */
const nobody: ConnectionSource = {
  credential: () => ({ refusal: 'connection_required' }),
  rejected: () => Promise.resolve({ refusal: 'needs_reconnect' }),
  onChanged: () => () => undefined,
  connectUrl: (connector) => {
    const path = `/connect/${connector.tenant}/${connector.name}`;
    return Promise.resolve({ url: `https://gateway.example${path}?ticket=t`, expiresAt: 0 });
  },
};

export async function openHouse(connections: ConnectionSource = nobody): Promise<House> {
  const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-test-'));
  const lines: string[] = [];
  const log = createLog({ level: 'debug', destination: { write: (line: string) => lines.push(line) } });
  const clock = movableClock();
  const database = await openDatabase({ dataDir, clock, log });
  const vault = await createVault({ database, clock, keySource: fileKeySource({ dataDir }) });
  const egress = createEgress({ allow: ['loopback'] });
  const connectors = await createConnectors({
    database,
    vault,
    clock,
    log,
    audit: createAudit({ database, clock }),
    providers: loadProviders(),
    checkUrl: (url) => egress.check(url),
  });
  let publicUrl = '';
  const web = createWeb({ log, allowedHosts: (host) => `http://${host}` === publicUrl });
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  publicUrl = `http://127.0.0.1:${port}`;

  const tokens = new Map<string, VerifiedToken>();
  const listeners = new Set<() => void>();
  let verified = 0;
  /** Rooms of one process, over the store and the issuer that all share. */
  function open(at: typeof web): Gateway {
    const protectedResource = createProtectedResource({
      verify: (token) => {
        verified++;
        return Promise.resolve(tokens.get(hashToken(token)));
      },
      connectors,
      clock,
      publicUrl,
      onRevoked: (listener) => listeners.add(listener),
    });
    return createGateway({
      web: at,
      protectedResource,
      connectors,
      connections,
      vault,
      egress,
      clock,
      log,
      database,
      authorizationServerMetadata: () => ({ issuer: publicUrl }),
    });
  }
  const gateway = open(web);
  const others: { web: typeof web; gateway: Gateway }[] = [];

  return {
    publicUrl,
    connectors,
    database,
    gateway,
    clock,
    verified: () => verified,
    mcpUrl: (connector) => `${publicUrl}/mcp/${tenant}/${connector}`,
    async put(document) {
      const defaults = { access: { mode: 'public' }, tools: { new: 'enable' }, limits: { callsPerMinute: 100_000 } };
      await connectors.put(tenant, document.name, { ...defaults, ...document }, 'user:usr_1');
      return `${publicUrl}/mcp/${tenant}/${document.name}`;
    },
    issue(connector, change = {}) {
      const token = newToken();
      tokens.set(hashToken(token), {
        tenant,
        user: 'usr_alice' as UserId,
        email: 'alice@example.com',
        role: 'member',
        client: 'client-1',
        scopes: ['mcp'],
        resource: `${publicUrl}/mcp/${tenant}/${connector}`,
        expiresAt: clock.now() + 600_000,
        ...change,
      });
      return token;
    },
    revoke(token) {
      if (!tokens.delete(hashToken(token))) throw fail('not_found');
      for (const listener of listeners) listener();
    },
    async replica() {
      const other = createWeb({ log, allowedHosts: () => true });
      const address = await other.listen({ host: '127.0.0.1', port: 0 });
      others.push({ web: other, gateway: open(other) });
      return `http://127.0.0.1:${address.port}`;
    },
    logs: () => lines.join(''),
    async close() {
      for (const other of others) {
        const ended = other.web.close(0);
        await other.gateway.stop();
        await ended;
      }
      const closed = web.close(0);
      await gateway.stop();
      await closed;
      connectors.close();
      await egress.close();
      await database.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
