import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Principal } from '../../src/identity/principal.ts';
import type { TenantId } from '../../src/ids.ts';
import { ADMIN_TOKEN, openHouse, tenant, type House } from './house.ts';

type Verified = Principal & { resource: string };
const issued = new Map<string, Verified>();
let house: House;
let owner: Awaited<ReturnType<House['person']>>;
let member: Awaited<ReturnType<House['person']>>;

beforeAll(async () => {
  house = await openHouse((token) => Promise.resolve(issued.get(token)));
  owner = await house.person('owner@example.com', 'owner');
  member = await house.person('member@example.com', 'member');
  await house.connectors.create(tenant, { name: 'open', url: 'https://open.example/mcp' }, 'test');
  await house.connectors.create(
    tenant,
    {
      name: 'closed',
      url: 'https://closed.example/mcp',
      access: { allow: { roles: ['owner'] } },
      auth: { type: 'bearer', token: 'canary' },
    },
    'test',
  );
});
afterAll(async () => await house.close());

const everything: [string, string, unknown?][] = [
  ['GET', '/whoami'],
  ['GET', '/connectors'],
  ['POST', '/connectors', { name: 'x', url: 'https://x.example' }],
  ['GET', '/connectors/open'],
  ['PUT', '/connectors/open', { url: 'https://x.example' }],
  ['PATCH', '/connectors/open', {}],
  ['DELETE', '/connectors/open'],
  ['GET', '/connectors/open/tools'],
  ['PUT', '/connectors/open/tools', {}],
  ['POST', '/connectors/open/test'],
  ['POST', '/connectors/open/connect', {}],
  ['GET', '/connectors/open/connections'],
  ['GET', '/connections'],
  ['GET', '/connections/cnx_x'],
  ['DELETE', '/connections/cnx_x'],
  ['GET', '/users'],
  ['POST', '/users', { email: 'a@b.example' }],
  ['GET', '/users/usr_x'],
  ['PATCH', '/users/usr_x', {}],
  ['DELETE', '/users/usr_x'],
  ['GET', '/providers'],
  ['GET', '/instance'],
  ['POST', '/instance/adopt'],
  ['GET', '/connectors/open/credential'],
  ['PUT', '/connectors/open/credential', { clientId: 'x' }],
  ['POST', '/connectors/open/credential/rotate', { clientSecret: 'x' }],
  ['DELETE', '/connectors/open/credential'],
  ['POST', '/doctor', {}],
  ['POST', '/tokens/store', { connector: 'open', accessToken: 'x' }],
  ['POST', '/tokens/get', { connector: 'open' }],
  ['GET', '/secrets'],
  ['PUT', '/secrets/X', { value: 'x' }],
  ['DELETE', '/secrets/X'],
  ['GET', '/api-tokens'],
  ['POST', '/api-tokens', {}],
  ['DELETE', '/api-tokens/tok_x'],
];

describe('nobody gets in without a credential, or with a wrong one', () => {
  it.each(everything)('%s %s', async (method, path, body) => {
    for (const credential of [{}, { token: 'vkt_wrong' }, { cookie: 'valetkey_session=wrong' }]) {
      const reply = await house.call(method, path, { ...credential, body });
      expect(reply.status).toBe(401);
      expect(reply.body).toMatchObject({ code: 'unauthenticated' });
      expect(reply.headers.get('www-authenticate')).toContain('Bearer');
      expect(reply.headers.get('content-type')).toBe('application/problem+json');
    }
  });
});

