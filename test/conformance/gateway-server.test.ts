import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainProfile } from '../browser/profile.ts';
import { connectSdkClient } from '../clients/sdk-client.ts';
import { startConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import type { ConformanceUpstream } from '../fixtures/conformance-upstream/start.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';
import { authorizationScenarios, runAuthorizationRole } from './authorization-role.ts';
import { startBearerShim } from './bearer-shim.ts';
import { expectedFailures, required, runSuite, shortcomings } from './suite.ts';

function serverRole(url: string, revision: string): string[] {
  return ['server', '--url', url, '--requirements', revision, '--expected-failures', expectedFailures];
}

describe('the official conformance suite', { timeout: 60_000 }, () => {
  let upstream: ConformanceUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await startConformanceUpstream();
    gateway = await startGateway();
    await gateway.apply({ name: 'conformance', kind: 'mcp', url: upstream.url, limits: { callsPerMinute: 100_000 } });
  });
  afterAll(async () => {
    await gateway?.close();
    await upstream?.close();
  });

  it('is refused at the connector without a token', async () => {
    const response = await fetch(gateway.mcpUrl('conformance'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    });
    expect(response.status).toBe(401);
    await response.body?.cancel();
  });

  it.each([
    ['2025-11-25', 30],
    ['2026-07-28', 37],
  ])(
    'finds every server requirement of %s met through the gateway, with authorization on',
    async (revision, atLeast) => {
      const names = required(revision, 'server');
      expect(names.length).toBeGreaterThanOrEqual(atLeast);
      const person = plainProfile(await gateway.invite(`Server ${revision}`));
      const session = await connectSdkClient({
        url: gateway.mcpUrl('conformance'),
        era: 'legacy',
        authorize: (url) => person.authorize(url),
      });
      const shim = await startBearerShim(gateway.mcpUrl('conformance'), session.tokens().access_token);
      try {
        const run = await runSuite(serverRole(shim.url, revision));
        expect(shortcomings(names, run.scenarios)).toEqual([]);
      } finally {
        await shim.close();
        await session.close();
      }
    },
  );

  it('finds a conforming authorization server', async () => {
    const person = plainProfile(await gateway.invite('Authorization role'));
    const run = await runAuthorizationRole(gateway.publicUrl, gateway.mcpUrl('conformance'), person);
    expect(shortcomings(authorizationScenarios, run.scenarios)).toEqual([]);
    expect(run.exitCode).toBe(0);
  });
});
