import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createLedger, shortHash } from '../../src/test-server/ledger.ts';
import type { TestServerOptions } from '../../src/test-server/test-server.ts';
import { connect, discover, me, postForm, refresh, register, request, startServer } from './practice.ts';

async function connected(options: Partial<TestServerOptions> = {}) {
  const server = await startServer({ mode: 'oauth-dcr', unsafeAutoApprove: true, ...options });
  const app = await register(server);
  return { server, app, tokens: await connect(app) };
}

describe('control over tokens and clients', () => {
  it("expires one person's access tokens and nobody else's, and leaves the grant", async () => {
    const { server, app, tokens } = await connected();
    const bob = await connect(app, { parameters: { login_hint: 'bob' } });
    expect(await server.control.expireAccessTokens({ subject: 'alice' })).toBe(1);
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    expect(await me(server, bob.access_token)).toMatchObject({ status: 200 });
    expect((await me(server, (await refresh(app, tokens.refresh_token!)).access_token)).status).toBe(200);
  });

  it('revokes grants', async () => {
    const { server, app, tokens } = await connected();
    expect(await server.control.revokeGrants({ clientId: app.client.client_id })).toBe(1);
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    await expect(refresh(app, tokens.refresh_token!)).rejects.toMatchObject({ error: 'invalid_grant' });
    expect(server.ledger.refreshes()[0]).toMatchObject({ outcome: 'grant_revoked', subject: 'alice' });
  });

  it('forgets a client, which is then unknown everywhere', async () => {
    const { server, app, tokens } = await connected();
    await server.control.forgetClient({ clientId: app.client.client_id });
    const form = { grant_type: 'refresh_token', client_id: app.client.client_id, refresh_token: tokens.refresh_token! };
    const answer = await postForm(`${server.url}/auth/token`, form);
    expect(answer).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
    expect((await fetch((await request(app)).url, { redirect: 'manual' })).status).toBe(400);
    expect(server.ledger.of('client_refused')).toMatchObject([{ clientId: app.client.client_id }]);
  });

  it('changes what a person has granted and may grant', async () => {
    const { server, app, tokens } = await connected();
    await server.control.setScopes({ subject: 'alice', scopes: ['profile'] });
    expect((await me(server, tokens.access_token)).body).toMatchObject({ scopes: ['profile'] });
    expect(await connect(app)).toMatchObject({ scope: 'profile' });
  });

  it('issues a grant without a browser', async () => {
    const { server, app } = await connected();
    const { client_id: clientId } = app.client;
    const grant = await server.control.issueGrant({ subject: 'bob', clientId, scopes: ['profile'] });
    expect((await me(server, grant.access_token)).body).toMatchObject({ subject: 'bob', scopes: ['profile'] });
    expect((await refresh(app, grant.refresh_token!)).scope).toBe('profile');
  });

  it('has the server lie about itself', async () => {
    const { server } = await connected();
    await server.control.setMetadata({ authorizationServer: { issuer: 'https://evil.example', token_endpoint: null } });
    await expect(discover(server)).rejects.toThrow(/issuer/);
    await server.control.setMetadata({ authorizationServer: {} });
    expect((await discover(server)).token_endpoint).toBe(`${server.url}/auth/token`);
  });
});

