import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UserId } from '../../src/ids.ts';
import { legacy, modern, openModern, post, send } from './client.ts';
import { openHouse, type House } from './house.ts';
import { sessionful } from './legacy-upstream.ts';
import { echo, json, startUpstream, type Upstream } from './practice-upstream.ts';
import { oauth, openWallet, type Wallet } from './wallet.ts';

let house: House;
let upstream: Upstream;
let wallet: Wallet;
let sessions: Map<string, string>;
let url: string;
let token: string;

const HELLO = { protocolVersion: '2025-06-18', capabilities: { roots: {} }, clientInfo: { name: 'c', version: '9' } };

beforeEach(async () => {
  sessions = new Map();
  upstream = await startUpstream(sessionful({ accepts: (authorization) => authorization !== undefined, sessions }));
  wallet = openWallet();
  house = await openHouse(wallet);
  url = await house.put({ name: 'files', title: 'Files', url: upstream.url, access: { mode: 'oauth' }, auth: oauth });
  token = house.issue('files');
});
afterEach(async () => {
  await house.close();
  await upstream.close();
});

async function begin(): Promise<string> {
  const answer = await legacy(url, 'initialize', HELLO, { token });
  expect(answer.status).toBe(200);
  return answer.headers.get('mcp-session-id') ?? '';
}

const within = (id: string, bearer = token) => ({ token: bearer, headers: { 'mcp-session-id': id } });

describe('a session id', () => {
  beforeEach(() => wallet.give('usr_alice', 'alice'));

  it('carries the upstream’s own, sealed, and leads back to it', async () => {
    const id = await begin();
    const [own] = sessions.keys();
    expect(id).toMatch(/^[\x21-\x7e]+$/);
    expect(id).not.toContain(own);
    expect((await legacy(url, 'prompts/list', {}, within(id))).json()).toMatchObject({
      result: { owner: 'Bearer alice' },
    });
    expect(upstream.seen.at(-1)?.headers['mcp-session-id']).toBe(own);
  });

  it('is worth nothing to another user, client or connector, nor changed by a character', async () => {
    const id = await begin();
    wallet.give('usr_bob', 'alice');
    const other = await house.put({ name: 'other', url: upstream.url, access: { mode: 'oauth' }, auth: oauth });
    const strangers: [string, string, string][] = [
      [url, id, house.issue('files', { user: 'usr_bob' as UserId })],
      [url, id, house.issue('files', { client: 'client-2' })],
      [other, id, house.issue('other')],
      [url, `${id.slice(0, -2)}${id.endsWith('AA') ? 'BB' : 'AA'}`, token],
      [url, [...sessions.keys()][0] ?? '', token],
      [url, 'x'.repeat(10_000), token],
    ];
    const asked = upstream.seen.length;
    for (const [at, session, bearer] of strangers) {
      for (const answer of [
        await legacy(at, 'prompts/list', {}, within(session, bearer)),
        await send(at, 'GET', within(session, bearer)),
        await send(at, 'DELETE', within(session, bearer)),
      ]) {
        expect(answer.status).toBe(404);
      }
    }
    expect(upstream.seen.length).toBe(asked);
    expect((await legacy(url, 'prompts/list', {}, within(id))).status).toBe(200);
  });

  it('outlives the token of the client and a refresh of the credential', async () => {
    const id = await begin();
    wallet.give('usr_alice', 'alice', 2);
    expect((await legacy(url, 'prompts/list', {}, within(id, house.issue('files')))).status).toBe(200);
  });

  it('is good at every process of the gateway', async () => {
    const id = await begin();
    const elsewhere = url.replace(house.publicUrl, await house.replica());
    expect((await legacy(elsewhere, 'prompts/list', {}, within(id))).json()).toMatchObject({
      result: { owner: 'Bearer alice' },
    });
    expect((await send(elsewhere, 'DELETE', within(id))).status).toBe(200);
  });

  it('ends when the person connects another account', async () => {
    const id = await begin();
    const credential = wallet.give('usr_alice', 'alice', 2);
    Object.assign(credential, { key: 'cnx_other' });
    expect((await legacy(url, 'prompts/list', {}, within(id))).status).toBe(404);
  });

  it('ends where the upstream ended it, so that the client begins anew', async () => {
    const id = await begin();
    sessions.clear();
    expect((await legacy(url, 'prompts/list', {}, within(id))).status).toBe(404);
    expect((await send(url, 'GET', within(id))).status).toBe(404);
  });

  it('is ended by DELETE at the upstream', async () => {
    const id = await begin();
    expect((await send(url, 'DELETE', within(id))).status).toBe(200);
    expect(sessions.size).toBe(0);
  });

  it('opens the stream of the upstream, and resumes it', async () => {
    const id = await begin();
    const answer = await send(url, 'GET', { ...within(id), headers: { 'mcp-session-id': id, 'last-event-id': 'end' } });
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    expect(answer.headers.get('x-accel-buffering')).toBe('no');
    expect(answer.text).toContain('notifications/message');
  });
});

