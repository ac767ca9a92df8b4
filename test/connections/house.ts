import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAudit } from '../../src/audit/audit.ts';
import { movableClock } from '../../src/clock.ts';
import { createConnections, type Connections } from '../../src/connections/connections.ts';
import type { Enqueue } from '../../src/connections/notices.ts';
import type { Step } from '../../src/connections/refresh.ts';
import type { ConnectStep } from '../../src/connections/settle.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createConnectors, type Connectors } from '../../src/connectors/connectors.ts';
import { loadProviders, type Providers } from '../../src/connectors/provider.ts';
import type { Credential } from '../../src/connectors/credential.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { createIdentity, type Identity } from '../../src/identity/identity.ts';
import { DEFAULT_TENANT, type Principal, type Role } from '../../src/identity/principal.ts';
import { mountIdentity } from '../../src/identity/routes.ts';
import { newId, type FlowId } from '../../src/ids.ts';
import { createLog } from '../../src/log.ts';
import { Secret } from '../../src/secret.ts';
import { fileKeySource } from '../../src/vault/key-source.ts';
import { createVault } from '../../src/vault/vault.ts';
import { createWeb } from '../../src/web/web.ts';
import { createPlainBrowser, type PlainBrowser } from '../browser/plain-browser.ts';
import { walk, type Person as Walker } from '../browser/walk.ts';

export type Clock = ReturnType<typeof movableClock>;

export type Person = {
  principal: Principal;
  browser: PlainBrowser;
  /** Signed in here as this person, at the service as `provider`. */
  walker: Walker;
};

/** Everything that a connect and a refresh need, on real parts: store, vault, identity, connectors, pages on loopback. */
export type House = {
  publicUrl: string;
  port: number;
  dataDir: string;
  clock: Clock;
  database: Database;
  connectors: Connectors;
  identity: Identity;
  connections: Connections;
  put(document: Record<string, unknown> & { name: string }): Promise<Connector>;
  person(name: string, options?: { role?: Role; provider?: string }): Promise<Person>;
  /** Walks a person from the connect page to the result page, whose words it returns. */
  connect(connector: Connector, person: Person, url?: string): Promise<string>;
  ticket(connector: Connector, person: Person, more?: { scopes?: string[]; returnTo?: string }): Promise<string>;
  /** The credential, or an error that says what came instead. */
  credential(connector: Connector, person: Person): Promise<Credential>;
  /** The access token that a call of this person would carry. */
  token(connector: Connector, person: Person): Promise<string>;
  logs(): string;
  /** Stops without removing the data; `crash` leaves everything as it is and only frees file and port. */
  close(how?: 'crash'): Promise<void>;
};

export const PASSWORD = 'correct horse battery staple';

export async function openHouse(
  options: {
    clock?: Clock;
    dataDir?: string;
    port?: number;
    url?: string | undefined;
    database?: Database;
    instance?: string;
    clientMetadataUrl?: string;
    enqueue?: Enqueue;
    providers?: Providers;
    onStep?: (step: Step | ConnectStep) => void | Promise<void>;
  } = {},
): Promise<House> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'valetkey-test-')));
  const lines: string[] = [];
  const log = createLog({ level: 'debug', destination: { write: (line: string) => lines.push(line) } });
  const clock = options.clock ?? movableClock();
  const database = options.database ?? (await openDatabase({ dataDir, url: options.url, clock, log }));
  const vault = await createVault({ database, clock, keySource: fileKeySource({ dataDir }) });
  const egress = createEgress({ allow: ['loopback'] });
  const audit = createAudit({ database, clock });
  const connectors = await createConnectors({
    database,
    vault,
    clock,
    log,
    audit,
    providers: options.providers ?? loadProviders(),
    checkUrl: (url) => egress.check(url),
  });
  let publicUrl = '';
  const web = createWeb({ log, allowedHosts: (host) => `http://${host}` === publicUrl });
  const { port } = await web.listen({ host: '127.0.0.1', port: options.port ?? 0 });
  publicUrl = `http://127.0.0.1:${port}`;
  const identity = await createIdentity({ database, clock, audit, publicUrl });
  mountIdentity({ web, identity, publicUrl });
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
    clientMetadataUrl: options.clientMetadataUrl,
    instance: options.instance,
    enqueue: options.enqueue,
    spoolDir: join(dataDir, 'spool'),
    onStep: options.onStep === undefined ? undefined : (step) => options.onStep?.(step),
  });

  const house: House = {
    publicUrl,
    port,
    dataDir,
    clock,
    database,
    connectors,
    identity,
    connections,
    async put(document) {
      const { connector } = await connectors.put(DEFAULT_TENANT, document.name, { kind: 'mcp', ...document }, 'test');
      return connector;
    },
    async person(name, { role = 'member', provider = name } = {}) {
      const email = `${name}@example.com`;
      const user =
        (await identity.users.findByEmail(DEFAULT_TENANT, email)) ??
        (await identity.users.create({ tenant: DEFAULT_TENANT, email, name, role, password: new Secret(PASSWORD) }));
      return {
        principal: {
          tenant: DEFAULT_TENANT,
          user: user.id,
          email,
          role,
          client: null,
          scopes: [],
          expiresAt: null,
        },
        browser: createPlainBrowser(),
        walker: { email, password: PASSWORD, provider: { username: provider, password: 'practice' } },
      };
    },
    async connect(connector, { browser, walker }, url = `${publicUrl}/connect/default/${connector.name}`) {
      await browser.open(url);
      await walk(browser, walker, {
        until: ({ title }) => browser.status() >= 400 || /is (not )?connected/.test(title),
      });
      return (await browser.view()).text;
    },
    async ticket(connector, { principal }, more = {}) {
      const flow = newId<FlowId>('flw');
      return (await connections.connectUrl(connector, principal, { flow, ...more })).url;
    },
    async credential(connector, { principal }) {
      const answer = await connections.credential(connector, principal);
      if (answer === null || 'refusal' in answer) throw new Error(answer === null ? 'no credential' : answer.refusal);
      return answer;
    },
    async token(connector, person) {
      return (await house.credential(connector, person)).fields['access_token']!.unwrap();
    },
    logs: () => lines.join(''),
    async close(how) {
      if (how !== 'crash') await connections.stop();
      await web.close(0);
      await egress.close();
      connectors.close();
      if (options.database === undefined) await database.close();
      if (options.dataDir === undefined && how !== 'crash') {
        await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
      }
    },
  };
  return house;
}
