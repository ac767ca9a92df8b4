import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { ADMIN_TOKEN, openHouse, type House, type Reply } from './house.ts';

let house: House;
let owner: Awaited<ReturnType<House['person']>>;
let member: Awaited<ReturnType<House['person']>>;

beforeAll(async () => {
  house = await openHouse();
  owner = await house.person('owner@example.com', 'owner');
  member = await house.person('member@example.com', 'member');
});
afterAll(async () => await house.close());

const call = (method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply> =>
  house.call(method, path, { token: owner.token, body, ...(headers === undefined ? {} : { headers }) });

describe('a connector', () => {
  const document = {
    name: 'mail',
    url: 'https://mail.example/mcp',
    auth: {
      type: 'oauth2',
      clientId: 'app',
      clientSecret: 'canary-of-the-client',
      authorizationUrl: 'https://idp.example/authorize',
      tokenUrl: 'https://idp.example/token',
      scopes: 'read write',
    },
  };

  it('is made, read, replaced, changed and removed; the secret never comes back', async () => {
    const made = await call('POST', '/connectors', document);
    expect(made.status).toBe(201);
    expect(made.headers.get('location')).toBe('/api/v1/tenants/default/connectors/mail');
    expect(made.headers.get('etag')).toBe('"1"');
    expect(made.body).toMatchObject({
      name: 'mail',
      title: 'mail',
      revision: 1,
      source: 'api',
      mcpUrl: `${house.url}/mcp/default/mail`,
      missing: [],
      auth: { clientSecret: '***', scopes: ['read', 'write'] },
    });
    expect(made.body['callbackUrl']).toMatch(new RegExp(`^${house.url}/connect/callback/reg_`));
    expect((await call('POST', '/connectors', document)).body).toMatchObject({ code: 'connector_exists' });

    const read = await call('GET', '/connectors/mail');
    expect(read.body).toEqual(made.body);
    const put = await call('PUT', '/connectors/mail', { ...read.body, title: 'Mail' }, { 'if-match': '"1"' });
    expect(put.status).toBe(200);
    expect(put.body).toMatchObject({ title: 'Mail', revision: 2 });
    const late = await call('PUT', '/connectors/mail', read.body, { 'if-match': '"1"' });
    expect(late.body).toMatchObject({ status: 409, code: 'conflict' });
    const moved = await call('PATCH', '/connectors/mail', { auth: { tokenUrl: 'https://evil.example/token' } });
    expect(moved.body).toMatchObject({ status: 400, code: 'secret_required' });
    const patched = await call('PATCH', '/connectors/mail', { auth: { scopes: ['read'] } });
    expect(patched.body).toMatchObject({ auth: { scopes: ['read'], clientSecret: '***' } });
    const connector = house.connectors.list(owner.user.tenant).find(({ name }) => name === 'mail');
    const kept = connector === undefined ? undefined : await house.connectors.clientSecret(connector);
    expect(kept?.unwrap()).toBe('canary-of-the-client');

    expect((await call('DELETE', '/connectors/mail')).status).toBe(204);
    expect((await call('GET', '/connectors/mail')).body).toMatchObject({ code: 'not_found' });
    expect(house.logged()).not.toContain('canary-of-the-client');
  });

  it('that the file declares is changed there only', async () => {
    await house.connectors.declare(owner.user.tenant, [{ name: 'filed', url: 'https://filed.example' }]);
    const reply = await call('PATCH', '/connectors/filed', { title: 'x' });
    expect(reply.body).toMatchObject({ status: 409, code: 'connector_declared' });
    await house.connectors.declare(owner.user.tenant, []);
    expect((await call('DELETE', '/connectors/filed')).status).toBe(204);
  });

  it('is listed in pages that a change in between does not shift', async () => {
    for (const name of ['a', 'b', 'c', 'd']) {
      await call('POST', '/connectors', { name: `page-${name}`, url: 'https://p.example' });
    }
    const seen: string[] = [];
    let next: unknown = undefined;
    do {
      const cursor = typeof next === 'string' ? `&cursor=${next}` : '';
      const { body } = await call('GET', `/connectors?limit=2${cursor}`);
      const { items } = body as { items: { name: string }[] };
      seen.push(...items.map(({ name }) => name));
      if (seen.length === 2) await call('DELETE', '/connectors/page-b');
      next = body['next'];
    } while (next !== null);
    expect(seen).toEqual(['page-a', 'page-b', 'page-c', 'page-d']);
  });
});

describe('against a service that asks for a token', () => {
  let service: TestServer;
  let token: string;
  beforeAll(async () => {
    service = await createTestServer({ mode: 'bearer', port: 0 });
    token = service.credentials.tokens['alice'] ?? '';
    await call('POST', '/connectors', { name: 'practice', url: service.mcpUrl, auth: { type: 'bearer' } });
  });
  afterAll(async () => await service.close());

  it('a connector without its token says what is missing, and lists tools as soon as it is there', async () => {
    const before = await call('GET', '/connectors/practice/tools');
    expect(before.body).toMatchObject({ items: [], source: 'none', missing: { code: 'upstream_unauthorized' } });
    expect((await call('POST', '/connectors/practice/test')).body).toMatchObject({
      reachable: true,
      auth: 'required',
      missing: [{ field: 'auth.token' }],
    });
    await call('PUT', '/secrets/PRACTICE', { value: token });
    await call('PATCH', '/connectors/practice', { auth: { token: { secret: 'PRACTICE' } } });
    const after = await call('GET', '/connectors/practice/tools');
    expect(after.body).toMatchObject({ source: 'upstream', missing: null });
    const names = (after.body as { items: { name: string; on: boolean }[] }).items.map(({ name }) => name);
    expect(names).toContain('whoami');
    expect((await call('POST', '/connectors/practice/test')).body).toMatchObject({
      auth: 'accepted',
      missing: [],
      error: null,
    });
  });

  it('tools are switched off and renamed, and a name is never given twice', async () => {
    const changed = await call('PUT', '/connectors/practice/tools', { disabled: ['echo'], rename: { whoami: 'me' } });
    expect(changed.body).toMatchObject({ new: 'enable', disabled: ['echo'], rename: { whoami: 'me' } });
    const { body } = await call('GET', '/connectors/practice/tools');
    const { items } = body as { items: Record<string, unknown>[] };
    expect(items.find(({ name }) => name === 'whoami')).toMatchObject({ publicName: 'me', on: true });
    const clash = await call('PUT', '/connectors/practice/tools', { rename: { whoami: items[0]?.['name'] } });
    expect(clash.body).toMatchObject({ status: 400, code: 'connector_invalid' });
    const back = await call('PUT', '/connectors/practice/tools', { disabled: [], rename: {} });
    expect(back.body).toMatchObject({ disabled: [], rename: {} });
  });

  it('when the service is gone, the last list is shown with where it is from', async () => {
    await service.close();
    const { body } = await call('GET', '/connectors/practice/tools');
    expect(body).toMatchObject({ source: 'catalogue', missing: { code: 'egress_failed' } });
    expect((body as { items: unknown[] }).items.length).toBeGreaterThan(0);
    expect((await call('POST', '/connectors/practice/test')).body).toMatchObject({
      reachable: false,
      error: { code: 'egress_failed' },
    });
  });

  it('a secret that a connector refers to cannot be removed, nor read', async () => {
    const kept = await call('DELETE', '/secrets/PRACTICE');
    expect(kept.body).toMatchObject({ status: 409, code: 'secret_in_use' });
    const { body } = await call('GET', '/secrets');
    expect(body).toMatchObject({ items: [{ name: 'PRACTICE', version: 1 }], next: null });
    expect(JSON.stringify(body)).not.toContain(token);
    expect((await call('GET', '/secrets/PRACTICE')).status).toBe(405);
    await call('DELETE', '/connectors/practice');
    expect((await call('DELETE', '/secrets/PRACTICE')).status).toBe(204);
    expect((await call('DELETE', '/secrets/PRACTICE')).status).toBe(404);
    expect(house.logged()).not.toContain(token);
  });
});

describe('a connect link', () => {
  it('is made for the person who asks, where there is something to connect', async () => {
    await call('POST', '/connectors', { name: 'oauth', url: 'https://o.example', auth: { type: 'oauth2' } });
    await call('POST', '/connectors', {
      name: 'shared',
      url: 'https://s.example',
      auth: { type: 'oauth2', owner: 'tenant' },
    });
    await call('POST', '/connectors', { name: 'plain', url: 'https://n.example' });
    const link = await house.call('POST', '/connectors/oauth/connect', { token: member.token, body: {} });
    expect(link.body['url']).toMatch(new RegExp(`^${house.url}/connect/default/oauth\\?ticket=`));
    expect(Date.parse(String(link.body['expiresAt']))).toBeGreaterThan(Date.now());
    const shared = await house.call('POST', '/connectors/shared/connect', { token: member.token, body: {} });
    expect(shared.body).toMatchObject({ status: 403, code: 'forbidden' });
    expect((await call('POST', '/connectors/shared/connect', {})).status).toBe(200);
    expect((await call('POST', '/connectors/plain/connect', {})).body).toMatchObject({ code: 'invalid_request' });
    const nobody = await house.call('POST', '/connectors/oauth/connect', { token: ADMIN_TOKEN, body: {} });
    expect(nobody.body).toMatchObject({ code: 'person_required' });
    for (const returnTo of ['https://evil.example/', '//evil.example', '/\\evil.example']) {
      expect((await call('POST', '/connectors/oauth/connect', { returnTo })).status).toBe(400);
    }
  });
});

describe('people', () => {
  it('are invited, changed, disabled and removed, and each of it stands in the audit', async () => {
    const invited = await call('POST', '/users', { email: 'New@Example.com', name: 'New', role: 'member' });
    expect(invited.status).toBe(201);
    expect(invited.body).toMatchObject({ email: 'new@example.com', role: 'member' });
    expect(invited.body['invitationUrl']).toMatch(new RegExp(`^${house.url}/invitation/[\\w-]{43}$`));
    const path = `/users/${String(invited.body['id'])}`;
    expect((await call('GET', path)).body).toMatchObject({ pending: true, disabledAt: null });
    expect((await call('PATCH', path, { role: 'owner' })).body).toMatchObject({ role: 'owner' });
    expect((await call('PATCH', path, { role: 'member', disabled: true })).body).toMatchObject({ role: 'member' });
    expect((await call('GET', path)).body['disabledAt']).toEqual(expect.stringMatching(/Z$/));
    expect((await call('PATCH', path, { disabled: false })).body).toMatchObject({ disabledAt: null });
    expect((await call('DELETE', path)).status).toBe(204);
    expect((await call('GET', path)).status).toBe(404);
    const events = await house.database.query
      .selectFrom('audit_events')
      .select(['action', 'actor'])
      .where('object', '=', `user:${String(invited.body['id'])}`)
      .orderBy('sequence')
      .execute();
    const actor = `user:${owner.user.id}`;
    expect(events).toEqual(
      ['invited', 'role_changed', 'role_changed', 'disabled', 'enabled', 'removed'].map((verb) => ({
        action: `user.${verb}`,
        actor,
      })),
    );
  });

  it('the last owner can neither be removed nor disabled nor made a member', async () => {
    const path = `/users/${owner.user.id}`;
    for (const reply of [
      await call('DELETE', path),
      await call('PATCH', path, { disabled: true }),
      await call('PATCH', path, { role: 'member' }),
    ]) {
      expect(reply.body).toMatchObject({ status: 409, code: 'last_owner' });
    }
  });
});

describe('API tokens', () => {
  it('are shown once, belong to their person, and end when they are revoked', async () => {
    const made = await house.call('POST', '/api-tokens', {
      token: member.token,
      body: { label: 'ci', expiresInDays: 1 },
    });
    expect(made.status).toBe(201);
    const token = String(made.body['token']);
    expect((await house.call('GET', '/whoami', { token })).body).toMatchObject({
      user: { email: 'member@example.com' },
    });
    const list = await house.call('GET', '/api-tokens', { token: member.token });
    expect(JSON.stringify(list.body)).not.toContain(token);
    expect(JSON.stringify(list.body)).toContain('"ci"');
    const path = `/api-tokens/${String(made.body['id'])}`;
    expect((await call('DELETE', path)).status).toBe(404);
    expect((await house.call('DELETE', path, { token: member.token })).status).toBe(204);
    expect((await house.call('GET', '/whoami', { token })).status).toBe(401);
  });
});

it('the description is a document that the answers of the API fit', async () => {
  const { body } = await call('GET', '/openapi.json');
  expect(body).toMatchObject({ openapi: '3.1.0', servers: [{ url: `${house.url}/api/v1` }] });
  const { paths } = body as { paths: Record<string, Record<string, { operationId: string }>> };
  const ids = Object.values(paths).flatMap((operations) =>
    Object.values(operations).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
  const schema = (paths['/tenants/{tenant}/connectors'] as unknown as Record<string, never>)['post']?.['requestBody'];
  expect(JSON.stringify(schema)).toContain('"callsPerMinute"');
});
