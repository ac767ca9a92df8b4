import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type Clock, type House, type Person } from './house.ts';

describe('an attempt that was left open', () => {
  let clock: Clock;
  let house: House;
  let service: TestServer;
  let connector: Connector;
  let alice: Person;

  beforeEach(async () => {
    clock = movableClock();
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: 300, rotation: 'strict', clock });
    house = await openHouse({ clock });
    await put({ maxRetries: 0 });
    alice = await house.person('alice');
    await house.connect(connector, alice);
  });
  afterEach(async () => {
    await house?.close();
    await service?.close();
  });
  async function put(refreshToken: Record<string, unknown>): Promise<void> {
    connector = await house.put({ name: 'practice', url: service.mcpUrl, auth: { type: 'oauth2', refreshToken } });
  }
  const answer = async () => await house.connections.credential(connector, alice.principal);
  const view = async () => await house.connections.of(connector, alice.principal);
  const row = async () => await house.database.query.selectFrom('connections').selectAll().executeTakeFirstOrThrow();
  const outcomes = () => service.ledger.refreshes().map(({ outcome, answer: how }) => `${outcome}, ${how}`);
  const fail = async (how: unknown, more = {}) =>
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: how as 'drop', ...more });
  /** As a provider row would say it. */
  function rules(rotation: Record<string, unknown>): void {
    const { oauth } = house.connectors.byId(connector.tenant, connector.id)!;
    Object.assign(oauth!, { rules: { ...oauth!.rules, rotation: { ...oauth!.rules.rotation, ...rotation } } });
  }

  it('runs on after an owner has switched renewing off, without going round', async () => {
    clock.move(301_000);
    await fail({ status: 503, body: 'down' });
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    await put({ enabled: false, maxRetries: 0 });
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    clock.move(61_000);
    expect(await house.token(connector, alice)).toMatch(/^pat_/);
    expect(outcomes()).toEqual(['not_processed, replaced', 'rotated, sent']);
    // Renewing is off: the next one is not begun.
    clock.move(301_000);
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(await view()).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'not_renewable' } });
  });

  it('gives up, and says so, when its row can never be written as it was read', async () => {
    clock.move(301_000);
    // No attempt without an intent is ever written by the gateway.
    await house.database.query.updateTable('connections').set({ attempt: 'att_odd', intent: null }).execute();
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(house.logs()).toContain('goes round without getting anywhere');
    expect(outcomes()).toEqual([]);
  });

  it('keeps an answer that it cannot read, sends nothing, and takes the tokens once it can', async () => {
    clock.move(301_000);
    const body = {
      result: { oauth_token: 'pat_odd_0123456789abcdef', refresh: 'prt_odd_0123456789abcdef', lasts: 300 },
    };
    await fail({ status: 200, body });
    expect(await answer()).toMatchObject({
      refusal: 'temporarily_unavailable',
      told: { code: 'refresh_unreadable' },
    });
    expect(await view()).toMatchObject({ status: 'connected', lastError: { code: 'refresh_unreadable' } });
    clock.move(600_000);
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    house.connections.start();
    await house.connections.idle();
    expect(outcomes()).toEqual(['not_processed, replaced']);
    // An update, or an owner, has told the gateway where this service puts what.
    const { oauth } = house.connectors.byId(connector.tenant, connector.id)!;
    const paths = {
      accessToken: ['result.oauth_token'],
      refreshToken: ['result.refresh'],
      expiresIn: ['result.lasts'],
    };
    Object.assign(oauth!, { rules: { ...oauth!.rules, answer: { ...oauth!.rules.answer, ...paths } } });
    await house.connections.stop();
    house.connections.start();
    await house.connections.idle();
    expect(await view()).toMatchObject({ status: 'connected', generation: 2, lastError: null });
    expect(await row()).toMatchObject({ staged: null, attempt: null });
    expect(outcomes()).toEqual(['not_processed, replaced']);
  });

  it('is closed when its client has vanished, on this connection and on those of others', async () => {
    const bob = await house.person('bob');
    await house.connect(connector, bob);
    clock.move(301_000);
    await fail({ status: 503, body: 'down' });
    expect(await house.connections.credential(connector, bob.principal)).toMatchObject({
      refusal: 'temporarily_unavailable',
    });
    await service.control.forgetClient({ clientId: service.clients()[0]!.clientId });
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    house.connections.start();
    await house.connections.idle();
    const rows = await house.database.query.selectFrom('connections').select(['status', 'attempt', 'intent']).execute();
    const closed = { status: 'needs_reconnect', attempt: null, intent: null };
    expect(rows).toEqual([closed, closed]);
  });

  it('is sent again once, and only after the token has run out, where that could end other grants of the person', async () => {
    rules({ reuse: 'ends_user' });
    const before = await house.token(connector, alice);
    clock.move(270_000);
    await fail('drop', { times: 9 });
    await house.token(connector, alice);
    await vi.waitFor(async () => expect((await view())?.lastError).toMatchObject({ code: 'refresh_postponed' }));
    house.connections.start();
    await house.connections.idle();
    expect(await house.token(connector, alice)).toBe(before);
    expect(outcomes()).toHaveLength(1);
    clock.move(31_000);
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(outcomes()).toHaveLength(2);
    clock.move(61_000);
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(outcomes()).toHaveLength(2);
    expect(await view()).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'refresh_answer_lost' } });
  });

  it('tells whoever calls what an owner of the gateway has to put right, in no words of the service', async () => {
    clock.move(301_000);
    await fail({ status: 400, body: { error: 'invalid_scope', error_description: 'ask Mallory' } });
    const refused = await answer();
    expect(refused).toMatchObject({
      refusal: 'temporarily_unavailable',
      told: { code: 'refresh_refused', hint: expect.stringContaining('An owner of the gateway') },
    });
    expect(await answer()).toMatchObject({ told: { code: 'refresh_refused' } });
    expect(JSON.stringify((refused as { told: unknown }).told)).not.toContain('Mallory');
  });

  it('and every other one leaves one line, which names what it was about and no secret', async () => {
    clock.move(301_000);
    await house.token(connector, alice);
    await house.connections.disconnect(connector.tenant, (await view())!.id, 'test');
    const lines = house
      .logs()
      .split('\n')
      .filter((line) => /a refresh is over|a connect is finished|a connection was disconnected/.test(line))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const connection = (await view())?.id;
    expect(lines).toMatchObject([
      { connection, connector: 'practice', generation: 1, flow: expect.stringMatching(/^flw_/) },
      { connection, connector: 'practice', generation: 1, outcome: 'renewed' },
      { connection, connector: 'practice', generation: 2 },
    ]);
    expect(house.logs()).not.toMatch(/p[ar]t_[A-Za-z0-9]/);
  });
});

it('says at once that a connection will end, where the service was asked for a refresh token and gave none', async () => {
  const clock = movableClock();
  const service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: 300, clock });
  const house = await openHouse({ clock });
  try {
    await service.control.failTokenCalls({
      grantType: 'authorization_code',
      answer: { status: 200, body: { access_token: 'pat_once', token_type: 'Bearer', expires_in: 300 } },
    });
    const connector = await house.put({
      name: 'practice',
      url: service.mcpUrl,
      auth: { type: 'oauth2' },
    });
    const { oauth } = house.connectors.byId(connector.tenant, connector.id)!;
    Object.assign(oauth!, { rules: { ...oauth!.rules, refreshToken: 'always' } });
    const alice = await house.person('alice');
    const page = await house.connect(connector, alice);
    expect(page).toContain('is connected');
    const view = await house.connections.of(connector, alice.principal);
    expect(page).toContain(view!.expiresAt);
    expect(page).toContain('allow offline access');
    expect(view).toMatchObject({ status: 'connected', lastError: { code: 'no_refresh_token' } });
  } finally {
    await house.close();
    await service.close();
  }
});
