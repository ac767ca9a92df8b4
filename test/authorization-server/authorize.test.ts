import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  authorize,
  authorizeUrl,
  CHALLENGE,
  post,
  REDIRECT,
  redeem,
  register,
  startGateway,
  type Gateway,
} from './gateway.ts';

const WEB = 'https://client.example/cb';
let gateway: Gateway;
let client: string;
const steps: string[] = [];

beforeAll(async () => {
  gateway = await startGateway({
    connectStep: ({ resource, returnTo, user }) => {
      if (!resource.endsWith('/beta')) return Promise.resolve(null);
      steps.push(`${user} ${returnTo}`);
      return Promise.resolve(`/connect/default/beta?return_to=${encodeURIComponent(returnTo)}`);
    },
  });
  client = String((await register(gateway, { redirect_uris: [REDIRECT, WEB] })).body['client_id']);
});
afterAll(async () => await gateway.close());

describe('an authorization request', () => {
  it.each([
    ['an unknown client', { client_id: 'nobody' }, 'client_unknown'],
    ['no client', { client_id: undefined }, 'authorization_refused'],
    ['an unregistered redirect', { redirect_uri: 'https://evil.example/cb' }, 'redirect_unregistered'],
    ['another port on the web', { redirect_uri: 'https://client.example:444/cb' }, 'redirect_unregistered'],
    ['no redirect', { redirect_uri: undefined }, 'authorization_refused'],
    [
      'an unregistered redirect and another fault',
      { redirect_uri: 'https://evil.example/', scope: '"' },
      'redirect_unregistered',
    ],
  ])('with %s ends on a page of ours', async (_, changes, code) => {
    const page = await (await gateway.browser()).fetch(authorizeUrl(gateway, client, changes));
    expect(page.status).toBe(400);
    expect(page.headers.get('location')).toBeNull();
    expect(page.text).toContain(`<code>${code}</code>`);
    expect(page.text).not.toContain('evil.example');
  });

  it.each([
    ['no PKCE', { code_challenge: undefined, code_challenge_method: undefined }, 'invalid_request'],
    ['PKCE without a method', { code_challenge_method: undefined }, 'invalid_request'],
    ['plain PKCE', { code_challenge_method: 'plain' }, 'invalid_request'],
    ['an unknown PKCE method', { code_challenge_method: 'S512' }, 'invalid_request'],
    ['a short challenge', { code_challenge: 'short' }, 'invalid_request'],
    ['another response type', { response_type: 'token' }, 'unsupported_response_type'],
    ['a hybrid response type', { response_type: 'code id_token' }, 'unsupported_response_type'],
    ['no response type', { response_type: undefined }, 'invalid_request'],
    ['another response mode', { response_mode: 'form_post' }, 'unsupported_response_mode'],
    ['a request object', { request: 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
    ['a resource of nobody', { resource: 'https://elsewhere.example/mcp' }, 'invalid_target'],
    ['a resource with a fragment', { resource: `x#y` }, 'invalid_target'],
    ['a connector that does not exist', { resource: 'http://127.0.0.1/mcp/default/nope' }, 'invalid_target'],
    ['no resource where several would fit', { resource: undefined }, 'invalid_target'],
    ['prompt none', { prompt: 'none' }, 'login_required'],
    ['prompt none and more', { prompt: 'none consent' }, 'invalid_request'],
  ])('with %s is sent back with error, state and iss', async (_, changes, error) => {
    const answer = await (await gateway.browser()).fetch(authorizeUrl(gateway, client, changes));
    const back = new URL(answer.headers.get('location') ?? '');
    expect(`${back.origin}${back.pathname}`).toBe(REDIRECT);
    expect(Object.fromEntries(back.searchParams)).toMatchObject({ error, state: 'st-1', iss: gateway.url });
    expect(back.searchParams.get('code')).toBeNull();
    expect(answer.status).toBe(303);
    expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
    expect(answer.headers.get('cache-control')).toContain('no-store');
    expect(answer.headers.get('access-control-allow-origin')).toBeNull();
  });

  it.each(['state', 'code_challenge', 'response_type', 'scope', 'code_challenge_method'])(
    'with %s given twice is refused',
    async (name) => {
      const url = `${authorizeUrl(gateway, client)}&${name}=mcp`;
      const answer = await (await gateway.browser()).fetch(url);
      expect(new URL(answer.headers.get('location') ?? '').searchParams.get('error')).toBe('invalid_request');
    },
  );

  it.each(['client_id', 'redirect_uri'])('with %s given twice is refused on the spot', async (name) => {
    const answer = await (await gateway.browser()).fetch(`${authorizeUrl(gateway, client)}&${name}=x`);
    expect(answer.status).toBe(400);
    expect(answer.headers.get('location')).toBeNull();
  });

  it('for two resources at once is refused', async () => {
    const url = `${authorizeUrl(gateway, client)}&resource=${encodeURIComponent(gateway.resource('beta'))}`;
    const answer = await (await gateway.browser()).fetch(url);
    expect(answer.headers.get('location')).toContain('error=invalid_target');
  });

  it.each([
    ['a slash behind the resource', { resource: '/mcp/default/alpha/' }],
    ['unknown parameters', { nonce: 'n', claims: '{}', audience: 'x', display: 'page', max_age: '5' }],
    ['unknown scopes', { scope: 'openid profile offline_access read:everything' }],
    ['a scope of another resource', { scope: 'admin' }],
    ['no scope', { scope: undefined }],
    ['an empty scope', { scope: '' }],
    ['an unknown prompt', { prompt: 'select_account' }],
    ['prompt consent', { prompt: 'consent' }],
    ['another loopback port', { redirect_uri: 'http://127.0.0.1:1/callback' }],
  ])('with %s is taken', async (_, changes) => {
    const given: Record<string, string | undefined> = { ...changes };
    if (given['resource'] !== undefined) given['resource'] = gateway.url + given['resource'];
    const user = await gateway.person(`p${Math.random().toString(36).slice(2)}@example.com`);
    const params = await authorize(gateway, await gateway.browser(user), client, given);
    const redirect_uri = given['redirect_uri'] ?? REDIRECT;
    const { status, body } = await redeem(gateway, client, params.get('code') ?? '', { redirect_uri });
    expect({ status, scope: body['scope'] }).toEqual({ status: 200, scope: 'mcp' });
    expect(body['refresh_token']).toEqual(expect.any(String));
    const token = await gateway.as.verify(String(body['access_token']));
    expect(token).toMatchObject({ scopes: ['mcp'], resource: gateway.resource('alpha'), client });
  });

  it.each(['', '/', '/mcp', undefined])('that names %s is for the one connector that there is', async (path) => {
    const single = await startGateway({ connectors: ['alpha'] });
    try {
      const user = await single.person('solo@example.com');
      const { body } = await register(single);
      const resource = path === undefined ? undefined : single.url + path;
      const params = await authorize(single, await single.browser(user), String(body['client_id']), { resource });
      const extra: Record<string, string> = resource === undefined ? {} : { resource };
      const tokens = await redeem(single, String(body['client_id']), params.get('code') ?? '', extra);
      expect(await single.as.verify(String(tokens.body['access_token']))).toMatchObject({
        resource: single.resource('alpha'),
      });
    } finally {
      await single.close();
    }
  });

  it('for the admin API gives the admin scope and no other', async () => {
    const user = await gateway.person('root@example.com');
    const redirect_uri = 'http://127.0.0.1:9999/callback';
    const params = await authorize(gateway, await gateway.browser(user), 'valetkey-cli', {
      resource: `${gateway.url}/api/v1`,
      scope: 'mcp admin',
      redirect_uri,
    });
    const { body } = await redeem(gateway, 'valetkey-cli', params.get('code') ?? '', { redirect_uri });
    expect(await gateway.as.verify(String(body['access_token']))).toMatchObject({
      scopes: ['admin'],
      resource: `${gateway.url}/api/v1`,
    });
  });
});

describe('a client on the web that nobody has allowed anything', () => {
  it('is not redirected to before the person has seen a page', async () => {
    const user = await gateway.person('wary@example.com');
    const bad = authorizeUrl(gateway, client, { redirect_uri: WEB, code_challenge: undefined });
    for (const browser of [await gateway.browser(), await gateway.browser(user)]) {
      const page = await browser.fetch(bad);
      expect(page.status).toBe(400);
      expect(page.headers.get('location')).toBeNull();
      expect(page.text).not.toContain('http-equiv="refresh"');
      expect(page.text).toContain('Return to client.example');
      expect(page.text).toContain('error=invalid_request');
    }
    const known = await gateway.browser(user);
    await authorize(gateway, known, client, { redirect_uri: WEB });
    const back = await known.fetch(bad);
    expect(back.status).toBe(303);
    expect(back.headers.get('location')).toContain('https://client.example/cb?error=invalid_request');
  });
});

describe('the consent page', () => {
  it('sends whoever is not signed in to sign in first, and back', async () => {
    const page = await (await gateway.browser()).go(authorizeUrl(gateway, client)).catch((error: unknown) => error);
    expect(page).toMatchObject({ status: 404 });
    expect((page as { url: string }).url).toMatch(/\/sign-in\?return_to=%2Fconsent%2F[\w-]+$/);
  });

  it('shows client, redirect, resource, what it allows and who is signed in; escaped', async () => {
    const name = '<script>alert(1)</script>\u202eevil\u200b';
    const { body } = await register(gateway, { client_name: name, redirect_uris: ['https://site.example/cb'] });
    const id = String(body['client_id']);
    const browser = await gateway.browser(await gateway.person('sees@example.com'));
    const page = await browser.go(authorizeUrl(gateway, id, { redirect_uri: 'https://site.example/cb' }));
    expect(page.status).toBe(200);
    for (const text of [
      '&lt;script&gt;alert(1)&lt;/script&gt;evil',
      id,
      'site.example',
      'The alpha',
      gateway.resource('alpha'),
      'sees@example.com',
      'call them as you',
      'registered itself',
      '180 days',
      'Use another account',
    ]) {
      expect(page.text).toContain(text);
    }
    expect(page.text).not.toContain('<script');
    expect(page.text).not.toMatch(/[\u202e\u200b]/);
    expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
    expect(page.headers.get('content-security-policy')).toContain("form-action 'self'");
    expect(page.headers.get('cross-origin-opener-policy')).toBe('same-origin');
  });

  it('warns of a program on this computer', async () => {
    const browser = await gateway.browser(await gateway.person('local@example.com'));
    const page = await browser.go(authorizeUrl(gateway, client));
    expect(page.text).toContain('127.0.0.1:4711');
    expect(page.text).toContain('a program on this computer');
  });

  it('answers a yes with a page that goes on, since Chromium holds a redirect to form-action', async () => {
    const browser = await gateway.browser(await gateway.person('yes@example.com'));
    const page = await browser.go(authorizeUrl(gateway, client));
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? '';
    const answer = await browser.fetch(page.url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ csrf, decision: 'allow' }).toString(),
    });
    expect(answer.status).toBe(200);
    expect(answer.text).toMatch(/http-equiv="refresh" content="0;url=\/oauth\/authorize\/[\w-]+"/);
  });

  it('takes a no back to the client as access_denied, with state and iss', async () => {
    const browser = await gateway.browser(await gateway.person('no@example.com'));
    const back = await browser.press(await browser.go(authorizeUrl(gateway, client)), 'deny');
    expect(Object.fromEntries(new URL(back.out ?? '').searchParams)).toMatchObject({
      error: 'access_denied',
      state: 'st-1',
      iss: gateway.url,
    });
  });

  it.each([
    ['no form token', ''],
    ['a made-up form token', 'x'.repeat(43)],
  ])('refuses a form with %s', async (_, csrf) => {
    const browser = await gateway.browser(await gateway.person(`csrf${csrf.length}@example.com`));
    const page = await browser.go(authorizeUrl(gateway, client));
    const answer = await browser.press({ ...page, text: `name="csrf" value="${csrf}"` }, 'allow');
    expect(answer.status).toBe(400);
    expect(answer.out).toBeUndefined();
  });

  it('refuses the form token of another request or another person', async () => {
    const first = await gateway.browser(await gateway.person('form1@example.com'));
    const second = await gateway.browser(await gateway.person('form2@example.com'));
    const one = await first.go(authorizeUrl(gateway, client));
    const two = await first.go(authorizeUrl(gateway, client));
    const other = await second.go(authorizeUrl(gateway, client));
    expect((await first.press({ ...one, text: two.text }, 'allow')).status).toBe(400);
    expect((await first.press({ ...one, text: other.text }, 'allow')).status).toBe(400);
  });

  it('reads a form of its own and nothing larger, and so do the pages of devices and clients', async () => {
    const browser = await gateway.browser(await gateway.person('form3@example.com'));
    const page = await browser.go(authorizeUrl(gateway, client));
    const form = (type: string, body: string) => ({ method: 'POST', headers: { 'content-type': type }, body });
    const large = `decision=allow&csrf=x&more=${'x'.repeat(20_000)}`;
    for (const url of [page.url, `${gateway.url}/device`, `${gateway.url}/clients`]) {
      expect((await browser.fetch(url, form('application/x-www-form-urlencoded', large))).status).toBe(413);
      expect((await browser.fetch(url, form('application/x-www-form-urlencoded', 'csrf=a&csrf=b'))).status).toBe(400);
      expect((await browser.fetch(url, form('multipart/form-data; boundary=x', '--x--'))).status).toBe(415);
    }
  });

  it('is for the browser that began the request and for no other', async () => {
    const attacker = await gateway.browser(await gateway.person('attacker@example.com'));
    const victim = await gateway.browser(await gateway.person('victim@example.com'));
    const page = await attacker.go(authorizeUrl(gateway, client));
    const lured = await victim.fetch(page.url);
    expect(lured.status).toBe(400);
    expect(lured.text).toContain('authorization_expired');
    expect(lured.text).not.toContain('csrf');
    const resumed = await victim.fetch(page.url.replace('/consent/', '/oauth/authorize/'));
    expect(resumed.status).toBe(400);
    expect(resumed.text).toContain('authorization_expired');
  });

  it('works in several tabs at once', async () => {
    const browser = await gateway.browser(await gateway.person('tabs@example.com'));
    const first = await browser.go(authorizeUrl(gateway, client, { state: 'one' }));
    const second = await browser.go(authorizeUrl(gateway, client, { state: 'two' }));
    const fromFirst = await browser.press(first, 'allow');
    const fromSecond = await browser.press(second, 'allow');
    expect(new URL(fromFirst.out ?? '').searchParams.get('state')).toBe('one');
    expect(new URL(fromSecond.out ?? '').searchParams.get('state')).toBe('two');
    for (const { out } of [fromFirst, fromSecond]) {
      expect((await redeem(gateway, client, new URL(out ?? '').searchParams.get('code') ?? '')).status).toBe(200);
    }
  });

  it('survives a reload and says so when it was answered already', async () => {
    const browser = await gateway.browser(await gateway.person('reload@example.com'));
    const page = await browser.go(authorizeUrl(gateway, client));
    expect((await browser.fetch(page.url)).status).toBe(200);
    await browser.press(page, 'allow');
    const again = await browser.fetch(page.url);
    expect(again.text).toContain('authorization_expired');
  });

  it('is asked again for a loopback redirect, and is not for the same site on the web', async () => {
    const browser = await gateway.browser(await gateway.person('again@example.com'));
    await authorize(gateway, browser, client);
    expect((await browser.go(authorizeUrl(gateway, client))).text).toContain('You allowed this before.');
    await authorize(gateway, browser, client, { redirect_uri: WEB });
    const repeated = await browser.go(authorizeUrl(gateway, client, { redirect_uri: WEB }));
    expect(new URL(repeated.out ?? '').searchParams.get('code')).toEqual(expect.any(String));
    for (const changes of [{ resource: gateway.resource('beta') }, { prompt: 'consent' }]) {
      const page = await browser.go(authorizeUrl(gateway, client, { redirect_uri: WEB, ...changes }));
      expect(page.text).toContain('Who is asking');
    }
    const other = await gateway.browser(await gateway.person('other@example.com'));
    expect((await other.go(authorizeUrl(gateway, client, { redirect_uri: WEB }))).text).toContain('Who is asking');
  });

  it('leads over the connect page where the connector wants its user connected', async () => {
    const user = await gateway.person('connects@example.com');
    const browser = await gateway.browser(user);
    const page = await browser.go(authorizeUrl(gateway, client, { resource: gateway.resource('beta') }));
    const visited = await browser.press(page, 'allow');
    expect(visited.url).toContain('/connect/default/beta?return_to=');
    const returnTo = new URL(visited.url).searchParams.get('return_to') ?? '';
    expect(steps.at(-1)).toBe(`${user.id} ${returnTo}`);
    const back = await browser.go(gateway.url + returnTo);
    expect(new URL(back.out ?? '').searchParams.get('code')).toEqual(expect.any(String));
  });

  it('is not given to a person of another tenant', async () => {
    const browser = await gateway.browser(await gateway.person('stranger@example.com'));
    const foreign = `${gateway.url}/mcp/other/alpha`;
    const page = await browser.go(authorizeUrl(gateway, client, { resource: foreign }));
    expect(page.status).toBe(403);
    expect(page.text).toContain('resource_foreign');
  });

  it('goes back to sign-in for another account', async () => {
    const browser = await gateway.browser(await gateway.person('switch@example.com'));
    const page = await browser.go(authorizeUrl(gateway, client));
    const uid = new URL(page.url).pathname.replace('/consent/', '');
    expect(page.text).toContain(`href="/sign-in?return_to=%2Fconsent%2F${uid}&amp;again=1"`);
  });

  it('has the password asked for again when the client wants that, and does not when it was just given', async () => {
    const user = await gateway.person('login@example.com');
    const browser = await gateway.browser(user);
    gateway.clock.move(2_000);
    const page = await browser.go(authorizeUrl(gateway, client, { prompt: 'login' }));
    expect(page.url).toMatch(/\/sign-in\?.*again=1$/);
    gateway.clock.move(2_000);
    const fresh = await gateway.browser(user);
    for (const [name, cookie] of browser.cookies) if (name !== 'valetkey_session') fresh.cookies.set(name, cookie);
    const consent = await fresh.go(gateway.url + (new URL(page.url).searchParams.get('return_to') ?? ''));
    expect(consent.text).toContain('Who is asking');
  });
});

