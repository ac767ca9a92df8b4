import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { connect, register, startServer } from './practice.ts';

type Kind = 'legacy' | 'modern' | 'sse';
const kinds: Kind[] = ['legacy', 'modern', 'sse'];
const PATHS = { legacy: '/mcp', modern: '/mcp', sse: '/sse' } as const;

async function open(server: TestServer, kind: Kind, headers: Record<string, string> = {}) {
  const mode = kind === 'modern' ? { pin: '2026-07-28' } : ('legacy' as const);
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  const options = { requestInit: { headers } };
  const transport =
    kind === 'sse'
      ? new SSEClientTransport(new URL(server.sseUrl), options)
      : new StreamableHTTPClientTransport(new URL(server.mcpUrl), options);
  await client.connect(transport);
  onTestFinished(() => client.close());
  return { client, transport };
}

async function signedIn(scope = 'items:read items:write profile') {
  const server = await startServer({ mode: 'oauth-dcr', unsafeAutoApprove: true });
  const app = await register(server);
  const tokens = await connect(app, { parameters: { scope } });
  return { server, app, headers: { authorization: `Bearer ${tokens.access_token}` }, token: tokens.access_token };
}

const post = (server: TestServer, body: unknown, headers: Record<string, string> = {}) =>
  fetch(server.mcpUrl, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
  });

describe.each(kinds)('the MCP endpoint for %s clients', (kind) => {
  it('lists its tools and tells whose credential a call carried', async () => {
    const { server, app, headers, token } = await signedIn();
    const { client } = await open(server, kind, headers);
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    expect(names).toEqual(['whoami', 'list_items', 'create_item', 'echo', 'slow', 'fail', 'need_scope']);
    const who = await client.callTool({ name: 'whoami', arguments: {} });
    expect(who.structuredContent).toMatchObject({
      subject: 'alice',
      clientId: app.client.client_id,
      scopes: ['items:read', 'items:write', 'profile'],
      tokenGeneration: 1,
      credentialHeader: 'Authorization',
    });
    expect(JSON.stringify(who)).not.toContain(token);
    expect(server.ledger.of('mcp_call').at(-1)).toMatchObject({
      transport: kind === 'sse' ? 'sse' : 'http',
      era: kind === 'modern' ? 'modern' : 'legacy',
      method: 'tools/call',
      name: 'whoami',
      subject: 'alice',
    });
  });

  it('creates and lists items that the REST API sees', async () => {
    const server = await startServer({ mode: 'none' });
    const { client } = await open(server, kind);
    await client.callTool({ name: 'create_item', arguments: { title: 'Mend the fence' } });
    const list = await client.callTool({ name: 'list_items', arguments: { q: 'fence' } });
    expect(list.structuredContent).toMatchObject({ total: 1, items: [{ title: 'Mend the fence' }] });
    expect(await (await fetch(`${server.url}/api/items?q=fence`)).json()).toMatchObject({ total: 1 });
  });

  it('reports progress, echoes, and fails as a tool', async () => {
    const server = await startServer({ mode: 'none' });
    const { client } = await open(server, kind);
    const progress: number[] = [];
    const onprogress = ({ progress: step }: { progress: number }) => void progress.push(step);
    await client.callTool({ name: 'slow', arguments: { ms: 20, steps: 4 } }, { onprogress });
    expect(progress).toEqual([1, 2, 3, 4]);
    const text = '<&> \u2028 ünï "';
    expect(await client.callTool({ name: 'echo', arguments: { text } })).toMatchObject({ content: [{ text }] });
    expect(await client.callTool({ name: 'fail', arguments: {} })).toMatchObject({ isError: true });
    for (const wrong of [
      { name: 'echo', arguments: { text: 1 } },
      { name: 'nothing', arguments: {} },
      { name: 'create_item', arguments: {} },
    ]) {
      expect(await client.callTool(wrong)).toMatchObject({ isError: true });
    }
  });

  it('refuses a tool with 403 and the scope that is missing', async () => {
    const { server, headers } = await signedIn('items:read profile');
    const { client } = await open(server, kind, headers);
    for (const name of ['need_scope', 'create_item']) {
      await expect(client.callTool({ name, arguments: { title: 'x' } })).rejects.toThrow();
      expect(server.ledger.of('mcp_call').at(-1)).toMatchObject({
        method: 'tools/call',
        name,
        status: 403,
        subject: 'alice',
      });
    }
    expect(await client.callTool({ name: 'list_items', arguments: {} })).not.toHaveProperty('isError', true);
  });

  it('cannot be opened without a credential', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    await expect(open(server, kind)).rejects.toThrow();
    const response = await fetch(server.url + PATHS[kind]);
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toContain(`/.well-known/oauth-protected-resource${PATHS[kind]}"`);
  });

  it('tells clients that its tools changed', async () => {
    const server = await startServer({ mode: 'none' });
    const { client } = await open(server, kind);
    let changes = 0;
    client.setNotificationHandler('notifications/tools/list_changed', () => {
      changes += 1;
    });
    if (kind === 'modern') await client.listen({ toolsListChanged: true });
    const streams = () =>
      server.ledger.of('mcp_call').filter((event) => ['GET', 'subscriptions/listen'].includes(event.method));
    await expect.poll(() => streams().length).toBe(1);
    await server.control.notifyToolsChanged();
    await expect.poll(() => changes).toBe(1);
  });
});

