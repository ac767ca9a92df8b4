/** The gateway that one writes first: the official SDK's server in front, its client behind. For comparison. */
import { Client, StreamableHTTPClientTransport, type CallToolResult } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, Server } from '@modelcontextprotocol/server';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { STATIC_TOKEN } from './wire.ts';

const upstream = new URL(process.argv[2] ?? '');

const client = new Client(
  { name: 'sdk-gateway', version: '1.0.0' },
  { versionNegotiation: { mode: { pin: '2026-07-28' } } },
);
await client.connect(
  new StreamableHTTPClientTransport(upstream, {
    requestInit: { headers: { authorization: `Bearer ${STATIC_TOKEN}` } },
  }),
);

const handler = createMcpHandler(() => {
  const server = new Server({ name: 'sdk-gateway', version: '1.0.0' }, { capabilities: { tools: {} } });
  server.setRequestHandler('tools/list', async () => await client.listTools());
  server.setRequestHandler('tools/call', async ({ params }) => {
    const { name, arguments: args = {} } = params;
    return (await client.callTool({ name, arguments: args })) as CallToolResult;
  });
  return server;
});
const listener = toNodeHandler(handler);

const server = createServer((request, response) => {
  void listener(request, response);
});
server.listen(0, '127.0.0.1', () => {
  process.send?.({ origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});
process.once('disconnect', () => process.exit());
