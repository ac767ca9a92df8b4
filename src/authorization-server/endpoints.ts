import { Readable } from 'node:stream';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { KoaContextWithOIDC, Provider } from 'oidc-provider';
import { asValetkeyError, fail, problem, type ErrorCode } from '../errors.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { clientAddress } from '../web/address.ts';
import { errorPage, renderPage } from '../web/page.ts';
import { API_HEADERS, PAGE_HEADERS } from '../web/security-headers.ts';
import type { Web } from '../web/web.ts';
import { displayName } from './client-metadata.ts';
import { refusalPage } from './pages.ts';
import { authorizationParameters } from './parameters.ts';
import { cookieName } from './provider.ts';
import { isWebRedirect } from './redirects.ts';
import { createRate, type Rate } from './rate.ts';
import type { RegistrationAnswer } from './registration.ts';
import type { Targets } from './resources.ts';

const MAX_BODY = 64 * 1024;
/** An authorization request is kept while its person answers. */
const MAX_REQUEST = 8 * 1024;

export type EndpointOptions = {
  web: Web;
  provider: Provider;
  clock: Clock;
  /** From one address. Every request that leads to a page is kept for an hour: nobody fills the store with them. */
  authorizations: Rate;
  publicUrl: string;
  targets: Targets;
  log: Log;
  register(document: unknown, address: string): Promise<RegistrationAnswer>;
  /** Whether whoever is signed in in this browser has allowed that client something at that redirect. */
  hasAllowed(cookieHeader: string | undefined, client: string, redirect: string): Promise<boolean>;
};

/** What the engine refuses without a place to redirect to, as a page. */
export async function renderError(
  ctx: KoaContextWithOIDC,
  error: Error & { error_description?: string },
): Promise<void> {
  const code = codeOf(ctx, error);
  const described = code === 'authorization_refused' && error.error_description !== undefined;
  const page = await errorPage(fail(code, described ? { message: sentence(error.error_description ?? '') } : {}));
  ctx.status = page.status;
  page.headers.forEach((value, name) => ctx.set(name, value));
  ctx.body = await page.text();
}

function codeOf(ctx: KoaContextWithOIDC, error: Error): ErrorCode {
  if ((error as { statusCode?: number }).statusCode === undefined) return 'internal';
  if (error.name === 'InvalidClient') return 'client_unknown';
  if (error.name === 'InvalidRedirectUri') return 'redirect_unregistered';
  if (error.name === 'SessionNotFound' || ctx.oidc?.route === 'resume') return 'authorization_expired';
  return 'authorization_refused';
}

function sentence(text: string): string {
  const clean = displayLine(text);
  return clean === '' ? '' : `${clean[0]?.toUpperCase() ?? ''}${clean.slice(1)}${/[.!?]$/.test(clean) ? '' : '.'}`;
}

function displayLine(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ')
    .slice(0, 300)
    .trim();
}

