import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { movableClock, type Clock as AnyClock } from '../../src/clock.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { newId, type FlowId, type UserId } from '../../src/ids.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type Clock, type House, type Person } from './house.ts';

/** A clock whose rounds are rung by hand. */
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

describe('what nobody waits for', () => {
  let clock: ReturnType<typeof bell>;
  let house: House;
  let service: TestServer;
  let connector: Connector;
  let alice: Person;

  beforeEach(async () => {
    clock = bell();
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: 300, clock });
    house = await openHouse({ clock });
    connector = await house.put({
      name: 'practice',
      url: service.mcpUrl,
      auth: { type: 'oauth2', refreshToken: { maxRetries: 0 } },
    });
    alice = await house.person('alice');
    await house.connect(connector, alice);
    house.connections.start();
  });
  afterEach(async () => {
    await house?.close();
    await service?.close();
  });
  const view = async () => (await house.connections.of(connector, alice.principal))!;
  const refreshes = () => service.ledger.refreshes().length;
  async function round(): Promise<void> {
    clock.ring();
    await house.connections.idle();
  }

  it('is renewed ahead of time as long as it is used, and left alone when it is not', async () => {
    await house.token(connector, alice);
    clock.move(200_000);
    await round();
    expect(refreshes()).toBe(0);
    clock.move(60_000);
    await round();
    expect(refreshes()).toBe(1);
    // Nobody has used the new one: the next one waits for somebody to come back.
    clock.move(280_000);
    await round();
    await round();
    expect(refreshes()).toBe(1);
    await house.token(connector, alice);
    await vi.waitFor(async () => expect((await view()).generation).toBe(3));
    expect(refreshes()).toBe(2);
    clock.move(1_000);
    await house.token(connector, alice);
    clock.move(270_000);
    await round();
    expect(refreshes()).toBe(3);
    expect((await view()).lastUsedAt).not.toBeNull();
  });

  it('recovers by itself when the provider comes back, at a bounded rate', async () => {
    await service.control.takeAuthorizationServerDown({ how: 'unavailable' });
    clock.move(301_000);
    const first = await house.connections.credential(connector, alice.principal);
    expect(first).toMatchObject({ refusal: 'temporarily_unavailable' });
    for (let minute = 0; minute < 30; minute += 1) {
      clock.move(60_000);
      await round();
    }
    expect(await view()).toMatchObject({ status: 'connected', lastError: { code: 'refresh_postponed' } });
    await service.control.bringAuthorizationServerUp({});
    clock.move(61_000);
    await round();
    expect(await view()).toMatchObject({ status: 'connected', lastError: null, generation: 2 });
    expect(refreshes()).toBe(1);
  });

  it('does not loop when the clock jumps by an hour, in either direction', async () => {
    await house.token(connector, alice);
    clock.move(3_600_000);
    await round();
    await house.token(connector, alice);
    clock.move(-3_600_000);
    for (let call = 0; call < 5; call += 1) {
      await house.token(connector, alice);
      await round();
    }
    expect(refreshes()).toBe(1);
  });

  it('shows in the connection, which a look at it never changes', async () => {
    clock.move(301_000);
    expect(await view()).toMatchObject({
      connector: 'practice',
      owner: { type: 'user', email: 'alice@example.com' },
      account: { subject: 'alice', label: 'alice' },
      status: 'connected',
      health: 'healthy',
      scopes: { requested: ['items:read', 'items:write', 'profile'] },
      generation: 1,
      lastError: null,
    });
    const { items, next } = await house.connections.list({ tenant: connector.tenant, limit: 1 });
    expect({ count: items.length, next }).toEqual({ count: 1, next: null });
    expect(refreshes()).toBe(0);
  });

  it('is asked for within a sign-in only as long as it is missing', async () => {
    const step = async (user: UserId | null) =>
      await house.connections.connectStep({
        connector,
        user: user!,
        flow: newId<FlowId>('flw'),
        returnTo: '/oauth/interaction/1',
      });
    expect(await step(alice.principal.user)).toBeNull();
    const bob = await house.person('bob');
    expect(await step(bob.principal.user)).toMatch(/^\/connect\/default\/practice\?ticket=[\w-]{43}$/);
    const open = await house.put({ name: 'open', url: service.mcpUrl, auth: { type: 'none' } });
    expect(
      await house.connections.connectStep({
        connector: open,
        user: bob.principal.user!,
        flow: newId('flw'),
        returnTo: '/',
      }),
    ).toBeNull();
    const bare = await house.put({
      name: 'bare',
      url: service.mcpUrl,
      auth: { type: 'oauth2', registration: 'static' },
    });
    expect(
      await house.connections.connectStep({
        connector: bare,
        user: bob.principal.user!,
        flow: newId('flw'),
        returnTo: '/',
      }),
    ).toBeNull();
  });

  it('ends with its owner: a removed person leaves no grant behind', async () => {
    await house.identity.users.remove(connector.tenant, alice.principal.user!);
    await vi.waitFor(() => expect(service.grants().every(({ revoked }) => revoked)).toBe(true));
  });

  it('keeps the grant at the service when another connection lives on the same account', async () => {
    const bob = await house.person('bob', { provider: 'alice' });
    await house.connect(connector, bob);
    const { id } = await view();
    expect(await house.connections.disconnect(connector.tenant, id, 'test')).toEqual({ upstream: 'shared' });
    expect(service.ledger.of('revoke')).toEqual([]);
    expect(await house.token(connector, bob)).toMatch(/^pat_/);
  });
});
