import { toNodeHandler } from '@modelcontextprotocol/node';
import {
  createMcpHandler,
  isInitializeRequest,
  isLegacyRequest,
  WebStandardStreamableHTTPServerTransport,
  type AuthInfo,
  type Server,
} from '@modelcontextprotocol/server';
import { newToken } from '../ids.ts';
import type { Caller, Callers } from './caller.ts';
import type { Faults } from './faults.ts';
import { readBody, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import type { Ledger } from './ledger.ts';
import { authInfoOf, TOOL_SCOPES } from './mcp-tools.ts';

/** Above the other endpoints' limit, so that large tool arguments can be tried through a gateway. */
const MCP_BODY_LIMIT = 4 * 1024 * 1024;
const MAX_SESSIONS = 2_000;

export type McpOptions = {
  callers: Callers;
  ledger: Ledger;
  faults: Faults;
  createServer: () => Server;
};

/** What the guard in front of both MCP transports found out about a request. */
export type McpCall = { caller: Caller; body: unknown; method: string; name: string | null };

/** Streamable HTTP on one path: stateless for 2026-07-28, with sessions for the revisions before it. */
export function createMcpEndpoint(options: McpOptions) {
  type Session = { transport: WebStandardStreamableHTTPServerTransport; server: Server; owner: string };
  const sessions = new Map<string, Session>();
  const modern = createMcpHandler(options.createServer, { legacy: 'reject', maxRequestBodySize: MCP_BODY_LIMIT });

  async function legacy(request: Request, body: unknown, authInfo: AuthInfo, owner: string): Promise<Response> {
    const id = request.headers.get('mcp-session-id');
    if (id !== null) {
      const session = sessions.get(id);
      // Another person's session is as good as none.
      if (session === undefined || session.owner !== owner) return rpcError(404, -32_001, 'Session not found');
      return session.transport.handleRequest(request, { authInfo, parsedBody: body });
    }
    if (request.method !== 'POST' || !isInitializeRequest(body)) {
      return rpcError(400, -32_000, 'Mcp-Session-Id is missing');
    }
    if (sessions.size >= MAX_SESSIONS) await end([...sessions.keys()].slice(0, 1));
    const server = options.createServer();
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => newToken(),
      onsessioninitialized: (session) => void sessions.set(session, { transport, server, owner }),
      onsessionclosed: (session) => void sessions.delete(session),
    });
    await server.connect(transport);
    return transport.handleRequest(request, { authInfo, parsedBody: body });
  }

  async function end(ids: readonly string[]): Promise<void> {
    const ending = ids.map((id) => sessions.get(id)).filter((session) => session !== undefined);
    for (const id of ids) sessions.delete(id);
    await Promise.all(ending.map((session) => session.transport.close()));
  }

  const answer = toNodeHandler({
    async fetch(request, { authInfo, parsedBody } = {}) {
      const caller = authInfo!.extra!.caller as Caller;
      const old = await isLegacyRequest(request, parsedBody);
      const response = old
        ? await legacy(request, parsedBody, authInfo!, `${caller.subject} ${caller.clientId ?? ''}`)
        : await modern.fetch(request, { authInfo, parsedBody });
      const { method, name } = rpcOf(request.method, parsedBody);
      record(options.ledger, 'http', old ? 'legacy' : 'modern', { method, name }, response.status, caller);
      return response;
    },
  });

  async function handle({ req, res }: Exchange): Promise<void> {
    const call = await guardMcpCall(options, { req, res }, 'http');
    if (call === undefined) return;
    await answer(Object.assign(req, { auth: authInfoOf(call.caller) }), res, call.body);
  }

  const routes: Route[] = ['POST', 'GET', 'DELETE'].map((method) => ({ method, path: '/mcp', handle }));
  return {
    routes,
    sessionCount: () => sessions.size,
    /** Forgets all sessions, as a restart would: their next request gets 404. */
    endSessions: () => end([...sessions.keys()]),
    async notifyToolsChanged(): Promise<void> {
      modern.notify.toolsChanged();
      await Promise.all([...sessions.values()].map((session) => session.server.sendToolListChanged()));
    },
    async close(): Promise<void> {
      await Promise.all([end([...sessions.keys()]), modern.close()]);
    },
  };
}

/** Faults, credential, body and scope, in this order; undefined when the request has had its answer. */
export async function guardMcpCall(
  { callers, ledger, faults }: McpOptions,
  { req, res }: Pick<Exchange, 'req' | 'res'>,
  transport: 'http' | 'sse',
): Promise<McpCall | undefined> {
  const path = transport === 'http' ? '/mcp' : '/sse';
  let caller: Caller | undefined;
  let rpc = { method: req.method ?? '', name: null as string | null };
  try {
    const fault = faults.takeCallFault('mcp');
    await faults.wait(faults.latency.calls + (fault?.delayMs ?? 0));
    if (fault?.answer === 'drop') {
      record(ledger, transport, null, rpc, 0, undefined);
      res.destroy();
      return undefined;
    }
    if (fault?.answer === 401) throw callers.challenge(path, 'invalid_token');
    if (fault !== undefined) throw new Refusal(fault.answer as number, { error: 'injected_fault' });
    caller = callers.identify(req, path);
    const body = req.method === 'POST' ? parseMessage(await readBody(req, MCP_BODY_LIMIT)) : undefined;
    rpc = rpcOf(req.method ?? '', body);
    const scope = rpc.method === 'tools/call' ? TOOL_SCOPES[rpc.name ?? ''] : undefined;
    if (scope !== undefined) callers.requireScope(caller, scope, path);
    return { caller, body, ...rpc };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    record(ledger, transport, null, rpc, error.status, caller);
    sendJson(res, error.status, error.body, error.headers);
    return undefined;
  }
}

function parseMessage(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal(400, { jsonrpc: '2.0', error: { code: -32_700, message: 'Parse error' }, id: null });
  }
}

/** The JSON-RPC method and, for a tool call, the tool; the HTTP method where there is no single message. */
function rpcOf(httpMethod: string, body: unknown): { method: string; name: string | null } {
  if (body === null || typeof body !== 'object' || !('method' in body)) return { method: httpMethod, name: null };
  const name = (body as { params?: { name?: unknown } | null }).params?.name;
  return { method: String(body.method).slice(0, 80), name: typeof name === 'string' ? name.slice(0, 128) : null };
}

export function record(
  ledger: Ledger,
  transport: 'http' | 'sse',
  era: 'legacy' | 'modern' | null,
  { method, name }: { method: string; name: string | null },
  status: number,
  caller: Caller | undefined,
): void {
  const { subject = null, tokenHash: token = null, generation = null } = caller ?? {};
  ledger.record({ type: 'mcp_call', transport, era, method, name, status, subject, token, generation });
}

function rpcError(status: number, code: number, message: string): Response {
  return Response.json({ jsonrpc: '2.0', error: { code, message }, id: null }, { status });
}
