import { describe } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { openProfile } from '../browser/profile.ts';
import { everyClientMeets } from './every-client.ts';

// Where no gateway stands between: a failure behind the gateway alone is the gateway's.
describe.skipIf(!browserHere)('the practice service by itself', { timeout: 60_000 }, () => {
  everyClientMeets(async () => {
    const service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    const browser = await launchBrowser();
    const provider = { username: 'alice', password: 'practice' };
    const profile = await openProfile(browser, { email: 'alice@example.com', password: 'none', provider });
    return {
      url: service.mcpUrl,
      profile,
      async close() {
        await browser.close();
        await service.close();
      },
    };
  });
});
