import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { movableClock, type Clock as AnyClock } from '../../src/clock.ts';
import { DAY_MS } from '../../src/connections/health.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { loadProviders, type Providers } from '../../src/connectors/provider.ts';
import { rowSchema } from '../../src/connectors/provider-row.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type Clock, type House, type Person } from './house.ts';

function bell(): Clock & { ring(): void } {
  const tasks = new Set<() => void>();
  const clock = movableClock();
  return Object.assign(clock, {
    every: ((_ms, task) => {
      tasks.add(task);
      return () => tasks.delete(task);
    }) satisfies AnyClock['every'],
    ring: () => {
      for (const task of tasks) task();
    },
  });
}

let clock: ReturnType<typeof bell>;
let house: House;
let service: TestServer;
let connector: Connector;
let alice: Person;
/** Refreshes before the grant was left alone, and when it ends. */
let spent: number;
let ends: number;
let events: { type: string; data: Record<string, unknown> }[];

const view = async () => (await house.connections.of(connector, alice.principal))!;
const refreshes = () => service.ledger.refreshes().length;
const kept = () => refreshes() - spent;
async function round(): Promise<void> {
  clock.ring();
  await house.connections.idle();
}

/** The catalogue, with a row of a service that ends grants which are not refreshed for 30 days. */
function withIdleRow(): Providers {
  const rows = loadProviders();
  const row = rowSchema.parse({
    name: 'idle',
    title: 'Idle',
    kind: 'api',
    catalogueVersion: 1,
    verifiedOn: '2026-01-01',
    authorizationUrl: 'https://idle.example/authorize',
    tokenUrl: 'https://idle.example/token',
    lifetimes: { idleSeconds: 30 * 86_400 },
    guide: { steps: ['Nothing to do.'] },
  });
  return new Map([...rows, ['idle', row]]);
}

/** A person connected to a practice service that never uses the connection. */
async function open(persona: 'idle-expiry' | 'announced-expiry', refreshToken: Record<string, unknown>): Promise<void> {
  clock = bell();
  service = await createTestServer({
    mode: 'oauth-dcr',
    port: 0,
    accessTokenTtl: 3_600,
    refreshTokenTtl: 365 * 86_400,
    personas: [persona],
    clock,
  });
  house = await openHouse({
    clock,
    enqueue: async (_at, event) => void events.push(event),
    providers: withIdleRow(),
  });
  const endpoints = {
    provider: 'idle',
    authorizationUrl: `${service.url}/auth/authorize`,
    tokenUrl: `${service.url}/auth/token`,
    registrationUrl: `${service.url}/auth/register`,
    scopes: ['profile'],
  };
  const auth = { type: 'oauth2', refreshToken, ...(persona === 'idle-expiry' ? endpoints : {}) };
  connector = await house.put({ name: 'practice', url: service.mcpUrl, auth });
  alice = await house.person('alice');
  await house.connect(connector, alice);
  house.connections.start();
  await house.connections.idle();
  // The connect counts as a use, so that its token is renewed once; from then on nobody uses it.
  clock.move(3_601_000);
  await round();
  clock.move(3_601_000);
  await round();
  spent = refreshes();
  ends = Date.parse((await view()).grantExpiresAt ?? '');
}
beforeEach(() => {
  events = [];
});
afterEach(async () => {
  await house?.close();
  await service?.close();
});

describe('an unused grant that would lapse', () => {
  it('is renewed at half of its life, and lives on', async () => {
    await open('idle-expiry', {});
    clock.move(14 * DAY_MS);
    await round();
    expect(kept()).toBe(0);
    clock.move(2 * DAY_MS);
    await round();
    expect(kept()).toBe(1);
    await round();
    expect(kept()).toBe(1);
    for (let times = 0; times < 12; times += 1) {
      clock.move(15 * DAY_MS + 60_000);
      await round();
    }
    expect(await view()).toMatchObject({ status: 'connected', health: 'healthy' });
    expect(kept()).toBe(13);
    expect(events).toEqual([]);
  });

  it('is left alone where its connector opts out', async () => {
    await open('idle-expiry', { keepAlive: false });
    clock.move(29 * DAY_MS);
    await round();
    expect(kept()).toBe(0);
  });

  it('is renewed at half of what the service announces, too', async () => {
    await open('announced-expiry', {});
    clock.move(44 * DAY_MS);
    await round();
    expect(kept()).toBe(0);
    clock.move(2 * DAY_MS);
    await round();
    expect(kept()).toBe(1);
  });
});

describe('who has to act', () => {
  it('is warned 14, 3 and 1 days before the end, each once', async () => {
    await open('announced-expiry', { keepAlive: false });
    const at = async (left: number): Promise<unknown[]> => {
      const before = events.length;
      clock.move(ends - left * DAY_MS - clock.now());
      await round();
      clock.move(3_600_000);
      await round();
      return events.slice(before).map(({ data }) => data['daysLeft']);
    };
    expect(await at(14.1)).toEqual([]);
    expect(await at(13.9)).toEqual([14]);
    expect((await view()).warnings[0]).toMatchObject({ code: 'grant_ending' });
    expect(await at(10)).toEqual([]);
    expect(await at(2.5)).toEqual([3]);
    expect(await at(1.5)).toEqual([]);
    expect(await at(0.8)).toEqual([1]);
    expect(events[0]).toMatchObject({
      type: 'connection.grant_ending',
      data: {
        connector: 'practice',
        owner: { type: 'user', email: 'alice@example.com' },
        reconnectUrl: `${house.publicUrl}/connect/default/practice`,
      },
    });
    // Another grant has another end.
    await house.connect(connector, alice);
    expect((await view()).warnings.map(({ code }) => code)).not.toContain('grant_ending');
  });

  it('is told once that a connection has to be made again, and again after the next one has ended', async () => {
    await open('announced-expiry', {});
    for (let times = 1; times <= 2; times += 1) {
      await service.control.revokeGrants({ subject: 'alice' });
      clock.move(3_601_000);
      await house.connections.credential(connector, alice.principal);
      expect(await view()).toMatchObject({ status: 'needs_reconnect' });
      await round();
      await round();
      expect(events).toHaveLength(times);
      await house.connect(connector, alice);
      await round();
    }
    expect(events[0]).toMatchObject({
      type: 'connection.needs_reconnect',
      data: { status: 'needs_reconnect', code: 'grant_dead', nextStep: expect.stringContaining('Connect again') },
    });
    expect(JSON.stringify(events)).not.toMatch(/"(at|rt|pat)_/);
  });
});
