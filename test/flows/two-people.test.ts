import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shortHash } from '../../src/test-server/ledger.ts';
import { createTestServer } from '../../src/test-server/test-server.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { openProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import type { SdkClient } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';

async function whoami({ client }: SdkClient): Promise<string> {
  return textOf(await client.callTool({ name: 'whoami', arguments: {} }));
}

describe.skipIf(!browserHere)('two people through one connector', { timeout: 60_000 }, () => {
  let service: TestServer;
  let gateway: TestGateway;
  let browser: Browser;
  let alice: Profile;
  let bob: Profile;

  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    gateway = await startGateway();
    await gateway.apply({ name: 'practice', kind: 'mcp', url: service.mcpUrl, auth: { type: 'oauth2' } });
    browser = await launchBrowser();
    alice = await openProfile(browser, await gateway.invite('Alice', { username: 'alice', password: 'practice' }));
    bob = await openProfile(browser, await gateway.invite('Bob', { username: 'bob', password: 'practice' }));
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    await service?.close();
  });

  function connect(profile: Profile, era: 'legacy' | 'modern' = 'modern') {
    return connectSdkClient({
      url: gateway.mcpUrl('practice'),
      era,
      authorize: (url) => profile.authorize(url),
    });
  }

  it('each get their own token, however their calls interleave', async () => {
    const [one, two] = [await connect(alice, 'modern'), await connect(bob, 'legacy')];
    for (let round = 0; round < 3; round += 1) {
      const [first, second] = await Promise.all([whoami(one), whoami(two)]);
      expect(first).toContain('alice');
      expect(first).not.toContain('bob');
      expect(second).toContain('bob');
      expect(second).not.toContain('alice');
    }
    const calls = service.ledger.of('mcp_call').filter((call) => call.name === 'whoami');
    const tokensOf = (subject: string) => new Set(calls.filter((c) => c.subject === subject).map((c) => c.token));
    expect(tokensOf('alice').size).toBe(1);
    expect(tokensOf('bob').size).toBe(1);
    expect([...tokensOf('alice')]).not.toEqual([...tokensOf('bob')]);
    await Promise.all([one.close(), two.close()]);
  });

  it('never show the service the token of the gateway, nor the client the token of the service', async () => {
    const session = await connect(alice);
    await whoami(session);
    const ours = shortHash(session.tokens().access_token);
    const seen = service.ledger.of('mcp_call').map((call) => call.token);
    expect(seen.some((token) => token !== null)).toBe(true);
    expect(seen).not.toContain(ours);
    expect(JSON.stringify(session.tokens())).not.toMatch(/p[ar]t_/);
    await session.close();
  });

  it('are connected once: a second client of the same person needs no visit to the service', async () => {
    const before = service.ledger.of('authorize').length;
    const session = await connect(alice, 'legacy');
    expect(await whoami(session)).toContain('alice');
    expect(service.ledger.of('authorize')).toHaveLength(before);
    await session.close();
  });
});
