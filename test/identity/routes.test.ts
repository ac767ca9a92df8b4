import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_TENANT } from '../../src/identity/principal.ts';
import { PASSWORD, startIdentity } from './gateway.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

/** A browser with a cookie jar and nothing else; redirects are looked at, not followed. */
function browser(url: string) {
  const jar = new Map<string, string>();
  async function send(path: string, init: RequestInit = {}) {
    const headers = new Headers(init.headers);
    headers.set('accept', 'text/html');
    headers.set('user-agent', 'Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0');
    if (jar.size > 0) headers.set('cookie', [...jar].map(([name, value]) => `${name}=${value}`).join('; '));
    const response = await fetch(url + path, { ...init, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [name = '', value = ''] = (line.split(';')[0] ?? '').split('=');
      if (line.includes('Max-Age=0')) jar.delete(name);
      else jar.set(name, value);
    }
    return { status: response.status, headers: response.headers, text: await response.text() };
  }
  return {
    jar,
    get: (path: string) => send(path),
    /** Posts the form of `page` whose action is `action`, hidden fields included. */
    async submit(page: string, action: string, fields: Record<string, string>) {
      const form = page.split('<form').find((part) => part.includes(`action="${action}"`)) ?? '';
      const body = new URLSearchParams();
      for (const [input] of form.split('</form>')[0]?.matchAll(/<input[^>]*type="hidden"[^>]*>/g) ?? []) {
        const name = /name="([^"]*)"/.exec(input)?.[1];
        if (name !== undefined) body.set(name, (/value="([^"]*)"/.exec(input)?.[1] ?? '').replaceAll('&amp;', '&'));
      }
      for (const [name, value] of Object.entries(fields)) body.set(name, value);
      return await send(action, { method: 'POST', body });
    },
    post: (path: string, body: URLSearchParams | string, headers: Record<string, string> = {}) =>
      send(path, { method: 'POST', body, headers }),
  };
}

async function start(publicUrl?: string) {
  const gateway = await startIdentity(publicUrl);
  closing.push(gateway.close);
  const { url } = gateway;
  return {
    ...gateway,
    browser: () => browser(url),
    async signedIn() {
      const visitor = browser(url);
      const page = await visitor.get('/sign-in');
      await visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: PASSWORD });
      return visitor;
    },
  };
}

