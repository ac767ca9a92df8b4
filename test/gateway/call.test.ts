import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { legacy, modern, post, send } from './client.ts';
import { openHouse, type House } from './house.ts';
import { echo, json, startUpstream, type Upstream } from './practice-upstream.ts';
import { oauth, openWallet, type Wallet } from './wallet.ts';
import type { UserId } from '../../src/ids.ts';

let house: House;
let upstream: Upstream;
let wallet: Wallet;

beforeEach(async () => {
  upstream = await startUpstream(echo);
  wallet = openWallet();
  house = await openHouse(wallet);
});
afterEach(async () => {
  await house.close();
  await upstream.close();
});

const connect = async (more: Record<string, unknown> = {}): Promise<string> =>
  await house.put({
    name: 'files',
    title: 'Files',
    url: upstream.url,
    access: { mode: 'oauth' },
    auth: oauth,
    ...more,
  });

describe('what crosses', () => {
  it('is the body byte for byte, the headers of MCP, and the credential of the gateway alone', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'alice-token');
    const body =
      '{ "jsonrpc":"2.0", "id":7, "method":"tools/call", "params":{"name":"a","arguments":{"n":12345678901234567890}} }';
    const answer = await post(url, body, {
      token: house.issue('files'),
      headers: {
        cookie: 'session=1',
        'proxy-authorization': 'Basic eA==',
        'x-forwarded-for': '10.0.0.1',
        'x-other': 'y',
        'mcp-protocol-version': '2025-11-25',
        'mcp-method': 'tools/list',
        'mcp-param-region': 'eu',
      },
    });
    expect(answer.json()).toEqual({ jsonrpc: '2.0', id: 7, result: { echoed: 'tools/call' } });
    const [seen] = upstream.seen;
    expect(seen?.body).toBe(body);
    expect(seen?.headers).toEqual({
      host: new URL(upstream.url).host,
      'accept-encoding': 'identity',
      connection: 'keep-alive',
      'user-agent': 'valetkey',
      'content-type': 'application/json',
      'content-length': String(body.length),
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      authorization: 'Bearer alice-token',
    });
  });

  it('includes the mirrored headers of 2026 clients', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'alice-token');
    await modern(
      url,
      'tools/call',
      { name: 'a' },
      { token: house.issue('files'), headers: { 'mcp-param-region': 'eu' } },
    );
    expect(upstream.seen[0]?.headers).toMatchObject({
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': 'a',
      'mcp-param-region': 'eu',
    });
  });

  it('is never a header of the client under the name of an injected one', async () => {
    const url = await house.put({
      name: 'files',
      url: upstream.url,
      auth: { type: 'headers', headers: { 'X-Key': 'gateway-key' } },
    });
    await legacy(url, 'tools/call', { name: 'a' }, { headers: { 'x-key': 'client-key' } });
    expect(upstream.seen[0]?.headers['x-key']).toBe('gateway-key');
  });

  it('is each person’s own credential', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'alice-token');
    wallet.give('usr_bob', 'bob-token');
    const bob = house.issue('files', { user: 'usr_bob' as UserId });
    await legacy(url, 'tools/call', { name: 'a' }, { token: house.issue('files') });
    await legacy(url, 'tools/call', { name: 'a' }, { token: bob });
    expect(upstream.seen.map((seen) => seen.headers['authorization'])).toEqual([
      'Bearer alice-token',
      'Bearer bob-token',
    ]);
  });

  it('comes back without cookies, challenges or caching', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'alice-token');
    upstream.answer = (_, response) =>
      json(response, { jsonrpc: '2.0', id: 1, result: {} }, 200, {
        'set-cookie': 'a=b',
        'www-authenticate': 'Bearer',
        'cache-control': 'public, max-age=60',
        'x-secret': 'z',
      });
    const { headers } = await legacy(url, 'tools/call', { name: 'a' }, { token: house.issue('files') });
    for (const name of ['set-cookie', 'www-authenticate', 'x-secret']) expect(headers.get(name)).toBeNull();
    expect(headers.get('cache-control')).toBe('no-store');
  });
});

