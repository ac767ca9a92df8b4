import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TenantId } from '../../src/ids.ts';
import { legacy, send } from '../gateway/client.ts';
import { openHouse, type House } from '../gateway/house.ts';
import { echo, startUpstream, type Upstream } from '../gateway/practice-upstream.ts';

let house: House;
let upstream: Upstream;
let url: string;
let metadataUrl: string;

beforeAll(async () => {
  upstream = await startUpstream(echo);
  house = await openHouse();
  url = await house.put({ name: 'files', title: 'Files', url: upstream.url, access: { mode: 'oauth' } });
  await house.put({ name: 'open', url: upstream.url });
  metadataUrl = `${house.publicUrl}/.well-known/oauth-protected-resource/mcp/default/files`;
});
afterAll(async () => {
  await house.close();
  await upstream.close();
});

describe('metadata', () => {
  it('names exactly the resource that the client asked, in both places where clients look', async () => {
    const wanted = {
      resource: url,
      resource_name: 'Files',
      authorization_servers: [house.publicUrl],
      scopes_supported: ['mcp'],
      bearer_methods_supported: ['header'],
    };
    for (const at of [metadataUrl, `${url}/.well-known/oauth-protected-resource`]) {
      const answer = await send(at, 'GET');
      expect(answer.status).toBe(200);
      expect(answer.json()).toEqual(wanted);
      expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    }
  });

  it.each([
    ['an unknown connector', '/.well-known/oauth-protected-resource/mcp/default/nothing'],
    ['a connector that asks for no authorization', '/.well-known/oauth-protected-resource/mcp/default/open'],
    ['another tenant', '/.well-known/oauth-protected-resource/mcp/other/files'],
    ['the root', '/.well-known/oauth-protected-resource'],
    ['a slash at the end', '/.well-known/oauth-protected-resource/mcp/default/files/'],
  ])('is absent for %s', async (_, path) => {
    expect((await send(`${house.publicUrl}${path}`, 'GET')).status).toBe(404);
  });

  it('serves the authorization server document below the resource too', async () => {
    for (const name of ['oauth-authorization-server', 'openid-configuration']) {
      expect((await send(`${url}/.well-known/${name}`, 'GET')).json()).toEqual({ issuer: house.publicUrl });
    }
    expect((await send(`${house.mcpUrl('open')}/.well-known/oauth-authorization-server`, 'GET')).status).toBe(404);
  });
});

describe('challenges', () => {
  it.each(['GET', 'POST', 'DELETE', 'HEAD', 'PUT', 'PATCH'])('answers %s without a token with 401', async (method) => {
    const answer = await send(url, method);
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe(`Bearer resource_metadata="${metadataUrl}", scope="mcp"`);
  });

  it.each([
    ['unknown', 'Bearer nonsense'],
    ['malformed', 'Bearer a b'],
    ['empty', 'Bearer'],
  ])('says invalid_token for a token that is %s', async (_, authorization) => {
    const answer = await send(url, 'POST', { headers: { authorization } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer error="invalid_token", .*resource_metadata="/);
  });

  it('takes a token from the header alone', async () => {
    const token = house.issue('files');
    expect((await legacy(`${url}?access_token=${token}`, 'tools/list')).status).toBe(401);
    expect((await legacy(url, 'tools/list', {}, { headers: { 'mcp-session-id': token } })).status).toBe(401);
    expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(200);
  });

  it('refuses a token that was issued for another connector, tenant or time', async () => {
    const tokens = [
      house.issue('open'),
      house.issue('files', { tenant: 'other' as TenantId }),
      house.issue('files', { resource: `${url}/` }),
      house.issue('files', { expiresAt: house.clock.now() - 1 }),
    ];
    for (const token of tokens) expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(401);
  });

  it('answers 403 with the scope when the token lacks it', async () => {
    const token = house.issue('files', { scopes: ['other'] });
    const answer = await legacy(url, 'tools/list', {}, { token });
    expect(answer.status).toBe(403);
    expect(answer.headers.get('www-authenticate')).toMatch(/error="insufficient_scope".*scope="mcp"/);
  });

  it('asks for nothing where access is public', async () => {
    expect((await legacy(house.mcpUrl('open'), 'tools/list')).status).toBe(200);
  });
});

describe('verified tokens', () => {
  it('are verified once, and again after ten seconds', async () => {
    const token = house.issue('files');
    await legacy(url, 'tools/list', {}, { token });
    const before = house.verified();
    for (let call = 0; call < 5; call++) await legacy(url, 'tools/list', {}, { token });
    expect(house.verified()).toBe(before);
    house.clock.move(10_001);
    await legacy(url, 'tools/list', {}, { token });
    expect(house.verified()).toBe(before + 1);
  });

  it('are forgotten when something is revoked', async () => {
    const token = house.issue('files');
    expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(200);
    house.revoke(token);
    expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(401);
  });

  it('end with their own expiry, however lately they were verified', async () => {
    const token = house.issue('files', { expiresAt: house.clock.now() + 3_000 });
    expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(200);
    house.clock.move(3_001);
    expect((await legacy(url, 'tools/list', {}, { token })).status).toBe(401);
  });
});

describe('origins', () => {
  it('refuses pages of other origins and lets our own and loopback ones in', async () => {
    const token = house.issue('files');
    for (const origin of ['https://evil.example', 'null', `${house.publicUrl}.evil.example`]) {
      const refused = await legacy(url, 'tools/list', {}, { token, headers: { origin } });
      expect(refused.status).toBe(403);
      expect(refused.headers.get('access-control-allow-origin')).toBeNull();
    }
    for (const origin of [house.publicUrl, 'http://localhost:6274']) {
      const answer = await legacy(url, 'tools/list', {}, { token, headers: { origin } });
      expect(answer.status).toBe(200);
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
    }
  });

  it('lets a page read the challenge', async () => {
    const answer = await send(url, 'POST', { headers: { origin: house.publicUrl } });
    expect(answer.status).toBe(401);
    const exposed = answer.headers.get('access-control-expose-headers') ?? '';
    for (const name of ['WWW-Authenticate', 'Mcp-Session-Id', 'Retry-After']) expect(exposed).toContain(name);
  });

  it('answers a preflight before authentication, with the headers of both eras', async () => {
    const asked = 'authorization, content-type, mcp-protocol-version, mcp-method, mcp-name, mcp-param-region, x-other';
    const headers = {
      origin: house.publicUrl,
      'access-control-request-method': 'POST',
      'access-control-request-headers': asked,
    };
    const answer = await send(url, 'OPTIONS', { headers });
    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-methods')).toContain('DELETE');
    expect(answer.headers.get('access-control-allow-headers')).toBe(asked.replace(', x-other', ''));
    expect(answer.headers.get('www-authenticate')).toBeNull();
    const refused = await send(url, 'OPTIONS', { headers: { ...headers, origin: 'https://evil.example' } });
    expect(refused.status).toBe(403);
  });
});
