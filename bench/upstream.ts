/**
 * The service behind everything that is measured, in a process of its own: an MCP endpoint that costs as little as
 * possible, and just enough of an authorization server that a gateway can get a token for a person.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CALLS, monotonicNanoseconds, PATH, STATIC_TOKEN, type Size } from './wire.ts';

/** Answered calls whose credential and body were the expected ones, as `GET /count` tells. */
let count = 0;

const accepted = new Set([`Bearer ${STATIC_TOKEN}`]);
const codes = new Map<string, string>();
const challenged = new Map<string, string>();
let origin = '';

const answers = Object.values(CALLS).map(({ body, answer }) => ({
  body: Buffer.from(body),
  answer: Buffer.from(answer),
  headers: ['content-type', 'application/json', 'content-length', String(Buffer.byteLength(answer))],
}));

function mcp(request: IncomingMessage, response: ServerResponse): void {
  if (!accepted.has(request.headers.authorization ?? '')) {
    const metadata = `${origin}/.well-known/oauth-protected-resource${PATH}`;
    response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` }).end();
    return;
  }
  if (request.method === 'GET') {
    // The stream of a client of 2025 that belongs to no call; nothing ever comes on it.
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' }).flushHeaders();
    return;
  }
  let body: Buffer | undefined;
  request.on('data', (chunk: Buffer) => {
    body = body === undefined ? chunk : Buffer.concat([body, chunk]);
  });
  request.on('end', () => {
    const bytes = body ?? Buffer.alloc(0);
    for (const known of answers) {
      if (known.body.length === bytes.length && known.body.equals(bytes)) {
        count += 1;
        response.writeHead(200, known.headers);
        response.end(known.answer);
        return;
      }
    }
    answer(response, JSON.parse(bytes.toString('utf8')) as Message);
  });
}

type Message = { id?: number | string; method: string; params?: { name?: string; arguments?: Ticks } };

/** Whatever is not byte for byte one of the measured calls: preparations, streams, calls written anew on the way. */
function answer(response: ServerResponse, { id, method, params }: Message): void {
  if (id === undefined) return void response.writeHead(202).end();
  if (method === 'tools/call' && params?.name === 'ticks') return ticks(response, id, params.arguments);
  const known = method === 'tools/call' ? CALLS[params?.name as Size] : undefined;
  if (known !== undefined) count += 1;
  const result = known === undefined ? describe(method) : (JSON.parse(known.answer) as { result: unknown }).result;
  const error = { code: -32601, message: 'There is no such method.' };
  const outcome = result === undefined ? { error } : { result };
  json(response, result === undefined ? 404 : 200, { jsonrpc: '2.0', id, ...outcome });
}

function describe(method: string): Record<string, unknown> | undefined {
  const serverInfo = { name: 'bench-upstream', version: '1.0.0' };
  const rest = { resultType: 'complete', ttlMs: 60_000, cacheScope: 'public' };
  if (method === 'server/discover') {
    const capabilities = { tools: {} };
    return { ...rest, supportedVersions: ['2026-07-28', '2025-11-25'], capabilities, serverInfo };
  }
  if (method === 'initialize') return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo };
  if (method !== 'tools/list') return undefined;
  const inputSchema = { type: 'object' };
  return { ...rest, tools: ['small', 'large', 'ticks'].map((name) => ({ name, description: name, inputSchema })) };
}

type Ticks = { count: number; everyMs: number };

/** Events at a fixed pace, whatever became of the one before. */
function ticks(response: ServerResponse, id: number | string, wanted: Ticks = { count: 1, everyMs: 1 }): void {
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
  });
  response.flushHeaders();
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    const last = sent >= wanted.count;
    const params = { progressToken: 'ticks', progress: sent, message: String(monotonicNanoseconds()) };
    const message = last
      ? { jsonrpc: '2.0', id, result: { resultType: 'complete', content: [], isError: false } }
      : { jsonrpc: '2.0', method: 'notifications/progress', params };
    response.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
    if (!last) return;
    clearInterval(timer);
    response.end();
  }, wanted.everyMs);
  response.once('close', () => clearInterval(timer));
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

/** RFC 9728, 8414, 7591 and 6749 as far as one registration and one sign-in go; everybody is let through. */
async function oauth(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += chunk as string;
  if (url.pathname.startsWith('/.well-known/oauth-protected-resource')) {
    return json(response, 200, { resource: `${origin}${PATH}`, authorization_servers: [origin] });
  }
  if (url.pathname === '/.well-known/oauth-authorization-server') {
    return json(response, 200, {
      issuer: origin,
      authorization_endpoint: `${origin}/authorize`,
      token_endpoint: `${origin}/token`,
      registration_endpoint: `${origin}/register`,
      response_types_supported: ['code'],
      grant_types_supported: ['authorization_code'],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['none'],
      authorization_response_iss_parameter_supported: true,
    });
  }
  if (url.pathname === '/register') {
    const metadata = JSON.parse(body) as Record<string, unknown>;
    return json(response, 201, { ...metadata, client_id: randomUUID(), token_endpoint_auth_method: 'none' });
  }
  if (url.pathname === '/authorize') {
    const code = randomUUID();
    codes.set(code, url.searchParams.get('redirect_uri') ?? '');
    challenged.set(code, url.searchParams.get('code_challenge') ?? '');
    const target = new URL(url.searchParams.get('redirect_uri') ?? '');
    for (const [name, value] of Object.entries({ code, iss: origin, state: url.searchParams.get('state') ?? '' })) {
      target.searchParams.set(name, value);
    }
    return void response.writeHead(302, { location: target.href }).end();
  }
  if (url.pathname !== '/token') return void response.writeHead(404).end();
  const form = new URLSearchParams(body);
  const code = form.get('code') ?? '';
  const verifier = createHash('sha256')
    .update(form.get('code_verifier') ?? '')
    .digest('base64url');
  if (codes.get(code) !== form.get('redirect_uri') || challenged.get(code) !== verifier || !codes.delete(code)) {
    return json(response, 400, { error: 'invalid_grant' });
  }
  const token = randomUUID();
  accepted.add(`Bearer ${token}`);
  json(response, 200, { access_token: token, token_type: 'Bearer', expires_in: 36_000 });
}

const server = createServer((request, response) => {
  const target = request.url ?? '/';
  if (target === PATH && request.method !== 'DELETE') return mcp(request, response);
  if (target === '/count') return json(response, 200, { count });
  void oauth(request, response, new URL(target, origin));
});
server.keepAliveTimeout = 120_000;
server.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.send?.({ origin });
});
process.once('disconnect', () => process.exit());
