import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Connector } from '../../src/connectors/connector.ts';
import { loadProviders } from '../../src/connectors/provider.ts';
import type { PersonaName } from '../../src/test-server/personas.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House, type Person } from './house.ts';

const CLIENT = { clientId: 'acme', clientSecret: 's:e+c/r%t' };
const DAY = 86_400_000;

describe('a connector follows the row of its provider', () => {
  let house: House;
  let service: TestServer;
  let connector: Connector;
  let alice: Person;
  const closers: (() => unknown)[] = [];

  afterEach(async () => {
    await house.close();
    await service.close();
    for (const close of closers.splice(0)) await close();
  });

  /** A practice service that strays, and a catalogue whose one row says how. */
  async function open(personas: PersonaName[], row: (base: string) => Record<string, unknown>): Promise<void> {
    service = await createTestServer({ mode: 'oauth', port: 0, client: CLIENT, personas });
    const folder = await mkdtemp(join(tmpdir(), 'valetkey-providers-'));
    closers.push(() => rm(folder, { recursive: true, force: true }));
    const base = {
      name: 'acme',
      title: 'Acme',
      kind: 'api',
      catalogueVersion: 3,
      verifiedOn: '2026-11-21',
      authorizationUrl: `${service.url}/auth/authorize`,
      tokenUrl: `${service.url}/auth/token`,
      clientAuth: 'client_secret_basic',
      guide: { steps: ['Enter {callbackUrl}.'] },
    };
    await writeFile(join(folder, 'acme.json'), JSON.stringify({ ...base, ...row(service.url) }));
    house = await openHouse({ providers: loadProviders(folder) });
    connector = await house.put({
      name: 'acme',
      title: 'Acme',
      url: service.mcpUrl,
      auth: { type: 'oauth2', provider: 'acme', ...CLIENT, scopes: ['items:read', 'profile'] },
    });
    alice = await house.person('alice');
    expect(await house.connect(connector, alice)).toMatch(/Acme is connected/);
  }

  async function afterExpiry(): Promise<string> {
    house.clock.move(301_000);
    return await house.token(connector, alice);
  }
  const outcomes = (): unknown[] => service.ledger.of('refresh').map(({ outcome }) => outcome);
  const shown = async () => (await house.connections.of(connector, alice.principal))!;

  it('from the consent to the refresh, where the service does everything in its own way', async () => {
    await open(
      ['json-body', 'basic-only', 'raw-basic', 'no-pkce', 'nested-data', 'ok-false', 'refresh-url', 'scope-on-refresh'],
      (base) => ({
        body: 'json',
        basicEncoding: 'raw',
        pkce: 'off',
        refresh: { url: `${base}/auth/refresh`, repeat: ['scope'] },
        answer: {
          accessToken: ['data.access_token'],
          refreshToken: ['data.refresh_token'],
          failure: [{ path: 'ok', equals: false }],
        },
      }),
    );
    const first = await house.token(connector, alice);
    expect(await afterExpiry()).not.toBe(first);
    expect(outcomes()).toEqual(['rotated']);
    expect((await shown()).scopes.granted).toEqual(['items:read', 'profile']);
  });

  it('to scopes in its own separator and an address that is asked by GET', async () => {
    await open(['get-refresh', 'static', 'comma-scopes'], (base) => ({
      scopes: { separator: ',' },
      refresh: { url: `${base}/auth/refresh`, method: 'GET' },
    }));
    const first = await house.token(connector, alice);
    expect(await afterExpiry()).not.toBe(first);
  });

  it('and keeps what the service tells: on the callback, in the answer and when it is asked', async () => {
    const asked: unknown[] = [];
    const directory = await serve(({ headers, url }) => {
      asked.push([url, headers.authorization]);
      return { status: 200, body: [{ id: 'site-1', name: 'Site One', owner: 'evil\r\nx' }] };
    });
    const parameter = (source: string, from: string, pattern: string, example: string) => ({
      source,
      label: from,
      pattern,
      example,
      from,
    });
    await open(['tenant-in-callback', 'tenant-in-answer'], () => ({
      parameters: {
        realmId: parameter('callback', 'realmId', '^[0-9]+$', '1'),
        instanceUrl: parameter(
          'token_response',
          'instance_url',
          String.raw`^https://[a-z]+\.invalid$`,
          'https://a.invalid',
        ),
        wrong: parameter('token_response', 'instance_url', '^[0-9]+$', '1'),
        siteId: parameter('lookup', '0.id', '^[a-z0-9-]+$', 'a'),
        unfit: parameter('lookup', '0.owner', '^[a-z]+$', 'a'),
      },
      lookups: [
        {
          url: `${directory}/{realmId}/sites`,
          authorization: 'OAuth {access_token}',
          take: ['siteId', 'unfit'],
          label: '0.name',
        },
      ],
      inject: [{ header: 'X-Tenant', value: '{siteId}/{realmId} {access_token} {instanceUrl}' }],
    }));
    const token = await house.token(connector, alice);
    expect(asked).toEqual([['/9130357/sites', `OAuth ${token}`]]);
    const credential = await house.credential(connector, alice);
    expect(connector.injection.headers(credential)).toEqual([
      'X-Tenant',
      `site-1/9130357 ${token} https://tenant.invalid`,
    ]);
    expect(Object.keys(credential.fields)).not.toEqual(expect.arrayContaining(['wrong']));
    expect(Object.keys(credential.fields)).not.toEqual(expect.arrayContaining(['unfit']));
    expect((await shown()).account.label).toBe('Site One');
    const next = await afterExpiry();
    expect(connector.injection.headers(await house.credential(connector, alice))).toEqual([
      'X-Tenant',
      `site-1/9130357 ${next} https://tenant.invalid`,
    ]);
  });

  it('and chooses for nobody where a look-up finds several tenants', async () => {
    const directory = await serve(() => ({
      status: 200,
      body: { sites: [{ id: 'one' }, { id: 'two' }], name: 'Ada' },
    }));
    const siteId = { source: 'lookup', label: 'Site', pattern: '^[a-z]+$', example: 'a', from: 'sites.0.id' };
    await open([], () => ({
      parameters: { siteId },
      lookups: [{ url: directory, take: ['siteId'], label: 'name' }],
    }));
    expect((await house.credential(connector, alice)).fields).not.toHaveProperty('siteId');
    expect((await shown()).account.label).toBe('Ada');
  });

  it('and loses nothing when a look-up fails', async () => {
    const directory = await serve(() => ({ status: 500, body: 'down' }));
    const siteId = { source: 'lookup', label: 'Site', pattern: '^[a-z]+$', example: 'a', from: '0.id' };
    await open([], () => ({ parameters: { siteId }, lookups: [{ url: directory, take: ['siteId'] }] }));
    expect((await shown()).status).toBe('connected');
    expect(await afterExpiry()).toEqual(expect.any(String));
  });

  it('and knows when tokens and grants end where the service does not say', async () => {
    await open(['no-expires-in'], () => ({
      lifetimes: { accessTokenSeconds: 600, idleSeconds: (20 * DAY) / 1_000, absoluteSeconds: (30 * DAY) / 1_000 },
    }));
    const connectedAt = house.clock.now();
    const days = async (): Promise<number> =>
      Math.round((Date.parse((await shown()).grantExpiresAt!) - connectedAt) / DAY);
    expect(Math.round((Date.parse((await shown()).expiresAt!) - connectedAt) / 60_000)).toBe(10);
    expect(await days()).toBe(20);
    house.clock.move(5 * DAY);
    await house.token(connector, alice);
    expect(await days()).toBe(25);
    house.clock.move(15 * DAY);
    await house.token(connector, alice);
    expect(await days()).toBe(30);
  });

  it('and ends a grant by the call that the service has for it', async () => {
    await open(['bearer-revocation'], (base) => ({
      revocation: {
        kind: 'request',
        url: `${base}/auth/revoke`,
        method: 'POST',
        authorization: 'bearer',
        body: 'json',
        token: 'access_token',
      },
    }));
    const { id } = await shown();
    expect(await house.connections.disconnect(connector.tenant, id, 'test')).toEqual({ upstream: 'revoked' });
    expect(service.ledger.of('revoke').map(({ outcome }) => outcome)).toEqual(['revoked']);
  });

  it('and leaves alone what would end more than the grant of this person', async () => {
    await open(['bearer-revocation'], (base) => ({
      revocation: {
        kind: 'request',
        url: `${base}/auth/revoke`,
        method: 'POST',
        authorization: 'bearer',
        body: 'json',
        token: 'access_token',
        ends: 'installation',
      },
    }));
    const { id } = await shown();
    expect(await house.connections.disconnect(connector.tenant, id, 'test')).toEqual({ upstream: 'unsupported' });
    expect(service.ledger.of('revoke')).toEqual([]);
  });

  it('and says where the person ends a grant that cannot be ended from here', async () => {
    const link = 'https://acme.example/apps';
    await open([], () => ({ revocation: { kind: 'none', link } }));
    const { id } = await shown();
    expect(await house.connections.disconnect(connector.tenant, id, 'test')).toEqual({ upstream: 'unsupported', link });
  });

  it('and takes its word for what a refusal means', async () => {
    await open([], () => ({ errors: [{ class: 'grant_dead', code: 'teapot', words: 'gone for good' }] }));
    await service.control.failTokenCalls({
      grantType: 'refresh_token',
      answer: { status: 418, body: { error: 'teapot', error_description: 'It is gone for GOOD.' } },
    });
    house.clock.move(301_000);
    await expect(house.token(connector, alice)).rejects.toThrow('needs_reconnect');
  });

  it('and does not ask again for a lost answer while the access token works, where asking twice ends the grant', async () => {
    await open(['static'], () => ({ rotation: { kind: 'each_use', reuse: 'ends_grant' } }));
    const token = await house.token(connector, alice);
    await service.control.failTokenCalls({ grantType: 'refresh_token', answer: 'drop' });
    house.clock.move(250_000);
    expect(await house.token(connector, alice)).toBe(token);
    await vi.waitFor(async () => expect((await shown()).lastError?.code).toBe('refresh_postponed'));
    expect(service.ledger.of('refresh')).toHaveLength(1);
    expect(await house.token(connector, alice)).toBe(token);
    house.clock.move(60_000);
    expect(await house.token(connector, alice)).not.toBe(token);
    expect(service.ledger.of('refresh')).toHaveLength(2);
  });

  async function serve(answer: (request: IncomingMessage) => { status: number; body: unknown }): Promise<string> {
    const server = createServer((request, response) => {
      const { status, body } = answer(request);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
});
