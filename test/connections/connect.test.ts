import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Connector } from '../../src/connectors/connector.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House } from './house.ts';

describe('a connect', () => {
  let house: House;
  let service: TestServer;
  let connector: Connector;

  beforeAll(async () => {
    house = await openHouse();
    service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    connector = await house.put({ name: 'practice', title: 'Practice', url: service.mcpUrl, auth: { type: 'oauth2' } });
  });
  afterEach(async () => {
    await service.control.clearFaults();
    await service.control.setMetadata({ authorizationServer: {}, protectedResource: {} });
  });
  afterAll(async () => {
    await house?.close();
    await service?.close();
  });

  it('gives each of two people their own token through one connector and one registration', async () => {
    const alice = await house.person('alice');
    const bob = await house.person('bob');
    expect(await house.connect(connector, alice)).toMatch(/Practice is connected.*alice/);
    expect(await house.connect(connector, bob)).toMatch(/Practice is connected.*bob/);
    const tokens = [await house.token(connector, alice), await house.token(connector, bob)];
    expect(new Set(tokens).size).toBe(2);
    expect(service.ledger.of('register')).toHaveLength(1);
    const exchanges = service.ledger.of('token_exchange');
    expect(exchanges.map(({ subject, outcome }) => [subject, outcome])).toEqual([
      ['alice', 'ok'],
      ['bob', 'ok'],
    ]);
    expect(service.ledger.of('authorize').every(({ resource }) => resource === service.mcpUrl)).toBe(true);
  });
});
