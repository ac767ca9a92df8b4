import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House, type Person } from './house.ts';

/** An authorization server that says yes to everything, as it was told to. */
type Told = {
  metadata: Record<string, unknown>;
  register: (body: Record<string, unknown>) => { status: number; body: unknown };
};
type Seen = { path: string; authorization: string | undefined; query: URLSearchParams; body: string };

describe('a registration', () => {
  let house: House;
  let alice: Person;
  let server: Server;
  let base: string;
  let told: Told;
  let seen: Seen[];

  beforeEach(async () => {
    house = await openHouse();
    alice = await house.person('alice');
    seen = [];
    told = { metadata: {}, register: () => ({ status: 404, body: '' }) };
    server = createServer((request, response) => void answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    await house.close();
    server.close();
    server.closeAllConnections();
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', base);
    const body = await text(request);
    seen.push({ path: url.pathname, authorization: request.headers.authorization, query: url.searchParams, body });
    const json = (status: number, value: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(typeof value === 'string' ? value : JSON.stringify(value));
    };
    if (url.pathname === '/.well-known/oauth-authorization-server') {
      return json(200, {
        issuer: base,
        authorization_endpoint: `${base}/authorize`,
        token_endpoint: `${base}/token`,
        code_challenge_methods_supported: ['S256'],
        ...told.metadata,
      });
    }
    if (url.pathname === '/register') {
      const { status, body: made } = told.register(JSON.parse(body) as Record<string, unknown>);
      return json(status, made);
    }
    if (url.pathname === '/authorize') {
      const back = new URL(url.searchParams.get('redirect_uri') ?? '');
      back.searchParams.set('state', url.searchParams.get('state') ?? '');
      back.searchParams.set('code', 'c1');
      response.writeHead(302, { location: back.href });
      return void response.end();
    }
    if (url.pathname === '/token') {
      return json(200, { access_token: 'at', token_type: 'Bearer', expires_in: 3600, refresh_token: 'rt' });
    }
    json(404, '');
  }
  const put = async (auth: Record<string, unknown> = {}) =>
    await house.put({ name: 'service', title: 'Service', url: `${base}/mcp`, auth: { type: 'oauth2', ...auth } });
  const at = (path: string) => seen.filter((request) => request.path === path);

  it('is asked for in our name with its own callback, and what comes back is used exactly', async () => {
    told.metadata = {
      registration_endpoint: `${base}/register`,
      token_endpoint_auth_methods_supported: ['client_secret_post', 'none'],
    };
    told.register = (body) => ({
      status: 201,
      body: { ...body, client_id: 'dyn-1', client_secret: 's:e+c/r t', client_secret_expires_at: 0 },
    });
    const connector = await put();
    expect(await house.connect(connector, alice)).toContain('is connected');
    const asked = JSON.parse(at('/register')[0]!.body) as { redirect_uris: string[] };
    expect(asked).toMatchObject({
      client_name: 'Valetkey',
      grant_types: ['authorization_code', 'refresh_token'],
      application_type: 'native',
      token_endpoint_auth_method: 'client_secret_post',
    });
    expect(asked.redirect_uris[0]).toMatch(new RegExp(`^${house.publicUrl}/connect/callback/reg_[a-z0-9]+$`));
    expect(at('/authorize')[0]!.query.get('redirect_uri')).toBe(asked.redirect_uris[0]);
    const form = new URLSearchParams(at('/token')[0]!.body);
    expect(Object.fromEntries(form)).toMatchObject({
      client_id: 'dyn-1',
      client_secret: 's:e+c/r t',
      grant_type: 'authorization_code',
    });
    expect(at('/token')[0]!.authorization).toBeUndefined();
  });

  it('that comes back without a secret is a public one, whatever it calls itself', async () => {
    told.metadata = { registration_endpoint: `${base}/register` };
    told.register = () => ({
      status: 201,
      body: { client_id: 'pub', token_endpoint_auth_method: 'client_secret_basic' },
    });
    expect(await house.connect(await put(), alice)).toContain('is connected');
    expect(new URLSearchParams(at('/token')[0]!.body).get('client_id')).toBe('pub');
    expect(at('/token')[0]!.authorization).toBeUndefined();
  });

  it('that was refused says so, with the callback to register by hand', async () => {
    told.metadata = { registration_endpoint: `${base}/register` };
    told.register = () => ({ status: 403, body: 'only approved clients' });
    const connector = await put();
    await alice.browser.open(`${house.publicUrl}/connections`);
    const page = await house.connect(connector, alice);
    expect(page).toContain('registration_failed');
    expect(page).toContain(await house.connections.callbackUrl(connector));
  });

  it('by hand has a callback that is known before anything else, and never changes', async () => {
    const connector = await put();
    const callback = await house.connections.callbackUrl(connector);
    expect(await house.connect(connector, alice)).toMatch(/registration_needed|does not register clients by itself/);
    const changed = await put({ clientId: 'static-1', clientSecret: 'a:b+c', clientAuth: 'client_secret_basic' });
    expect(await house.connect(changed, alice)).toContain('is connected');
    expect(at('/authorize')[0]!.query.get('redirect_uri')).toBe(callback);
    expect(at('/authorize')[0]!.query.get('client_id')).toBe('static-1');
    // RFC 6749 §2.3.1: both halves form-encoded.
    expect(at('/token')[0]!.authorization).toBe(`Basic ${Buffer.from('static-1:a%3Ab%2Bc').toString('base64')}`);
    expect(await house.connections.callbackUrl(changed)).toBe(callback);
  });

  it('by hand never follows a service to another issuer: the secret stays where it was entered for', async () => {
    const connector = await put({ clientId: 'static-1', clientSecret: 'shh' });
    expect(await house.connect(connector, alice)).toContain('is connected');
    const other = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    try {
      // The service moves: its protected-resource metadata now names somebody else.
      server.removeAllListeners('request');
      server.on('request', (request: IncomingMessage, response: ServerResponse) => {
        response.writeHead(request.url?.includes('protected-resource') ? 200 : 401, {
          'content-type': 'application/json',
        });
        response.end(JSON.stringify({ resource: `${base}/mcp`, authorization_servers: [other.url] }));
      });
      house.clock.move(61_000);
      expect(await house.connect(connector, alice)).toContain('issuer_changed');
      expect(other.ledger.events.filter(({ type }) => type !== 'authorize')).toEqual([]);
    } finally {
      await other.close();
    }
  });

  it('is our client-id metadata document where the service takes one and can reach us', async () => {
    await house.close();
    house = await openHouse({ clientMetadataUrl: 'https://gateway.example/client.json' });
    alice = await house.person('alice');
    told.metadata = { registration_endpoint: `${base}/register`, client_id_metadata_document_supported: true };
    const connector = await put();
    expect(await house.connect(connector, alice)).toContain('is connected');
    expect(at('/authorize')[0]!.query.get('client_id')).toBe('https://gateway.example/client.json');
    expect(at('/register')).toHaveLength(0);
    const callback = at('/authorize')[0]!.query.get('redirect_uri')!;
    const id = callback.split('/').at(-1)!;
    const served = await fetch(`${house.publicUrl}/connect/client-metadata/${id}`);
    expect(await served.json()).toMatchObject({
      client_id: 'https://gateway.example/client.json',
      redirect_uris: [callback],
      token_endpoint_auth_method: 'none',
    });
    expect((await fetch(`${house.publicUrl}/connect/client-metadata/reg_unknown`)).status).toBe(404);
  });

  it('is made anew when its secret has run out, and the connections of the old one ask for their owner', async () => {
    told.metadata = { registration_endpoint: `${base}/register` };
    let made = 0;
    told.register = () => ({
      status: 201,
      body: {
        client_id: `dyn-${++made}`,
        client_secret: 's',
        client_secret_expires_at: Math.floor(house.clock.now() / 1_000) + 3_600,
      },
    });
    const connector = await put();
    await house.connect(connector, alice);
    const bob = await house.person('bob');
    house.clock.move(3_601_000);
    await house.connect(connector, bob);
    expect(made).toBe(2);
    expect(await house.connections.of(connector, alice.principal)).toMatchObject({ status: 'needs_reconnect' });
    expect(await house.connections.of(connector, bob.principal)).toMatchObject({ status: 'connected' });
  });

  it('asks for scopes and parameters as the connector says, and never lets it replace the protocol', async () => {
    told.metadata = { scopes_supported: ['a', 'offline_access'] };
    const connector = await put({
      clientId: 'x',
      scopes: 'a b',
      resource: 'https://api.example/thing',
      additionalParams: { audience: 'https://api.example' },
    });
    await house.connect(connector, alice);
    const query = Object.fromEntries(at('/authorize')[0]!.query);
    expect(query).toMatchObject({
      scope: 'a b',
      resource: 'https://api.example/thing',
      audience: 'https://api.example',
      response_type: 'code',
      code_challenge_method: 'S256',
    });
    expect(query['state']).toMatch(/^[\w-]{43}$/);
    expect(new URLSearchParams(at('/token')[0]!.body).get('resource')).toBe('https://api.example/thing');
    await put({ clientId: 'x', resource: 'none' });
    await house.connect(house.connectors.find(connector.tenant, 'service')!, alice);
    expect(at('/authorize')[1]!.query.has('resource')).toBe(false);
    expect(at('/authorize')[1]!.query.has('scope')).toBe(false);
  });
});