describe('a credential that the service sends back', () => {
  it.each([
    [200, { jsonrpc: '2.0', id: 1, result: { headers: { authorization: 'Bearer canary-access-token' } } }],
    [400, { jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'bad token canary-access-token' } }],
  ])('is struck out of a reply with %i', async (status, body) => {
    const url = await connect();
    wallet.give('usr_alice', 'canary-access-token');
    upstream.answer = (_, response) => json(response, body, status);
    const answer = await legacy(url, 'tools/call', { name: 'a' }, { token: house.issue('files') });
    expect(answer.status).toBe(status);
    expect(answer.text).toBe(JSON.stringify(body).replace('canary-access-token', '*'.repeat(19)));
  });
});

describe('a refusal of the upstream', () => {
  const call = async (url: string) => await legacy(url, 'tools/call', { name: 'a' }, { token: house.issue('files') });

  it('leads to one refresh and one more try', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'old');
    wallet.onRejected = () => wallet.give('usr_alice', 'new', 2);
    upstream.answer = (seen, response, request) => {
      if (seen.headers['authorization'] === 'Bearer new') echo(seen, response, request);
      else response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end('secret detail');
    };
    expect((await call(url)).json()).toMatchObject({ result: { echoed: 'tools/call' } });
    expect(wallet.rejections).toEqual([
      { user: 'usr_alice', status: 401, wwwAuthenticate: 'Bearer error="invalid_token"', generation: 1 },
    ]);
    expect(upstream.seen).toHaveLength(2);
    expect(upstream.seen[1]?.body).toBe(upstream.seen[0]?.body);
  });

  it('is never a 401 of ours: after the second one the person is asked to connect again', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'old');
    wallet.onRejected = () => wallet.give('usr_alice', 'new', 2);
    upstream.answer = (_, response) => response.writeHead(401).end();
    const answer = await call(url);
    expect(answer.status).toBe(200);
    expect(answer.json()).toMatchObject({ id: 1, result: { isError: true } });
    expect(answer.text).toContain('https://gateway.example/connect/files?ticket=t1');
    expect(upstream.seen).toHaveLength(2);
  });

  it('for want of something that only an owner can put right says what it is, and whom to ask', async () => {
    const url = await connect();
    const told = {
      code: 'refresh_refused',
      message: 'The way is refused.',
      hint: 'An owner has to check the connector.',
    };
    wallet.credential = () => ({ refusal: 'temporarily_unavailable', retryAfterMs: 5, told });
    const answer = await call(url);
    expect(answer.json()).toMatchObject({ id: 1, result: { isError: true } });
    expect(answer.text).toContain(`${told.message} ${told.hint}`);
    expect(answer.text).not.toContain('in a moment');
  });

  it('for want of scopes leads to a link that asks for them', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'token');
    wallet.onRejected = () => ({ refusal: 'missing_scopes', scopes: ['a', 'b'] });
    upstream.answer = (_, response) =>
      response.writeHead(403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="b"' }).end();
    const answer = await call(url);
    expect(answer.status).toBe(200);
    expect(answer.json()).toMatchObject({ result: { isError: true } });
    expect(wallet.urls).toEqual([{ user: 'usr_alice', scopes: ['a', 'b'] }]);
    expect(wallet.rejections[0]?.status).toBe(403);
  });

  it.each([
    [500, 'upstream_failed'],
    [503, 'upstream_failed'],
    [403, 'upstream_forbidden'],
    [302, 'upstream_redirect'],
    [429, 'upstream_busy'],
  ])('with %i is an error in band that keeps what the upstream said to itself', async (status, code) => {
    const url = await connect();
    wallet.give('usr_alice', 'token');
    upstream.answer = (_, response) => response.writeHead(status, { location: 'https://x.example/' }).end('canary');
    const answer = await call(url);
    expect(answer.status).toBe(200);
    expect(answer.json()).toMatchObject({ id: 1, error: { code: -32000, data: { code } } });
    expect(answer.text).not.toContain('canary');
  });

  it('in JSON-RPC is the client’s to read', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'token');
    const error = { jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'Method not found' } };
    upstream.answer = (_, response) => json(response, error, 404);
    const answer = await call(url);
    expect([answer.status, answer.json()]).toEqual([404, error]);
  });

  it('is a bad gateway for the handshake, so that nobody takes it for an answer', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'token');
    upstream.answer = (_, response) => response.writeHead(500).end();
    const token = house.issue('files');
    expect((await modern(url, 'server/discover', {}, { token })).status).toBe(502);
    expect((await legacy(url, 'initialize', {}, { token })).status).toBe(502);
  });

  it('by a service that knows no discovery reaches the client as one of the other era', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'token');
    for (const status of [400, 404, 405, 406, 415, 422]) {
      upstream.answer = (_, response) => response.writeHead(status).end('<html>');
      const answer = await modern(url, 'server/discover', {}, { token: house.issue('files') });
      expect([400, 404, 405]).toContain(answer.status);
      expect(answer.json()).toHaveProperty('error.code', -32600);
    }
  });
});

