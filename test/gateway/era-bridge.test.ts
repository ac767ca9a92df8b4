import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { startConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { legacy, modern, openModern, post } from './client.ts';
import { openHouse, type House } from './house.ts';
import { sessionful } from './legacy-upstream.ts';
import { json, startUpstream, type Answering, type Upstream } from './practice-upstream.ts';
import { oauth, openWallet, type Wallet } from './wallet.ts';

let house: House;
let wallet: Wallet;
const upstreams: Upstream[] = [];
const closing: (() => Promise<unknown>)[] = [];
let count = 0;

beforeAll(async () => {
  wallet = openWallet();
  house = await openHouse(wallet);
});
afterEach(async () => {
  for (const upstream of upstreams.splice(0)) await upstream.close();
});
afterAll(async () => {
  await house.close();
  for (const close of closing) await close();
});

async function serve(
  answer: Answering,
  more: Record<string, unknown> = {},
): Promise<{ up: Upstream; url: string; name: string }> {
  const up = await startUpstream(answer);
  upstreams.push(up);
  const name = `bridge-${++count}`;
  return { up, name, url: await house.put({ name, url: up.url, transport: 'streamable-http', ...more }) };
}

const methodsOf = (up: Upstream): string[] =>
  up.seen.map(({ method, body }) => (body === '' ? method : String((JSON.parse(body) as { method?: string }).method)));

describe('a 2026 client at a service of 2025', () => {
  it('is served through a session that its calls share', async () => {
    const { up, url } = await serve(sessionful({ accepts: () => true }));
    const first = await modern(url, 'tools/list');
    expect(first.json().result).toMatchObject({
      tools: [{ name: 'tool-of-' }],
      resultType: 'complete',
      ttlMs: 0,
      cacheScope: 'private',
    });
    await modern(url, 'tools/call', { name: 'tool-of-' });
    const began = methodsOf(up).filter((method) => method === 'initialize');
    expect(began).toHaveLength(1);
    // Nothing of the other era crosses.
    expect(up.seen.at(-1)?.body).not.toContain('io.modelcontextprotocol');
    expect(up.seen.at(-1)?.headers).not.toHaveProperty('mcp-method');
  });

  it('gets a new session when the service has lost the one it had', async () => {
    const sessions = new Map<string, string>();
    const { url, up } = await serve(sessionful({ accepts: () => true, sessions }));
    await modern(url, 'tools/list');
    sessions.clear();
    const again = await modern(url, 'tools/list');
    expect(again.json().result['tools']).toHaveLength(1);
    expect(methodsOf(up).filter((method) => method === 'initialize')).toHaveLength(2);
  });

  it('shares no session with another person, even where all share a credential', async () => {
    const { up, url, name } = await serve(sessionful({ accepts: () => true }), { access: { mode: 'oauth' } });
    const alice = house.issue(name);
    const bob = house.issue(name, { user: 'usr_bob' as never });
    for (const token of [alice, bob, alice]) await modern(url, 'tools/list', {}, { token });
    const used = up.seen
      .filter(({ body }) => body.includes('tools/list'))
      .map(({ headers }) => headers['mcp-session-id']);
    expect(new Set(used.filter((id) => id !== undefined)).size).toBe(2);
  });

  it.each([401, 403, 500, 503])('takes no %i for the word of another era', async (status) => {
    const { up, url } = await serve((_seen, response) => void response.writeHead(status).end());
    await modern(url, 'tools/list');
    await modern(url, 'server/discover');
    expect(methodsOf(up)).not.toContain('initialize');
  });

  it('is asked to connect first, and then served', async () => {
    const { url, name } = await serve(
      sessionful({ accepts: (authorization) => authorization === 'Bearer alice-secret-token' }),
      { access: { mode: 'oauth' }, auth: oauth },
    );
    const token = house.issue(name);
    const unconnected = await modern(url, 'tools/call', { name: 'anything' }, { token });
    expect(unconnected.json().result).toMatchObject({ isError: true });
    expect(unconnected.text).toContain('/connect/');
    wallet.give('usr_alice', 'alice-secret-token');
    const connected = await modern(url, 'tools/list', {}, { token });
    expect(connected.text).toContain('tool-of-Bearer ');
    expect(connected.text).not.toContain('alice-secret-token');
    wallet.take('usr_alice');
  });

  it('cancels by closing the response, and the service is told in its own way', async () => {
    const base = sessionful({ accepts: () => true });
    const { up, url } = await serve((seen, response, request) => {
      if (!seen.body.includes('"tools/call"') || seen.headers['mcp-session-id'] === undefined) {
        return base(seen, response, request);
      }
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    });
    await modern(url, 'tools/list');
    const gone = new AbortController();
    const call = openModern(url, 'tools/call', { name: 'slow' }, { signal: gone.signal });
    await vi.waitFor(() => expect(methodsOf(up)).toContain('tools/call'));
    gone.abort();
    await expect(call).rejects.toThrow();
    await vi.waitFor(() => expect(methodsOf(up)).toContain('notifications/cancelled'));
  });

  it('may answer a question once, at the process that was asked, and nobody else may', async () => {
    const upstream = await startConformanceUpstream({ only: 'legacy' });
    closing.push(() => upstream.close());
    const name = `bridge-${++count}`;
    const url = await house.put({ name, url: upstream.url, access: { mode: 'oauth' } });
    const token = house.issue(name);
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': { elicitation: {} },
    };
    const tool = 'test_input_required_result_elicitation';
    const call = async (more: Record<string, unknown>, as: string) =>
      await post(
        url,
        JSON.stringify({
          jsonrpc: '2.0',
          id: 7,
          method: 'tools/call',
          params: { name: tool, arguments: {}, _meta, ...more },
        }),
        { token: as, headers: { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': tool } },
      );
    const asked = (await call({}, token)).json().result;
    expect(asked['resultType']).toBe('input_required');
    const key = Object.keys(asked['inputRequests'] as object)[0] as string;
    const answer = {
      inputResponses: { [key]: { action: 'accept', content: { name: 'Alice' } } },
      requestState: asked['requestState'],
    };
    const other = house.issue(name, { user: 'usr_bob' as never });
    expect((await call(answer, other)).json().error).toMatchObject({ code: -32602 });
    expect((await call({ ...answer, arguments: { other: 1 } }, token)).json().error).toMatchObject({ code: -32602 });
    expect((await call(answer, token)).text).toContain('Hello, Alice!');
    expect((await call(answer, token)).json().error).toMatchObject({ code: -32602 });
  });

  it('is asked about again when an hour has passed', async () => {
    const { up, url } = await serve(sessionful({ accepts: () => true }));
    await modern(url, 'tools/list');
    const before = methodsOf(up).filter((method) => method === 'server/discover').length;
    await modern(url, 'tools/list');
    expect(methodsOf(up).filter((method) => method === 'server/discover')).toHaveLength(before);
    house.clock.move(61 * 60_000);
    await modern(url, 'tools/list');
    await vi.waitFor(() =>
      expect(methodsOf(up).filter((method) => method === 'server/discover')).toHaveLength(before + 1),
    );
  });
});

describe('a client at a service of its own era', () => {
  it('is the only one that the service hears', async () => {
    const { up, url } = await serve((seen, response) => {
      const { id } = JSON.parse(seen.body) as { id: number };
      json(response, { jsonrpc: '2.0', id, result: { resultType: 'complete', content: [] } });
    });
    await modern(url, 'tools/call', { name: 'one' });
    await modern(url, 'tools/call', { name: 'two' });
    await legacy(url, 'tools/call', { name: 'three' });
    expect(methodsOf(up)).toEqual(['tools/call', 'tools/call', 'tools/call']);
  });

  it('hears its refusal as it was when the service knows neither era', async () => {
    const error = { code: -32600, message: 'not today' };
    const { up, url } = await serve((_seen, response) => json(response, { jsonrpc: '2.0', id: 1, error }, 400));
    expect((await modern(url, 'tools/list')).json().error).toEqual(error);
    const asked = up.seen.length;
    expect((await modern(url, 'tools/list')).json().error).toEqual(error);
    // And the service is not examined each time.
    expect(up.seen).toHaveLength(asked + 1);
  });
});

describe('a 2025 client at a service of 2026', () => {
  let url = '';
  const initialize = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
  beforeAll(async () => {
    const upstream = await startConformanceUpstream({ only: 'modern' });
    closing.push(() => upstream.close());
    url = await house.put({ name: 'bridge-modern', url: upstream.url });
  });
  async function begin(): Promise<Record<string, string>> {
    const begun = await legacy(url, 'initialize', initialize);
    expect(begun.json().result).toMatchObject({ protocolVersion: '2025-06-18' });
    return { 'mcp-session-id': String(begun.headers.get('mcp-session-id')), 'mcp-protocol-version': '2025-06-18' };
  }

  it('has a session that every process knows', async () => {
    const headers = await begin();
    const replica = url.replace(house.publicUrl, await house.replica());
    const list = await legacy(replica, 'tools/list', {}, { headers });
    expect(list.status).toBe(200);
    expect(list.text).toContain('test_simple_text');
    expect(list.text).not.toContain('resultType');
    expect((await legacy(replica, 'ping', {}, { headers })).json().result).toEqual({});
  });

  it('calls tools that want arguments in headers as well', async () => {
    const headers = await begin();
    const params = { name: 'test_x_mcp_header', arguments: { region: 'eu-wést' } };
    const called = await legacy(url, 'tools/call', params, { headers });
    expect(called.text).toContain('eu-wést');
  });

  it('is told in the result that it cannot be asked, when it cannot', async () => {
    const headers = await begin();
    const params = { name: 'test_elicitation', arguments: { message: 'Who?' } };
    expect((await legacy(url, 'tools/call', params, { headers })).text).toContain('"isError":true');
  });

  it('keeps its session when a method does not exist', async () => {
    const headers = await begin();
    const unknown = await legacy(url, 'no/such', {}, { headers });
    expect(unknown.status).toBe(200);
    expect(unknown.json().error).toMatchObject({ code: -32601 });
  });
});

it('leaves one line for each call in the log, without its arguments', async () => {
  const { url } = await serve(sessionful({ accepts: () => true }));
  await modern(url, 'tools/call', { name: 'logged-tool', arguments: { secret: 'argument-of-a-call' } });
  const line = house
    .logs()
    .split('\n')
    .find((text) => text.includes('logged-tool'));
  expect(JSON.parse(line ?? '{}')).toMatchObject({
    level: 'debug',
    method: 'tools/call',
    name: 'logged-tool',
    status: 'ok',
  });
  expect(house.logs()).not.toContain('argument-of-a-call');
});
