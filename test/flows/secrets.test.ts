import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallToolResult } from '@modelcontextprotocol/client';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { createTestServer } from '../../src/test-server/test-server.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { openProfile } from '../browser/profile.ts';
import { walk } from '../browser/walk.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';

/** What the practice service hands out: access tokens, refresh tokens, codes, personal tokens and keys. */
const serviceSecrets = /\b(?:pat|prt|pcode|pst|pak)_[\w-]{20,}/g;

async function filesUnder(folder: string): Promise<{ name: string; bytes: Buffer }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => ({ name: entry.name, bytes: await readFile(join(entry.parentPath, entry.name)) })),
  );
}

/** As it is, and as it would look in a URL, in base64 and in hex. */
function disguises(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [secret, encodeURIComponent(secret), bytes.toString('base64url'), bytes.toString('hex')];
}

/** What a caller learns from a call, whichever way it ends. */
async function tried(call: Promise<Pick<CallToolResult, 'content'>>): Promise<string> {
  return call.then((result) => textOf(result), String);
}

describe.skipIf(!browserHere)('a secret', () => {
  const canary = (name: string) => `canary-${name}-4b7d1f9a2c60`;
  const planted = new Map<string, string>();
  const plant = (name: string, value = canary(name)) => {
    planted.set(name, value);
    return value;
  };
  /** Everything that a browser or a client was shown, by us. */
  const shown: string[] = [];
  const clock = movableClock();
  let service: TestServer;
  let gateway: TestGateway;
  let browser: Browser;

  beforeAll(async () => {
    service = await createTestServer({
      mode: 'oauth-dcr',
      port: 0,
      clock,
      users: [{ username: 'alice', password: plant('service password') }],
    });
    gateway = await startGateway({
      clock,
      logLevel: 'trace',
      adminToken: plant('admin token', canary('admin-token-long')),
    });
    browser = await launchBrowser();
    await everyFlow();
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    await service?.close();
  });

  async function everyFlow(): Promise<void> {
    const url = service.mcpUrl;
    await gateway.apply({ name: 'practice', kind: 'mcp', url, auth: { type: 'oauth2' } });
    const documents = [
      { name: 'bearer', auth: { type: 'bearer', token: plant('bearer') } },
      { name: 'key', auth: { type: 'api-key', header: 'x-api-key', value: plant('api key') } },
      { name: 'basic', auth: { type: 'basic', username: 'someone', password: plant('basic password') } },
      { name: 'headers', auth: { type: 'headers', headers: { 'x-service-key': plant('header') } } },
      {
        name: 'static',
        auth: { type: 'oauth2', registration: 'static', clientId: 'x', clientSecret: plant('client secret') },
      },
    ];
    for (const document of documents) await gateway.apply({ kind: 'mcp', url, ...document });

    const account = { username: 'alice', password: planted.get('service password')! };
    const person = await gateway.invite('Alice', account, plant('person password'));
    const profile = await openProfile(browser, person);
    const spy: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      const type = response.headers.get('content-type') ?? '';
      const path = new URL(input instanceof Request ? input.url : input).pathname;
      if (path.startsWith('/mcp/') && !type.startsWith('text/event-stream')) shown.push(await response.clone().text());
      return response;
    };
    const session = await connectSdkClient({
      url: gateway.mcpUrl('practice'),
      era: 'legacy',
      authorize: async (target) => {
        const pages = await profile.authorize(target);
        shown.push(...pages.map((page) => page.text));
      },
      fetch: spy,
    });
    plant('our access token', session.tokens().access_token);
    plant('our refresh token', session.tokens().refresh_token ?? '');
    const whoami = () => tried(session.client.callTool({ name: 'whoami', arguments: {} }));
    shown.push(await whoami());
    await service.control.expireAccessTokens();
    shown.push(await whoami());
    shown.push(textOf(await session.client.callTool({ name: 'fail', arguments: {} })));

    // Connectors with secrets of the operator: the service refuses each of them.
    for (const { name } of documents) {
      const refused = await connectSdkClient({
        url: gateway.mcpUrl(name),
        era: 'modern',
        authorize: (target) => profile.authorize(target),
        fetch: spy,
      }).then(
        async (other) => {
          const result = await tried(other.client.callTool({ name: 'whoami', arguments: {} }));
          await other.close();
          return result;
        },
        (error: unknown) => String(error),
      );
      shown.push(refused);
    }

    // What goes wrong is what gets logged: the service fails, and repeats to us what we sent.
    const echo = { error: 'server_error', error_description: plant('echo of the service') };
    for (const answer of ['drop', 500, 403] as const) {
      await service.control.failCalls({ on: 'mcp', answer, times: 3 });
      shown.push(await whoami());
      await service.control.clearFaults();
    }
    const answers = [
      { status: 500, body: echo },
      'drop',
      'html',
      { status: 400, body: { ...echo, error: 'invalid_request' } },
    ] as const;
    for (const answer of answers) {
      // Past every back-off, so that each fault meets a refresh.
      clock.move(3_600_000);
      shown.push(await whoami());
      await service.control.expireAccessTokens();
      await service.control.failTokenCalls({ grantType: 'refresh_token', answer });
      clock.move(120_000);
      shown.push(await whoami());
      await service.control.clearFaults();
    }
    const late = await openProfile(browser, await gateway.invite('Late', account));
    await service.control.failTokenCalls({ grantType: 'authorization_code', answer: 'drop' });
    const first = `${gateway.publicUrl}/connect/default/practice`;
    await late.visit(first, { until: (view) => view.url.includes('/callback/') }).then(
      (pages) => shown.push(...pages.map((page) => page.text)),
      (error: unknown) => shown.push(String(error)),
    );
    await late.close();
    await service.control.clearFaults();

    // Things said in the wrong place.
    const stray = plant('stray token');
    const wrong = [
      fetch(gateway.mcpUrl('practice'), { method: 'POST', headers: { authorization: `Bearer ${stray}` }, body: '{}' }),
      fetch(`${gateway.mcpUrl('practice')}?access_token=${stray}`, { method: 'POST', body: stray }),
      fetch(`${gateway.publicUrl}/oauth/token`, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: stray, client_id: 'x' }),
      }),
      fetch(`${gateway.publicUrl}/api/v1/tenants/default/connectors`, {
        headers: { authorization: `Bearer ${stray}` },
      }),
      fetch(`${gateway.publicUrl}/connect/callback/none?code=${stray}&state=${stray}`),
    ];
    for (const response of await Promise.all(wrong)) shown.push(await response.text());

    const visitor = createPlainBrowser();
    await visitor.open(`${gateway.publicUrl}/connect/default/practice`);
    const failed = plant('wrong password');
    await walk(visitor, { email: person.email, password: failed }, { until: () => false }).catch(() => undefined);
    shown.push(visitor.html());

    shown.push(JSON.stringify(await gateway.api('GET', '/tenants/default/connectors')));
    await session.close();
    await profile.close();
  }

  it('was planted, used, and arrived where it belongs', () => {
    expect(planted.size).toBeGreaterThanOrEqual(10);
    expect([...planted.values()].every((value) => value.length >= 16)).toBe(true);
    // Were one shown, it would be noticed.
    expect(leaksIn(Buffer.from([...planted.values()].join('\n')))).toEqual([...planted.keys()]);
    const subjects = service.ledger.of('mcp_call').map((call) => call.subject);
    expect(subjects).toContain('alice');
    expect(service.ledger.refreshes().length).toBeGreaterThan(0);
    expect(shown.length).toBeGreaterThan(15);
    expect(gateway.logs().trim().split('\n').length).toBeGreaterThanOrEqual(6);
  });

  /** The names of the planted secrets that stand in `bytes`, and whatever else of the service's does. */
  function leaksIn(bytes: Buffer): string[] {
    const names = [...planted].filter(([, value]) => disguises(value).some((disguise) => bytes.includes(disguise)));
    return [...names.map(([name]) => name), ...(bytes.toString('latin1').match(serviceSecrets) ?? [])];
  }

  it('never stands in a log, at the most talkative level', () => {
    expect(leaksIn(Buffer.from(gateway.logs()))).toEqual([]);
  });

  it('never lies open in the data folder', async () => {
    const files = await filesUnder(gateway.dataDir);
    expect(files.some((file) => file.bytes.length > 4096)).toBe(true);
    for (const { name, bytes } of files) expect({ name, leaks: leaksIn(bytes) }).toEqual({ name, leaks: [] });
  });

  it('is on no page and in no answer of ours', () => {
    expect(shown.flatMap((text) => leaksIn(Buffer.from(text)))).toEqual([]);
  });
});
