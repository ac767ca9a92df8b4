import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Connector } from '../../src/connectors/connector.ts';
import { createTestServer, type TestServer, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { csrfToken } from '../../src/web/csrf.ts';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { walk } from '../browser/walk.ts';
import { openHouse, type House, type Person } from './house.ts';

describe('a connect', () => {
  let house: House;
  let service: TestServer;
  let connector: Connector;

  async function open(service_: Partial<TestServerOptions> = {}, auth: Record<string, unknown> = {}): Promise<void> {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, ...service_ });
    connector = await house.put({
      name: 'practice',
      title: 'Practice',
      url: service.mcpUrl,
      auth: { type: 'oauth2', ...auth },
    });
  }
  beforeEach(async () => {
    house = await openHouse();
  });
  afterEach(async () => {
    await house?.close();
    await service?.close();
  });

  /** Walks to the provider's answer, and returns the callback it would open instead of opening it. */
  async function callbackOf(person: Person, press: RegExp[] = []): Promise<string> {
    let callback: string | undefined;
    person.browser = createPlainBrowser((url) => {
      const stop = callback === undefined && url.includes('/connect/callback/');
      if (stop) callback = url;
      return stop;
    });
    await person.browser.open(`${house.publicUrl}/connect/default/practice`);
    await walk(person.browser, person.walker, { until: () => callback !== undefined, press });
    return callback!;
  }
  async function hit({ browser }: Pick<Person, 'browser'>, url: string): Promise<{ status: number; text: string }> {
    await browser.open(url);
    return { status: browser.status(), text: (await browser.view()).text };
  }
  const exchanges = () => service.ledger.of('token_exchange');

  it('gives each of two people their own token through one connector and one registration', async () => {
    await open();
    const alice = await house.person('alice');
    const bob = await house.person('bob');
    expect(await house.connect(connector, alice)).toMatch(/Practice is connected.*alice/);
    expect(await house.connect(connector, bob)).toMatch(/Practice is connected.*bob/);
    const tokens = [await house.token(connector, alice), await house.token(connector, bob)];
    expect(new Set(tokens).size).toBe(2);
    expect(service.ledger.of('register')).toHaveLength(1);
    expect(exchanges().map(({ subject, outcome }) => [subject, outcome])).toEqual([
      ['alice', 'ok'],
      ['bob', 'ok'],
    ]);
    expect(service.ledger.of('authorize').every(({ resource }) => resource === service.mcpUrl)).toBe(true);
  });

  it('shows the same outcome when the callback is opened twice, and redeems the code once', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    const [first, second] = await Promise.all([hit(alice, callback), hit(alice, callback)]);
    const third = await hit(alice, callback);
    for (const page of [first, second, third]) {
      expect(page).toMatchObject({ status: 200, text: expect.stringContaining('is connected') });
    }
    expect(exchanges()).toHaveLength(1);
  });

  it('stops at the callback in another browser, in which the same person is signed in', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    const other = await house.person('alice');
    await other.browser.open(`${house.publicUrl}/connections`);
    await walk(other.browser, other.walker, { until: ({ url }) => url.endsWith('/connections') });
    expect(await hit(other, callback)).toMatchObject({
      status: 403,
      text: expect.stringContaining('connect_wrong_browser'),
    });
    expect(exchanges()).toHaveLength(0);
    expect(await hit(alice, callback)).toMatchObject({ status: 200 });
  });

  it('stops at the callback for another person, and for nobody', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    const bob = await house.person('bob');
    await bob.browser.open(`${house.publicUrl}/connections`);
    await walk(bob.browser, bob.walker, { until: ({ url }) => url.endsWith('/connections') });
    expect(await hit(bob, callback)).toMatchObject({
      status: 403,
      text: expect.stringContaining('connect_wrong_user'),
    });
    const nobody = { ...bob, browser: createPlainBrowser() };
    expect(await hit(nobody, callback)).toMatchObject({ status: 403 });
    expect(exchanges()).toHaveLength(0);
  });

  it('stops for a ticket of another person before anything is asked of the service', async () => {
    await open();
    const alice = await house.person('alice');
    const bob = await house.person('bob');
    const text = await house.connect(connector, bob, await house.ticket(connector, alice));
    expect(text).toContain('This link belongs to another person');
    expect(service.ledger.of('authorize')).toHaveLength(0);
  });

  it('takes a ticket once, and not after ten minutes', async () => {
    await open();
    const alice = await house.person('alice');
    const url = await house.ticket(connector, alice);
    expect(await house.connect(connector, alice, url)).toContain('is connected');
    expect(await house.connect(connector, alice, url)).toContain('ticket_invalid');
    const late = await house.ticket(connector, alice);
    house.clock.move(600_001);
    expect(await house.connect(connector, alice, late)).toContain('ticket_invalid');
  });

  it('goes on to where the ticket says, and nowhere else', async () => {
    await open();
    const alice = await house.person('alice');
    const url = await house.ticket(connector, alice, { returnTo: '/account' });
    await house.connect(connector, alice, url);
    expect((await alice.browser.view()).refreshes).toBe(true);
    expect(alice.browser.html()).toContain('url=/account');
    await expect(house.ticket(connector, alice, { returnTo: 'https://evil.example/' })).rejects.toMatchObject({
      code: 'invalid_request',
    });
  });

  it('is over after ten minutes at the service', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    house.clock.move(600_001);
    expect(await hit(alice, callback)).toMatchObject({ status: 400, text: expect.stringContaining('connect_expired') });
    expect(exchanges()).toHaveLength(0);
  });

  it.each([
    ['a state that is not known', (url: URL) => url.searchParams.set('state', 'x'.repeat(43))],
    ['no state', (url: URL) => url.searchParams.delete('state')],
    ['two states', (url: URL) => url.searchParams.append('state', 'another')],
    ['the callback of another registration', (url: URL) => (url.pathname = '/connect/callback/reg_other')],
  ])('refuses %s', async (_what, change) => {
    await open();
    const alice = await house.person('alice');
    const callback = new URL(await callbackOf(alice));
    change(callback);
    expect(await hit(alice, callback.href)).toMatchObject({
      status: 400,
      text: expect.stringContaining('connect_state_unknown'),
    });
    expect(exchanges()).toHaveLength(0);
  });

  it('refuses the code of one connector at the callback of another', async () => {
    await open();
    const alice = await house.person('alice');
    const other = await house.put({
      name: 'other',
      url: `${service.url}/sse`,
      auth: { type: 'oauth2', clientId: 'x' },
    });
    const callback = new URL(await callbackOf(alice));
    callback.pathname = new URL(await house.connections.callbackUrl(other)).pathname;
    expect(await hit(alice, callback.href)).toMatchObject({ text: expect.stringContaining('connect_state_unknown') });
    expect(exchanges()).toHaveLength(0);
  });

  it.each(['wrong', 'omitted'] as const)(
    'refuses a callback whose iss is %s, and shows nothing of what it says',
    async (iss) => {
      await open({ iss });
      const alice = await house.person('alice');
      const callback = new URL(await callbackOf(alice));
      callback.searchParams.set('error', 'access_denied');
      callback.searchParams.set('error_description', 'call 555-0100 for help');
      const page = await hit(alice, callback.href);
      expect(page.text).toContain('connect_issuer_mismatch');
      expect(page.text).not.toContain('555');
      expect(exchanges()).toHaveLength(0);
    },
  );

  it('says that access was not given when the person refuses', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice, [/^(deny|refuse|no\b)/i]);
    const page = await hit(alice, callback);
    expect(page.text).toContain('connect_denied');
    expect(await house.connections.credential(connector, alice.principal)).toMatchObject({
      refusal: 'connection_required',
    });
  });

  it('shows the URI to allow when the service does not know our callback', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = new URL(await callbackOf(alice));
    callback.searchParams.delete('code');
    callback.searchParams.set('error', 'redirect_uri_mismatch');
    const page = await hit(alice, callback.href);
    expect(page.text).toContain('redirect_uri_mismatch');
    expect(page.text).toContain(`${callback.origin}${callback.pathname}`);
  });

  it.each([
    ['an HTML page', { status: 200, body: '<html>oops</html>' }, 'exchange_failed'],
    [
      'a dead code',
      { status: 400, body: { error: 'invalid_grant', error_description: 'token prt_secret' } },
      'exchange_failed',
    ],
    ['a bound token', { status: 200, body: { access_token: 'a', token_type: 'DPoP' } }, 'token_type_unsupported'],
    ['an error under 200', { status: 200, body: { ok: false, error: 'bad_redirect_uri' } }, 'redirect_uri_mismatch'],
  ])('says what happened when the token endpoint answers with %s', async (_what, answer, code) => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    await service.control.failTokenCalls({ grantType: 'authorization_code', answer });
    const page = await hit(alice, callback);
    expect(page.text).toContain(code);
    expect(page.text).not.toContain('prt_secret');
    expect(await house.connections.credential(connector, alice.principal)).toMatchObject({
      refusal: 'connection_required',
    });
  });

  it('takes a token that comes nested, under 201 and without a type', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    const body = { ok: true, authed_user: { access_token: 'xoxp-1', scope: 'a,b', expires_in: '43200' } };
    await service.control.failTokenCalls({ grantType: 'authorization_code', answer: { status: 201, body } });
    expect((await hit(alice, callback)).text).toContain('is connected');
    expect(await house.token(connector, alice)).toBe('xoxp-1');
    const view = await house.connections.of(connector, alice.principal);
    expect(view?.scopes.granted).toEqual(['a', 'b']);
    expect(Date.parse(view!.expiresAt!) - house.clock.now()).toBeGreaterThan(43_000_000);
  });

  it('keeps an answer that was committed before a crash, and settles it at the next start', async () => {
    await open();
    const alice = await house.person('alice');
    const callback = await callbackOf(alice);
    const original = house.database.query.updateTable.bind(house.database.query);
    const query = house.database.query as { updateTable: unknown };
    let updates = 0;
    query.updateTable = (table: 'connections') => {
      // The first write stages the answer; then the process is gone.
      if (table === 'connections' && ++updates > 1) throw new Error('killed');
      return original(table);
    };
    expect((await hit(alice, callback)).status).toBe(500);
    query.updateTable = original;
    expect(await house.connections.credential(connector, alice.principal)).toMatchObject({
      refusal: 'connection_required',
    });
    house.connections.start();
    await house.connections.stop();
    expect(await house.token(connector, alice)).toMatch(/^pat_/);
  });

  it('updates the same connection when it is made again, and says when the account is another one', async () => {
    await open();
    const alice = await house.person('alice');
    await house.connect(connector, alice);
    const before = await house.connections.of(connector, alice.principal);
    const asBob = await house.person('alice', { provider: 'bob' });
    expect(await house.connect(connector, asBob)).toMatch(/Account: bob.*belonged to another account: alice/);
    const after = await house.connections.of(connector, alice.principal);
    expect(after).toMatchObject({ id: before!.id, generation: 2, account: { subject: 'bob' } });
    // What alice had given is of no use to anyone any more.
    expect(service.grants().map(({ subject, revoked }) => [subject, revoked])).toEqual([
      ['alice', true],
      ['bob', false],
    ]);
  });

  it('of a shared connection is for owners, and serves everyone', async () => {
    await open({}, { owner: 'tenant' });
    const bob = await house.person('bob');
    const root = await house.person('root', { role: 'owner', provider: 'alice' });
    expect(await house.connect(connector, bob)).toContain('connect_owner_required');
    expect(await house.connect(connector, root)).toContain('is connected');
    expect(await house.token(connector, bob)).toBe(await house.token(connector, root));
  });

  it('is undone by disconnect: the tokens are revoked at the service, and the page says so', async () => {
    await open();
    const alice = await house.person('alice');
    await house.connect(connector, alice);
    await alice.browser.open(`${house.publicUrl}/connections`);
    const page = await alice.browser.view();
    expect(page.text).toMatch(/Practice.*Connected.*alice/);
    expect(page.text).toContain(`${house.publicUrl}/mcp/default/practice`);
    const form = page.forms.find(({ buttons }) => buttons.includes('Disconnect'))!;
    await alice.browser.submit(form, {}, 'Disconnect');
    expect((await alice.browser.view()).text).toContain('revoked at the service');
    // The refresh token first: its grant takes the access token along.
    expect(service.ledger.of('revoke').map(({ outcome }) => outcome)).toEqual(['revoked', 'unknown']);
    expect(service.grants().every(({ revoked }) => revoked)).toBe(true);
    expect(await house.connections.credential(connector, alice.principal)).toMatchObject({
      refusal: 'connection_required',
    });
  });

  it('takes no form without its token, and nobody ends the connection of somebody else', async () => {
    await open();
    const alice = await house.person('alice');
    const bob = await house.person('bob');
    await house.connect(connector, alice);
    const { id } = (await house.connections.of(connector, alice.principal))!;
    const post = async (person: Person, path: string, token: (secret: string) => string) => {
      const { tenant, user } = person.principal;
      const cookie = `valetkey_session=${await house.identity.sessions.start(tenant, user!, 'test')}`;
      const { csrfSecret } = (await house.identity.session(cookie))!;
      const response = await fetch(`${house.publicUrl}${path}`, {
        method: 'POST',
        redirect: 'manual',
        headers: { cookie, 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ csrf: token(csrfSecret) }).toString(),
      });
      return { status: response.status, text: await response.text() };
    };
    const forged = () => csrfToken('another secret', `disconnect ${id}`);
    const begin = '/connect/default/practice/begin';
    expect((await post(alice, begin, forged)).text).toContain('form_expired');
    expect((await post(alice, `/connections/${id}/disconnect`, forged)).text).toContain('form_expired');
    const own = (secret: string) => csrfToken(secret, `disconnect ${id}`);
    expect((await post(bob, `/connections/${id}/disconnect`, own)).status).toBe(404);
    expect(service.ledger.of('authorize')).toHaveLength(1);
    expect(await house.token(connector, alice)).toMatch(/^pat_/);
    expect((await post(alice, `/connections/${id}/disconnect`, own)).status).toBe(303);
  });

  it('is undone at the service later when the service is down, and here at once', async () => {
    await open();
    const alice = await house.person('alice');
    await house.connect(connector, alice);
    const { id } = (await house.connections.of(connector, alice.principal))!;
    await service.control.takeAuthorizationServerDown({ how: 'reset' });
    expect(await house.connections.disconnect(alice.principal.tenant, id, 'test')).toEqual({ upstream: 'pending' });
    expect(await house.connections.credential(connector, alice.principal)).toMatchObject({
      refusal: 'connection_required',
    });
    await service.control.bringAuthorizationServerUp({});
    house.clock.move(61_000);
    house.connections.start();
    await house.connections.stop();
    expect(service.grants().every(({ revoked }) => revoked)).toBe(true);
  });

  it('is undone when its connector is removed', async () => {
    await open();
    const alice = await house.person('alice');
    await house.connect(connector, alice);
    await house.connectors.remove(connector.tenant, 'practice', 'test');
    await expect.poll(() => service.grants().every(({ revoked }) => revoked)).toBe(true);
  });
});
