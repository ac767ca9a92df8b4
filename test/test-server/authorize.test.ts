import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { authorize, CALLBACK, connect, me, newBrowser, redeem, register, request, startServer } from './practice.ts';

const start = () => startServer({ mode: 'oauth-dcr' });

describe('the authorization endpoint', () => {
  it.each([
    { what: 'an unknown client', change: { client_id: 'nobody' }, says: 'Unknown application' },
    { what: 'no client', change: { client_id: null }, says: 'Unknown application' },
    { what: 'no callback', change: { redirect_uri: null }, says: 'Callback not registered' },
    { what: 'another path', change: { redirect_uri: 'http://127.0.0.1:9/other' }, says: 'http://127.0.0.1:9/other' },
    { what: 'a query more', change: { redirect_uri: `${CALLBACK}?x=1` }, says: 'Callback not registered' },
    {
      what: 'another loopback name',
      change: { redirect_uri: 'http://localhost:9/callback' },
      says: 'Callback not registered',
    },
    {
      what: 'a host that is not loopback',
      change: { redirect_uri: 'http://192.0.2.1/callback' },
      says: 'Callback not registered',
    },
    { what: 'script', change: { redirect_uri: 'javascript:alert(1)' }, says: 'Callback not registered' },
    { what: 'markup', change: { redirect_uri: 'https://a/<script>' }, says: '&#60;script&#62;' },
  ] as { what: string; change: Record<string, string | null>; says: string }[])(
    'never redirects for $what, and says why on a page',
    async ({ change, says }) => {
      const server = await start();
      const { url } = await request(await register(server), change);
      const response = await fetch(url, { redirect: 'manual' });
      const text = await response.text();
      expect(response.status).toBe(400);
      expect(response.headers.get('location')).toBeNull();
      expect(text).toContain(says);
      expect(text).not.toContain('<script');
    },
  );

  it.each([
    { what: 'no challenge', change: { code_challenge: null }, error: 'invalid_request' },
    { what: 'no method, which would mean plain', change: { code_challenge_method: null }, error: 'invalid_request' },
    { what: 'the method plain', change: { code_challenge_method: 'plain' }, error: 'invalid_request' },
    { what: 'a short challenge', change: { code_challenge: 'abc' }, error: 'invalid_request' },
    { what: 'a token as response type', change: { response_type: 'token' }, error: 'unsupported_response_type' },
    { what: 'an unknown scope', change: { scope: 'items:read admin' }, error: 'invalid_scope' },
    { what: 'a resource of somebody else', change: { resource: 'https://example.com/mcp' }, error: 'invalid_target' },
    { what: 'prompt none without a sign-in', change: { prompt: 'none' }, error: 'login_required' },
  ] as { what: string; change: Record<string, string | null>; error: string }[])(
    'sends $error with state and iss to the callback for $what',
    async ({ change, error }) => {
      const server = await start();
      const { url } = await request(await register(server), change);
      const response = await fetch(url, { redirect: 'manual' });
      const location = new URL(response.headers.get('location')!);
      expect(response.status).toBe(303);
      expect(`${location.origin}${location.pathname}`).toBe(CALLBACK);
      expect(Object.fromEntries(location.searchParams)).toMatchObject({
        error,
        state: 'the state',
        iss: server.issuer,
      });
      expect(location.searchParams.has('code')).toBe(false);
    },
  );

  it('refuses a parameter that stands twice', async () => {
    const server = await start();
    const { url } = await request(await register(server));
    expect((await fetch(`${url}&state=other`, { redirect: 'manual' })).status).toBe(400);
  });

  it('lets the port of a loopback callback differ, and nothing else', async () => {
    const server = await start();
    const { url } = await request(await register(server), { redirect_uri: 'http://127.0.0.1:54321/callback' });
    expect((await fetch(url, { redirect: 'manual' })).status).toBe(200);
  });

  it('refuses a wrong password and lets the right one in afterwards', async () => {
    const server = await start();
    const { url } = await request(await register(server));
    const browser = newBrowser();
    await browser.open(url);
    const [form] = (await browser.view()).forms;
    await browser.submit(form!, { username: 'alice', password: 'wrong' }, 'Sign in');
    expect(browser.status()).toBe(403);
    expect((await browser.view()).text).toContain('do not go together');
    await browser.submit((await browser.view()).forms[0]!, { username: 'alice', password: 'practice' }, 'Sign in');
    expect((await browser.view()).text).toContain('signed in as alice');
  });

  it('sends access_denied when the person denies', async () => {
    const server = await start();
    const { url } = await request(await register(server));
    const callback = await authorize(url, { press: /^deny/i });
    expect(callback.searchParams.get('error')).toBe('access_denied');
    expect(callback.searchParams.get('iss')).toBe(server.issuer);
  });

  it('grants only the scopes that stay ticked, and takes none for a no', async () => {
    const server = await start();
    const app = await register(server);
    const browser = newBrowser();
    const { url, verifier } = await request(app);
    await browser.open(url);
    await browser.submit((await browser.view()).forms[0]!, { username: 'bob', password: 'practice' }, 'Sign in');
    const page = await browser.view();
    expect(page.forms[0]!.fields).toEqual(['scope:items:read', 'scope:items:write', 'scope:profile']);
    await browser.submit(page.forms[0]!, { 'scope:items:write': '' }, 'Allow');
    const tokens = await redeem(app, new URL((await browser.view()).url), verifier);
    expect(tokens.scope).toBe('items:read profile');

    await browser.open((await request(app)).url);
    const none = { 'scope:items:read': '', 'scope:items:write': '', 'scope:profile': '' };
    await browser.submit((await browser.view()).forms[0]!, none, 'Allow');
    expect((await browser.view()).url).toContain('error=access_denied');
  });

  it('takes the forms of a request only from the browser that began it', async () => {
    const server = await start();
    const { url } = await request(await register(server));
    const browser = newBrowser();
    await browser.open(url);
    const transaction = /name="transaction" value="([^"]+)"/.exec(browser.html())![1]!;
    for (const step of ['login', 'consent']) {
      const body = new URLSearchParams({ transaction, username: 'alice', password: 'practice', decision: 'allow' });
      const response = await fetch(`${server.url}/auth/authorize/${step}`, {
        method: 'POST',
        redirect: 'manual',
        body,
      });
      expect(response.status).toBe(400);
      expect(await response.text()).toContain('This request has ended');
    }
  });

  it('signs nobody in under a cookie from before the sign-in', async () => {
    const server = await start();
    const app = await register(server);
    const { url } = await request(app, { prompt: 'login' });
    const signIn = async (username: string, sent?: string) => {
      const headers: Record<string, string> = sent === undefined ? {} : { cookie: sent };
      const opened = await fetch(url, { headers });
      const cookie = opened.headers.get('set-cookie')?.split(';', 1)[0] ?? sent!;
      const transaction = /name="transaction" value="([^"]+)"/.exec(await opened.text())![1]!;
      const body = new URLSearchParams({ transaction, username, password: 'practice' });
      const init = { method: 'POST', redirect: 'manual', headers: { cookie }, body } as const;
      const answer = await fetch(`${server.url}/auth/authorize/login`, init);
      return { before: cookie, after: answer.headers.get('set-cookie')!.split(';', 1)[0]! };
    };
    const alice = await signIn('alice');
    const bob = await signIn('bob', alice.after);
    const { url: plain } = await request(app);
    const page = async (cookie: string) => (await fetch(plain, { headers: { cookie } })).text();
    expect(await page(bob.after)).toContain('<strong>bob</strong>');
    expect(await page(alice.before)).not.toContain('You are signed in');
    expect(await page(alice.after)).not.toContain('You are signed in');
  });

  it('lets two tabs of one browser finish, whichever signs in', async () => {
    const server = await start();
    const app = await register(server);
    const browser = newBrowser();
    const [first, second] = [await request(app), await request(app)];
    await browser.open(first.url);
    const firstTab = (await browser.view()).forms[0]!;
    const firstHtml = browser.html();
    await authorize(second.url, { browser });
    const transaction = /name="transaction" value="([^"]+)"/.exec(firstHtml)![1]!;
    await browser.open(`${server.url}/auth/authorize/consent?transaction=${transaction}`);
    await browser.submit(firstTab, { username: 'alice', password: 'practice' }, 'Sign in');
    await browser.submit((await browser.view()).forms[0]!, {}, 'Allow');
    expect((await browser.view()).url).toContain('code=');
  });

  it('forgets a transaction once it was answered, and after ten minutes', async () => {
    const clock = movableClock();
    const server = await startServer({ mode: 'oauth-dcr', clock });
    const app = await register(server);
    const browser = newBrowser();
    await authorize((await request(app)).url, { browser });
    await browser.open((await request(app)).url);
    const transaction = /name="transaction" value="([^"]+)"/.exec(browser.html())![1]!;
    await browser.submit((await browser.view()).forms[0]!, {}, 'Allow');
    expect((await browser.view()).url).toContain('code=');
    await browser.open(`${server.url}/auth/authorize/consent?transaction=${transaction}`);
    expect(browser.status()).toBe(400);
    const late = await request(app);
    await browser.open(late.url);
    clock.move(10 * 60_000 + 1);
    const page = await browser.view();
    await browser.submit(page.forms[0]!, {}, 'Allow');
    expect(browser.status()).toBe(400);
    expect((await browser.view()).text).toContain('This request has ended');
  });

  it('remembers a sign-in and a consent for prompt none, and asks again for prompt login', async () => {
    const server = await start();
    const app = await register(server);
    const browser = newBrowser();
    await browser.open((await request(app, { prompt: 'none' })).url);
    expect((await browser.view()).url).toContain('login_required');
    await authorize((await request(app)).url, { browser });
    await browser.open((await request(app, { prompt: 'none' })).url);
    expect((await browser.view()).url).toContain('code=');
    await browser.open((await request(app, { prompt: 'none', scope: 'profile' })).url);
    expect((await browser.view()).url).toContain('consent_required');
    await browser.open((await request(app, { prompt: 'login' })).url);
    expect((await browser.view()).title).toContain('Sign in');
    await browser.open((await request(app, { login_hint: 'bob' })).url);
    expect(browser.html()).toContain('value="bob"');
  });

  it('approves at once, as the person of login_hint, where that was switched on', async () => {
    const server = await startServer({ mode: 'oauth-dcr', unsafeAutoApprove: true });
    const app = await register(server);
    const { url, verifier } = await request(app, { login_hint: 'bob' });
    const location = (await fetch(url, { redirect: 'manual' })).headers.get('location')!;
    const tokens = await redeem(app, new URL(location), verifier);
    expect((await me(server, tokens.access_token)).body).toMatchObject({ subject: 'bob' });
  });

  it('serves its pages without script, frames or a cache', async () => {
    const server = await start();
    const { url } = await request(await register(server));
    const response = await fetch(url);
    const page = await response.text();
    const policy = response.headers.get('content-security-policy')!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
    const style = /<style>(.*)<\/style>/s.exec(page)![1]!;
    expect(policy).toContain(`style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('set-cookie')).toMatch(/HttpOnly; SameSite=Lax/);
    expect(page).not.toContain('<script');
    expect(page).toContain('<html lang="en">');
    expect(page).toContain('name="viewport"');
    expect(page).toContain('prefers-color-scheme:dark');
  });

  it('writes the way of a request into the ledger', async () => {
    const server = await start();
    const app = await register(server);
    await connect(app, { parameters: { scope: 'profile', resource: server.mcpUrl } });
    const { client_id: clientId } = app.client;
    expect(server.ledger.of('authorize')).toMatchObject([
      { clientId, outcome: 'approved', subject: 'alice', scopes: ['profile'], resource: server.mcpUrl },
    ]);
    expect(server.ledger.of('code_issued')[0]!.code).toBe(server.ledger.of('token_exchange')[0]!.code);
    expect(server.ledger.events.map((event) => event.sequence)).toEqual(
      server.ledger.events.map((_, index) => index + 1),
    );
  });
});