it('knows every operation that it describes', async () => {
  const description = (await house.call('GET', '/openapi.json')).body as {
    paths: Record<string, Record<string, unknown>>;
  };
  const described = Object.entries(description.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace('/tenants/{tenant}', '')}`),
  );
  const tested = everything.map(
    ([method, path]) =>
      `${method} ${path
        .replace('/open', '/{connector}')
        .replace('cnx_x', '{connection}')
        .replace('usr_x', '{user}')
        .replace('/X', '/{secret}')
        .replace('tok_x', '{token}')}`,
  );
  expect(described.sort()).toEqual(tested.sort());
});

describe('a member changes nothing of the tenant', () => {
  const forbidden = new Set([
    'POST /connectors',
    'PUT /connectors/open',
    'PATCH /connectors/open',
    'DELETE /connectors/open',
    'PUT /connectors/open/tools',
    'POST /connectors/open/test',
    'GET /connectors/open/credential',
    'PUT /connectors/open/credential',
    'POST /connectors/open/credential/rotate',
    'DELETE /connectors/open/credential',
    'POST /doctor',
    'POST /instance/adopt',
  ]);
  const cases = everything.filter(
    ([method, path]) => forbidden.has(`${method} ${path}`) || /^\/(users|secrets)/.test(path),
  );
  it.each(cases)('%s %s', async (method, path, body) => {
    const reply = await house.call(method, path, { token: member.token, body });
    expect(reply.status).toBe(403);
    expect(reply.body).toMatchObject({ code: 'forbidden' });
  });
});

it('a member sees the connectors that are open to members, without how they sign in', async () => {
  const list = await house.call('GET', '/connectors', { token: member.token });
  expect((list.body as { items: { name: string }[] }).items.map(({ name }) => name)).toEqual(['open']);
  for (const path of ['/connectors/closed', '/connectors/closed/tools', '/connectors/closed/connections']) {
    expect((await house.call('GET', path, { token: member.token })).status).toBe(404);
  }
  const one = await house.call('GET', '/connectors/open', { token: member.token });
  expect(one.body).toMatchObject({ name: 'open', auth: { type: 'none' }, mcpUrl: `${house.url}/mcp/default/open` });
  expect(one.body).not.toHaveProperty('url');
  expect(one.body).not.toHaveProperty('inject');
});

it("another tenant's address is nothing to anybody", async () => {
  for (const [method, path, body] of everything) {
    const reply = await house.call(method, `/tenants/other${path}`, { token: owner.token, body });
    expect(reply.status).toBe(404);
  }
  expect((await house.call('GET', '/tenants/default/connectors/open', { token: owner.token })).status).toBe(200);
});

it('an access token counts when it was issued to the command line for this API', async () => {
  const base: Verified = {
    tenant,
    user: owner.user.id,
    email: owner.user.email,
    role: 'owner',
    client: 'valetkey-cli',
    scopes: [],
    expiresAt: null,
    resource: `${house.url}/api/v1`,
  };
  issued.set('good', base);
  issued.set('for-a-connector', { ...base, resource: `${house.url}/mcp/default/open` });
  issued.set('of-another-client', { ...base, client: 'cl_registered_by_anyone' });
  expect((await house.call('GET', '/whoami', { token: 'good' })).body).toMatchObject({ via: 'client', role: 'owner' });
  for (const token of ['for-a-connector', 'of-another-client']) {
    expect((await house.call('GET', '/whoami', { token })).status).toBe(401);
  }
});

describe('with the session cookie', () => {
  const change = (headers: Record<string, string>) =>
    house.call('PATCH', '/connectors/open', { cookie: owner.cookie, body: { title: 'x' }, headers });

  it('reading needs nothing more', async () => {
    const reply = await house.call('GET', '/whoami', { cookie: owner.cookie });
    expect(reply.body).toMatchObject({ via: 'session', user: { id: owner.user.id } });
  });

  it('a change has to come from a page of ours', async () => {
    const own = { origin: house.url, 'x-valetkey-csrf': '1' };
    expect((await change(own)).status).toBe(200);
    expect((await change({ ...own, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    const refused: Record<string, string>[] = [
      {},
      { origin: house.url },
      { 'x-valetkey-csrf': '1' },
      { ...own, origin: 'https://evil.example' },
      { ...own, origin: 'null' },
      { ...own, 'sec-fetch-site': 'cross-site' },
      { ...own, 'sec-fetch-site': 'same-site' },
    ];
    for (const headers of refused) {
      const reply = await change(headers);
      expect(reply.status).toBe(403);
      expect(reply.body).toMatchObject({ code: 'cross_site_request' });
    }
  });

  it('a wrong bearer token is not forgiven for a good cookie', async () => {
    expect((await house.call('GET', '/whoami', { cookie: owner.cookie, token: 'wrong' })).status).toBe(401);
  });

  it('a disabled person is out at once, with session and token', async () => {
    const leaver = await house.person('leaver@example.com', 'member');
    await house.call('PATCH', `/users/${leaver.user.id}`, { token: owner.token, body: { disabled: true } });
    expect((await house.call('GET', '/whoami', { cookie: leaver.cookie })).status).toBe(401);
    expect((await house.call('GET', '/whoami', { token: leaver.token })).status).toBe(401);
  });
});

it('the admin token is an owner without an account', async () => {
  const whoami = await house.call('GET', '/whoami', { token: ADMIN_TOKEN });
  expect(whoami.body).toMatchObject({ tenant: 'default', user: null, role: 'owner', via: 'admin_token' });
  const reply = await house.call('POST', '/api-tokens', { token: ADMIN_TOKEN, body: {} });
  expect(reply.body).toMatchObject({ status: 400, code: 'person_required' });
});

describe('a body that is not what it should be changes nothing and is explained', () => {
  const post = (body: unknown, headers: Record<string, string> = {}) =>
    house.call('POST', '/connectors', { token: owner.token, body, headers });

  it('media type, size, syntax and prototype', async () => {
    expect((await post('{}', { 'content-type': 'text/plain' })).body).toMatchObject({ code: 'unsupported_media_type' });
    expect((await post('{')).body).toMatchObject({ code: 'invalid_request' });
    expect((await post('x'.repeat(1_100_000))).body).toMatchObject({ code: 'payload_too_large' });
    const bytes = await fetch(`${house.url}/api/v1/connectors`, {
      method: 'POST',
      headers: { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' },
      body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    });
    expect(await bytes.json()).toMatchObject({ code: 'invalid_request', detail: 'The body is not JSON in UTF-8.' });
    const polluted = '{"name":"p","url":"https://p.example","__proto__":{"active":false}}';
    expect((await post(polluted)).body).toMatchObject({ code: 'invalid_request' });
    expect((await post({ name: 'bad', url: 'nowhere' })).body).toMatchObject({
      status: 400,
      code: 'connector_invalid',
      detail: 'url: must be an absolute URL.',
    });
    expect((await house.call('GET', '/connectors/bad', { token: owner.token })).status).toBe(404);
  });

  it('a body whose length is not announced is cut at the limit', async () => {
    const chunk = new TextEncoder().encode('x'.repeat(64 * 1024));
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent++ < 64) controller.enqueue(chunk);
        else controller.close();
      },
    });
    const response = await fetch(`${house.url}/api/v1/connectors`, {
      method: 'POST',
      headers: { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' },
      body,
      duplex: 'half',
    });
    expect(response.status).toBe(413);
  });

  it('unknown members and wrong types are named', async () => {
    const users = await house.call('POST', '/users', {
      token: owner.token,
      body: { email: 'a@b.example', admin: true },
    });
    expect(users.body).toMatchObject({ code: 'invalid_request', detail: 'admin is not a known field.' });
    const limit = await house.call('GET', '/users?limit=0', { token: owner.token });
    expect(limit.body).toMatchObject({ code: 'invalid_request' });
    expect((limit.body as { detail: string }).detail).toMatch(/^limit: /);
    const cursor = await house.call('GET', '/connectors?cursor=%25', { token: owner.token });
    expect(cursor.status).toBe(400);
    const match = await house.call('PATCH', '/connectors/open', {
      token: owner.token,
      body: {},
      headers: { 'if-match': 'x' },
    });
    expect(match.status).toBe(400);
  });
});

it('a method that is not there says which are', async () => {
  const reply = await house.call('POST', '/whoami', { token: owner.token, body: {} });
  expect(reply.status).toBe(405);
  expect(reply.headers.get('allow')).toBe('GET');
  expect((await house.call('GET', '/nothing', { token: owner.token })).body).toMatchObject({ code: 'not_found' });
});

it('a person of another tenant cannot name this one, nor see into it', async () => {
  issued.set('stranger', {
    tenant: 'other' as TenantId,
    user: owner.user.id,
    email: null,
    role: 'owner',
    client: 'valetkey-cli',
    scopes: [],
    expiresAt: null,
    resource: `${house.url}/api/v1`,
  });
  expect((await house.call('GET', '/tenants/default/users', { token: 'stranger' })).status).toBe(404);
  expect((await house.call('GET', '/connectors', { token: 'stranger' })).body).toEqual({ items: [], next: null });
  expect((await house.call('GET', `/users/${owner.user.id}`, { token: 'stranger' })).status).toBe(404);
  expect((await house.call('GET', '/connectors/open', { token: 'stranger' })).status).toBe(404);
});

it("a member neither sees nor ends another person's connection, nor a shared one", async () => {
  const connector = house.connectors.find(tenant, 'open');
  const row = (id: string, owner_type: string, owner_id: string) => ({
    tenant,
    id,
    connector_id: connector?.id ?? '',
    owner_type,
    owner_id,
    registration_id: null,
    status: 'connected',
    generation: 1,
    sealed: null,
    staged: null,
    attempt: null,
    intent: null,
    tombstone: null,
    issued_at: 1,
    expires_at: null,
    grant_expires_at: null,
    terms: 'null',
    scopes_requested: '[]',
    scopes_granted: '[]',
    account_subject: null,
    account_label: null,
    created_at: 1,
    updated_at: 1,
    last_refresh_at: null,
    next_refresh_at: null,
    last_used_at: null,
    last_error: null,
  });
  const rows = [
    row('cnx_of_owner', 'user', owner.user.id),
    row('cnx_of_member', 'user', member.user.id),
    row('cnx_shared', 'tenant', tenant),
  ];
  await house.database.query.insertInto('connections').values(rows).execute();
  const ids = async (path: string, token: string) => {
    const { items } = (await house.call('GET', path, { token })).body as { items: { id: string }[] };
    return items.map(({ id }) => id).sort();
  };
  for (const path of ['/connections', '/connectors/open/connections']) {
    expect(await ids(path, member.token)).toEqual(['cnx_of_member']);
  }
  expect(await ids('/connections', owner.token)).toEqual(['cnx_of_owner']);
  expect(await ids('/connections?all=true', owner.token)).toEqual(['cnx_of_member', 'cnx_of_owner', 'cnx_shared']);
  expect((await house.call('GET', '/connections?all=true', { token: member.token })).status).toBe(403);
  for (const id of ['cnx_of_owner', 'cnx_shared']) {
    for (const method of ['GET', 'DELETE']) {
      expect((await house.call(method, `/connections/${id}`, { token: member.token })).status).toBe(404);
    }
  }
  expect((await house.call('GET', '/connections/cnx_of_member', { token: member.token })).status).toBe(200);
  expect((await house.call('DELETE', '/connections/cnx_of_member', { token: owner.token })).status).toBe(200);
});
