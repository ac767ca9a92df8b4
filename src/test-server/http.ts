import type { IncomingMessage, ServerResponse } from 'node:http';

const BODY_LIMIT = 64 * 1024;

/** An answer that ends the handling of a request: status and JSON body as the endpoint's RFC wants them. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: Record<string, unknown>;
  readonly headers: Record<string, string>;

  constructor(status: number, body: Record<string, unknown>, headers: Record<string, string> = {}) {
    super(`${status} ${JSON.stringify(body)}`);
    this.name = 'Refusal';
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** An OAuth error answer (RFC 6749 §5.2). */
export function oauthRefusal(error: string, description: string, status = 400, headers: Record<string, string> = {}) {
  return new Refusal(status, { error, error_description: description }, headers);
}

/** One request with its answer. `path` is decoded and has no query. */
export type Exchange = {
  req: IncomingMessage;
  res: ServerResponse;
  method: string;
  path: string;
  query: URLSearchParams;
};

type Handler = (exchange: Exchange, parameters: Record<string, string>) => Promise<void> | void;
export type Route = { method: string; path: string; handle: Handler };

export function sendJson(
  res: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  send(res, status, JSON.stringify(body), {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    ...headers,
  });
}

export function send(res: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  if (res.headersSent || res.destroyed) return;
  res.writeHead(status, { 'x-content-type-options': 'nosniff', ...headers });
  res.end(body);
}

/** 303, so that a POST becomes a GET; the referrer would carry the request's parameters to the next site. */
export function redirect(res: ServerResponse, location: string): void {
  send(res, 303, '', { location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' });
}

/** @throws {Refusal} 413 over `limit` bytes, 400 when the bytes are not UTF-8 */
export async function readBody(req: IncomingMessage, limit = BODY_LIMIT): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    length += chunk.byteLength;
    if (length > limit) {
      throw new Refusal(
        413,
        { error: 'invalid_request', error_description: `the body is over ${limit} bytes` },
        { connection: 'close' },
      );
    }
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw oauthRefusal('invalid_request', 'the body is not UTF-8');
  }
}

function mediaType(req: IncomingMessage): string {
  return (req.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase();
}

/** @throws {Refusal} 415 for another media type, 400 for a parameter that stands twice (RFC 6749 §3.1) */
export async function readForm(req: IncomingMessage): Promise<URLSearchParams> {
  if (mediaType(req) !== 'application/x-www-form-urlencoded') {
    throw oauthRefusal('invalid_request', 'the body must be application/x-www-form-urlencoded', 415);
  }
  const form = new URLSearchParams(await readBody(req));
  refuseDuplicates(form);
  return form;
}

/** `resource` may stand several times (RFC 8707 §2); this server issues for one, so it is refused as well. */
export function refuseDuplicates(parameters: URLSearchParams): void {
  for (const name of new Set(parameters.keys())) {
    if (parameters.getAll(name).length > 1) {
      throw oauthRefusal('invalid_request', `the parameter ${JSON.stringify(name.slice(0, 40))} stands more than once`);
    }
  }
}

/** @throws {Refusal} 415 for another media type, 400 when it is not a JSON object */
export async function readJson(req: IncomingMessage): Promise<Record<string, unknown>> {
  if (mediaType(req) !== 'application/json') {
    throw new Refusal(415, { error: 'invalid_request', error_description: 'the body must be application/json' });
  }
  let value: unknown;
  try {
    value = JSON.parse(await readBody(req));
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw oauthRefusal('invalid_request', 'the body is not JSON');
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw oauthRefusal('invalid_request', 'the body must be a JSON object');
  }
  return value as Record<string, unknown>;
}

export function isForm(req: IncomingMessage): boolean {
  return mediaType(req) === 'application/x-www-form-urlencoded';
}

export function cookie(req: IncomingMessage, name: string): string | undefined {
  for (const pair of (req.headers.cookie ?? '').split(';')) {
    const at = pair.indexOf('=');
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return undefined;
}

/** `/api/items/:id` style paths; the first that fits wins, 405 with `Allow` when only the method differs. */
export function createRouter(routes: readonly Route[]): (exchange: Exchange) => Promise<void> {
  const compiled = routes.map((route) => ({ ...route, segments: route.path.split('/') }));
  return async (exchange) => {
    const segments = exchange.path.split('/');
    const allowed = new Set<string>();
    for (const route of compiled) {
      const parameters = match(route.segments, segments);
      if (parameters === undefined) continue;
      if (route.method === '*' || route.method === exchange.method) return route.handle(exchange, parameters);
      allowed.add(route.method);
    }
    if (allowed.size > 0) {
      throw new Refusal(405, { error: 'method_not_allowed' }, { allow: [...allowed].sort().join(', ') });
    }
    throw new Refusal(404, { error: 'not_found', error_description: 'there is nothing at this path' });
  };
}

function match(pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index]!;
    if (part.startsWith(':') && segment !== '') parameters[part.slice(1)] = segment;
    else if (part !== segment) return undefined;
  }
  return parameters;
}

/** @throws {Refusal} when it is absent or empty */
export function required(form: URLSearchParams, name: string): string {
  const value = form.get(name);
  if (value === null || value === '') throw oauthRefusal('invalid_request', `${name} is missing`);
  return value;
}
