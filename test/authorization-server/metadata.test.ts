import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startGateway, type Gateway, type Json } from './gateway.ts';

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => await gateway.close());

describe('the metadata', () => {
  it.each([
    '/.well-known/oauth-authorization-server',
    '/.well-known/openid-configuration',
    '/.well-known/oauth-authorization-server/mcp/default/alpha',
    '/.well-known/oauth-authorization-server/mcp/default/alpha/',
    '/.well-known/openid-configuration/mcp/default/alpha',
    '/.well-known/oauth-authorization-server/mcp',
    '/.well-known/oauth-authorization-server/api/v1',
  ])('is served at %s', async (path) => {
    const response = await fetch(gateway.url + path, { headers: { 'x-forwarded-host': 'evil.example' } });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toContain('application/json');
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    const document = (await response.json()) as Json;
    expect(JSON.stringify(document)).not.toContain('evil.example');
    expect(document).toMatchObject({
      issuer: gateway.url,
      authorization_endpoint: `${gateway.url}/oauth/authorize`,
      token_endpoint: `${gateway.url}/oauth/token`,
      registration_endpoint: `${gateway.url}/oauth/register`,
      response_types_supported: ['code'],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['none', 'client_secret_basic', 'client_secret_post'],
      authorization_response_iss_parameter_supported: true,
      client_id_metadata_document_supported: true,
    });
    expect(document['scopes_supported']).toContain('offline_access');
  });

  it.each([
    '/.well-known/oauth-authorization-server/mcp/default/nope',
    '/.well-known/oauth-authorization-server/else',
    '/.well-known/openid-configuration/mcp/default',
  ])('is not served at %s', async (path) => expect((await fetch(gateway.url + path)).status).toBe(404));

  it('names endpoints that answer, and only such', async () => {
    const document = (await (await fetch(`${gateway.url}/.well-known/oauth-authorization-server`)).json()) as Record<
      string,
      string
    >;
    const endpoints = Object.entries(document).filter(([name]) => /_(endpoint|uri)$/.test(name));
    expect(endpoints.length).toBe(8);
    for (const [name, url] of endpoints) {
      const post = !['authorization_endpoint', 'jwks_uri'].includes(name);
      const response = await fetch(url, post ? { method: 'POST' } : {});
      expect({ name, missing: response.status === 404 }).toEqual({ name, missing: false });
    }
  });

  it('can be read by web pages, preflight included', async () => {
    const response = await fetch(`${gateway.url}/.well-known/oauth-authorization-server`, {
      method: 'OPTIONS',
      headers: { origin: 'https://a.example', 'access-control-request-headers': 'mcp-protocol-version' },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('mcp-protocol-version');
  });
});
