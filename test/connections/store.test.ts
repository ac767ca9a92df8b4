import { expect, it } from 'vitest';
import type { Connection, Intent, Terms } from '../../src/connections/connection.ts';
import { createConnectStore } from '../../src/connections/connect-store.ts';
import { createConnectionStore, type ConnectionStore } from '../../src/connections/store.ts';
import {
  newId,
  type ConnectionId,
  type ConnectorId,
  type FlowId,
  type RegistrationId,
  type TenantId,
  type UserId,
} from '../../src/ids.ts';
import { describeStores } from '../database/stores.ts';

const tenant = 'default' as TenantId;
const connector = 'con_1' as ConnectorId;
const owner = { type: 'user', id: 'usr_1' } as const;
const terms: Terms = {
  issuer: 'https://as.example',
  tokenEndpoint: 'https://as.example/token',
  revocationEndpoint: null,
  userinfoEndpoint: null,
  introspectionEndpoint: null,
  resource: null,
  scopeOnRefresh: null,
  clientId: 'c',
  authMethod: 'none',
  grantedKnown: true,
};
const intent = (change: Partial<Intent> = {}): Intent => ({
  generation: 1,
  started: 0,
  deadline: 45_000,
  notBefore: 0,
  replays: 0,
  process: 'p',
  epoch: 0,
  ...change,
});
const credentials = (generation: number) => ({
  sealed: `sealed ${generation}`,
  generation,
  issuedAt: 0,
  expiresAt: 300_000,
  grantExpiresAt: null,
  nextRefreshAt: 240_000,
  scopesGranted: ['a'],
});

