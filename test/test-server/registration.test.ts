import { describe, expect, it } from 'vitest';
import { authorize, connect, discover, newBrowser, register, request, startServer } from './practice.ts';
import * as oauth from 'oauth4webapi';

async function post(url: string, document: unknown) {
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify(document),
    headers: { 'content-type': 'application/json' },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('dynamic registration', () => {
  it('hands out a secret to confidential clients only', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    expect((await register(server, 'none')).secret).toBeUndefined();
    expect((await register(server, 'client_secret_basic')).secret).toMatch(/.{40}/);
    const answer = await post(`${server.url}/auth/register`, { redirect_uris: ['https://example.com/cb'] });
    expect(answer).toMatchObject({
      status: 201,
      body: {
        token_endpoint_auth_method: 'client_secret_basic',
        client_secret_expires_at: 0,
        grant_types: ['authorization_code', 'refresh_token'],
      },
    });
  });

  it.each([
    { document: {}, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: [] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['http://example.com/cb'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['javascript:alert(1)'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['data:text/html,x'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['https://a.example/cb#x'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['https://u:p@a.example/cb'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: ['https://a.example/\u202ecb'] }, error: 'invalid_redirect_uri' },
    { document: { redirect_uris: 'https://a.example/cb' }, error: 'invalid_redirect_uri' },
    {
      document: { redirect_uris: ['https://a.example/cb'], token_endpoint_auth_method: 'private_key_jwt' },
      error: 'invalid_client_metadata',
    },
    {
      document: { redirect_uris: ['https://a.example/cb'], grant_types: ['client_credentials'] },
      error: 'invalid_client_metadata',
    },
    {
      document: { redirect_uris: ['https://a.example/cb'], response_types: ['token'] },
      error: 'invalid_client_metadata',
    },
  ])('refuses $document with $error and registers nothing', async ({ document, error }) => {
    const server = await startServer({ mode: 'oauth-dcr' });
    expect(await post(`${server.url}/auth/register`, document)).toMatchObject({ status: 400, body: { error } });
    expect(server.clients()).toEqual([]);
  });

  it.each(['http://localhost:1/cb', 'http://[::1]/cb', 'com.example.app:/cb', 'https://a.example/cb?x=1'])(
    'takes the callback %s',
    async (uri) => {
      const server = await startServer({ mode: 'oauth-dcr' });
      expect((await post(`${server.url}/auth/register`, { redirect_uris: [uri] })).status).toBe(201);
    },
  );

  it('shows the name on the consent page as text, shortened, and warns that nobody checked it', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const as = await discover(server);
    const { body } = await post(as.registration_endpoint!, {
      redirect_uris: ['http://127.0.0.1:9/callback'],
      token_endpoint_auth_method: 'none',
      client_name: `<b>\u202eBank</b>${'x'.repeat(100)}`,
    });
    const browser = newBrowser();
    const client = { client_id: body.client_id as string };
    await browser.open((await request({ as, client, auth: oauth.None() })).url);
    await browser.submit((await browser.view()).forms[0]!, { username: 'alice', password: 'practice' }, 'Sign in');
    expect(browser.html()).toContain('&#60;b&#62;Bank');
    expect(browser.html()).not.toContain('<b>');
    expect(browser.html()).not.toContain('\u202e');
    expect((await browser.view()).text).toContain('nobody has checked its name');
    expect((await browser.view()).text).toContain('127.0.0.1:9 (a program on this computer)');
  });
});

describe('mode oauth', () => {
  it('serves the application that it prints, at any callback on loopback and nowhere else', async () => {
    const server = await startServer({ mode: 'oauth', client: { clientId: 'demo:app', clientSecret: 'pa ss:%+word' } });
    const as = await discover(server);
    expect(as.registration_endpoint).toBeUndefined();
    expect((await fetch(`${server.url}/auth/register`, { method: 'POST' })).status).toBe(404);
    const { clientId, clientSecret } = server.credentials.client!;
    const app = { as, client: { client_id: clientId }, auth: oauth.ClientSecretBasic(clientSecret) };
    expect((await connect(app)).access_token).toMatch(/^pat_/);
    const elsewhere = await fetch((await request(app, { redirect_uri: 'https://example.com/cb' })).url, {
      redirect: 'manual',
    });
    expect(elsewhere.status).toBe(400);
  });

  it('lets a person add an application on a page, and holds it to its callback', async () => {
    const server = await startServer({ mode: 'oauth' });
    const browser = newBrowser();
    await browser.open(`${server.url}/auth/clients`);
    const [form] = (await browser.view()).forms;
    const values = {
      client_name: 'By hand',
      redirect_uri: 'http://127.0.0.1:9/callback',
      token_endpoint_auth_method: 'none',
    };
    await browser.submit(form!, { ...values, redirect_uri: 'ftp://x' }, 'Create');
    expect(browser.status()).toBe(400);
    await browser.submit(form!, values, 'Create');
    expect(browser.status()).toBe(201);
    const client = server.clients().find((one) => one.name === 'By hand')!;
    expect((await browser.view()).text).toContain(client.clientId);
    const app = { as: await discover(server), client: { client_id: client.clientId }, auth: oauth.None() };
    expect((await authorize((await request(app)).url)).searchParams.has('code')).toBe(true);
    expect((await fetch((await request(app, { redirect_uri: 'http://127.0.0.1:9/other' })).url)).status).toBe(400);
  });

  it('makes applications from JSON and lists them without secrets', async () => {
    const server = await startServer({ mode: 'oauth' });
    const created = await post(`${server.url}/auth/clients`, {
      redirect_uris: ['https://a.example/cb'],
      client_name: 'Api',
    });
    expect(created.status).toBe(201);
    const list = await (await fetch(`${server.url}/auth/clients`)).text();
    expect(list).toContain(created.body.client_id as string);
    expect(list).not.toContain(created.body.client_secret as string);
    expect(list).not.toContain(server.credentials.client!.clientSecret);
  });

  it('takes no form that a page elsewhere sent', async () => {
    const server = await startServer({ mode: 'oauth' });
    const body = new URLSearchParams({ client_name: 'x', redirect_uri: 'https://a.example/cb' });
    const headers = { 'sec-fetch-site': 'cross-site' };
    expect((await fetch(`${server.url}/auth/clients`, { method: 'POST', body, headers })).status).toBe(403);
  });
});

describe('metadata', () => {
  it('agrees between its documents and with the challenge', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const json = async (path: string) => (await (await fetch(server.url + path)).json()) as Record<string, unknown>;
    const as = await json('/.well-known/oauth-authorization-server');
    expect(as).toEqual(await json('/.well-known/openid-configuration'));
    expect(as).toMatchObject({
      issuer: server.issuer,
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: true,
    });
    for (const path of ['', '/mcp', '/sse', '/api']) {
      expect(await json(`/.well-known/oauth-protected-resource${path}`)).toMatchObject({
        resource: server.url + path,
        authorization_servers: [server.issuer],
      });
    }
    expect((await fetch(`${server.url}/.well-known/oauth-protected-resource/other`)).status).toBe(404);
    const challenge = (await fetch(server.mcpUrl, { method: 'POST' })).headers.get('www-authenticate')!;
    const url = /resource_metadata="([^"]+)"/.exec(challenge)![1]!;
    expect(await (await fetch(url)).json()).toMatchObject({ resource: server.mcpUrl });
  });

  it.each([undefined, 'https://practice.example/'])(
    'states its own address whatever Host says (public URL %s)',
    async (publicUrl) => {
      const server = await startServer({ mode: 'oauth-dcr', publicUrl });
      const response = await fetch(`http://localhost:${server.port}/.well-known/oauth-authorization-server`);
      const issuer = publicUrl === undefined ? `http://127.0.0.1:${server.port}` : 'https://practice.example';
      expect(await response.json()).toMatchObject({ issuer, token_endpoint: `${issuer}/auth/token` });
      expect(server.issuer).toBe(issuer);
    },
  );
});