describe('MCP sessions of the legacy era', () => {
  const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
  };
  const list = { jsonrpc: '2.0', id: 2, method: 'tools/list', params: {} };

  it('begin with initialize, belong to one person, and end with DELETE', async () => {
    const server = await startServer({ mode: 'bearer' });
    const as = (who: string) => ({ authorization: `Bearer ${server.credentials.tokens[who]}` });
    const opened = await post(server, initialize, as('alice'));
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id')!, 'mcp-protocol-version': '2025-06-18' };
    expect(await opened.text()).toContain('"protocolVersion":"2025-06-18"');
    expect((await post(server, list, { ...as('alice'), ...session })).status).toBe(200);
    expect((await post(server, list, { ...as('bob'), ...session })).status).toBe(404);
    expect((await post(server, list, as('alice'))).status).toBe(400);
    expect((await post(server, list, { ...as('alice'), 'mcp-session-id': 'nobody' })).status).toBe(404);
    expect((await fetch(server.mcpUrl, { method: 'DELETE', headers: { ...as('alice'), ...session } })).status).toBe(
      200,
    );
    expect((await post(server, list, { ...as('alice'), ...session })).status).toBe(404);
    expect(server.mcpSessions()).toBe(0);
  });

  it('are gone after a restart', async () => {
    const server = await startServer({ mode: 'none' });
    const { client } = await open(server, 'legacy');
    await server.control.endMcpSessions();
    await expect(client.listTools()).rejects.toThrow();
  });

  it('follow the token: the same session, the next generation', async () => {
    const { server, app } = await signedIn();
    const { client_id: clientId } = app.client;
    const grant = await server.control.issueGrant({ subject: 'bob', clientId });
    const headers = { authorization: `Bearer ${grant.access_token}` };
    const { client } = await open(server, 'legacy', headers);
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      client_id: clientId,
      refresh_token: grant.refresh_token!,
    });
    const next = (await (await fetch(`${server.url}/auth/token`, { method: 'POST', body: form })).json()) as {
      access_token: string;
    };
    headers.authorization = `Bearer ${next.access_token}`;
    expect((await client.callTool({ name: 'whoami', arguments: {} })).structuredContent).toMatchObject({
      tokenGeneration: 2,
    });
    expect(server.mcpSessions()).toBe(1);
  });
});