describe('injected faults', () => {
  it('lose the answer after the rotation, or before it', async () => {
    const { server, app, tokens } = await connected();
    await server.control.failTokenCalls({ answer: 'drop', commit: false });
    await expect(refresh(app, tokens.refresh_token!)).rejects.toThrow(/fetch failed/);
    await server.control.failTokenCalls({ answer: 'drop', commit: true });
    await expect(refresh(app, tokens.refresh_token!)).rejects.toThrow(/fetch failed/);
    await expect(refresh(app, tokens.refresh_token!)).rejects.toMatchObject({ error: 'invalid_grant' });
    expect(server.ledger.refreshes().map((event) => [event.outcome, event.answer])).toEqual([
      ['not_processed', 'dropped'],
      ['rotated', 'dropped'],
      ['reused_family_revoked', 'sent'],
    ]);
  });

  it.each([
    { answer: 'malformed_json', status: 200, type: 'application/json', text: 'cut-off' },
    { answer: 'html', status: 502, type: 'text/html', text: '<h1>' },
    { answer: { status: 503, headers: { 'retry-after': '7' } }, status: 503, type: 'application/json', text: '{}' },
    {
      answer: { status: 200, body: { ok: false, error: 'ratelimited' } },
      status: 200,
      type: 'application/json',
      text: 'ratelimited',
    },
    { answer: { status: 500, body: 'plain' }, status: 500, type: 'text/plain', text: 'plain' },
  ] as const)('replace the answer by $answer, for as many calls as asked', async ({ answer, status, type, text }) => {
    const { server, app, tokens } = await connected();
    await server.control.failTokenCalls({ times: 2, grantType: 'refresh_token', answer });
    const form = { grant_type: 'refresh_token', client_id: app.client.client_id, refresh_token: tokens.refresh_token! };
    for (let i = 0; i < 2; i += 1) {
      const response = await fetch(`${server.url}/auth/token`, { method: 'POST', body: new URLSearchParams(form) });
      expect(response.status).toBe(status);
      expect(response.headers.get('content-type')).toContain(type);
      expect(await response.text()).toContain(text);
    }
    expect((await postForm(`${server.url}/auth/token`, form)).status).toBe(200);
    const outcomes = server.ledger.refreshes().map((event) => event.outcome);
    expect(outcomes).toEqual(['not_processed', 'not_processed', 'rotated']);
  });

  it('hit only the client and the grant type they name', async () => {
    const { server, app, tokens } = await connected();
    await server.control.failTokenCalls({ clientId: 'other', answer: 'html' });
    await server.control.failTokenCalls({ grantType: 'authorization_code', answer: 'html' });
    expect((await refresh(app, tokens.refresh_token!)).access_token).toMatch(/^pat_/);
    await expect(connect(app)).rejects.toThrow();
    await server.control.clearFaults();
    expect((await connect(app)).access_token).toMatch(/^pat_/);
  });

  it('count requests with one refresh token that are open together', async () => {
    const { server, app, tokens } = await connected({ rotation: 'grace' });
    await server.control.failTokenCalls({ times: 3, delayMs: 50 });
    await Promise.all([1, 2, 3].map(() => refresh(app, tokens.refresh_token!)));
    expect(server.ledger.refreshes().map((event) => event.inFlight)).toEqual([1, 2, 3]);
    expect(server.ledger.maxInFlight()).toBe(3);
    await refresh(app, tokens.refresh_token!);
    expect(server.ledger.refreshes().at(-1)!.inFlight).toBe(1);
  });

  it('commit first and answer late, so that a second request meets a rotated token', async () => {
    const { server, app, tokens } = await connected();
    await server.control.failTokenCalls({ answerDelayMs: 60_000, answer: 'none' });
    const stop = new AbortController();
    const form = { grant_type: 'refresh_token', client_id: app.client.client_id, refresh_token: tokens.refresh_token! };
    const late = fetch(`${server.url}/auth/token`, {
      method: 'POST',
      body: new URLSearchParams(form),
      signal: stop.signal,
    });
    await expect.poll(() => server.ledger.refreshes().length).toBe(1);
    await expect(refresh(app, tokens.refresh_token!)).rejects.toMatchObject({ error: 'invalid_grant' });
    expect(server.ledger.refreshes().map((event) => [event.outcome, event.inFlight])).toEqual([
      ['rotated', 1],
      ['reused_family_revoked', 2],
    ]);
    stop.abort();
    await expect(late).rejects.toThrow();
  });

  it('make calls fail with a challenge, another status or a cut connection', async () => {
    const { server, tokens } = await connected();
    await server.control.failCalls({ on: 'api' });
    await server.control.failCalls({ on: 'mcp', answer: 503 });
    await server.control.failCalls({ answer: 'drop', times: 1 });
    const headers = { authorization: `Bearer ${tokens.access_token}` };
    const refused = await fetch(`${server.url}/api/me`, { headers });
    expect(refused.status).toBe(401);
    expect(refused.headers.get('www-authenticate')).toContain('error="invalid_token"');
    expect((await fetch(server.mcpUrl, { method: 'POST', headers })).status).toBe(503);
    await expect(me(server, tokens.access_token)).rejects.toThrow(/fetch failed/);
    expect((await me(server, tokens.access_token)).status).toBe(200);
    expect(server.ledger.of('api_call').map((event) => event.status)).toEqual([401, 0, 200]);
  });

  it('take the authorization server down and up while calls go on', async () => {
    const { server, app, tokens } = await connected();
    await server.control.takeAuthorizationServerDown();
    await expect(refresh(app, tokens.refresh_token!)).rejects.toThrow(/fetch failed/);
    await server.control.takeAuthorizationServerDown({ how: 'unavailable' });
    expect((await fetch(`${server.url}/.well-known/oauth-authorization-server`)).status).toBe(503);
    expect((await me(server, tokens.access_token)).status).toBe(200);
    await server.control.bringAuthorizationServerUp();
    expect((await refresh(app, tokens.refresh_token!)).access_token).toMatch(/^pat_/);
  });

  it('do not hold up the closing of the server', async () => {
    const { server } = await connected();
    await server.control.setLatency({ callsMs: 600_000 });
    const call = fetch(`${server.url}/api/me`);
    await server.close();
    await expect(call).rejects.toThrow(/fetch failed/);
  });
});

