import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startConformanceUpstream, type ConformanceUpstream } from '../../fixtures/conformance-upstream/start.ts';
import { startServerEverything, type ServerEverything } from '../../fixtures/server-everything.ts';
import { openHouse, tenant, type House } from '../../gateway/house.ts';
import { startUpstream } from '../../gateway/practice-upstream.ts';

let house: House;
let both: ConformanceUpstream;
let legacyOnly: ServerEverything;

beforeAll(async () => {
  both = await startConformanceUpstream();
  legacyOnly = await startServerEverything('streamableHttp');
  house = await openHouse();
});
afterAll(async () => {
  await house.close();
  await both.close();
  await legacyOnly.close();
});

const owner = { tenant, user: null, email: null, role: 'owner' as const, client: null, scopes: [], expiresAt: null };
const probe = async (name: string) => await house.gateway.probe(house.connectors.find(tenant, name) as never, owner);

describe('a client that tries the newest version first', () => {
  it.each([
    ['stays with it where the service knows only the handshake', () => legacyOnly.url, '2026-07-28', 'echo'],
    ['stays with it where the service speaks it', () => both.url, '2026-07-28', 'test_simple_text'],
  ])('%s', async (_, url, version, tool) => {
    const at = await house.put({ name: 'either', url: url() });
    const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } });
    await client.connect(new StreamableHTTPClientTransport(new URL(at)));
    expect(client.getNegotiatedProtocolVersion()).toBe(version);
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain(tool);
    const result = await client.callTool({ name: tool, arguments: { message: 'hello' } });
    expect(result.isError ?? false).toBe(false);
    await client.close();
  });
});

describe('a probe', () => {
  it('says which versions a service speaks and how many tools it has', async () => {
    await house.put({ name: 'both', url: both.url });
    expect(await probe('both')).toMatchObject({
      reachable: true,
      transport: 'streamable-http',
      eras: ['modern', 'legacy'],
      protocolVersion: '2026-07-28',
      auth: 'open',
      server: { name: 'conformance-upstream' },
      error: null,
    });
    await house.put({ name: 'old', url: legacyOnly.url });
    expect(await probe('old')).toMatchObject({ eras: ['legacy'], auth: 'open', error: null });
  });

  it('tells a missing credential from a refused one, and both from a service that is no MCP server', async () => {
    const upstream = await startUpstream((_, response) => response.writeHead(401).end());
    await house.put({ name: 'shut', url: upstream.url });
    expect(await probe('shut')).toMatchObject({ reachable: true, auth: 'required', error: null });
    await house.put({ name: 'shut', url: upstream.url, auth: { type: 'bearer', token: 'wrong' } });
    expect(await probe('shut')).toMatchObject({ reachable: true, auth: 'refused', error: null });
    upstream.answer = (_, response) => response.end('<html>');
    expect(await probe('shut')).toMatchObject({
      reachable: true,
      transport: null,
      error: { code: 'upstream_invalid' },
    });
    upstream.answer = (_, response) => response.writeHead(302, { location: '/' }).end();
    expect(await probe('shut')).toMatchObject({ error: { code: 'upstream_redirect' } });
    await upstream.close();
    expect(await probe('shut')).toMatchObject({ reachable: false, error: { code: 'egress_failed' } });
  });
});
