import { describe, expect, it } from 'vitest';
import { connect, register, startServer } from './practice.ts';

async function api() {
  const server = await startServer({ mode: 'none' });
  const call = async (method: string, path: string, body?: unknown, type = 'application/json') => {
    const init =
      body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { 'content-type': type } };
    const response = await fetch(server.url + path, { method, ...init });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>),
    };
  };
  return { server, call };
}

describe('the items', () => {
  it('can be created, read, replaced, changed and deleted', async () => {
    const { call } = await api();
    const created = await call('POST', '/api/items', { title: 'Buy milk' });
    expect(created).toMatchObject({
      status: 201,
      body: { title: 'Buy milk', note: '', done: false, createdBy: 'anonymous' },
    });
    const path = created.headers.get('location')!;
    expect(await call('PATCH', path, { done: true })).toMatchObject({ body: { title: 'Buy milk', done: true } });
    expect(await call('PUT', path, { title: 'Buy oats' })).toMatchObject({ body: { title: 'Buy oats', done: false } });
    expect(await call('GET', path)).toMatchObject({ status: 200, body: { title: 'Buy oats' } });
    expect((await call('DELETE', path)).status).toBe(204);
    expect((await call('GET', path)).status).toBe(404);
    expect((await call('DELETE', path)).status).toBe(404);
    expect((await call('PATCH', path, {})).status).toBe(404);
  });

  it('come in pages and by filter', async () => {
    const { call } = await api();
    for (let i = 0; i < 5; i += 1) await call('POST', '/api/items', { title: `Parcel ${i}`, done: i % 2 === 0 });
    const first = await call('GET', '/api/items?q=parcel%20&limit=2');
    expect(first.body).toMatchObject({ total: 5, items: [{ title: 'Parcel 0' }, { title: 'Parcel 1' }] });
    const second = await call('GET', `/api/items?q=parcel%20&limit=4&cursor=${String(first.body!.next)}`);
    expect(second.body).toMatchObject({
      next: null,
      items: [{ title: 'Parcel 2' }, { title: 'Parcel 3' }, { title: 'Parcel 4' }],
    });
    expect((await call('GET', '/api/items?q=parcel%20&done=true')).body).toMatchObject({ total: 3 });
  });

  it.each([
    { method: 'POST', path: '/api/items', body: {}, status: 400, says: 'title' },
    { method: 'POST', path: '/api/items', body: { title: ' ' }, status: 400, says: 'title' },
    { method: 'POST', path: '/api/items', body: { title: 'x', id: 'mine' }, status: 400, says: 'id' },
    { method: 'POST', path: '/api/items', body: [], status: 400, says: 'object' },
    { method: 'POST', path: '/api/items', body: '{', status: 400, says: 'JSON' },
    { method: 'POST', path: '/api/items', body: 'title=x', type: 'text/plain', status: 415, says: 'application/json' },
    { method: 'POST', path: '/api/items', body: { title: 'x', note: 'y'.repeat(70_000) }, status: 413, says: '65536' },
    { method: 'GET', path: '/api/items?limit=0', status: 400, says: 'limit' },
    { method: 'GET', path: '/api/items?limit=1&limit=2', status: 400, says: 'limit' },
    { method: 'GET', path: '/api/items?colour=red', status: 400, says: 'colour' },
    { method: 'GET', path: '/api/users/nobody', status: 404, says: 'not_found' },
    { method: 'GET', path: '/api/nothing', status: 404, says: 'not_found' },
    { method: 'DELETE', path: '/api/items', status: 405, says: 'method_not_allowed' },
  ])('$method $path with $body gets $status', async ({ method, path, body, type, status, says }) => {
    const { server, call } = await api();
    const answer = await call(method, path, body, type);
    expect(answer.status).toBe(status);
    expect(JSON.stringify(answer.body)).toContain(says);
    expect((await call('GET', '/api/items')).body).toMatchObject({ total: 3 });
    expect(server.ledger.of('api_call').every((event) => event.subject !== undefined)).toBe(true);
  });

  it('are refused to a token without the scope, which the challenge names', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const tokens = await connect(await register(server), { parameters: { scope: 'items:read' } });
    const headers = { authorization: `Bearer ${tokens.access_token}` };
    expect((await fetch(`${server.url}/api/items`, { headers })).status).toBe(200);
    const refused = await fetch(`${server.url}/api/users`, { headers });
    expect(refused.status).toBe(403);
    expect(refused.headers.get('www-authenticate')).toContain('error="insufficient_scope", scope="profile"');
    expect(server.ledger.of('api_call').map((event) => [event.status, event.subject, event.generation])).toEqual([
      [200, 'alice', 1],
      [403, 'alice', 1],
    ]);
  });
});

describe('the OpenAPI document', () => {
  it.each([
    { mode: 'none', scheme: undefined },
    { mode: 'bearer', scheme: { type: 'http', scheme: 'bearer' } },
    { mode: 'apikey', scheme: { type: 'apiKey', in: 'header', name: 'X-API-Key' } },
    { mode: 'jwt', scheme: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
    { mode: 'oauth', scheme: { type: 'oauth2' } },
    { mode: 'oauth-dcr', scheme: { type: 'oauth2' } },
  ] as const)('names the security scheme of mode $mode', async ({ mode, scheme }) => {
    const server = await startServer({ mode });
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      openapi: string;
      components: { securitySchemes?: Record<string, unknown> };
      paths: Record<string, Record<string, { operationId?: string; security?: Record<string, string[]>[] }>>;
    };
    expect(document.openapi).toBe('3.1.0');
    const schemes = Object.entries(document.components.securitySchemes ?? {});
    expect(schemes.map(([, value]) => value)).toMatchObject(scheme === undefined ? [] : [scheme]);
    const wanted = document.paths['/api/items']!.post!.security;
    const scopes = scheme?.type === 'oauth2' ? ['items:write'] : [];
    expect(wanted).toEqual(schemes.map(([name]) => ({ [name]: scopes })));
  });

  it('lists every operation once and only paths that exist', async () => {
    const server = await startServer({ mode: 'none' });
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { operationId?: string }>>;
    };
    const ids = Object.values(document.paths).flatMap((path) =>
      Object.values(path).flatMap((operation) => operation.operationId ?? []),
    );
    expect(new Set(ids).size).toBe(ids.length);
    for (const path of Object.keys(document.paths)) {
      const concrete = path.replace('{id}', 'item-1').replace('{username}', 'alice');
      expect({ path, status: (await fetch(server.url + concrete)).status }).toEqual({ path, status: 200 });
    }
  });
});