describe('a flood of authorization requests', () => {
  it('is cut off for its address, until it has waited', async () => {
    const flooded = await startGateway({ limits: { authorizations: { burst: 3, refillMs: 3_600_000 } } });
    try {
      const id = String((await register(flooded)).body['client_id']);
      const browser = await flooded.browser();
      const statuses: number[] = [];
      for (let i = 0; i < 4; i++) statuses.push((await browser.fetch(authorizeUrl(flooded, id))).status);
      expect(statuses).toEqual([303, 303, 303, 429]);
      flooded.clock.move(3_600_000);
      expect((await browser.fetch(authorizeUrl(flooded, id))).status).toBe(303);
    } finally {
      await flooded.close();
    }
  });
});

describe('an authorization request beyond reason', () => {
  it('is refused and not kept, pushed or not', async () => {
    const state = 's'.repeat(9_000);
    const browser = await gateway.browser();
    const answer = await browser.fetch(authorizeUrl(gateway, client, { state }));
    expect(answer.status).toBe(400);
    expect(answer.headers.get('location')).toBeNull();
    expect(JSON.parse(answer.text)).toMatchObject({ error: 'invalid_request' });
    expect((await post(gateway, '/oauth/par', { client_id: client, state })).status).toBe(400);
    expect(browser.cookies.size).toBe(0);
  });
});

