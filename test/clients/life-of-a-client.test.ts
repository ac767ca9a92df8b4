import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { plainProfile, type Profile } from '../browser/profile.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';
import { connectSdkClient, textOf, type SdkClient } from './sdk-client.ts';

let service: TestServer;
let gateway: TestGateway;
beforeAll(async () => {
  service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
  gateway = await startGateway();
  await gateway.apply({ name: 'practice', kind: 'mcp', url: service.mcpUrl, auth: { type: 'oauth2' } });
});
afterAll(async () => {
  await gateway.close();
  await service.close();
});

describe.each(['legacy', 'modern'] as const)('a client of the %s era that has signed in', (era) => {
  let profile: Profile;
  let sdk: SdkClient;
  const whoami = async () => await sdk.client.callTool({ name: 'whoami', arguments: {} });
  beforeAll(async () => {
    profile = plainProfile(await gateway.invite(`Alice ${era}`, { username: 'alice', password: 'practice' }));
    sdk = await connectSdkClient({ url: gateway.mcpUrl('practice'), era, authorize: (url) => profile.authorize(url) });
  });
  afterAll(() => sdk?.close());

  it('is shown the link when its person disconnects, and goes on when they have followed it', async () => {
    expect(textOf(await whoami())).toContain('alice');
    await profile.visit(`${gateway.publicUrl}/connections`, {
      until: (view) => view.url.includes('disconnected='),
      press: [/^Disconnect/],
    });
    const refused = await whoami();
    expect(refused.isError).toBe(true);
    const [link = ''] = /http:\S+\/connect\/default\/practice\?ticket=[\w-]+/.exec(textOf(refused)) ?? [];
    await profile.visit(link, { until: (view) => view.title.includes('is connected') });
    const again = await whoami();
    expect(again.isError ?? false).toBe(false);
    expect(textOf(again)).toContain('alice');
    expect(sdk.opened).toHaveLength(1);
  });

  it('is out when its person revokes it, and in again when they allow it anew', async () => {
    await profile.visit(`${gateway.publicUrl}/clients`, {
      until: (view) => view.text.includes('No client may use anything'),
      press: [/^Revoke/],
    });
    // Neither its access token nor its refresh token is good for anything.
    await expect(whoami()).rejects.toThrow('grant request is invalid');
    const authorize = (url: string) => profile.authorize(url);
    const anew = await connectSdkClient({ url: gateway.mcpUrl('practice'), era, authorize });
    expect(textOf(await anew.client.callTool({ name: 'whoami', arguments: {} }))).toContain('alice');
    expect(anew.opened).toHaveLength(1);
    await anew.close();
  });
});