describe('the pages of identity', () => {
  it('lead from the set-up link to a signed-in owner, once', async () => {
    const gateway = await start();
    const visitor = gateway.browser();
    const root = await visitor.get('/');
    expect(root.status).toBe(200);
    expect(root.text).toContain('has no owner yet');
    const link = (await gateway.identity.setUpLink()) ?? '';
    expect(root.text).not.toContain(link);

    const page = await visitor.get(link);
    expect(page.status).toBe(200);
    // Looking at a link does not use it up: mail and chat programs look ahead.
    expect((await gateway.browser().get(link)).status).toBe(200);
    const weak = await visitor.submit(page.text, link, {
      email: 'Ada@Example.com',
      name: 'Ada <b>',
      password: 'short',
    });
    expect(weak.status).toBe(400);
    expect(weak.text).toContain('value="Ada@Example.com"');
    expect(weak.text).toContain('value="Ada &lt;b&gt;"');
    expect(weak.text).not.toContain('value="short"');
    const done = await visitor.submit(weak.text, link, { email: 'Ada@Example.com', name: 'Ada', password: PASSWORD });
    expect([done.status, done.headers.get('location')]).toEqual([303, '/connections']);
    expect((await visitor.get('/account')).text).toContain('ada@example.com');
    expect((await visitor.get('/')).headers.get('location')).toBe('/connections');

    const again = await visitor.get(link);
    expect(again.status).toBe(404);
    expect(again.text).toContain('link_invalid');
    const late = await visitor.submit(page.text, link, { email: 'eve@example.com', name: 'Eve', password: PASSWORD });
    expect(late.status).toBe(404);
    expect(await gateway.identity.users.list(DEFAULT_TENANT)).toHaveLength(1);
    expect((await gateway.browser().get('/')).headers.get('location')).toBe('/sign-in');
  });

  it('lead from an invitation to a signed-in member', async () => {
    const gateway = await start();
    await gateway.owner();
    const { invitationPath } = await gateway.identity.users.invite({
      tenant: DEFAULT_TENANT,
      email: 'bob@example.com',
      name: 'Bob',
      role: 'member',
    });
    const visitor = gateway.browser();
    const page = await visitor.get(invitationPath);
    expect(page.text).toContain('bob@example.com');
    const done = await visitor.submit(page.text, invitationPath, { name: 'Bob B', password: PASSWORD });
    expect(done.status).toBe(303);
    const account = await visitor.get('/account');
    expect(account.text).toContain('Bob B');
    expect(account.text).toContain('member');
    expect((await visitor.get(invitationPath)).status).toBe(404);
  });

  it('say nothing about whether an account exists when a sign-in fails', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = gateway.browser();
    const page = await visitor.get('/sign-in');
    const answers = [];
    for (const email of ['ada@example.com', 'nobody@example.com']) {
      const answer = await visitor.submit(page.text, '/sign-in', { email, password: 'wrong password' });
      answers.push({ status: answer.status, text: answer.text.replaceAll(email, 'EMAIL') });
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]?.status).toBe(401);
    expect(answers[0]?.text).toContain('The e-mail address or the password is wrong.');
    expect(answers[0]?.text).not.toContain('wrong password"');
  });

  it('go on where the person wanted to go', async () => {
    const gateway = await start();
    await gateway.owner();
    for (const asked of ['/oauth/authorize?client_id=a&scope=b', '/connect/default/github']) {
      const visitor = gateway.browser();
      const page = await visitor.get(`/sign-in?return_to=${encodeURIComponent(asked)}`);
      const done = await visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: PASSWORD });
      const written = asked.replace('&', '&amp;');
      expect(done.status).toBe(200);
      expect(done.text).toContain(`content="0;url=${written}"`);
      expect(done.text).toContain(`href="${written}"`);
      const again = await visitor.get(`/sign-in?return_to=${encodeURIComponent(asked)}`);
      expect([again.status, again.headers.get('location')]).toEqual([303, asked]);
    }
  });

  it('go on to nobody else, whether the link or the form says so', async () => {
    const gateway = await start();
    await gateway.owner();
    const credentials = { email: 'ada@example.com', password: PASSWORD };
    for (const asked of ['https://evil.example/', '//evil.example/', '/\\evil.example/', 'javascript:alert(1)']) {
      for (const [query, fields] of [
        [`?return_to=${encodeURIComponent(asked)}`, credentials],
        ['', { ...credentials, return_to: asked }],
      ] as const) {
        const visitor = gateway.browser();
        const page = await visitor.get(`/sign-in${query}`);
        const done = await visitor.submit(page.text, '/sign-in', fields);
        expect([done.status, done.headers.get('location')]).toEqual([303, '/connections']);
        expect(page.text + done.text).not.toContain('evil.example');
      }
      const signedIn = await gateway.signedIn();
      const again = await signedIn.get(`/sign-in?return_to=${encodeURIComponent(asked)}`);
      expect(again.headers.get('location')).toBe('/connections');
    }
  });

  it('ask again for the password where a page needs a fresh sign-in', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = await gateway.signedIn();
    const before = visitor.jar.get('valetkey_session');
    const page = await visitor.get('/sign-in?again=1&return_to=/account');
    expect(page.status).toBe(200);
    const done = await visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: PASSWORD });
    expect(done.status).toBe(200);
    expect(visitor.jar.get('valetkey_session')).not.toBe(before);
    visitor.jar.set('valetkey_session', before ?? '');
    expect((await visitor.get('/account')).status).toBe(303);
  });

  it('give a new session at every sign-in, whatever was planted before', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = gateway.browser();
    visitor.jar.set('valetkey_session', 'A'.repeat(43));
    const page = await visitor.get('/sign-in');
    await visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: PASSWORD });
    expect(visitor.jar.get('valetkey_session')).not.toBe('A'.repeat(43));
    expect((await visitor.get('/account')).status).toBe(200);
  });

  it('take no form that another site, another browser or another page has made', async () => {
    const gateway = await start();
    await gateway.owner();
    const credentials = { email: 'ada@example.com', password: PASSWORD };
    const attacker = gateway.browser();
    const theirs = await attacker.get('/sign-in');

    const victim = gateway.browser();
    const crossSite = await victim.post('/sign-in', new URLSearchParams(credentials));
    expect(crossSite.status).toBe(403);
    const foreign = await victim.submit(theirs.text, '/sign-in', credentials);
    expect(foreign.status).toBe(403);
    expect(victim.jar.has('valetkey_session')).toBe(false);
    // The form is shown again, and works then.
    expect((await victim.submit(foreign.text, '/sign-in', credentials)).status).toBe(303);

    const account = await victim.get('/account');
    const csrfOf = (action: string): string =>
      /name="csrf" value="([^"]*)"/.exec(account.text.split(`action="${action}"`)[1] ?? '')?.[1] ?? '';
    const signOut = csrfOf('/sign-out');
    expect(signOut).not.toBe('');
    for (const [path, fields] of [
      ['/sign-out', {}],
      ['/sign-out', { csrf: csrfOf('/account/password') }],
      ['/account/sessions/end', { csrf: signOut }],
      ['/account/password', { csrf: signOut, current: PASSWORD, password: 'quite another one' }],
    ] as const) {
      expect((await victim.post(path, new URLSearchParams(fields))).status).toBe(403);
    }
    expect((await victim.get('/account')).status).toBe(200);
    expect((await attacker.submit(account.text, '/account/password', { current: 'x', password: 'y' })).status).toBe(
      401,
    );
  });

  it('sign out by a form only, and clear the cookie', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = await gateway.signedIn();
    const held = visitor.jar.get('valetkey_session') ?? '';
    expect((await visitor.get('/sign-out')).status).toBe(405);
    const account = await visitor.get('/account');
    const out = await visitor.submit(account.text, '/sign-out', {});
    expect([out.status, out.headers.get('location')]).toEqual([303, '/sign-in?signed_out=1']);
    expect(visitor.jar.has('valetkey_session')).toBe(false);
    visitor.jar.set('valetkey_session', held);
    expect((await visitor.get('/account')).headers.get('location')).toBe('/sign-in?return_to=/account');
  });

  it('list where a person is signed in, and end one or all others', async () => {
    const gateway = await start();
    await gateway.owner();
    const [here, there, third] = [await gateway.signedIn(), await gateway.signedIn(), await gateway.signedIn()];
    const account = await here.get('/account');
    expect(account.text.match(/Firefox on Linux<\/strong>/g)).toHaveLength(3);
    expect(account.text).toContain('(this browser)');
    const { tenant, id } = (await gateway.identity.users.findByEmail(DEFAULT_TENANT, 'ada@example.com')) ?? {};
    if (tenant === undefined || id === undefined) throw new Error('no owner');
    const cookieOf = (visitor: typeof there): string => `valetkey_session=${visitor.jar.get('valetkey_session')}`;
    const one = (await gateway.identity.session(cookieOf(there)))?.session.id ?? '';
    await here.submit(account.text, '/account/sessions/end', { session: one });
    expect((await there.get('/account')).status).toBe(303);
    expect((await third.get('/account')).status).toBe(200);
    const csrf = /name="csrf" value="([^"]*)"/.exec(account.text.split('/account/sessions/end')[1] ?? '')?.[1] ?? '';
    await here.post('/account/sessions/end', new URLSearchParams({ csrf }));
    expect((await third.get('/account')).status).toBe(303);
    expect((await here.get('/account')).status).toBe(200);
  });

  it('change the password, and show which field was wrong', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = await gateway.signedIn();
    const page = await visitor.get('/account');
    const wrong = await visitor.submit(page.text, '/account/password', {
      current: 'not this one',
      password: 'quite another one',
    });
    expect(wrong.status).toBe(401);
    expect(wrong.text).toMatch(
      /<input[^>]*id="current"[^>]*aria-describedby="current-problem"[^>]*aria-invalid="true"/,
    );
    const weak = await visitor.submit(page.text, '/account/password', { current: PASSWORD, password: 'short' });
    expect(weak.text).toMatch(/<input[^>]*id="password"[^>]*aria-describedby="password-hint password-problem"/);
    const done = await visitor.submit(page.text, '/account/password', {
      current: PASSWORD,
      password: 'quite another one',
    });
    expect(done.headers.get('location')).toBe('/account?done=password');
    expect((await visitor.get('/account?done=password')).text).toContain('Your password is changed');
  });

  it('tell a person who is slowed down how long to wait', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = gateway.browser();
    const page = await visitor.get('/sign-in');
    const guess = () => visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: 'wrong' });
    for (let count = 0; count < 5; count++) expect((await guess()).status).toBe(401);
    const slowed = await guess();
    expect(slowed.status).toBe(429);
    expect(slowed.headers.get('retry-after')).toBe('1');
    expect(slowed.text).toContain('Try again in 1 second.');
  });

  it('count addresses as the proxy on this machine reports them, and not as the client claims', async () => {
    const gateway = await start();
    await gateway.owner();
    const visitor = gateway.browser();
    const page = await visitor.get('/sign-in');
    const csrf = /name="csrf" value="([^"]*)"/.exec(page.text)?.[1] ?? '';
    await visitor.post('/sign-in', new URLSearchParams({ csrf, email: 'ada@example.com', password: 'wrong' }), {
      'x-forwarded-for': '10.9.9.9, 198.51.100.7',
    });
    await visitor.post('/sign-in', new URLSearchParams({ csrf, email: 'ada@example.com', password: 'wrong' }), {
      'x-forwarded-for': '10.9.9.9, not an address',
    });
    const rows = await gateway.database.query
      .selectFrom('audit_events')
      .select('address')
      .orderBy('sequence')
      .execute();
    expect(rows.map((row) => row.address)).toEqual(['198.51.100.7', '127.0.0.1']);
  });

  it('refuse what is not a form, is too large, or names a field twice, and stay up', async () => {
    const gateway = await start();
    const visitor = gateway.browser();
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    for (const [body, headers, status] of [
      ['{"email":"a"}', { 'content-type': 'application/json' }, 415],
      ['email=a&password=b', { 'content-type': 'text/plain' }, 415],
      [`email=${'a'.repeat(20_000)}`, form, 413],
      ['email=a&email=b&password=c', form, 400],
      ['email=a', form, 400],
      ['__proto__=a&constructor=b', form, 400],
      ['%ff%fe=%00&email=%00&password=%00', form, 403],
    ] as const) {
      expect((await visitor.post('/sign-in', body, headers)).status).toBe(status);
    }
    expect((await visitor.get('/sign-in')).status).toBe(200);
    for (const path of ['/setup/x', '/setup/%00', '/invitation/%2e%2e%2f', `/invitation/${'a'.repeat(5_000)}`]) {
      expect((await visitor.get(path)).status).toBe(404);
    }
  });

  it('carry the headers that keep them from being framed, cached, sniffed or scripted', async () => {
    const gateway = await start();
    const link = (await gateway.identity.setUpLink()) ?? '';
    for (const path of ['/', '/sign-in', link]) {
      const page = await gateway.browser().get(path);
      const policy = page.headers.get('content-security-policy') ?? '';
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain('unsafe');
      expect(page.headers.get('cache-control')).toBe('no-store');
      expect(page.headers.get('referrer-policy')).toBe('no-referrer');
      expect(page.text).not.toMatch(/<script|style=|onclick=/);
    }
  });

  it('mark their cookies for https, this host and no script', async () => {
    const gateway = await start('https://gateway.example');
    await gateway.owner();
    const visitor = gateway.browser();
    const page = await visitor.get('/sign-in');
    const done = await visitor.submit(page.text, '/sign-in', { email: 'ada@example.com', password: PASSWORD });
    const [planted, cookie] = [page.headers.getSetCookie(), done.headers.getSetCookie()];
    expect(planted).toEqual([
      expect.stringMatching(/^__Host-valetkey_form=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Secure$/),
    ]);
    expect(cookie).toEqual([
      expect.stringMatching(
        /^__Host-valetkey_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax; Secure; Max-Age=2592000$/,
      ),
    ]);
  });

  it('label every field, and name what belongs in it for password managers', async () => {
    const gateway = await start();
    const link = (await gateway.identity.setUpLink()) ?? '';
    const setUp = await gateway.browser().get(link);
    await gateway.owner();
    const signIn = await gateway.browser().get('/sign-in');
    const account = await (await gateway.signedIn()).get('/account');
    for (const { text } of [setUp, signIn, account]) {
      for (const [input] of text.matchAll(/<input(?![^>]*(type="hidden"| hidden ))[^>]*>/g)) {
        const id = /id="([^"]*)"/.exec(input)?.[1] ?? '';
        expect(text).toContain(`<label for="${id}"`);
        expect(input).toMatch(/autocomplete="(username|name|new-password|current-password)"/);
      }
      expect(text).toContain('<html lang="en">');
      expect(text.match(/<h1>/g)).toHaveLength(1);
    }
  });
});