describe('policy', () => {
  const tools = [{ name: 'read' }, { name: 'write' }, { name: 'drop' }];
  const rules = { new: 'ask', enabled: ['read', 'write'], disabled: ['drop'], rename: { write: 'save' } };

  beforeEach(() => {
    upstream.answer = (seen, response, request) => {
      const { id, method } = JSON.parse(seen.body) as { id: number; method: string };
      if (method === 'tools/list') json(response, { jsonrpc: '2.0', id, result: { tools, cacheScope: 'public' } });
      else echo(seen, response, request);
    };
  });

  it('shows and calls the same tools', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, tools: rules });
    const list = (await legacy(url, 'tools/list')).json()['result']['tools'] as { name: string }[];
    expect(list.map((tool) => tool.name)).toEqual(['read', 'save']);
    for (const name of ['read', 'save']) {
      expect((await legacy(url, 'tools/call', { name })).json()).toHaveProperty('result.echoed');
    }
    for (const name of ['write', 'drop', 'other']) {
      const answer = await legacy(url, 'tools/call', { name });
      expect(answer.json()).toMatchObject({ id: 1, error: { code: -32602, message: `Unknown tool: ${name}` } });
    }
    expect(upstream.seen).toHaveLength(3);
  });

  it('calls a renamed tool by the name it has there, in body and header, and changes nothing else', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, tools: rules });
    const body =
      '{"jsonrpc":"2.0","id":1,"params": {"arguments":{"name":"save","n":1e400} , "name" : "save"},"method":"tools/call"}';
    await post(url, body);
    expect(upstream.seen[0]?.body).toBe(body.replace('"name" : "save"', '"name" : "write"'));
    await modern(url, 'tools/call', { name: 'save' });
    expect(upstream.seen[1]?.headers['mcp-name']).toBe('write');
  });

  it('holds in an event stream too', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, tools: rules });
    const message = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { tools } });
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': hello\n\nid: 4\nda');
      response.end(`ta: ${message}\r\n\r\n`);
    };
    const { text } = await legacy(url, 'tools/list');
    expect(text).toContain(': hello\n\nid: 4\ndata: {');
    expect(text).toContain('"save"');
    expect(text).not.toContain('drop');
  });

  it('holds in a batch too', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, tools: rules });
    const message = (id: number, name: string) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name } });
    expect((await post(url, JSON.stringify([message(1, 'read'), message(2, 'drop')]))).json()).toHaveProperty('error');
    expect((await post(url, JSON.stringify([message(1, 'read'), message(2, 'save')]))).status).toBe(400);
    expect(upstream.seen).toHaveLength(0);
    upstream.answer = (_, response) => json(response, [{ jsonrpc: '2.0', id: 1, result: { tools } }]);
    const list = await post(url, '[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]');
    expect(list.text).not.toContain('drop');
  });

  it('marks as private what a credential obtained, or what was filtered', async () => {
    const open = await house.put({ name: 'open', url: upstream.url });
    const filtered = await house.put({ name: 'filtered', url: upstream.url, tools: rules });
    const shared = await house.put({ name: 'shared', url: upstream.url, auth: { type: 'bearer', token: 't' } });
    const scopeOf = async (url: string) => (await modern(url, 'tools/list')).json().result['cacheScope'];
    expect(await scopeOf(open)).toBe('public');
    expect(await scopeOf(filtered)).toBe('private');
    expect(await scopeOf(shared)).toBe('private');
  });

  it('lets in whom the connector names, and nobody else', async () => {
    const allow = { roles: [], users: ['bob@example.com'] };
    const url = await house.put({ name: 'files', url: upstream.url, access: { mode: 'oauth', allow } });
    const bob = house.issue('files', { user: 'usr_bob' as UserId, email: 'bob@example.com' });
    expect((await legacy(url, 'tools/list', {}, { token: bob })).status).toBe(200);
    for (const method of ['tools/list', 'tools/call', 'resources/read', 'initialize']) {
      expect((await legacy(url, method, { name: 'read' }, { token: house.issue('files') })).status).toBe(403);
    }
    expect((await send(url, 'GET', { token: house.issue('files') })).status).toBe(403);
  });

  it('answers 503 for a connector that is off and 404 for one that is not there', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, active: false, access: { mode: 'oauth' } });
    expect((await legacy(url, 'tools/list')).status).toBe(401);
    expect((await legacy(url, 'tools/list', {}, { token: house.issue('files') })).status).toBe(503);
    expect((await legacy(house.mcpUrl('nothing'), 'tools/list')).status).toBe(404);
    expect((await legacy(`${url}/more`, 'tools/list')).status).toBe(404);
  });

  it('counts calls per minute for each person', async () => {
    const url = await connect({ limits: { callsPerMinute: 3 } });
    wallet.give('usr_alice', 'a');
    wallet.give('usr_bob', 'b');
    const alice = { token: house.issue('files') };
    for (let at = 0; at < 3; at++) expect((await legacy(url, 'tools/call', { name: 'read' }, alice)).status).toBe(200);
    const refused = await legacy(url, 'tools/call', { name: 'read' }, alice);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('20');
    const bob = house.issue('files', { user: 'usr_bob' as UserId });
    expect((await legacy(url, 'tools/call', { name: 'read' }, { token: bob })).status).toBe(200);
    house.clock.move(20_000);
    expect((await legacy(url, 'tools/call', { name: 'read' }, alice)).status).toBe(200);
  });

  it('counts each call of a batch', async () => {
    const url = await house.put({ name: 'files', url: upstream.url, limits: { callsPerMinute: 3 } });
    const message = (id: number) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'read' } });
    upstream.answer = (_, response) => json(response, []);
    expect((await post(url, JSON.stringify([message(1), message(2)]))).status).toBe(200);
    expect((await post(url, JSON.stringify([message(1), message(2)]))).status).toBe(429);
    expect(upstream.seen).toHaveLength(1);
  });
});

describe('records', () => {
  it('say what was called by whom and how it went, and hold neither arguments nor results', async () => {
    const url = await connect();
    wallet.give('usr_alice', 'alice-token');
    const token = house.issue('files');
    await legacy(url, 'tools/call', { name: 'read', arguments: { q: 'canary' } }, { token });
    upstream.answer = (_, response) => response.writeHead(500).end();
    await legacy(url, 'tools/call', { name: 'read' }, { token });
    await house.gateway.flush();
    const rows = await house.database.query.selectFrom('calls').selectAll().orderBy('at').execute();
    expect(rows).toMatchObject([
      {
        user_id: 'usr_alice',
        client_id: 'client-1',
        method: 'tools/call',
        name: 'read',
        status: 'ok',
        http_status: 200,
      },
      { status: 'error', error_code: 'upstream_failed' },
    ]);
    expect(rows[1]?.flow).toMatch(/^flw_/);
    expect(JSON.stringify(rows)).not.toContain('canary');
    expect(house.logs()).not.toContain('alice-token');
  });
});