describeStores('the store of connections', (open) => {
  async function connected(): Promise<{ store: ConnectionStore; row: Connection; reread: () => Promise<Connection> }> {
    const store = createConnectionStore(await open());
    const reread = async (): Promise<Connection> => (await store.findOwned(tenant, connector, owner))!;
    await store.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector, owner, now: 0 });
    await store.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector, owner, now: 0 });
    await store.connect(await reread(), {
      ...credentials(1),
      terms,
      registration: 'reg_1' as RegistrationId,
      scopesRequested: ['a'],
      account: { subject: null, label: null },
      now: 0,
    });
    return { store, row: await reread(), reread };
  }

  it('gives one intent to however many ask with the same row in hand', async () => {
    const { store, row } = await connected();
    const taken = await Promise.all(
      ['att_1', 'att_2', 'att_3'].map((attempt) => store.takeIntent(row, attempt, intent())),
    );
    expect(taken.filter(Boolean)).toHaveLength(1);
  });

  it('gives no intent for a credential that has been replaced, nor for a connection that is over', async () => {
    const { store, row, reread } = await connected();
    expect(await store.takeIntent({ ...row, generation: 0 }, 'att_1', intent())).toBe(false);
    await store.change(row, { status: 'needs_reconnect' }, 1);
    expect(await store.takeIntent(await reread(), 'att_1', intent())).toBe(false);
  });

  it('lets one process take an attempt over', async () => {
    const { store, row, reread } = await connected();
    await store.takeIntent(row, 'att_1', intent());
    const late = await reread();
    const moved = await Promise.all(
      ['q', 'r'].map((process) => store.moveIntent(late, intent({ process, replays: 1 }))),
    );
    expect(moved.filter(Boolean)).toHaveLength(1);
  });

  it('takes the result of a refresh from the holder of its fence only, and once', async () => {
    const { store, row, reread } = await connected();
    await store.takeIntent(row, 'att_1', intent());
    const held = await reread();
    expect(await store.commitRefresh(held, 'att_2', credentials(2), 1)).toBe(false);
    expect(await store.commitRefresh(held, 'att_1', credentials(2), 1)).toBe(true);
    expect(await store.commitRefresh(held, 'att_1', credentials(2), 1)).toBe(false);
    expect(await store.closeAttempt(held, 'att_1', { status: 'needs_reconnect' }, 1)).toBe(false);
    expect(await reread()).toMatchObject({
      generation: 2,
      sealed: 'sealed 2',
      attempt: null,
      intent: null,
      status: 'connected',
    });
  });

  it('takes nothing any more from a process whose attempt was taken over', async () => {
    const { store, row, reread } = await connected();
    await store.takeIntent(row, 'att_1', intent());
    const before = await reread();
    await store.moveIntent(before, intent({ process: 'q', replays: 1 }));
    expect(await store.stage(before, 'att_1', 'x')).toBe(false);
    expect(await store.commitRefresh(before, 'att_1', credentials(2), 1)).toBe(false);
    expect(await store.closeAttempt(before, 'att_1', { status: 'needs_reconnect' }, 1)).toBe(false);
    expect(await store.commitRefresh(await reread(), 'att_1', credentials(2), 1)).toBe(true);
  });

  it('gives no intent to whoever read the row before it became suspect', async () => {
    const { store, row, reread } = await connected();
    await store.change(row, { status: 'suspect', tombstone: 'hash' }, 1);
    expect(await store.takeIntent(row, 'att_1', intent())).toBe(false);
    expect(await store.takeIntent(await reread(), 'att_1', intent())).toBe(true);
  });

  it('drops the fence of a refresh when the person connects again, and when they disconnect', async () => {
    const { store, row, reread } = await connected();
    await store.takeIntent(row, 'att_1', intent());
    const held = await reread();
    await store.disconnect(held, null, 1);
    expect(await store.commitRefresh(held, 'att_1', credentials(2), 1)).toBe(false);
    expect(await reread()).toMatchObject({ status: 'revoked', sealed: null, staged: null });
  });

  it('keeps what a refresh brings although the client was thought gone meanwhile', async () => {
    const { store, row, reread } = await connected();
    await store.takeIntent(row, 'att_1', intent());
    const held = await reread();
    await store.strand(tenant, 'reg_1', { code: 'client_vanished', message: '', hint: '' }, 1);
    expect(await reread()).toMatchObject({ status: 'needs_reconnect' });
    expect(await store.commitRefresh(held, 'att_1', credentials(2), 1)).toBe(true);
    expect(await reread()).toMatchObject({ status: 'connected', lastError: null });
  });

  it('has one registration in a slot, however many make one at once, and a free slot after it is retired', async () => {
    const store = createConnectStore(await open());
    const make = (id: string) => ({
      tenant,
      id: id as RegistrationId,
      connector,
      issuer: 'https://as.example',
      kind: 'dynamic' as const,
      clientId: id,
      redirectUri: `https://gateway.example/connect/callback/${id}`,
      authMethod: 'none',
      sealed: null,
      secretExpiresAt: null,
      createdAt: 0,
    });
    await Promise.all(['reg_1', 'reg_2'].map(async (id) => await store.addRegistration(make(id), 'dynamic:x')));
    const kept = (await store.registrationInSlot(tenant, connector, 'dynamic:x'))!;
    expect(
      [await store.registration(tenant, 'reg_1'), await store.registration(tenant, 'reg_2')].filter(Boolean),
    ).toHaveLength(1);
    expect(await store.retireRegistration(kept, 1)).toBe(true);
    expect(await store.retireRegistration(kept, 2)).toBe(false);
    await store.addRegistration(make('reg_3'), 'dynamic:x');
    expect((await store.registrationInSlot(tenant, connector, 'dynamic:x'))?.id).toBe('reg_3');
    // Its connections still refresh with it.
    expect(await store.registration(tenant, kept.id)).toBeDefined();
  });

  it('lets a ticket be used once, however many use it at once, and not when it is over', async () => {
    const store = createConnectStore(await open());
    const ticket = (hash: string) => ({
      tenant,
      hash,
      user: 'usr_1' as UserId,
      connector,
      scopes: [],
      flow: 'flw_1' as FlowId,
      returnTo: null,
      expiresAt: 1_000,
      usedAt: null,
    });
    await store.addTicket(ticket('a'), 0);
    await store.addTicket(ticket('b'), 0);
    const used = await Promise.all([1, 2, 3].map(async () => await store.useTicket(ticket('a'), 500)));
    expect(used.filter(Boolean)).toHaveLength(1);
    expect(await store.useTicket(ticket('b'), 1_000)).toBe(false);
  });

  it('knows nothing of another tenant', async () => {
    const { store, row } = await connected();
    const other = 'other' as TenantId;
    expect(await store.find(other, row.id)).toBeUndefined();
    expect(await store.findOwned(other, connector, owner)).toBeUndefined();
    expect(await store.list({ tenant: other })).toEqual([]);
  });
});
