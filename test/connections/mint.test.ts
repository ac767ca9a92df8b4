import { expect, it, onTestFinished } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { describeStores } from '../database/stores.ts';
import { openHouse, type House } from './house.ts';

const CLIENT = { clientId: 'batch', clientSecret: 'batch-secret' };
const clock = movableClock();

describeStores(
  'tokens that the gateway gets by itself',
  (open, store) => {
    async function service(mode: 'oauth' | 'jwt' = 'oauth', latencyMs = 0): Promise<TestServer> {
      const server = await createTestServer({
        mode,
        port: 0,
        latencyMs,
        client: CLIENT,
        accessTokenTtl: 300,
        refreshKillsAccessTokens: true,
        clock,
      });
      onTestFinished(async () => server.close());
      return server;
    }
    async function house(server: TestServer, more: Record<string, unknown> = {}): Promise<House> {
      const opened = await openHouse({ clock, database: await open(), dataDir: await store.dataDir() });
      onTestFinished(async () => opened.close());
      await opened.put({ name: 'machine', url: server.mcpUrl, auth: auth(server, more) });
      return opened;
    }
    const auth = (server: TestServer, more: Record<string, unknown>) =>
      server.mode === 'jwt'
        ? { type: 'login', loginUrl: `${server.url}/auth/login`, ...more }
        : { type: 'oauth2', flow: 'client_credentials', tokenUrl: `${server.url}/auth/token`, ...CLIENT, ...more };
    const machine = (of: House) => of.connectors.find('default' as never, 'machine')!;
    const direct = (server: TestServer) => server.ledger.of('direct_grant');

    it('are asked for once by fifty callers, the first time and each time after', async () => {
      const server = await service();
      const one = await house(server);
      const alice = await one.person('alice');
      for (const generation of [1, 2]) {
        const all = await Promise.all(
          Array.from({ length: 50 }, async () => await one.credential(machine(one), alice)),
        );
        expect(new Set(all.map((credential) => credential.generation))).toEqual(new Set([generation]));
        expect(direct(server)).toHaveLength(generation);
        clock.move(3_600_000);
      }
    });

    it.skipIf(store.kind === 'sqlite')('are asked for once by two processes', async () => {
      const server = await service('oauth', 300);
      const one = await house(server);
      const two = await openHouse({ clock, database: await store.replica(), dataDir: await store.dataDir() });
      onTestFinished(async () => two.close());
      const [alice, again] = [await one.person('alice'), await two.person('alice')];
      const tokens = await Promise.all([
        ...Array.from({ length: 10 }, async () => await one.token(machine(one), alice)),
        ...Array.from({ length: 10 }, async () => await two.token(machine(two), again)),
      ]);
      expect(new Set(tokens).size).toBe(1);
      expect(direct(server)).toHaveLength(1);
    });

    it('stay sealed, and are asked for anew after a change of the connector', async () => {
      const server = await service();
      const one = await house(server);
      const alice = await one.person('alice');
      const first = await one.token(machine(one), alice);
      const rows = await (await open()).query.selectFrom('connections').selectAll().execute();
      expect(JSON.stringify(rows)).not.toContain(first);
      await one.put({ name: 'machine', url: server.mcpUrl, auth: auth(server, { scopes: 'items:read' }) });
      expect(await one.token(machine(one), alice)).not.toBe(first);
      expect((await one.connections.of(machine(one), alice.principal))?.scopes.granted).toEqual(['items:read']);
    });

    it('are not asked for again once an owner has ended the connection, until somebody connects', async () => {
      const server = await service();
      const one = await house(server);
      const owner = await one.person('olga', { role: 'owner' });
      await one.token(machine(one), owner);
      const view = await one.connections.of(machine(one), owner.principal);
      await one.connections.disconnect(owner.principal.tenant, view!.id, 'test');
      const answer = await one.connections.credential(machine(one), owner.principal);
      expect(answer).toMatchObject({ refusal: 'connection_required' });
      expect(direct(server)).toHaveLength(1);
      expect(await one.connect(machine(one), owner)).toContain('is connected');
      expect(await one.token(machine(one), owner)).toMatch(/^pat_/);
      expect(direct(server)).toHaveLength(2);
    });

    it("need what a person entered again when the service no longer takes it, and only that person's", async () => {
      const server = await service('jwt');
      const one = await house(server, { owner: 'user' });
      const [alice, bob] = [await one.person('alice'), await one.person('bob')];
      for (const person of [alice, bob]) expect(await one.connect(machine(one), person)).toContain('is connected');
      const moved = { owner: 'user', passwordField: 'pass' };
      const before = await one.token(machine(one), bob);
      await one.put({ name: 'machine', url: server.mcpUrl, auth: auth(server, moved) });
      expect(await one.connections.credential(machine(one), alice.principal)).toMatchObject({
        refusal: 'needs_reconnect',
      });
      const view = await one.connections.of(machine(one), alice.principal);
      expect(view).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'entered_refused' } });
      expect((await one.connections.of(machine(one), bob.principal))?.status).toBe('connected');
      expect(before).not.toBe('');
      expect(JSON.stringify(view) + one.logs()).not.toContain('"practice"');
    });
  },
  { clock },
);