describe('control over HTTP', () => {
  it('is absent unless it was asked for', async () => {
    const { server } = await connected();
    const send = { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } };
    expect((await fetch(`${server.url}/control/clearFaults`, send)).status).toBe(404);
    expect((await fetch(`${server.url}/control/ledger`)).status).toBe(404);
  });

  it('does what the methods do, and shows the ledger', async () => {
    const { server, app, tokens } = await connected({ control: true });
    const send = async (action: string, body: unknown, type = 'application/json') => {
      const init = { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': type } };
      const response = await fetch(`${server.url}/control/${action}`, init);
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    };
    expect(await send('expireAccessTokens', { subject: 'alice' })).toEqual({ status: 200, body: { result: 1 } });
    expect((await me(server, tokens.access_token)).status).toBe(401);
    await refresh(app, tokens.refresh_token!);
    const ledger = (await (await fetch(`${server.url}/control/ledger?after=2`)).json()) as {
      events: { sequence: number }[];
    };
    expect(ledger.events.map((event) => event.sequence)[0]).toBe(3);
    expect(ledger.events.at(-1)).toMatchObject({ type: 'refresh', token: shortHash(tokens.refresh_token!) });
    expect(await send('setPolicy', { rotation: 'sometimes' })).toMatchObject({ status: 400 });
    expect(await send('forgetClient', {})).toMatchObject({
      status: 400,
      body: { error_description: expect.stringContaining('clientId') },
    });
    expect(await send('toString', {})).toMatchObject({ status: 404 });
    expect(await send('clearFaults', {}, 'text/plain')).toMatchObject({ status: 415 });
  });
});

describe('the ledger', () => {
  it('goes to a file as well, line by line, when asked', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'practice-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const ledgerFile = join(folder, 'ledger.jsonl');
    const { server } = await connected({ ledgerFile });
    const lines = (await readFile(ledgerFile, 'utf8')).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(server.ledger.events);
    expect(lines.length).toBeGreaterThan(3);
  });

  it('forgets its oldest events beyond a limit, and counts on', () => {
    const ledger = createLedger({ clock: systemClock, limit: 20 });
    for (let i = 0; i < 25; i += 1) ledger.record({ type: 'login', subject: null, outcome: 'ok' });
    expect(ledger.events.length).toBeLessThanOrEqual(20);
    expect(ledger.events.at(-1)!.sequence).toBe(25);
    expect(ledger.events[0]!.sequence).toBe(25 - ledger.events.length + 1);
  });

  it('cannot be rewritten', async () => {
    const { server } = await connected();
    expect(() => Object.assign(server.ledger.events[0]!, { time: 0 })).toThrow(TypeError);
  });
});