describe('behind a proxy that ends TLS', () => {
  it('every address and cookie follows the public URL, whatever the request says', async () => {
    const publicUrl = 'https://keys.example';
    const behind = await startGateway({ publicUrl });
    try {
      const id = String((await register(behind)).body['client_id']);
      const browser = await behind.browser();
      const user = await behind.person('tls@example.com');
      const session = await behind.identity.sessions.start(user.tenant, user.id, 'test');
      browser.cookies.set('__Host-valetkey_session', { value: session, path: '/' });
      const start = await browser.fetch(authorizeUrl(behind, id), {
        headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http' },
      });
      for (const cookie of start.headers.getSetCookie()) {
        expect(cookie).toMatch(
          /^__Secure-valetkey_\w+=[\w-]+; path=\/(consent|oauth\/authorize)\/[\w-]+;.*secure; httponly/i,
        );
        expect(cookie).toMatch(/samesite=lax/i);
      }
      expect(start.headers.getSetCookie()).toHaveLength(2);
      const page = await browser.go(`${behind.url}${start.headers.get('location') ?? ''}`);
      const back = new URL((await browser.press(page, 'allow')).out ?? '');
      expect(back.searchParams.get('iss')).toBe(publicUrl);
      const { body } = await redeem(behind, id, back.searchParams.get('code') ?? '');
      expect(await behind.as.verify(String(body['access_token']))).toMatchObject({
        resource: 'https://keys.example/mcp/default/alpha',
      });
      const metadata = await (await fetch(`${behind.url}/.well-known/oauth-authorization-server`)).text();
      expect(metadata).not.toContain('127.0.0.1');
    } finally {
      await behind.close();
    }
  });
});

