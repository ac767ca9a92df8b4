import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer } from '../../src/test-server/test-server.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { plainProfile } from '../browser/profile.ts';
import { authorizationScenarios, runAuthorizationRole } from './authorization-role.ts';
import { shortcomings } from './suite.ts';

describe('the authorization server of the practice service', () => {
  let service: TestServer;
  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
  });
  afterAll(() => service.close());

  it('conforms', async () => {
    const provider = { username: 'alice', password: 'practice' };
    const profile = plainProfile({ email: 'alice@example.com', password: 'none', provider });
    const run = await runAuthorizationRole(service.issuer, service.mcpUrl, profile);
    expect(run.exitCode).toBe(0);
    expect(shortcomings(authorizationScenarios, run.scenarios)).toEqual([]);
  });
});
