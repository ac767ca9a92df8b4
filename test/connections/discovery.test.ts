import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { covers, createDiscovery, metadataUrls, type Tried } from '../../src/connections/discovery.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createEgress, type Egress } from '../../src/egress/egress.ts';
import type { ValetkeyError } from '../../src/errors.ts';
import { openHouse, type House } from './house.ts';

type Answer = { status?: number; headers?: Record<string, string>; body?: unknown };
type World = Record<string, Answer | ((nth: number) => Answer)>;

const metadata = (base: string, issuer = base, more: Record<string, unknown> = {}): Answer => ({
  body: {
    issuer,
    authorization_endpoint: `${base}/authorize`,
    token_endpoint: `${base}/token`,
    code_challenge_methods_supported: ['S256'],
    ...more,
  },
});
const challenge = (value: string): Answer => ({ status: 401, headers: { 'www-authenticate': value } });

describe('discovery', () => {
  let house: House;
  let egress: Egress;
  let server: Server;
  let base: string;
  let world: World = {};
  let asked: string[] = [];

  beforeAll(async () => {
    house = await openHouse();
    egress = createEgress({ allow: ['loopback'] });
    server = createServer((request: IncomingMessage, response: ServerResponse) => {
      const key = `${request.method} ${request.url}`;
      asked.push(key);
      const found = world[key];
      const answer =
        typeof found === 'function' ? found(asked.filter((line) => line === key).length) : (found ?? { status: 404 });
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers });
      response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {}));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => {
    world = {};
    asked = [];
  });
  afterAll(async () => {
    await house.close();
    await egress.close();
    server.close();
    server.closeAllConnections();
  });

  let number = 0;
  async function discover(path = '/mcp', auth: Record<string, unknown> = {}) {
    const connector = await house.put({
      name: `c${++number}`,
      url: `${base}${path}`,
      auth: { type: 'oauth2', ...auth },
    });
    return await createDiscovery({ egress, clock: movableClock() }).discover(connector);
  }
  async function failure(path?: string, auth?: Record<string, unknown>): Promise<ValetkeyError & { tried: string[] }> {
    const error: unknown = await discover(path, auth).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error === undefined) throw new Error('discovery succeeded');
    const tried = ((error as ValetkeyError).detail['tried'] as Tried[]).map(({ url, result }) => `${url}: ${result}`);
    return Object.assign(error as ValetkeyError, { tried });
  }
  const prm = (resource: string, servers: string[], more = {}) => ({
    body: { resource: `${base}${resource}`, authorization_servers: servers, ...more },
  });

  it.each<{ what: string; world: () => World; expected: Record<string, unknown>; path?: string }>([
    {
      what: 'an absolute resource_metadata in the challenge, before any well-known form',
      world: () => ({
        'POST /mcp': challenge(
          `Basic realm="x", Bearer error="invalid_token", resource_metadata="${base}/here", scope="a b"`,
        ),
        'GET /here': prm('/mcp', [base], { scopes_supported: ['a', 'b', 'c'] }),
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: { challengeScopes: ['a', 'b'], resourceScopes: ['a', 'b', 'c'], typed: false },
    },
    {
      what: 'a relative resource_metadata',
      world: () => ({
        'POST /mcp': challenge('Bearer resource_metadata="/meta/here"'),
        'GET /meta/here': prm('/mcp', [base]),
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: { challengeScopes: null },
    },
    {
      what: 'the path form, which goes before the root',
      world: () => ({
        'POST /mcp': { status: 401 },
        'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [base]),
        'GET /.well-known/oauth-protected-resource': prm('/other', ['https://wrong.example']),
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: {},
    },
    {
      what: 'the root form, for a resource above',
      world: () => ({
        'POST /mcp': { status: 401 },
        'GET /.well-known/oauth-protected-resource': prm('', [base]),
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: { resource: 'BASE' },
    },
    {
      what: 'a challenge that comes only to the second question',
      world: () => ({
        'POST /mcp': (nth) =>
          nth === 1
            ? { status: 200, body: { jsonrpc: '2.0', id: 1, result: {} } }
            : challenge('Bearer resource_metadata="/second", scope="late"'),
        'GET /second': prm('/mcp', [base]),
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: { challengeScopes: ['late'] },
    },
    {
      what: 'an issuer with a path, RFC 8414 form',
      world: () => ({
        'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [`${base}/tenant`]),
        'GET /.well-known/oauth-authorization-server/tenant': metadata(base, `${base}/tenant`),
      }),
      expected: { issuer: 'BASE/tenant' },
    },
    {
      what: 'an issuer with a path, OpenID Connect form inserted',
      world: () => ({
        'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [`${base}/tenant`]),
        'GET /.well-known/openid-configuration/tenant': metadata(base, `${base}/tenant`),
      }),
      expected: { issuer: 'BASE/tenant' },
    },
    {
      what: 'an issuer with a path, OpenID Connect form appended',
      world: () => ({
        'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [`${base}/tenant`]),
        'GET /tenant/.well-known/openid-configuration': metadata(base, `${base}/tenant`),
      }),
      expected: { issuer: 'BASE/tenant' },
    },
    {
      what: 'a server of 2025-03-26, which is its own issuer',
      world: () => ({
        'POST /mcp': { status: 401 },
        'GET /.well-known/oauth-authorization-server': metadata(base),
      }),
      expected: { issuer: 'BASE', resource: null },
    },
    {
      what: 'the second authorization server when the first is gone',
      world: () => ({
        'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [`${base}/gone`, `${base}/here`]),
        'GET /.well-known/oauth-authorization-server/here': metadata(base, `${base}/here`),
      }),
      expected: { issuer: 'BASE/here' },
    },
  ])('takes $what', async ({ world: make, expected }) => {
    world = make();
    const found = await discover();
    const wanted = JSON.parse(JSON.stringify(expected).replaceAll('BASE', base)) as Record<string, unknown>;
    expect(found).toMatchObject({ tokenEndpoint: `${base}/token`, ...wanted });
  });

  it('lets endpoints that were typed in win, asks no metadata for them, and still learns the resource', async () => {
    world = { 'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', ['https://other.example']) };
    const found = await discover('/mcp', { authorizationUrl: `${base}/a`, tokenUrl: `${base}/t`, clientId: 'x' });
    expect(found).toMatchObject({
      typed: true,
      authorizationEndpoint: `${base}/a`,
      tokenEndpoint: `${base}/t`,
      resource: `${base}/mcp`,
    });
    expect(asked.some((line) => line.includes('authorization-server'))).toBe(false);
  });

  it('names every address that it tried, and what came back', async () => {
    world = { 'POST /mcp': { status: 401 }, 'GET /.well-known/openid-configuration': { body: '<html>' } };
    const error = await failure();
    expect(error.code).toBe('discovery_failed');
    expect(error.tried).toEqual([
      `${base}/mcp: status 401`,
      `${base}/.well-known/oauth-protected-resource/mcp: status 404`,
      `${base}/.well-known/oauth-protected-resource: status 404`,
      `${base}/.well-known/oauth-authorization-server: status 404`,
      `${base}/.well-known/openid-configuration: status 200, but not the expected document (not a JSON object)`,
    ]);
    const alice = await house.person('alice');
    const connector = await house.put({ name: 'lost', url: `${base}/mcp`, auth: { type: 'oauth2' } });
    const text = await house.connect(connector, alice);
    expect(text).toContain('discovery_failed');
    expect(text).toContain(`${base}/.well-known/oauth-protected-resource/mcp status 404`);
  });

  it.each([
    [
      'of another host',
      () => ({
        'GET /.well-known/oauth-protected-resource/mcp': {
          body: { resource: 'https://evil.example/mcp', authorization_servers: [base] },
        },
      }),
    ],
    ['of a sibling path', () => ({ 'GET /.well-known/oauth-protected-resource/mcp': prm('/mc', [base]) })],
  ])('refuses metadata %s', async (_what, make) => {
    world = { ...make(), 'GET /.well-known/oauth-authorization-server': metadata(base) };
    expect((await failure()).code).toBe('resource_mismatch');
  });

  it.each([
    ['another host', () => 'https://evil.example'],
    ['a slash more', () => `${base}/`],
  ])('refuses metadata whose issuer is %s', async (_what, issuer) => {
    world = {
      'GET /.well-known/oauth-protected-resource/mcp': prm('/mcp', [base]),
      'GET /.well-known/oauth-authorization-server': metadata(base, issuer()),
    };
    expect((await failure()).code).toBe('issuer_mismatch');
  });

  it('refuses an authorization server that does not announce S256', async () => {
    world = {
      'GET /.well-known/oauth-authorization-server': metadata(base, base, {
        code_challenge_methods_supported: ['plain'],
      }),
    };
    expect((await failure()).code).toBe('pkce_unsupported');
  });

  it.each([
    'http://169.254.169.254/token',
    'http://192.0.2.1/token',
    'javascript:alert(1)',
    'https://user@evil.example/t',
  ])('refuses metadata that sends secrets to %s', async (endpoint) => {
    world = { 'GET /.well-known/oauth-authorization-server': metadata(base, base, { token_endpoint: endpoint }) };
    expect((await failure()).code).toBe('discovery_failed');
  });

  it('follows no redirect on the way', async () => {
    world = {
      'GET /.well-known/oauth-authorization-server': { status: 302, headers: { location: `${base}/moved` } },
      'GET /moved': metadata(base),
    };
    const error = await failure();
    expect(error.tried.join('\n')).toContain('redirect');
    expect(asked).not.toContain('GET /moved');
  });

  it('asks once a minute at most, unless the service said something new', async () => {
    world = { 'GET /.well-known/oauth-authorization-server': metadata(base) };
    const clock = movableClock();
    const discovery = createDiscovery({ egress, clock });
    const connector: Connector = await house.put({ name: 'cached', url: `${base}/mcp`, auth: { type: 'oauth2' } });
    await discovery.discover(connector);
    const first = asked.length;
    await discovery.discover(connector);
    expect(asked).toHaveLength(first);
    clock.move(60_001);
    await discovery.discover(connector);
    expect(asked).toHaveLength(first * 2);
    discovery.learn(connector, { resourceMetadata: undefined, scopes: ['wide'], error: 'invalid_token' });
    expect(await discovery.discover(connector)).toMatchObject({ challengeScopes: ['wide'] });
  });

  it('knows the forms of metadata and what a resource covers', () => {
    expect(metadataUrls('https://h/p')).toEqual([
      'https://h/.well-known/oauth-authorization-server/p',
      'https://h/.well-known/openid-configuration/p',
      'https://h/p/.well-known/openid-configuration',
    ]);
    expect(metadataUrls('https://h')).toHaveLength(2);
    expect(covers('https://h/mcp', 'https://h/mcp')).toBe(true);
    expect(covers('https://h', 'https://h/mcp')).toBe(true);
    expect(covers('https://h/mcp/', 'https://h/mcp')).toBe(true);
    expect(covers('https://h/mc', 'https://h/mcp')).toBe(false);
    expect(covers('https://h:8443/mcp', 'https://h/mcp')).toBe(false);
    expect(covers('mcp', 'https://h/mcp')).toBe(false);
  });
});