describe('a person who may not sign in any more', () => {
  it('gets no code for what was allowed before', async () => {
    const user = await gateway.person('gone@example.com');
    await gateway.identity.users.invite({ tenant: user.tenant, email: 'boss@example.com', name: 'b', role: 'owner' });
    const browser = await gateway.browser(user);
    const page = await browser.go(authorizeUrl(gateway, client, { resource: gateway.resource('beta') }));
    const returnTo = new URL((await browser.press(page, 'allow')).url).searchParams.get('return_to') ?? '';
    await gateway.identity.users.disable(user.tenant, user.id);
    const back = await browser.go(gateway.url + returnTo);
    const params = new URL(back.out ?? '').searchParams;
    expect(params.get('code')).toBeNull();
    expect(params.get('error')).toBe('access_denied');
  });
});

describe('a pushed authorization request', () => {
  it('stands for the whole request, once', async () => {
    const pushed = await post(gateway, '/oauth/par', {
      client_id: client,
      response_type: 'code',
      redirect_uri: REDIRECT,
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      state: 'pushed',
      scope: 'mcp unknown',
      resource: `${gateway.resource('alpha')}/`,
    });
    expect(pushed.status).toBe(201);
    const request_uri = String(pushed.body['request_uri']);
    const browser = await gateway.browser(await gateway.person('par@example.com'));
    const url = `${gateway.url}/oauth/authorize?${new URLSearchParams({ client_id: client, request_uri, state: 'query' })}`;
    const back = await browser.press(await browser.go(url), 'allow');
    const params = new URL(back.out ?? '').searchParams;
    expect(params.get('state')).toBe('pushed');
    expect((await redeem(gateway, client, params.get('code') ?? '')).status).toBe(200);
    expect((await browser.go(url)).text).toContain('authorization_refused');
  });

  it('is judged when it is pushed', async () => {
    const { status, body } = await post(gateway, '/oauth/par', {
      client_id: client,
      response_type: 'code',
      redirect_uri: 'https://evil.example/',
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      resource: gateway.resource('alpha'),
    });
    expect(status).toBe(400);
    expect(body['error']).toBe('invalid_request');
  });
});
