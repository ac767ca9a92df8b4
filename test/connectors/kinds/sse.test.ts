import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startServerEverything, type ServerEverything } from '../../fixtures/server-everything.ts';
import { legacy, modern, post, send } from '../../gateway/client.ts';
import { openHouse, tenant, type House } from '../../gateway/house.ts';
import { json, startUpstream, type Upstream } from '../../gateway/practice-upstream.ts';

const HELLO = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '9' } };
let house: House;

describe('the reference server over HTTP+SSE', () => {
  let everything: ServerEverything;
  beforeAll(async () => {
    everything = await startServerEverything('sse');
    house = await openHouse();
  });
  afterAll(async () => {
    await house.close();
    await everything.close();
  });

  it.each(['auto', 'sse'])('is used through Streamable HTTP with transport %s', async (transport) => {
    const url = await house.put({ name: `everything-${transport}`, url: everything.url, transport });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(new StreamableHTTPClientTransport(new URL(url)));
    const { tools } = await client.listTools();
    expect(tools.map((tool) => tool.name)).toContain('echo');
    const result = await client.callTool({ name: 'echo', arguments: { message: 'hello' } });
    expect(JSON.stringify(result)).toContain('hello');
    await client.close();
  });

  it('is known to be one', async () => {
    await house.put({ name: 'probed', url: everything.url });
    const connector = house.connectors.find(tenant, 'probed');
    const principal = {
      tenant,
      user: null,
      email: null,
      role: 'owner' as const,
      client: null,
      scopes: [],
      expiresAt: null,
    };
    expect(await house.gateway.probe(connector as never, principal)).toMatchObject({
      reachable: true,
      transport: 'sse',
      eras: ['legacy'],
      auth: 'open',
      error: null,
    });
    expect((await house.gateway.listTools(connector as never, principal)).length).toBeGreaterThan(3);
  });
});

describe('a server of HTTP+SSE', () => {
  let upstream: Upstream;
  let url: string;
  let streams: import('node:http').ServerResponse[];
  let endpoint: string;

  beforeEach(async () => {
    streams = [];
    endpoint = '/messages?session=1';
    upstream = await startUpstream((seen, response) => {
      if (seen.method === 'GET') {
        streams.push(response);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(`event: endpoint\ndata: ${endpoint}\n\n`);
        return;
      }
      if (seen.url === '/mcp') {
        response.writeHead(404).end('Cannot POST /mcp');
        return;
      }
      response.writeHead(202).end('Accepted');
      const { id, method } = JSON.parse(seen.body) as { id?: number; method: string };
      if (id === undefined || method === 'never') return;
      const say = (message: unknown): void =>
        void streams[0]?.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
      if (method === 'asks') say({ jsonrpc: '2.0', id: 99, method: 'elicitation/create', params: {} });
      const result =
        method === 'initialize' ? { protocolVersion: '2024-11-05', capabilities: {}, serverInfo: {} } : { method };
      say({ jsonrpc: '2.0', id, result });
    });
    house = await openHouse();
    url = await house.put({ name: 'old', url: upstream.url, auth: { type: 'bearer', token: 'gateway-token' } });
  });
  afterEach(async () => {
    await house.close();
    await upstream.close();
  });

  const begin = async () => {
    const answer = await legacy(url, 'initialize', HELLO);
    return { headers: { 'mcp-session-id': answer.headers.get('mcp-session-id') ?? '' } };
  };

  it('gets the credential at its stream and at its endpoint', async () => {
    const session = await begin();
    expect((await legacy(url, 'tools/list', {}, session)).json()).toEqual({
      jsonrpc: '2.0',
      id: 1,
      result: { method: 'tools/list' },
    });
    expect(upstream.seen.map((seen) => `${seen.method} ${seen.url} ${seen.headers['authorization']}`)).toEqual([
      'POST /mcp Bearer gateway-token',
      'GET /mcp Bearer gateway-token',
      'POST /messages?session=1 Bearer gateway-token',
      'POST /messages?session=1 Bearer gateway-token',
    ]);
  });

  it('may not send the credential to another origin', async () => {
    endpoint = 'http://127.0.0.2:9/messages';
    expect((await legacy(url, 'initialize', HELLO)).status).toBe(404);
    // Asked in both eras at its own address, and nowhere else: nothing listens where it pointed to.
    const posted = upstream.seen.filter((seen) => seen.method === 'POST');
    expect(posted.length).toBeGreaterThan(0);
    expect(new Set(posted.map((seen) => seen.url))).toEqual(new Set(['/mcp']));
  });

  it('may ask the client back within a call', async () => {
    const answer = await legacy(url, 'asks', {}, await begin());
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    expect(answer.text).toMatch(/elicitation\/create.*\n\ndata: .*"result"/);
  });

  it('is left when the session ends', async () => {
    const session = await begin();
    const closed = new Promise((resolve) => streams[0]?.on('close', resolve));
    expect((await send(url, 'DELETE', session)).status).toBe(204);
    await closed;
    expect((await legacy(url, 'tools/list', {}, session)).status).toBe(404);
  });

  it('that ends its stream fails the calls that wait and ends the session', async () => {
    const session = await begin();
    const call = legacy(url, 'never', {}, session);
    await expect.poll(() => upstream.seen.at(-1)?.body.includes('never')).toBe(true);
    streams[0]?.end();
    expect((await call).json()).toMatchObject({ error: { data: { code: 'egress_failed' } } });
    expect((await post(url, '{"jsonrpc":"2.0","method":"notifications/x"}', session)).status).toBe(404);
  });

  it('is there for a 2026 client as well', async () => {
    const answer = await modern(url, 'server/discover');
    expect(answer.status).toBe(200);
    expect(answer.json()).toMatchObject({
      result: { supportedVersions: expect.arrayContaining(['2026-07-28']) as string[] },
    });
  });

  it('is not looked for where the refusal is about something else', async () => {
    upstream.answer = (_, response) =>
      json(response, { jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'no' } }, 400);
    const answer = await legacy(url, 'initialize', HELLO);
    expect([answer.status, answer.json()]).toMatchObject([400, { error: { code: -32602 } }]);
  });
});