describe('a client that comes before its user is connected', () => {
  it('is let in, shown a tool, and led to the connect page', async () => {
    const id = await begin();
    expect((await post(url, '{"jsonrpc":"2.0","method":"notifications/initialized"}', within(id))).status).toBe(202);
    expect((await legacy(url, 'ping', {}, within(id))).json()).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    expect((await legacy(url, 'tools/list', {}, within(id))).json().result['tools']).toMatchObject([
      { name: 'connect' },
    ]);
    const answer = await legacy(url, 'tools/call', { name: 'connect' }, within(id));
    expect(answer.json()).toMatchObject({ result: { isError: true, content: [{ type: 'text' }] } });
    expect(answer.text).toContain('https://gateway.example/connect/files?ticket=t1');
    const other = await legacy(url, 'prompts/list', {}, within(id));
    expect(other.json()).toMatchObject({
      error: { data: { code: 'connection_required', url: 'https://gateway.example/connect/files?ticket=t1' } },
    });
  });

  it('keeps its session when the user connects: one session is begun upstream for it', async () => {
    const id = await begin();
    wallet.give('usr_alice', 'alice');
    const answers = await Promise.all([1, 2, 3].map(() => legacy(url, 'tools/list', {}, within(id))));
    for (const answer of answers) expect(answer.json().result['tools']).toEqual([{ name: 'tool-of-Bearer alice' }]);
    const hellos = upstream.seen.filter(
      (seen) => seen.body.includes('"initialize"') && seen.headers['authorization'] !== undefined,
    );
    expect(hellos).toHaveLength(1);
    expect(JSON.parse(hellos[0]?.body ?? '')).toMatchObject({ params: HELLO });
    expect(upstream.seen.some((seen) => seen.body.includes('notifications/initialized'))).toBe(true);
  });

  it('keeps its session at a process that did not begin it', async () => {
    const id = await begin();
    wallet.give('usr_alice', 'alice');
    const elsewhere = url.replace(house.publicUrl, await house.replica());
    for (const at of [url, elsewhere]) {
      expect((await legacy(at, 'tools/list', {}, within(id))).json().result['tools']).toEqual([
        { name: 'tool-of-Bearer alice' },
      ]);
    }
  });

  it('hears on its stream that the tools are others now', async () => {
    const id = await begin();
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', 'mcp-session-id': id },
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    wallet.give('usr_bob', 'bob');
    wallet.give('usr_alice', 'alice');
    expect(await response.text()).toBe('\ndata: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n');
  });

  it('gets another session upstream when that one is lost', async () => {
    const id = await begin();
    wallet.give('usr_alice', 'alice');
    expect((await legacy(url, 'tools/list', {}, within(id))).status).toBe(200);
    sessions.clear();
    expect((await legacy(url, 'tools/list', {}, within(id))).status).toBe(200);
    expect(sessions.size).toBe(1);
  });

  it('sees what was listed for everyone, and never what another user saw', async () => {
    wallet.give('usr_bob', 'bob');
    const bob = house.issue('files', { user: 'usr_bob' as UserId });
    const begun = await legacy(url, 'initialize', HELLO, { token: bob });
    await legacy(url, 'tools/list', {}, within(begun.headers.get('mcp-session-id') ?? '', bob));
    const connector = house.connectors.find('default' as never, 'files');
    expect(await house.connectors.catalogue.tools(connector as never, 'usr_bob')).toBeDefined();
    const id = await begin();
    expect((await legacy(url, 'tools/list', {}, within(id))).json().result['tools']).toMatchObject([
      { name: 'connect' },
    ]);
    await house.connectors.catalogue.record(connector as never, 'anonymous', [{ name: 'known' }]);
    expect((await legacy(url, 'tools/list', {}, within(id))).json().result['tools']).toEqual([{ name: 'known' }]);
  });

  it('hears what the upstream says to anyone, where it says something', async () => {
    upstream.answer = sessionful({ accepts: () => true, sessions });
    const id = await begin();
    expect((await legacy(url, 'tools/list', {}, within(id))).json().result['tools']).toEqual([{ name: 'tool-of-' }]);
    const asked = upstream.seen.length;
    expect((await legacy(url, 'tools/call', { name: 'tool-of-' }, within(id))).text).toContain('ticket=t1');
    expect(upstream.seen.length).toBe(asked);
    wallet.give('usr_alice', 'alice');
    expect((await legacy(url, 'tools/list', {}, within(id))).json().result['tools']).toEqual([
      { name: 'tool-of-Bearer alice' },
    ]);
  });

  it('of 2026 gets the same in the shapes of 2026', async () => {
    const discovered = await modern(url, 'server/discover', {}, { token });
    expect(discovered.json()).toMatchObject({
      result: {
        resultType: 'complete',
        supportedVersions: ['2026-07-28'],
        capabilities: { tools: {} },
        ttlMs: 0,
        cacheScope: 'private',
      },
    });
    expect((await modern(url, 'tools/list', {}, { token })).json()).toMatchObject({
      result: { resultType: 'complete', tools: [{ name: 'connect' }], ttlMs: 0, cacheScope: 'private' },
    });
    expect((await modern(url, 'tools/call', { name: 'connect' }, { token })).json()).toMatchObject({
      result: { resultType: 'complete', isError: true },
    });
  });

  it('of 2026 that listens hears when its user has connected', async () => {
    const filter = { notifications: { toolsListChanged: true, promptsListChanged: true } };
    const listened = await openModern(url, 'subscriptions/listen', filter, { token });
    wallet.give('usr_alice', 'alice');
    const messages = (await listened.text()).split('\n').filter((line) => line.startsWith('data: '));
    const _meta = { 'io.modelcontextprotocol/subscriptionId': 1 };
    expect(messages.map((line) => JSON.parse(line.slice(6)) as unknown)).toEqual([
      {
        jsonrpc: '2.0',
        method: 'notifications/subscriptions/acknowledged',
        params: { notifications: { toolsListChanged: true }, _meta },
      },
      { jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta } },
      { jsonrpc: '2.0', id: 1, result: { resultType: 'complete', _meta } },
    ]);
    wallet.take('usr_alice');
    const indifferent = await modern(url, 'subscriptions/listen', { notifications: {} }, { token });
    expect(indifferent.text).toMatch(/acknowledged.*\n\n\ndata: .*"resultType":"complete"/);
  });

  it('is told when the service is down instead of being shown a tool', async () => {
    upstream.answer = (_, response) => response.writeHead(503).end();
    expect((await legacy(url, 'initialize', HELLO, { token })).status).toBe(502);
    await upstream.close();
    expect((await legacy(url, 'initialize', HELLO, { token })).status).toBe(502);
    upstream = await startUpstream(echo);
  });
});

describe('a connector whose own credential is missing', () => {
  it('says what its owner has to set', async () => {
    upstream.answer = (_, response) => json(response, {}, 401);
    const at = await house.put({ name: 'bare', title: 'Bare', url: upstream.url, auth: { type: 'bearer' } });
    expect((await legacy(at, 'initialize', HELLO)).status).toBe(200);
    expect((await legacy(at, 'tools/call', { name: 'a' })).text).toMatch(/Bare is not set up yet: .*auth\.token/);
    const none = await house.put({ name: 'none', title: 'None', url: upstream.url });
    expect((await legacy(none, 'tools/call', { name: 'a' })).text).toContain('None asks for authorization');
  });
});
