import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { displayName, fingerprint } from '../../src/authorization-server/client-metadata.ts';
import {
  authorize,
  authorizeUrl,
  post,
  redeem,
  REDIRECT,
  register,
  startGateway,
  type Gateway,
  type Json,
} from './gateway.ts';

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway({ limits: { registrations: { burst: 1_000 } } });
});
afterAll(async () => await gateway.close());

describe('registration', () => {
  it('drops what it does not know and echoes what it kept', async () => {
    const { status, body } = await register(gateway, {
      client_name: 'Cursor',
      redirect_uris: [
        'cursor://anysphere.cursor-mcp/oauth/callback',
        'http://evil.example/cb',
        'https://www.cursor.com/agents/mcp/oauth/callback',
        'http://localhost:8787/callback',
        'javascript:alert(1)',
      ],
      application_type: 'web',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials', 'implicit'],
      response_types: ['code', 'token', 'id_token'],
      scope: 'openid mcp everything',
      token_endpoint_auth_method: 'none',
      client_id: 'https://evil.example/client',
      client_secret: 'chosen',
      client_id_issued_at: 1,
      registration_access_token: 'x',
      logo_uri: 'https://evil.example/logo.svg',
      jwks: { keys: [] },
      __proto__: { admin: true },
      tenant: 'other',
    });
    expect(status).toBe(201);
    expect(body).toEqual({
      client_id: expect.stringMatching(/^dyn_[\w-]{24}$/),
      client_id_issued_at: expect.any(Number),
      client_name: 'Cursor',
      redirect_uris: [
        'cursor://anysphere.cursor-mcp/oauth/callback',
        'https://www.cursor.com/agents/mcp/oauth/callback',
        'http://localhost:8787/callback',
      ],
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    });
    expect(body['client_id_issued_at']).toBeGreaterThan(1_600_000_000);
  });

  it.each([
    ['none', 'none'],
    ['client_secret_basic', 'client_secret_basic'],
    ['client_secret_post', 'client_secret_post'],
    ['private_key_jwt', 'client_secret_basic'],
    [undefined, 'client_secret_basic'],
    [42, 'client_secret_basic'],
  ])('of a client that asks for authentication by %s gives it %s', async (asked, given) => {
    const { status, body } = await register(gateway, { token_endpoint_auth_method: asked });
    expect({ status, given: body['token_endpoint_auth_method'] }).toEqual({ status: 201, given });
    expect(typeof body['client_secret']).toBe(given === 'none' ? 'undefined' : 'string');
  });

  it.each([
    ['no redirect', { redirect_uris: undefined }, 'invalid_redirect_uri'],
    ['an empty list of redirects', { redirect_uris: [] }, 'invalid_redirect_uri'],
    ['bad redirects only', { redirect_uris: ['http://evil.example', 'data:x'] }, 'invalid_redirect_uri'],
    ['a redirect that is no list', { redirect_uris: 'https://a.example' }, 'invalid_redirect_uri'],
  ])('with %s is refused', async (_, metadata, error) => {
    const { status, body } = await register(gateway, metadata);
    expect({ status, error: body['error'] }).toEqual({ status: 400, error });
    expect(body['error_description']).toEqual(expect.any(String));
  });

  it.each([
    ['another media type', 'text/plain', '{}', 400],
    ['no JSON', 'application/json', '{', 400],
    ['a list', 'application/json', '[]', 400],
    ['null', 'application/json', 'null', 400],
    ['a body beyond reason', 'application/json', `"${'x'.repeat(70_000)}"`, 413],
  ])('by %s is refused and stays JSON', async (_, type, body, status) => {
    const response = await fetch(`${gateway.url}/oauth/register`, {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: expect.any(String) });
  });

  it('gives no management address, no grant that needs no person, and every client refresh tokens', async () => {
    const { body } = await register(gateway, {
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'client_secret_post',
    });
    expect(body['grant_types']).toEqual(['authorization_code']);
    expect(body).not.toHaveProperty('registration_client_uri');
    const machine = await post(gateway, '/oauth/token', {
      grant_type: 'client_credentials',
      client_id: String(body['client_id']),
      client_secret: String(body['client_secret']),
    });
    expect(machine.body['error']).toBe('unsupported_grant_type');
    const read = await fetch(`${gateway.url}/oauth/register/${String(body['client_id'])}`);
    expect(read.status).toBe(404);
    const plain = await register(gateway, { grant_types: undefined });
    expect(plain.body['grant_types']).toEqual(['authorization_code', 'refresh_token']);
  });

  it('can be done from a web page', async () => {
    const preflight = await fetch(`${gateway.url}/oauth/register`, {
      method: 'OPTIONS',
      headers: { origin: 'https://inspector.example', 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*');
  });

  it('is limited for one address, and forgets', async () => {
    const limited = await startGateway({ limits: { registrations: { burst: 3, refillMs: 10_000 } } });
    try {
      const statuses: number[] = [];
      for (let i = 0; i < 4; i++) statuses.push((await register(limited)).status);
      expect(statuses).toEqual([201, 201, 201, 429]);
      limited.clock.move(10_000);
      expect((await register(limited)).status).toBe(201);
    } finally {
      await limited.close();
    }
  });

  it('stops at a total, and lets clients go that nobody has allowed anything within a week', async () => {
    const small = await startGateway({ limits: { registrations: { total: 2 } } });
    const day = 86_400_000;
    try {
      const used = String((await register(small)).body['client_id']);
      const unused = String((await register(small)).body['client_id']);
      expect((await register(small)).status).toBe(503);
      const user = await small.person('keeper@example.com');
      await authorize(small, await small.browser(user), used);
      small.clock.move(8 * day);
      await small.as.sweep();
      const browser = await small.browser(user);
      expect((await browser.go(authorizeUrl(small, used))).status).toBe(200);
      expect((await browser.go(authorizeUrl(small, unused))).text).toContain('client_unknown');
      expect((await register(small)).status).toBe(201);
    } finally {
      await small.close();
    }
  });
});

describe('a flood of registrations', () => {
  it('pushes out its own leftovers, never a client that somebody uses', async () => {
    const small = await startGateway({ limits: { registrations: { total: 3, burst: 100 } } });
    try {
      const used = String((await register(small)).body['client_id']);
      const browser = await small.browser(await small.person('flooded@example.com'));
      await authorize(small, browser, used);
      for (let i = 0; i < 2; i++) expect((await register(small)).status).toBe(201);
      expect((await register(small)).status).toBe(503);
      small.clock.move(3_600_000);
      expect((await register(small)).status).toBe(201);
      expect((await browser.go(authorizeUrl(small, used))).status).toBe(200);
    } finally {
      await small.close();
    }
  });
});

describe('a client that may not refresh', () => {
  it('gets no refresh token', async () => {
    const { body } = await register(gateway, { grant_types: ['authorization_code'] });
    const client = String(body['client_id']);
    const params = await authorize(gateway, await gateway.browser(await gateway.person('short@example.com')), client);
    const tokens = (await redeem(gateway, client, params.get('code') ?? '')).body;
    expect(tokens['access_token']).toEqual(expect.any(String));
    expect(tokens['refresh_token']).toBeUndefined();
  });
});

describe('a client name', () => {
  it.each<[unknown, string]>([
    ['Claude Code', 'Claude Code'],
    ['  two\n lines\t ', 'two lines'],
    ['\u202eedoC edualC', 'edoC edualC'],
    ['a\u200bb\u2066c\ufeffd', 'abcd'],
    ['x'.repeat(80), 'x'.repeat(64)],
    ['\u{1f511}'.repeat(80), '\u{1f511}'.repeat(64)],
    ['', 'Unnamed client'],
    ['\u200b\u3164', 'Unnamed client'],
    [undefined, 'Unnamed client'],
    [{ toString: 'x' }, 'Unnamed client'],
  ])('%j is shown as %j', (name, shown) => expect(displayName(name)).toBe(shown));
});

describe('the fingerprint of a client', () => {
  it('changes with its name and its redirects, in whatever order they stand', () => {
    const base = { clientName: 'A', redirectUris: ['https://a.example/1', 'https://a.example/2'] };
    const same: Json = { ...base, redirectUris: base.redirectUris.toReversed() };
    expect(fingerprint(same)).toBe(fingerprint(base));
    expect(fingerprint({ ...base, clientName: 'B' })).not.toBe(fingerprint(base));
    expect(fingerprint({ ...base, redirectUris: [REDIRECT] })).not.toBe(fingerprint(base));
  });
});
