import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { connect, me, register, startServer } from './practice.ts';

type Send = (server: TestServer) => Record<string, string>;
const alice: Record<string, Send> = {
  bearer: ({ credentials }) => ({ authorization: `Bearer ${credentials.tokens.alice}` }),
  apikey: ({ credentials }) => ({ 'x-api-key': credentials.apiKeys.alice! }),
};

describe('who a call belongs to', () => {
  it.each([
    { mode: 'none', what: 'no credential', send: () => ({}), status: 200, subject: 'anonymous' },
    { mode: 'bearer', what: "alice's token", send: alice.bearer!, status: 200, subject: 'alice' },
    { mode: 'bearer', what: 'no token', send: () => ({}), status: 401, challenge: 'Bearer realm="practice"' },
    {
      mode: 'bearer',
      what: 'a wrong token',
      send: () => ({ authorization: 'Bearer pst_wrong' }),
      status: 401,
      challenge: 'Bearer error="invalid_token", realm="practice"',
    },
    {
      mode: 'bearer',
      what: 'another scheme',
      send: () => ({ authorization: 'Basic YTpi' }),
      status: 401,
      challenge: 'error="invalid_token"',
    },
    {
      mode: 'bearer',
      what: 'the token in X-API-Key',
      send: (s) => ({ 'x-api-key': s.credentials.tokens.alice! }),
      status: 401,
      challenge: 'Bearer',
    },
    { mode: 'apikey', what: "alice's key", send: alice.apikey!, status: 200, subject: 'alice' },
    { mode: 'apikey', what: 'no key', send: () => ({}), status: 401, challenge: 'ApiKey realm="practice"' },
    {
      mode: 'apikey',
      what: 'the key as a bearer token',
      send: (s) => ({ authorization: `Bearer ${s.credentials.apiKeys.alice}` }),
      status: 401,
      challenge: 'ApiKey realm',
    },
    {
      mode: 'apikey',
      what: 'a wrong key',
      send: () => ({ 'x-api-key': 'pak_wrong' }),
      status: 401,
      challenge: 'error="invalid_token"',
    },
    { mode: 'jwt', what: 'no token', send: () => ({}), status: 401, challenge: 'Bearer realm="practice"' },
    {
      mode: 'oauth',
      what: 'no token',
      send: () => ({}),
      status: 401,
      challenge: '/.well-known/oauth-protected-resource/api"',
    },
    {
      mode: 'oauth',
      what: 'a wrong token',
      send: () => ({ authorization: 'Bearer pat_x' }),
      status: 401,
      challenge: 'Bearer error="invalid_token", resource_metadata=',
    },
  ] as { mode: 'none'; what: string; send: Send; status: number; subject?: string; challenge?: string }[])(
    'in mode $mode, $what gets $status',
    async ({ mode, send, status, subject, challenge = '' }) => {
      const server = await startServer({ mode });
      const headers = send(server);
      const secrets = Object.values(headers).map((value) => value.replace('Bearer ', ''));
      // A good credential opens a stream at the others.
      for (const path of status === 200 ? ['/api/me'] : ['/api/me', '/mcp', '/sse']) {
        const response = await fetch(server.url + path, { headers });
        const text = await response.text();
        expect({ path, status: response.status }).toEqual({ path, status });
        expect(JSON.parse(text)).toMatchObject(subject === undefined ? {} : { subject });
        expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
        const header = response.headers.get('www-authenticate') ?? '';
        expect(header).toContain(challenge.replace('/api"', `${path.replace('/me', '')}"`));
        // RFC 6750 §3.1: an error only where a credential was sent.
        expect(header.includes('error=')).toBe(challenge.includes('error='));
      }
    },
  );

  it('tells the people of one server apart, and says in which header the credential came', async () => {
    const server = await startServer({ mode: 'bearer' });
    const bob = await me(server, server.credentials.tokens.bob!);
    expect(bob.body).toMatchObject({ subject: 'bob', name: 'Bob Bakker', credentialHeader: 'Authorization' });
    expect(JSON.stringify(server.ledger.events)).not.toContain(server.credentials.tokens.bob);
  });

  it('refuses a token that was issued for another part of it', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const app = await register(server);
    const forMcp = await connect(app, { parameters: { resource: server.mcpUrl } });
    expect(await me(server, forMcp.access_token)).toMatchObject({ status: 401 });
    const forAll = await connect(app, { parameters: { resource: `${server.url}/` } });
    expect(await me(server, forAll.access_token)).toMatchObject({ status: 200, body: { audience: `${server.url}/` } });
  });

  it('refuses two credentials in one request', async () => {
    const server = await startServer({ mode: 'bearer' });
    const token = `Bearer ${server.credentials.tokens.alice}`;
    const status = await new Promise((resolve, reject) => {
      const headers = ['Host', new URL(server.url).host, 'Authorization', token, 'Authorization', token];
      request(`${server.url}/api/me`, { headers }, (res) => resolve(res.resume().statusCode))
        .on('error', reject)
        .end();
    });
    expect(status).toBe(400);
  });

  it.each([
    { header: 'host', value: 'evil.example', path: '/api/me', status: 403 },
    { header: 'origin', value: 'https://evil.example', path: '/mcp', status: 403 },
    { header: 'origin', value: 'http://localhost:1234', path: '/api/me', status: 200 },
  ])('answers $status to $header $value', async ({ header, value, path, status }) => {
    const server = await startServer({ mode: 'none' });
    const got = await new Promise((resolve, reject) => {
      request(server.url + path, { headers: { [header]: value } }, (res) => resolve(res.resume().statusCode))
        .on('error', reject)
        .end();
    });
    expect(got).toBe(status);
  });
});
