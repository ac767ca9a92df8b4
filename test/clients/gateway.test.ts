import { describe } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { openProfile } from '../browser/profile.ts';
import { startGateway } from '../fixtures/gateway.ts';
import { everyClientMeets } from './every-client.ts';

describe.skipIf(!browserHere)('the gateway before the practice service', { timeout: 60_000 }, () => {
  everyClientMeets(async () => {
    const service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    const gateway = await startGateway();
    await gateway.apply({ name: 'practice', kind: 'mcp', url: service.mcpUrl, auth: { type: 'oauth2' } });
    const browser = await launchBrowser();
    const person = await gateway.invite('Alice', { username: 'alice', password: 'practice' });
    return {
      url: gateway.mcpUrl('practice'),
      profile: await openProfile(browser, person),
      async close() {
        await browser.close();
        await gateway.close();
        await service.close();
      },
    };
  });
});