/** The raw endpoints below `/oauth`: what reaches the engine has been put in order here. */
export function mountEndpoints(options: EndpointOptions): void {
  const { web, provider, publicUrl, targets, log } = options;
  const { host, protocol } = new URL(publicUrl);
  const unusedCookie = `${cookieName(publicUrl, 'valetkey_unused')}=`;

  // Runs around the engine: it may not become an open redirector for clients that nobody has allowed anything.
  provider.use(async (ctx, next) => {
    await next();
    const cookies = ctx.response.headers['set-cookie'];
    if (Array.isArray(cookies)) {
      ctx.set(
        'set-cookie',
        cookies.filter((cookie) => !cookie.startsWith(unusedCookie)),
      );
    }
    const { oidc } = ctx as KoaContextWithOIDC;
    const location = ctx.response.get('location');
    if (oidc?.route !== 'authorization' || ctx.status !== 303 || !isWebRedirect(location)) return;
    const { client, params = {} } = oidc;
    const redirect = params['redirect_uri'];
    if (client === undefined || typeof redirect !== 'string') return;
    const answer = new URL(location).searchParams;
    const error = answer.get('error') ?? 'server_error';
    if (await options.hasAllowed(ctx.get('cookie'), client.clientId, redirect)) return;
    ctx.status = 400;
    ctx.remove('location');
    for (const [name, value] of Object.entries(PAGE_HEADERS)) ctx.set(name, value);
    ctx.type = 'html';
    ctx.body = await renderPage(
      refusalPage({
        name: displayName(client.clientName),
        host: new URL(redirect).host,
        error,
        description: sentence(answer.get('error_description') ?? error),
        url: location,
      }),
    );
  });
  const engine = provider.callback();
  const authorizeWait = createRate(options.clock, options.authorizations);

  function handOver(request: IncomingMessage, response: ServerResponse): void {
    // The engine derives addresses from the request; what it is told is the configured address and nothing else.
    request.headers.host = host;
    request.headers['x-forwarded-host'] = host;
    request.headers['x-forwarded-proto'] = protocol.slice(0, -1);
    delete request.headers['x-forwarded-for'];
    for (const [name, value] of Object.entries(API_HEADERS)) response.setHeader(name, value);
    void engine(request, response);
  }

  function admit(request: IncomingMessage, size: number): void {
    if (authorizeWait(clientAddress(request)) > 0) throw fail('too_many_requests');
    if (size > MAX_REQUEST) {
      throw fail('invalid_request', { message: `The authorization request is longer than ${MAX_REQUEST} bytes.` });
    }
  }

  async function pushed(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    admit(request, body.length);
    const form = authorizationParameters(new URLSearchParams(body.toString('utf8')), targets);
    const bytes = Buffer.from(form.toString());
    const { method, url, socket, httpVersion, headers } = request;
    const replay = Object.assign(Readable.from([bytes]), {
      method,
      url,
      socket,
      httpVersion,
      headers: { ...headers, 'content-length': String(bytes.length) },
    });
    delete replay.headers['transfer-encoding'];
    handOver(replay as unknown as IncomingMessage, response);
  }

  async function registration(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'OPTIONS') return send(response, { status: 204, body: {} });
    if (request.method !== 'POST') throw fail('method_not_allowed');
    if (mediaType(request) !== 'application/json') {
      return send(response, {
        status: 400,
        body: { error: 'invalid_client_metadata', error_description: 'The body has to be application/json.' },
      });
    }
    const text = (await readBody(request)).toString('utf8');
    let document: unknown;
    try {
      document = JSON.parse(text);
    } catch {
      document = undefined;
    }
    send(response, await options.register(document ?? null, clientAddress(request)));
  }

  async function route(request: IncomingMessage, response: ServerResponse, path: string, query: string): Promise<void> {
    const name = path.slice('/oauth/'.length);
    if (name === 'authorize' && (request.method === 'GET' || request.method === 'HEAD')) {
      admit(request, query.length);
      const parameters = authorizationParameters(new URLSearchParams(query), targets);
      request.url = `/oauth/authorize?${parameters.toString()}`;
      for (const [header, value] of Object.entries(PAGE_HEADERS)) response.setHeader(header, value);
      return handOver(request, response);
    }
    if (/^authorize\/[\w-]+$/.test(name)) {
      for (const [header, value] of Object.entries(PAGE_HEADERS)) response.setHeader(header, value);
      return handOver(request, response);
    }
    if (name === 'register') return await registration(request, response);
    if (name === 'jwks' && request.method === 'GET') return send(response, { status: 200, body: { keys: [] } });
    const rewritten = name === 'par' || name === 'device';
    if (rewritten && request.method === 'POST' && mediaType(request) === 'application/x-www-form-urlencoded') {
      return await pushed(request, response);
    }
    if (['token', 'revoke', 'introspect', 'par', 'device'].includes(name)) return handOver(request, response);
    throw fail('not_found');
  }

  web.mount('/oauth', (request, response, path, query) => {
    route(request, response, path, query).catch((thrown: unknown) => {
      const error = asValetkeyError(thrown);
      if (error.status >= 500) log.error({ err: error, path }, 'an OAuth request failed');
      const body = { ...problem(error), error: error.oauth, error_description: error.message };
      if (response.headersSent) response.destroy();
      else send(response, { status: error.status, body });
    });
  });
}

function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) throw fail('payload_too_large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, answer: RegistrationAnswer): void {
  const empty = answer.status === 204;
  response.writeHead(answer.status, {
    ...API_HEADERS,
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET, POST, OPTIONS',
    'access-control-allow-headers': '*, Authorization, Content-Type, MCP-Protocol-Version',
    ...(empty ? {} : { 'content-type': 'application/json' }),
    ...answer.headers,
  });
  response.end(empty ? undefined : JSON.stringify(answer.body));
}
