import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { openProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { startBrowserScript } from './browser-script.ts';
import { runInspector } from './inspector.ts';
import { connectMcpRemote } from './mcp-remote.ts';
import { createScratch } from './scratch.ts';
import { connectSdkClient, textOf } from './sdk-client.ts';

// The same drivers meet the gateway elsewhere; here they show that they work where no gateway stands between.
describe.skipIf(!browserHere)('real clients at the practice service itself', () => {
  let service: TestServer;
  let browser: Browser;
  let alice: Profile;

  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    browser = await launchBrowser();
    const provider = { username: 'alice', password: 'practice' };
    alice = await openProfile(browser, { email: 'alice@example.com', password: 'none', provider });
  });
  afterAll(async () => {
    await browser.close();
    await service.close();
  });

  it.each(['legacy', 'modern'] as const)('lets the SDK client of the %s era sign in and call', async (era) => {
    const { client, close } = await connectSdkClient({
      url: service.mcpUrl,
      era,
      authorize: (url) => alice.authorize(url),
    });
    expect(textOf(await client.callTool({ name: 'whoami', arguments: {} }))).toContain('alice');
    await close();
  });

  it('lets mcp-remote sign in and call', async () => {
    const scratch = await createScratch();
    const script = await startBrowserScript(scratch.home, (url) => alice.authorize(url));
    const remote = await connectMcpRemote(service.mcpUrl, script.path, scratch);
    expect(textOf(await remote.client.callTool({ name: 'whoami', arguments: {} }))).toContain('alice');
    await remote.close();
    await script.close();
    expect(script.failures).toEqual([]);
    expect(script.opened).toHaveLength(1);
    await scratch.remove();
  });

  it('lets the inspector sign in and call', async () => {
    const scratch = await createScratch();
    const script = await startBrowserScript(scratch.home, (url) => alice.authorize(url));
    const call = ['--method', 'tools/call', '--tool-name', 'whoami'];
    const run = await runInspector(service.mcpUrl, call, scratch, script.path);
    await script.close();
    expect(script.failures).toEqual([]);
    expect(run).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('alice') });
    await scratch.remove();
  });
});
