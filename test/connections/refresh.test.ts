import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import type { Step } from '../../src/connections/refresh.ts';
import type { ConnectStep } from '../../src/connections/settle.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type Clock, type House, type Person } from './house.ts';

type Setting = { auth?: Record<string, unknown>; rotation?: 'none' | 'soft' | 'grace' | 'strict'; ttl?: number };

describe('a refresh', () => {
  let clock: Clock;
  let house: House;
  let service: TestServer;
  let connector: Connector;
  let alice: Person;
  let onStep: ((step: Step | ConnectStep) => void | Promise<void>) | undefined;

  async function open({ auth = {}, rotation = 'strict', ttl = 300 }: Setting = {}): Promise<void> {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: ttl, rotation, clock });
    house = await openHouse({ clock, onStep: (step) => onStep?.(step) });
    connector = await house.put({
      name: 'practice',
      title: 'Practice',
      url: service.mcpUrl,
      auth: { type: 'oauth2', ...auth },
    });
    alice = await house.person('alice');
    expect(await house.connect(connector, alice)).toContain('is connected');
  }
  const status = async () => await house.connections.of(connector, alice.principal);
  const answer = async () => await house.connections.credential(connector, alice.principal);
  /** Whether the service takes what a call would carry now. */
  async function accepted(): Promise<boolean> {
    const response = await fetch(service.mcpUrl, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${await house.token(connector, alice)}`,
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json',
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'initialize',
        params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
      }),
    });
    await response.body?.cancel();
    return response.status === 200;
  }
  const outcomes = () =>
    service.ledger.refreshes().map(({ outcome, answer }) => (answer === 'sent' ? outcome : `${outcome}, ${answer}`));

  beforeEach(() => {
    clock = movableClock();
    onStep = undefined;
  });
  afterEach(async () => {
    await house?.close();
    await service?.close();
  });

  it('is made once for fifty callers that find the token expired', async () => {
    await open();
    clock.move(301_000);
    const tokens = await Promise.all(Array.from({ length: 50 }, () => house.token(connector, alice)));
    expect(new Set(tokens).size).toBe(1);
    expect(outcomes()).toEqual(['rotated']);
    expect(service.ledger.maxInFlight()).toBe(1);
    expect(await accepted()).toBe(true);
    expect(await status()).toMatchObject({ status: 'connected', generation: 2, lastError: null });
  });

  it('answers from memory, without a promise, while the token is fresh', async () => {
    await open();
    await house.credential(connector, alice);
    expect(house.connections.credential(connector, alice.principal)).not.toBeInstanceOf(Promise);
  });

  it('happens ahead of time while calls go on with the old token', async () => {
    await open({ ttl: 300 });
    const before = await house.token(connector, alice);
    clock.move(270_000);
    await service.control.setLatency({ tokenMs: 150 });
    expect(await house.token(connector, alice)).toBe(before);
    await vi.waitFor(async () => expect(await house.token(connector, alice)).not.toBe(before));
    expect(outcomes()).toEqual(['rotated']);
  });

  it('is made once for many callers whose token the service rejected, and not for a token that is replaced already', async () => {
    await open();
    const credential = await house.credential(connector, alice);
    await service.control.expireAccessTokens();
    const rejected = async () =>
      await house.connections.rejected(connector, alice.principal, credential, { status: 401, wwwAuthenticate: null });
    const answers = await Promise.all(Array.from({ length: 20 }, rejected));
    expect(new Set(answers.map((item) => (item as { generation: number }).generation))).toEqual(new Set([2]));
    await rejected();
    expect(outcomes()).toEqual(['rotated']);
    expect(await accepted()).toBe(true);
  });

  it('stops and says so when the service rejects a token that has just been refreshed', async () => {
    await open();
    const first = await house.credential(connector, alice);
    const second = await house.connections.rejected(connector, alice.principal, first, {
      status: 401,
      wwwAuthenticate: null,
    });
    const third = await house.connections.rejected(connector, alice.principal, second as typeof first, {
      status: 401,
      wwwAuthenticate: null,
      again: true,
    });
    expect(third).toMatchObject({ refusal: 'needs_reconnect' });
    expect(outcomes()).toEqual(['rotated']);
    expect(await status()).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'token_rejected' } });
  });

  it('is made each time that the service ends a token which has worked, however soon', async () => {
    await open();
    for (const outcome of [['rotated'], ['rotated', 'rotated']]) {
      const credential = await house.credential(connector, alice);
      await service.control.expireAccessTokens();
      await house.connections.rejected(connector, alice.principal, credential, { status: 401, wwwAuthenticate: null });
      expect(outcomes()).toEqual(outcome);
      expect(await accepted()).toBe(true);
    }
    expect(await status()).toMatchObject({ status: 'connected' });
  });

  it('never follows a 403: missing scopes come back as the union of old and new', async () => {
    await open({ auth: { scopes: ['items:read'] } });
    const credential = await house.credential(connector, alice);
    const wwwAuthenticate = 'Bearer error="insufficient_scope", scope="items:write"';
    const missing = await house.connections.rejected(connector, alice.principal, credential, {
      status: 403,
      wwwAuthenticate,
    });
    expect(missing).toMatchObject({
      refusal: 'missing_scopes',
      scopes: ['items:read', 'items:write'],
      exhausted: false,
    });
    const url = await house.ticket(connector, alice, { scopes: ['items:read', 'items:write'] });
    expect(await house.connect(connector, alice, url)).toContain('is connected');
    expect(service.ledger.of('authorize').at(-1)?.scopes).toEqual(['items:read', 'items:write']);
    const again = await house.connections.rejected(connector, alice.principal, credential, {
      status: 403,
      wwwAuthenticate,
    });
    expect(again).toMatchObject({ refusal: 'missing_scopes', exhausted: true });
    expect(outcomes()).toEqual([]);
  });

  it('heals an answer lost after the service had committed, where the service gives grace', async () => {
    await open({ rotation: 'grace' });
    clock.move(301_000);
    await service.control.failTokenCalls({ grantType: 'refresh_token', commit: true, answer: 'drop' });
    expect(await accepted()).toBe(true);
    expect(outcomes()).toEqual(['rotated, dropped', 'same_successor']);
    expect(service.ledger.maxInFlight()).toBe(1);
    expect(await status()).toMatchObject({ status: 'connected', generation: 2 });
  });

  it('says that the grant is over when the answer was lost and the service gives no grace', async () => {
    await open({ rotation: 'strict' });
    clock.move(301_000);
    await service.control.failTokenCalls({ grantType: 'refresh_token', commit: true, answer: 'drop' });
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(outcomes()).toEqual(['rotated, dropped', 'reused_family_revoked']);
    expect(await status()).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'grant_dead' } });
    // A refused refresh token is never presented again.
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(outcomes()).toHaveLength(2);
    expect(await house.connect(connector, alice)).toContain('is connected');
    expect(await accepted()).toBe(true);
  });

  it('loses nothing when the request never arrived', async () => {
    await open();
    clock.move(301_000);
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: 'drop' });
    expect(await accepted()).toBe(true);
    expect(outcomes()).toEqual(['not_processed, dropped', 'rotated']);
  });

  it.each([
    { what: 'a 503', fault: { status: 503, body: 'down' } },
    { what: 'HTML under 400', fault: { status: 400, body: '<html>waf</html>' } },
    { what: 'broken JSON under 200', fault: 'malformed_json' as const },
    { what: 'an error under 200', fault: { status: 200, body: { ok: false, error: 'ratelimited' } } },
    { what: 'an unknown 4xx', fault: { status: 418, body: { error: 'teapot' } } },
  ])('outlives $what: the connection stays, and the next attempt is the same one again', async ({ fault }) => {
    await open({ auth: { refreshToken: { retryDelay: 100 } } });
    clock.move(301_000);
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: fault });
    expect(await accepted()).toBe(true);
    expect(outcomes()).toEqual(['not_processed, replaced', 'rotated']);
    expect(await status()).toMatchObject({ status: 'connected', lastError: null });
  });

  it('does not ask again before Retry-After, and then heals by itself', async () => {
    await open();
    clock.move(301_000);
    const answer429 = { status: 429, body: { error: 'slow_down' }, headers: { 'retry-after': '120' } };
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: answer429 });
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    clock.move(100_000);
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(outcomes()).toEqual(['not_processed, replaced']);
    expect(await status()).toMatchObject({
      status: 'connected',
      health: 'unhealthy',
      lastError: { code: 'refresh_postponed' },
    });
    clock.move(21_000);
    expect(await accepted()).toBe(true);
  });

  it('asks a provider that wants to be left alone for nobody else either', async () => {
    await open();
    const bob = await house.person('bob');
    await house.connect(connector, bob);
    clock.move(301_000);
    const answer429 = { status: 429, body: { error: 'slow_down' }, headers: { 'retry-after': '120' } };
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: answer429 });
    await answer();
    const forBob = await house.connections.credential(connector, bob.principal);
    expect(forBob).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(outcomes()).toHaveLength(1);
    clock.move(121_000);
    expect(await house.token(connector, bob)).toMatch(/^pat_/);
  });

  it('keeps serving a valid token after a refusal, tries once more when it has ended, and then asks for its owner', async () => {
    await open();
    const before = await house.token(connector, alice);
    clock.move(270_000);
    await service.control.failTokenCalls({
      grantType: 'refresh_token',
      times: 9,
      answer: { status: 400, body: { error: 'invalid_grant' } },
    });
    await house.token(connector, alice);
    await vi.waitFor(async () => expect(await status()).toMatchObject({ status: 'suspect' }));
    expect(await house.token(connector, alice)).toBe(before);
    // Nor does a sweep present the refused token while the access token is good.
    await house.database.query.updateTable('connections').set({ next_refresh_at: 0 }).execute();
    house.connections.start();
    await house.connections.idle();
    expect(outcomes()).toHaveLength(1);
    clock.move(31_000);
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(outcomes()).toHaveLength(2);
  });

  it('blames the client and nobody else when the service does not accept the secret', async () => {
    await open();
    const [client] = service.clients();
    await service.control.changeClientSecret({ clientId: client!.clientId, clientSecret: 'another' });
    clock.move(301_000);
    await service.control.failTokenCalls({
      grantType: 'authorization_code',
      answer: { status: 400, body: { error: 'invalid_grant' } },
    });
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(await status()).toMatchObject({ status: 'connected', lastError: { code: 'client_refused' } });
  });

  it('registers anew when the service has forgotten the client, and asks the owners to connect again', async () => {
    await open();
    const [client] = service.clients();
    await service.control.forgetClient({ clientId: client!.clientId });
    clock.move(301_000);
    expect(await answer()).toMatchObject({ refusal: 'needs_reconnect' });
    expect(await status()).toMatchObject({ status: 'needs_reconnect', lastError: { code: 'client_vanished' } });
    expect(await house.connect(connector, alice)).toContain('is connected');
    expect(service.ledger.of('register')).toHaveLength(2);
    expect(await accepted()).toBe(true);
  });

  it('spends no refresh token while the store cannot commit', async () => {
    await open();
    clock.move(301_000);
    await house.credential(connector, alice);
    clock.move(301_000);
    const refused = new Error('disk full');
    const original = house.database.query.updateTable.bind(house.database.query);
    house.database.query.updateTable = () => {
      throw refused;
    };
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    expect(outcomes()).toEqual(['rotated']);
    house.database.query.updateTable = original;
    expect(await accepted()).toBe(true);
  });

  it('holds the new pair and serves it until the store can commit it again', async () => {
    await open();
    clock.move(301_000);
    const original = house.database.query.updateTable.bind(house.database.query);
    let refusals = 0;
    onStep = (step) => {
      if (step !== 'before_commit') return;
      house.database.query.updateTable = () => {
        refusals += 1;
        if (refusals >= 3) house.database.query.updateTable = original;
        throw new Error('connection lost');
      };
    };
    expect(await accepted()).toBe(true);
    expect(refusals).toBe(3);
    expect(outcomes()).toEqual(['rotated']);
    expect(await status()).toMatchObject({ status: 'connected', generation: 2 });
  });

  it('keeps the old refresh token when the answer brings none', async () => {
    await open({ rotation: 'none' });
    for (let round = 0; round < 2; round += 1) {
      clock.move(301_000);
      expect(await accepted()).toBe(true);
    }
    expect(outcomes()).toEqual(['kept', 'kept']);
  });

  it('waits for a 401 where the service does not say how long a token lives', async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, sendExpiresIn: false, clock });
    house = await openHouse({ clock });
    connector = await house.put({ name: 'practice', url: service.mcpUrl, auth: { type: 'oauth2' } });
    alice = await house.person('alice');
    await house.connect(connector, alice);
    clock.move(3_700_000);
    const credential = await house.credential(connector, alice);
    expect(credential).toMatchObject({ generation: 1, expiresAt: null });
    expect(outcomes()).toEqual([]);
    await house.connections.rejected(connector, alice.principal, credential, { status: 401, wwwAuthenticate: null });
    expect(outcomes()).toEqual(['rotated']);
  });

  it('revokes what comes back after a disconnect', async () => {
    await open();
    clock.move(301_000);
    let reached = (): void => undefined;
    const answered = new Promise<void>((resolve) => (reached = resolve));
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    onStep = async (step) => {
      if (step !== 'before_commit') return;
      reached();
      await gate;
    };
    const waiting = answer();
    await answered;
    const view = await status();
    await house.connections.disconnect(alice.principal.tenant, view!.id, 'test');
    go();
    expect(await waiting).toMatchObject({ refusal: 'connection_required' });
    // The old pair by the disconnect, the new one when it arrived.
    await vi.waitFor(() => expect(service.ledger.of('revoke')).toHaveLength(4));
    const successor = service.ledger.refreshes()[0]?.successor;
    expect(service.ledger.of('revoke').map(({ token }) => token)).toContain(successor);
    expect(service.grants().every(({ revoked }) => revoked)).toBe(true);
    expect(await status()).toMatchObject({ status: 'revoked' });
  });

  it('says at once that it is under way, where the connector wants no waiting', async () => {
    await open({ auth: { refreshToken: { fallbackBehavior: 'fail' } } });
    clock.move(301_000);
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
    await vi.waitFor(async () => expect(await accepted()).toBe(true));
    expect(outcomes()).toEqual(['rotated']);
  });

  it('gives the expired token out only where the connector allows it, and not for longer than an hour', async () => {
    await open({ auth: { refreshToken: { fallbackBehavior: 'use-expired', maxRetries: 0 } } });
    const before = await house.token(connector, alice);
    await service.control.takeAuthorizationServerDown({ how: 'unavailable' });
    clock.move(301_000);
    expect(await house.token(connector, alice)).toBe(before);
    clock.move(3_600_000);
    expect(await answer()).toMatchObject({ refusal: 'temporarily_unavailable' });
  });
});
