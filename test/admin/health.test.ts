import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House } from './house.ts';

let house: House;
let service: TestServer;
let owner: Awaited<ReturnType<House['person']>>;
let member: Awaited<ReturnType<House['person']>>;
beforeAll(async () => {
  house = await openHouse();
  service = await createTestServer({ mode: 'bearer', port: 0 });
  owner = await house.person('owner@example.com', 'owner');
  member = await house.person('member@example.com', 'member');
});
afterAll(async () => {
  await service.close();
  await house.close();
});

it('is unknown until the connector is tested, then what the test found, and unknown again after a change', async () => {
  const call = (method: string, path: string, body?: unknown) => house.call(method, path, { token: owner.token, body });
  const document = { url: service.mcpUrl, auth: { type: 'bearer', token: service.credentials.tokens['alice'] } };
  await call('PUT', '/connectors/practice', document);
  const asked = service.ledger.events.length;
  const before = await call('GET', '/connectors/practice');
  expect(before.body).toMatchObject({
    health: 'unknown',
    healthDetail: { reason: 'The service has not been tried yet.', test: null, connections: null },
  });
  // A look asks nobody.
  expect(service.ledger.events.length).toBe(asked);
  await call('POST', '/connectors/practice/test');
  const after = await call('GET', '/connectors/practice');
  expect(after.body).toMatchObject({
    health: 'healthy',
    healthDetail: { test: { reachable: true, auth: 'accepted', at: expect.stringMatching(/Z$/) } },
  });
  expect((await call('GET', '/connectors')).body).toMatchObject({ items: [{ name: 'practice', health: 'healthy' }] });
  // What is read can be put back.
  expect((await call('PUT', '/connectors/practice', after.body)).status).toBe(200);
  expect((await call('GET', '/connectors/practice')).body).toMatchObject({ health: 'unknown' });

  await call('PATCH', '/connectors/practice', { auth: { token: 'wrong' } });
  await call('POST', '/connectors/practice/test');
  expect((await call('GET', '/connectors/practice')).body).toMatchObject({
    health: 'unhealthy',
    healthDetail: { reason: 'The service refuses the credential.' },
  });
});

it('does not tell members how a service failed', async () => {
  const call = (token: string, method: string, path: string, body?: unknown) =>
    house.call(method, path, { token, body });
  await call(owner.token, 'PUT', '/connectors/gone', { url: 'http://127.0.0.1:9/mcp' });
  await call(owner.token, 'POST', '/connectors/gone/test');
  const seen = await call(owner.token, 'GET', '/connectors/gone');
  expect(seen.body).toMatchObject({
    health: 'unhealthy',
    healthDetail: { test: { error: { code: 'egress_failed' } } },
  });
  const shown = await call(member.token, 'GET', '/connectors/gone');
  expect(shown.body).toMatchObject({ health: 'unhealthy', healthDetail: { reason: 'The service did not answer.' } });
  expect(shown.body).toMatchObject({ healthDetail: { test: { error: null } } });
});
