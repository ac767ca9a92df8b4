import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { ADMIN_TOKEN, openHouse, type House } from './house.ts';

let house: House;
let service: TestServer;
let owner: Awaited<ReturnType<House['person']>>;
let member: Awaited<ReturnType<House['person']>>;
let client: { clientId: string; clientSecret: string };
beforeAll(async () => {
  house = await openHouse();
  service = await createTestServer({ mode: 'oauth-dcr', port: 0, rotation: 'strict' });
  owner = await house.person('owner@example.com', 'owner');
  member = await house.person('member@example.com', 'member');
  const registered = await fetch(`${service.url}/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: ['http://localhost/cb'], token_endpoint_auth_method: 'client_secret_basic' }),
  });
  const made = (await registered.json()) as { client_id: string; client_secret: string };
  client = { clientId: made.client_id, clientSecret: made.client_secret };
  const auth = { type: 'oauth2', ...client, scopes: ['items:read'], tokens: 'allow' };
  for (const name of ['practice', 'second']) await call('PUT', `/connectors/${name}`, { url: service.mcpUrl, auth });
  await call('PUT', '/connectors/keeps', { url: service.mcpUrl, auth: { type: 'oauth2', ...client } });
});
afterAll(async () => {
  await service.close();
  await house.close();
});
const call = (method: string, path: string, body?: unknown, token = owner.token) =>
  house.call(method, path, { token, body });
const grant = async (subject: string) => {
  const { clientId } = client;
  const resource = service.mcpUrl;
  const made = await service.control.issueGrant({ clientId, subject, scopes: ['items:read'], resource });
  return { refreshToken: (made as unknown as { refresh_token: string }).refresh_token };
};

it('a refresh token from elsewhere is proved by spending it, and what it brought is kept', async () => {
  const { refreshToken } = await grant('alice');
  const stored = await call('POST', '/tokens/store', { connector: 'practice', refreshToken }, member.token);
  expect(stored.status).toBe(201);
  expect(stored.body).toMatchObject({ proved: true, status: 'connected', generation: 2, health: 'healthy' });
  expect(service.ledger.refreshes()).toHaveLength(1);
  const got = await call('POST', '/tokens/get', { connector: 'practice' }, member.token);
  expect(got.body).toMatchObject({ tokenType: 'Bearer', connection: stored.body['id'] });
  const tried = await fetch(service.mcpUrl, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${String(got.body['accessToken'])}`,
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '0' } },
    }),
  });
  expect(tried.status).toBe(200);
  // One that works is not replaced by one that may not.
  const again = await call('POST', '/tokens/store', { connector: 'practice', refreshToken: 'rt-x' }, member.token);
  expect(again.body).toMatchObject({ status: 409, code: 'conflict' });
});

it('one that the service refuses leaves no connection', async () => {
  const refused = await call('POST', '/tokens/store', { connector: 'second', refreshToken: 'canary-made-up' });
  expect(refused.body).toMatchObject({ status: 422, code: 'token_not_taken' });
  const { body } = await call('GET', '/connectors/second/connections');
  expect(body).toMatchObject({ items: [{ status: 'revoked' }] });
  expect(house.logged()).not.toContain('canary-made-up');
});

it('owners store for others, members for themselves only', async () => {
  const { refreshToken } = await grant('bob');
  const body = { connector: 'second', refreshToken, user: 'member@example.com' };
  const other = await house.person('third@example.com', 'member');
  expect((await call('POST', '/tokens/store', body, other.token)).body).toMatchObject({ code: 'forbidden' });
  const stored = await call('POST', '/tokens/store', body);
  expect(stored.body).toMatchObject({ owner: { email: 'member@example.com' }, proved: true });
});

it('a token is handed to its own person only, where the connector says so, and by no cookie', async () => {
  const ask = (connector: string, token: string, more = {}) =>
    call('POST', '/tokens/get', { connector, ...more }, token);
  // The owner of the gateway has no connection there, and gets nobody else's.
  expect((await ask('practice', owner.token)).body).toMatchObject({
    code: 'connection_required',
    hint: `Connect at ${house.url}/connect/default/practice`,
  });
  expect((await ask('practice', ADMIN_TOKEN)).body).toMatchObject({ code: 'person_required' });
  expect((await ask('keeps', member.token)).body).toMatchObject({ status: 403, code: 'tokens_kept' });
  expect((await ask('practice', member.token, { scopes: ['admin:all'] })).body).toMatchObject({
    code: 'missing_scopes',
  });
  const headers = { origin: house.url, 'x-valetkey-csrf': '1' };
  const body = { connector: 'practice' };
  const bySession = await house.call('POST', '/tokens/get', { cookie: member.cookie, body, headers });
  expect(bySession.body).toMatchObject({ status: 403, code: 'tokens_kept' });

  const released = await house.database.query
    .selectFrom('audit_events')
    .select(['actor', 'detail'])
    .where('action', '=', 'credential.released')
    .execute();
  const byApi = released.filter(({ detail }) => detail.includes('tokens/get'));
  expect(byApi.map(({ actor }) => actor)).toEqual([`user:${member.user.id}`]);

  const { items } = (await call('GET', '/connectors/practice/connections')).body as { items: { id: string }[] };
  await call('DELETE', `/connections/${items[0]?.id}`);
  expect((await ask('practice', member.token)).body).toMatchObject({ code: 'connection_required' });
});