describe('sessions of the SSE transport', () => {
  it('belong to one person and end with the stream', async () => {
    const server = await startServer({ mode: 'bearer' });
    const as = (who: string) => ({ authorization: `Bearer ${server.credentials.tokens[who]}` });
    const stop = new AbortController();
    const stream = await fetch(server.sseUrl, { headers: as('alice'), signal: stop.signal });
    const chunk = new TextDecoder().decode((await stream.body!.getReader().read()).value);
    const path = /^event: endpoint\ndata: (\S+)\n\n$/.exec(chunk)![1]!;
    const send = async (who: string, body = '{"jsonrpc":"2.0","id":1,"method":"ping"}') =>
      (await fetch(server.url + path, { method: 'POST', body, headers: as(who) })).status;
    expect(await send('bob')).toBe(404);
    expect(await send('alice', '{"jsonrpc":"1.0"}')).toBe(400);
    expect(await send('alice')).toBe(202);
    stop.abort();
    await expect.poll(() => send('alice')).toBe(404);
  });
});

describe('bad input at the MCP endpoint', () => {
  const modern = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
    'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  };
  const call = {
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'echo', arguments: { text: 'x' }, _meta: modern },
  };
  const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'echo' };

  it.each([
    { what: 'no JSON', body: '{', status: 400, code: -32700 },
    {
      what: 'a name that differs from its header',
      body: call,
      headers: { ...headers, 'mcp-name': 'fail' },
      status: 400,
      code: -32020,
    },
    {
      what: 'a method that differs from its header',
      body: call,
      headers: { ...headers, 'mcp-method': 'tools/list' },
      status: 400,
      code: -32020,
    },
    {
      what: 'a version nobody knows',
      body: {
        ...call,
        params: { ...call.params, _meta: { ...modern, 'io.modelcontextprotocol/protocolVersion': '2031-01-01' } },
      },
      headers: { ...headers, 'mcp-protocol-version': '2031-01-01' },
      status: 400,
      code: -32022,
    },
    {
      what: 'an unknown method',
      body: { ...call, method: 'ping' },
      headers: { ...headers, 'mcp-method': 'ping', 'mcp-name': '' },
      status: 404,
      code: -32601,
    },
    {
      what: 'a request outside a session',
      body: { jsonrpc: '2.0', id: 1, method: 'tools/list' },
      status: 400,
      code: -32000,
    },
  ])('answers $status to $what', async ({ body, headers, status, code }) => {
    const server = await startServer({ mode: 'none' });
    const response = await post(server, body, headers ?? {});
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { code } });
    expect(
      (
        await post(server, call, {
          'mcp-protocol-version': '2026-07-28',
          'mcp-method': 'tools/call',
          'mcp-name': 'echo',
        })
      ).status,
    ).toBe(200);
  });

  it('answers 413 to a body over its limit', async () => {
    const server = await startServer({ mode: 'none' });
    expect((await post(server, `"${'x'.repeat(4 * 1024 * 1024)}"`)).status).toBe(413);
  });

  it.each([
    { path: '/messages', body: '{}', status: 404 },
    { path: '/messages?sessionId=x', body: '{}', status: 404 },
    { path: '/messages', body: '{', status: 400 },
  ])('answers $status to $body at $path', async ({ path, body, status }) => {
    const server = await startServer({ mode: 'none' });
    expect((await fetch(server.url + path, { method: 'POST', body })).status).toBe(status);
  });
});

describe('a running tool', () => {
  it.each(kinds)('is cancelled when the %s client gives up, and the ledger says so', async (kind) => {
    const server = await startServer({ mode: 'none' });
    const { client } = await open(server, kind);
    const stop = new AbortController();
    const call = client.callTool(
      { name: 'slow', arguments: { ms: 120_000, steps: 2 } },
      { signal: stop.signal, onprogress: () => stop.abort() },
    );
    await expect(call).rejects.toThrow();
    await expect.poll(() => server.ledger.of('mcp_cancelled')).toMatchObject([{ name: 'slow', subject: 'anonymous' }]);
  });

  it('does not hold up the closing of the server', async () => {
    const server = await createTestServer({ mode: 'none', port: 0 });
    const { client } = await open(server, 'modern');
    const started = new Promise<void>((resolve) => {
      client
        .callTool({ name: 'slow', arguments: { ms: 120_000, steps: 2 } }, { onprogress: () => resolve() })
        .catch(() => undefined);
    });
    await started;
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow(/fetch failed/);
  });
});
