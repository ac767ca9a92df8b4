import type { ServerResponse } from 'node:http';
import { parseJSONRPCMessage, type JSONRPCMessage, type Server, type Transport } from '@modelcontextprotocol/server';
import { newToken } from '../ids.ts';
import { Refusal, send, sendJson, type Exchange, type Route } from './http.ts';
import { guardMcpCall, record, type McpOptions } from './mcp.ts';
import { authInfoOf } from './mcp-tools.ts';

const KEEP_ALIVE_MS = 15_000;

/** The HTTP+SSE transport of 2024-11-05: messages go in by POST, everything comes out on one GET stream. */
export function createSseEndpoint(options: McpOptions) {
  const sessions = new Map<string, { transport: Transport; server: Server; owner: string }>();

  async function open({ req, res }: Exchange): Promise<void> {
    const call = await guardMcpCall(options, { req, res }, 'sse');
    if (call === undefined) return;
    const id = newToken();
    const transport = sseTransport(res, () => sessions.delete(id));
    const server = options.createServer();
    sessions.set(id, { transport, server, owner: call.caller.subject });
    record(options.ledger, 'sse', 'legacy', call, 200, call.caller);
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
    res.write(`event: endpoint\ndata: /messages?sessionId=${id}\n\n`);
    await server.connect(transport);
  }

  async function receive({ req, res, query }: Exchange): Promise<void> {
    const call = await guardMcpCall(options, { req, res }, 'sse');
    if (call === undefined) return;
    const session = sessions.get(query.get('sessionId') ?? '');
    let status = 202;
    try {
      if (session === undefined || session.owner !== call.caller.subject)
        throw new Refusal(404, { error: 'no_such_session' });
      const message = parse(call.body);
      send(res, 202, 'Accepted', { 'content-type': 'text/plain' });
      session.transport.onmessage?.(message, { authInfo: authInfoOf(call.caller) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      status = error.status;
      sendJson(res, status, error.body);
    }
    record(options.ledger, 'sse', 'legacy', call, status, call.caller);
  }

  const routes: Route[] = [
    { method: 'GET', path: '/sse', handle: open },
    { method: 'POST', path: '/messages', handle: receive },
  ];
  return {
    routes,
    async notifyToolsChanged(): Promise<void> {
      await Promise.all([...sessions.values()].map((session) => session.server.sendToolListChanged()));
    },
    async close(): Promise<void> {
      await Promise.all([...sessions.values()].map((session) => session.transport.close()));
    },
  };
}

function parse(body: unknown): JSONRPCMessage {
  try {
    return parseJSONRPCMessage(body);
  } catch {
    throw new Refusal(400, { jsonrpc: '2.0', error: { code: -32_600, message: 'Invalid request' }, id: null });
  }
}

function sseTransport(res: ServerResponse, onEnd: () => void): Transport {
  const keepAlive = setInterval(() => res.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
  keepAlive.unref();
  const transport: Transport = {
    start: async () => undefined,
    async send(message) {
      res.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
    },
    async close() {
      res.end();
    },
  };
  res.once('close', () => {
    clearInterval(keepAlive);
    onEnd();
    transport.onclose?.();
  });
  return transport;
}
