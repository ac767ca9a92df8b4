import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House } from './house.ts';

let house: House;
let service: TestServer;
let owner: Awaited<ReturnType<House['person']>>;
let member: Awaited<ReturnType<House['person']>>;
let application: { clientId: string; clientSecret: string };
beforeAll(async () => {
  house = await openHouse();
  service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
  owner = await house.person('owner@example.com', 'owner');
  member = await house.person('member@example.com', 'member');
  await call('PUT', '/connectors/practice', { url: service.mcpUrl, auth: { type: 'oauth2' } });
  const { body } = await call('GET', '/connectors/practice/credential');
  const registered = await fetch(`${service.url}/auth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [body['callbackUrl']], token_endpoint_auth_method: 'client_secret_basic' }),
  });
  const made = (await registered.json()) as { client_id: string; client_secret: string };
  application = { clientId: made.client_id, clientSecret: made.client_secret };
});
afterAll(async () => {
  await service.close();
  await house.close();
});
const call = (method: string, path: string, body?: unknown, token = owner.token) =>
  house.call(method, path, { token, body });
const stored = async () =>
  (await house.connectors.clientSecret(house.connectors.find(owner.user.tenant, 'practice')!))?.unwrap();

describe('the client of a connector', () => {
  it('is set and shown without its secret, by owners only', async () => {
    expect((await call('GET', '/connectors/practice/credential')).body).toMatchObject({
      clientId: null,
      clientSecret: 'none',
      callbackUrl: expect.stringContaining('/connect/callback/reg_'),
    });
    const set = await call('PUT', '/connectors/practice/credential', application);
    expect(set.body).toMatchObject({ clientId: application.clientId, clientSecret: 'set' });
    expect(await stored()).toBe(application.clientSecret);
    expect((await call('GET', '/connectors/practice/credential', undefined, member.token)).status).toBe(403);
    expect((await call('PUT', '/connectors/practice/credential', application, member.token)).status).toBe(403);
  });

  it('keeps its secret until the service has taken the new one', async () => {
    const refused = await call('POST', '/connectors/practice/credential/rotate', { clientSecret: 'wrong-canary' });
    expect(refused.body).toMatchObject({ code: 'client_refused' });
    expect(await stored()).toBe(application.clientSecret);
    const next = 'the-next-secret-canary';
    await service.control.changeClientSecret({ clientId: application.clientId, clientSecret: next });
    const taken = await call('POST', '/connectors/practice/credential/rotate', { clientSecret: next });
    expect(taken.body).toMatchObject({ proof: 'accepted', clientSecret: 'set' });
    expect(await stored()).toBe(next);
    await service.control.takeAuthorizationServerDown({ how: 'unavailable' });
    const unproved = await call('POST', '/connectors/practice/credential/rotate', { clientSecret: 'later' });
    expect(unproved.body).toMatchObject({
      status: 409,
      code: 'secret_unproved',
    });
    expect(await stored()).toBe(next);
    await service.control.bringAuthorizationServerUp({});
    expect(house.logged()).not.toContain('canary');
  });

  it('is examined: discovery with every address, callback, client, clock, and the last answer without secrets', async () => {
    const { body } = await call('POST', '/doctor', { connector: 'practice' });
    expect(body).toMatchObject({
      ok: true,
      checks: [
        { check: 'proxy', state: 'ok' },
        { check: 'discovery', state: 'ok' },
        { check: 'redirect', state: 'warning' },
        { check: 'registration', state: 'ok', message: expect.stringContaining('takes the client id') },
        { check: 'clock', state: 'ok' },
        { check: 'token_endpoint', last: { kind: 'refusal', error: 'invalid_grant' } },
      ],
    });
    const { checks } = body as { checks: { tried?: { url: string }[] }[] };
    expect(checks[1]?.tried?.map(({ url }) => new URL(url).pathname)).toContain(
      '/.well-known/oauth-authorization-server',
    );
    expect(JSON.stringify(body)).not.toContain('canary');

    await service.control.changeClientSecret({ clientId: application.clientId, clientSecret: 'changed-over-there' });
    const after = await call('POST', '/doctor', { connector: 'practice' });
    expect(after.body).toMatchObject({ ok: false });
    expect(JSON.stringify(after.body)).toContain('refuses the client id or secret');
  });

  it('of an address alone can be examined too, and leaves nothing behind', async () => {
    const count = async () => (await house.database.query.selectFrom('registrations').selectAll().execute()).length;
    const before = await count();
    const { body } = await call('POST', '/doctor', { url: service.mcpUrl });
    expect(JSON.stringify(body)).toContain('registers itself at');
    const dead = await call('POST', '/doctor', { url: 'http://127.0.0.1:9/mcp' });
    expect(dead.body).toMatchObject({ ok: false });
    expect(await count()).toBe(before);
    expect((await call('POST', '/doctor', { url: service.mcpUrl }, member.token)).status).toBe(403);
    expect((await call('POST', '/doctor', { url: 'http://192.168.7.7/mcp' })).body).not.toMatchObject({ ok: true });
  });

  it('is forgotten', async () => {
    expect((await call('DELETE', '/connectors/practice/credential')).status).toBe(204);
    expect((await call('GET', '/connectors/practice/credential')).body).toMatchObject({
      clientId: null,
      clientSecret: 'none',
    });
    expect(await stored()).toBeUndefined();
  });
});
