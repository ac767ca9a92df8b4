import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { plainProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { walk } from '../browser/walk.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import type { SdkClient } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';

let gateway: TestGateway;
let alice: Profile;

beforeAll(async () => {
  gateway = await startGateway();
  alice = plainProfile(await gateway.invite('Alice'));
});
afterAll(async () => gateway?.close());

async function service(mode: 'bearer' | 'apikey', name: string, auth: Record<string, unknown>): Promise<TestServer> {
  const server = await createTestServer({ mode, port: 0 });
  onTestFinished(async () => server.close());
  await gateway.apply({ name, title: name, kind: 'mcp', url: server.mcpUrl, auth: { owner: 'user', ...auth } });
  return server;
}

/** A client whose person says "not now" when the sign-in leads to the connect page. */
async function client(name: string): Promise<SdkClient> {
  const session = await connectSdkClient({
    url: gateway.mcpUrl(name),
    era: 'modern',
    authorize: async (url) => {
      const callback = new URL(url).searchParams.get('redirect_uri') ?? '';
      const browser = createPlainBrowser();
      await browser.open(url);
      await walk(browser, alice.person, {
        until: (view) => view.url.startsWith(callback) || view.title.startsWith('Connect '),
      });
      const view = await browser.view();
      if (view.url.startsWith(callback)) return;
      const returnTo = /href="([^"]+)">\s*Not now/.exec(browser.html())?.[1]?.replaceAll('&amp;', '&') ?? '';
      await browser.open(new URL(returnTo, view.url).href);
      await walk(browser, alice.person, { until: (after) => after.url.startsWith(callback) });
    },
  });
  onTestFinished(async () => session.close());
  return session;
}

async function call({ client: sdk }: SdkClient): Promise<{ isError: boolean; text: string }> {
  const result = await sdk.callTool({ name: 'whoami', arguments: {} });
  return { isError: result.isError === true, text: textOf(result) };
}

/** Opens the link as Alice and enters values; returns what the page says then. */
async function enter(link: string, values: Record<string, string>): Promise<string> {
  const browser = createPlainBrowser();
  await browser.open(link);
  await walk(browser, alice.person, { until: (view) => /^(Error: )?(Re)?[cC]onnect /.test(view.title) });
  const [form] = (await browser.view()).forms;
  await browser.submit(form!, values, 'Connect');
  return (await browser.view()).text;
}

const connectPage = (name: string): string => `${gateway.publicUrl}/connect/default/${name}`;

describe('a credential that each person enters', () => {
  it('is asked for by the link of a call, tried, kept, used for that person, and never shown again', async () => {
    const labels = { token: 'Personal token of the practice service' };
    const server = await service('bearer', 'tokens', { type: 'bearer', labels, guide: 'Settings → Tokens' });
    const token = server.credentials.tokens['alice']!;
    const session = await client('tokens');
    const refused = await call(session);
    expect(refused.isError).toBe(true);
    const link = /http:\S+/.exec(refused.text)![0];
    expect(link).toContain('/connect/default/tokens?ticket=');
    expect(await enter(link, { token })).toContain('tokens is connected');
    expect(JSON.parse((await call(session)).text)).toMatchObject({ subject: 'alice' });

    const browser = createPlainBrowser();
    await browser.open(connectPage('tokens'));
    await walk(browser, alice.person, { until: (view) => view.title.startsWith('Reconnect tokens') });
    expect((await browser.view()).text).toContain('Settings → Tokens');
    expect((await browser.view()).text).toContain(labels.token);
    const connections = `${gateway.publicUrl}/connections`;
    await browser.open(connections);
    expect((await browser.view()).text).toMatch(/tokens Status Connected/);
    const shown = JSON.stringify(await gateway.api('GET', '/tenants/default/connectors/tokens/connections'));
    for (const text of [browser.html(), shown, gateway.logs(), ...filesOf(gateway.dataDir)]) {
      expect(text).not.toContain(token);
    }
  });

  it('is not taken when the service refuses it, nor when it cannot stand in a header', async () => {
    const server = await service('apikey', 'keys', { type: 'api-key', header: 'X-API-Key' });
    expect(await enter(connectPage('keys'), { value: 'wrong' })).toContain(
      'The service does not accept what was entered',
    );
    expect(await enter(connectPage('keys'), { value: 'sch\u00f6n' })).toContain('API key: that cannot be it');
    const none = (await gateway.api('GET', '/tenants/default/connectors/keys/connections')) as { items: unknown[] };
    expect(none.items).toEqual([]);
    expect(await enter(connectPage('keys'), { value: server.credentials.apiKeys['alice']! })).toContain('is connected');
    expect(JSON.parse((await call(await client('keys'))).text)).toMatchObject({ subject: 'alice' });
  });

  it('is asked for again when the service refuses it later', async () => {
    const server = await service('apikey', 'ended', { type: 'api-key', header: 'X-API-Key' });
    await enter(connectPage('ended'), { value: server.credentials.apiKeys['alice']! });
    const session = await client('ended');
    await call(session);
    await server.control.failCalls({ on: 'mcp', answer: 401, times: 1 });
    const refused = await call(session);
    expect(refused.isError).toBe(true);
    const link = /http:\S+/.exec(refused.text)![0];
    expect(await enter(link, { value: server.credentials.apiKeys['alice']! })).toContain('is connected');
    expect(JSON.parse((await call(session)).text)).toMatchObject({ subject: 'alice' });
  });

  it('is not sent to an address that it was not entered for', async () => {
    const server = await service('bearer', 'moved', { type: 'bearer' });
    await enter(connectPage('moved'), { token: server.credentials.tokens['alice']! });
    const session = await client('moved');
    expect((await call(session)).isError).toBe(false);
    const seen: (string | undefined)[] = [];
    const elsewhere = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401).end();
    }).listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    onTestFinished(() => void elsewhere.close());
    const url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/mcp`;
    await gateway.api('PATCH', '/tenants/default/connectors/moved', { url });
    expect((await call(session)).isError).toBe(true);
    expect(seen.filter((header) => header !== undefined)).toEqual([]);
  });

  it('cannot be given by the document, and needs people who sign in', async () => {
    const url = 'http://127.0.0.1:9/mcp';
    const put = async (more: Record<string, unknown>) =>
      await gateway.api('PUT', '/tenants/default/connectors/odd', { name: 'odd', kind: 'mcp', url, ...more });
    await expect(put({ auth: { type: 'bearer', owner: 'user', token: 'x' } })).rejects.toThrow('auth.token');
    await expect(put({ auth: { type: 'bearer', owner: 'user' }, access: { mode: 'public' } })).rejects.toThrow(
      'public',
    );
  });
});

/** What lies on disk, as text. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'));
}
