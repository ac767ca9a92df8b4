import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { plainProfile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';

describe('an OAuth connector that an owner moves', () => {
  let service: TestServer;
  let gateway: TestGateway;

  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
    gateway = await startGateway();
  });
  afterAll(async () => {
    await gateway?.close();
    await service?.close();
  });

  it("takes nobody's token along to another origin, and keeps the connection on its own", async () => {
    await gateway.apply({ name: 'moved', kind: 'mcp', url: service.mcpUrl, auth: { type: 'oauth2' } });
    const alice = plainProfile(await gateway.invite('Alice', { username: 'alice', password: 'practice' }));
    const session = await connectSdkClient({
      url: gateway.mcpUrl('moved'),
      era: 'modern',
      authorize: (url) => alice.authorize(url),
    });
    onTestFinished(async () => session.close());
    const call = async () => await session.client.callTool({ name: 'whoami', arguments: {} });
    expect(textOf(await call())).toContain('alice');

    await gateway.api('PATCH', '/tenants/default/connectors/moved', { url: `${service.mcpUrl}?path=other` });
    expect(textOf(await call())).toContain('alice');

    const seen: (string | undefined)[] = [];
    const elsewhere = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401).end();
    }).listen(0, '127.0.0.1');
    await once(elsewhere, 'listening');
    onTestFinished(() => void elsewhere.close());
    const url = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/mcp`;
    await gateway.api('PATCH', '/tenants/default/connectors/moved', { url });
    expect((await call()).isError).toBe(true);
    expect(seen.filter((header) => header !== undefined)).toEqual([]);
  });
});
