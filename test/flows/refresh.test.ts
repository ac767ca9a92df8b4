import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { createTestServer } from '../../src/test-server/test-server.ts';
import type { TestServer } from '../../src/test-server/test-server.ts';
import { plainProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import type { SdkClient } from '../clients/sdk-client.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';

describe("a person's token at the service", () => {
  // One clock for both, so that they agree on when a token runs out.
  const clock = movableClock();
  let service: TestServer;
  let gateway: TestGateway;
  let session: SdkClient;
  let alice: Profile;

  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: 300, rotation: 'strict', clock });
    gateway = await startGateway({ clock });
    await gateway.apply({ name: 'practice', kind: 'mcp', url: service.mcpUrl, auth: { type: 'oauth2' } });
    alice = plainProfile(await gateway.invite('Alice', { username: 'alice', password: 'practice' }));
    session = await connectSdkClient({
      url: gateway.mcpUrl('practice'),
      era: 'modern',
      authorize: (url) => alice.authorize(url),
    });
  });
  afterAll(async () => {
    await session?.close();
    await gateway?.close();
    await service?.close();
  });

  /** The generation of the token that the service saw: 1 from the code, one more with each refresh. */
  async function generation(): Promise<number> {
    const result = await session.client.callTool({ name: 'whoami', arguments: {} });
    const said = JSON.parse(textOf(result)) as { subject: string; tokenGeneration: number };
    expect(said.subject).toBe('alice');
    return said.tokenGeneration;
  }
  function rejections() {
    return service.ledger.of('mcp_call').filter((call) => call.status === 401 && call.token !== null);
  }

  /** Calls by their status and refreshes by their outcome, in the order in which the service saw them. */
  function storySince(start: number): (string | number)[] {
    return service.ledger.events.slice(start).flatMap((event): (string | number)[] => {
      if (event.type === 'refresh') return [event.outcome];
      // A refused call is refused before anyone reads what it calls.
      const ours = event.type === 'mcp_call' && (event.name === 'whoami' || event.status === 401);
      return ours ? [event.status] : [];
    });
  }

  it('stays the same while it is fresh', async () => {
    expect(await generation()).toBe(1);
    expect(await generation()).toBe(1);
    expect(service.ledger.refreshes()).toEqual([]);
  });

  it('is refreshed once before it runs out, while a call goes on with the old one', async () => {
    clock.move(270_000);
    expect(await generation()).toBeLessThanOrEqual(2);
    await vi.waitFor(async () => expect(await generation()).toBe(2), { timeout: 10_000, interval: 100 });
    expect(service.ledger.refreshes()).toMatchObject([{ outcome: 'rotated', inFlight: 1, subject: 'alice' }]);
    expect(rejections()).toEqual([]);
  });

  it('is refreshed once for all callers that find it expired, and none of them sends the old one', async () => {
    clock.move(3_600_000);
    const seen = await Promise.all(Array.from({ length: 8 }, () => generation()));
    expect(seen).toEqual(Array.from({ length: 8 }, () => 3));
    expect(service.ledger.refreshes()).toHaveLength(2);
    expect(service.ledger.maxInFlight()).toBe(1);
    expect(rejections()).toEqual([]);
  });

  it('is refreshed once, and the call sent again once, when the service rejects it early', async () => {
    await service.control.expireAccessTokens();
    const before = service.ledger.events.length;
    expect(await generation()).toBe(4);
    expect(storySince(before)).toEqual([401, 'rotated', 200]);
  });

  it('is refreshed each time that the service rejects one that has worked, however soon', async () => {
    for (const expected of [5, 6]) {
      await service.control.expireAccessTokens();
      expect(await generation()).toBe(expected);
    }
  });

  it('is given up at once when the service rejects the fresh one too; the link in the answer brings another', async () => {
    const before = service.ledger.events.length;
    await service.control.failCalls({ on: 'mcp', answer: 401, times: 2 });
    const answers = [];
    for (let call = 0; call < 2; call += 1) {
      answers.push(await session.client.callTool({ name: 'whoami', arguments: {} }));
    }
    expect(storySince(before)).toEqual([401, 'rotated', 401]);
    for (const answer of answers) expect(answer.isError).toBe(true);
    const link = /http:\S+/.exec(textOf(answers[1]!))![0];
    await alice.visit(link, { until: (view) => view.title.startsWith('practice is connected') });
    expect(await generation()).toBe(1);
  });

  it('is asked for anew by the person, and not refreshed in a loop, when the service has ended the grant', async () => {
    await service.control.revokeGrants();
    const before = service.ledger.refreshes().length;
    const results = [];
    for (let call = 0; call < 3; call += 1) {
      results.push(await session.client.callTool({ name: 'whoami', arguments: {} }));
    }
    for (const result of results) {
      expect(result.isError).toBe(true);
      expect(textOf(result)).toContain(`${gateway.publicUrl}/connect/default/practice`);
    }
    expect(service.ledger.refreshes().length - before).toBeLessThanOrEqual(2);
  });
});
