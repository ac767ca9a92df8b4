import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import type { Step } from '../../src/connections/refresh.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { describeStores } from '../database/stores.ts';
import { openHouse, type House, type Person } from './house.ts';

const clock = movableClock();

describeStores(
  'a refresh',
  (open, store) => {
    let service: TestServer;
    const houses: House[] = [];
    let stopAt: Step | undefined;
    let refuseCommits = false;

    beforeEach(async () => {
      stopAt = undefined;
      refuseCommits = false;
      service = await createTestServer({
        mode: 'oauth-dcr',
        port: 0,
        accessTokenTtl: 300,
        rotation: 'grace',
        graceSeconds: 300,
        clock,
      });
    });
    afterEach(async () => {
      await Promise.all(houses.splice(0).map((house) => house.close('crash')));
      await service?.close();
    });

    /** A process that stands still for ever at `stopAt`, as a killed one does. */
    async function start(database = open(), instance?: string, ownClock: typeof clock = clock): Promise<House> {
      const house = await openHouse({
        clock: ownClock,
        dataDir: await store.dataDir(),
        database: await database,
        ...(instance === undefined ? {} : { instance }),
        onStep: (step) => {
          if (step === 'before_commit' && refuseCommits) refuse(house);
          return step === stopAt ? new Promise<void>(() => undefined) : undefined;
        },
      });
      houses.push(house);
      return house;
    }
    /** Writes to connections fail as long as it is wanted. */
    function refuse({ database: { query } }: House): void {
      const original = query.updateTable.bind(query);
      (query as { updateTable: unknown }).updateTable = (table: 'connections') => {
        if (refuseCommits) throw new Error('disk full');
        return original(table);
      };
    }
    async function connected(house: House): Promise<{ connector: Connector; alice: Person }> {
      const connector = await house.put({ name: 'practice', url: service.mcpUrl, auth: { type: 'oauth2' } });
      const alice = await house.person('alice');
      expect(await house.connect(connector, alice)).toContain('is connected');
      return { connector, alice };
    }
    const status = async (house: House, connector: Connector, person: Person) =>
      await house.connections.of(connector, person.principal);
    const found = (house: House, connector: Connector): Connector =>
      house.connectors.find(connector.tenant, connector.name)!;

    it.each(['intent_committed', 'before_send', 'answer_received', 'before_commit', 'credential_committed'] as const)(
      'that died at %s is settled after a restart, without anybody asking',
      async (step) => {
        const first = await start(open(), 'one');
        const { connector, alice } = await connected(first);
        clock.move(301_000);
        stopAt = step;
        const stuck = first.connections.credential(connector, alice.principal);
        const reached = {
          intent_committed: 0,
          before_send: 0,
          answer_received: 1,
          before_commit: 1,
          credential_committed: 1,
        }[step];
        await vi.waitFor(async () => {
          expect(service.ledger.refreshes()).toHaveLength(reached);
          const row = await first.database.query.selectFrom('connections').selectAll().executeTakeFirstOrThrow();
          expect(row.generation).toBe(step === 'credential_committed' ? 2 : 1);
          expect(row.attempt === null).toBe(step === 'credential_committed');
        });
        expect(stuck).toBeInstanceOf(Promise);
        stopAt = undefined;

        const second = await start(store.restart(), 'one');
        second.connections.start();
        await vi.waitFor(async () => {
          expect(await status(second, connector, alice)).toMatchObject({ status: 'connected', generation: 2 });
        });
        await second.connections.stop();
        const outcomes = service.ledger.refreshes().map(({ outcome }) => outcome);
        expect(outcomes).toEqual(
          step === 'credential_committed' || reached === 0 ? ['rotated'] : ['rotated', 'same_successor'],
        );
        expect(service.ledger.maxInFlight()).toBe(1);
      },
    );

    if (store.kind === 'postgres') {
      it('that another process has under way is left to it until its deadline, and then taken over', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        clock.move(301_000);
        stopAt = 'before_commit';
        void first.connections.credential(connector, alice.principal);
        await vi.waitFor(() => expect(service.ledger.refreshes()).toHaveLength(1));
        stopAt = undefined;
        const second = await start(store.replica());
        second.connections.start();
        const waiting = second.connections.credential(found(second, connector), alice.principal);
        expect(await Promise.race([waiting, clock.sleep(1_500).then(() => 'waits')])).toBe('waits');
        expect(service.ledger.refreshes()).toHaveLength(1);
        clock.move(46_000);
        // After a gap in which it may have been cut off from the store it gives the holder a moment more.
        expect(await waiting).toMatchObject({ generation: 2 });
        expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual(['rotated', 'same_successor']);
        await second.connections.stop();
      });
    }

    it('that the store would not take until the stop is taken from the spool at the next start', async () => {
      const first = await start(open(), 'one');
      const { connector, alice } = await connected(first);
      clock.move(301_000);
      refuseCommits = true;
      void first.connections.credential(connector, alice.principal);
      await vi.waitFor(async () => expect(await readdir(join(first.dataDir, 'spool'))).toHaveLength(1));
      const [file = ''] = await readdir(join(first.dataDir, 'spool'));
      expect(await readFile(join(first.dataDir, 'spool', file), 'utf8')).not.toMatch(/pat_|prt_/);
      // What is held is served meanwhile, unless another process may still present the old refresh token.
      const meanwhile = await first.token(connector, alice).catch(() => undefined);
      expect(meanwhile === undefined).toBe(store.kind === 'postgres');
      await first.connections.stop();
      refuseCommits = false;
      await service.control.setPolicy({ rotation: 'strict' });

      const second = await start(store.restart(), 'one');
      second.connections.start();
      await vi.waitFor(async () => expect(await status(second, connector, alice)).toMatchObject({ generation: 2 }));
      expect(await second.token(found(second, connector), alice)).toMatch(meanwhile ?? /^pat_/);
      await second.connections.stop();
      expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual(['rotated']);
      expect(await readdir(join(first.dataDir, 'spool'))).toEqual([]);
    });

    it('that was told to wait is not made sooner by a restart', async () => {
      const first = await start(open(), 'one');
      const { connector, alice } = await connected(first);
      clock.move(301_000);
      const answer = { status: 429, body: { error: 'slow_down' }, headers: { 'retry-after': '120' } };
      await service.control.failTokenCalls({ grantType: 'refresh_token', answer });
      expect(await first.connections.credential(connector, alice.principal)).toMatchObject({
        refusal: 'temporarily_unavailable',
      });
      await first.connections.stop();
      const second = await start(store.restart(), 'one');
      second.connections.start();
      await second.connections.idle();
      expect(await second.connections.credential(found(second, connector), alice.principal)).toMatchObject({
        refusal: 'temporarily_unavailable',
      });
      expect(service.ledger.refreshes()).toHaveLength(1);
      clock.move(121_000);
      expect(await second.token(found(second, connector), alice)).toMatch(/^pat_/);
      await second.connections.stop();
    });

    it('under way is waited for when the gateway stops', async () => {
      const house = await start();
      const { connector, alice } = await connected(house);
      house.connections.start();
      clock.move(301_000);
      await service.control.setLatency({ tokenMs: 300 });
      void house.connections.credential(connector, alice.principal);
      await vi.waitFor(async () => {
        const row = await house.database.query.selectFrom('connections').select('attempt').executeTakeFirst();
        expect(row?.attempt).not.toBeNull();
      });
      await house.connections.stop();
      expect(await status(house, connector, alice)).toMatchObject({ generation: 2 });
    });

    if (store.kind === 'postgres') {
      it('is left to the one that has it by another process whose clock is far ahead', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        const second = await start(store.replica(), undefined, { ...clock, now: () => clock.now() + 120_000 });
        clock.move(301_000);
        await service.control.setLatency({ tokenMs: 1_500 });
        const slow = first.token(connector, alice);
        await vi.waitFor(async () => {
          const row = await first.database.query.selectFrom('connections').select('attempt').executeTakeFirst();
          expect(row?.attempt).not.toBeNull();
        });
        second.connections.start();
        const other = second.connections.credential(found(second, connector), alice.principal);
        const token = await slow;
        expect(await other).toMatchObject({ generation: 2 });
        expect((await second.token(found(second, connector), alice)) === token).toBe(true);
        await second.connections.stop();
        expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual(['rotated']);
        expect(service.ledger.maxInFlight()).toBe(1);
      });

      it('that died with its process is taken over by another one within its deadline, without anybody asking', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        clock.move(301_000);
        stopAt = 'before_commit';
        void first.connections.credential(connector, alice.principal);
        await vi.waitFor(() => expect(service.ledger.refreshes()).toHaveLength(1));
        stopAt = undefined;
        const rounds: (() => void)[] = [];
        const every = (_ms: number, task: () => void): (() => void) => {
          rounds.push(task);
          return () => undefined;
        };
        const second = await start(store.replica(), undefined, { ...clock, every });
        second.connections.start();
        await second.connections.idle();
        const after = async (seconds: number): Promise<number | undefined> => {
          for (let passed = 0; passed < seconds; passed += 5) {
            clock.move(5_000);
            for (const round of rounds) round();
            await second.connections.idle();
          }
          return (await status(second, connector, alice))?.generation;
        };
        expect(await after(40)).toBe(1);
        expect(await after(10)).toBe(2);
        expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual(['rotated', 'same_successor']);
        await second.connections.stop();
      });

      it('whose pair lies in a spool is not ended by what another process was told about the token before', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        clock.move(301_000);
        refuseCommits = true;
        void first.connections.credential(connector, alice.principal);
        const spool = join(first.dataDir, 'spool');
        await vi.waitFor(async () => expect(await readdir(spool)).toHaveLength(1));
        await first.connections.stop();
        refuseCommits = false;
        // The spool is of that process's own disk: nobody else sees it.
        await rename(spool, `${spool}-away`);
        const second = await start(store.replica());
        second.connections.start();
        await second.connections.idle();
        await service.control.failTokenCalls({
          grantType: 'refresh_token',
          answer: { status: 400, body: { error: 'invalid_grant' } },
        });
        void second.connections.credential(found(second, connector), alice.principal);
        await vi.waitFor(
          async () => {
            clock.move(4_000);
            expect(await status(second, connector, alice)).toMatchObject({ status: 'needs_reconnect' });
          },
          { timeout: 9_000, interval: 200 },
        );
        await second.connections.stop();
        await rename(`${spool}-away`, spool);
        const third = await start(store.replica());
        third.connections.start();
        await vi.waitFor(async () =>
          expect(await status(third, connector, alice)).toMatchObject({ status: 'connected', generation: 3 }),
        );
        await third.connections.stop();
        expect(await readdir(spool)).toEqual([]);
        expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual([
          'rotated',
          'not_processed',
          'rotated',
        ]);
      });

      it('is made once for the callers of three processes, who all get what one of them brought', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        const others = [await start(store.replica()), await start(store.replica())];
        const all = [first, ...others];
        for (const house of all) await house.token(found(house, connector), alice);
        clock.move(301_000);
        await service.control.setLatency({ tokenMs: 200 });
        const calls = all.flatMap((house) =>
          Array.from({ length: 20 }, () => house.token(found(house, connector), alice)),
        );
        expect(new Set(await Promise.all(calls)).size).toBe(1);
        expect(service.ledger.refreshes().map(({ outcome }) => outcome)).toEqual(['rotated']);
      });

      it('in one process is seen by the others, which drop the old token', async () => {
        const first = await start();
        const { connector, alice } = await connected(first);
        const second = await start(store.replica());
        const before = await second.token(found(second, connector), alice);
        const credential = await first.credential(connector, alice);
        await first.connections.rejected(connector, alice.principal, credential, {
          status: 401,
          wwwAuthenticate: null,
        });
        await vi.waitFor(async () => expect(await second.token(found(second, connector), alice)).not.toBe(before));
        expect(service.ledger.refreshes()).toHaveLength(1);
      });
    }
  },
  { clock },
);
