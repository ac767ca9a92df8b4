import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { createAudit } from '../../src/audit/audit.ts';
import {
  createAuthorizationServer,
  type AuthorizationServer,
  type ConnectStep,
  type ResourceDirectory,
} from '../../src/authorization-server/authorization-server.ts';
import { movableClock } from '../../src/clock.ts';
import { openDatabase, type Database } from '../../src/database/database.ts';
import { createEgress } from '../../src/egress/egress.ts';
import { createIdentity, SESSION_COOKIE, type Identity } from '../../src/identity/identity.ts';
import type { TenantId } from '../../src/ids.ts';
import type { User } from '../../src/identity/principal.ts';
import { createLog } from '../../src/log.ts';
import { createWeb } from '../../src/web/web.ts';

export const TENANT = 'default' as TenantId;

export type Gateway = {
  url: string;
  as: AuthorizationServer;
  identity: Identity;
  database: Database;
  clock: ReturnType<typeof movableClock>;
  log(): string;
  /** Closes the way out: whatever is fetched from now on fails. */
  cutOff(): Promise<void>;
  resource(name: string): string;
  /** Connectors that exist; tests add to it. */
  connectors: Set<string>;
  person(email: string): Promise<User>;
  browser(user?: User): Promise<Browser>;
  close(): Promise<void>;
};

export type GatewayOptions = {
  database?: Database;
  clock?: ReturnType<typeof movableClock>;
  connectors?: string[];
  connectStep?: ConnectStep;
  limits?: Parameters<typeof createAuthorizationServer>[0]['limits'];
  accessTokenTtlSeconds?: number;
  /** The address that clients use, when it is another process's. */
  publicUrl?: string;
};

/** Everything below the composition root that authorization needs, on a port of its own. */
export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  let text = '';
  const log = createLog({
    level: 'debug',
    destination: new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        done();
      },
    }),
  });
  const clock = options.clock ?? movableClock();
  const dataDir = options.database === undefined ? await mkdtemp(join(tmpdir(), 'valetkey-as-')) : undefined;
  const database = options.database ?? (await openDatabase({ dataDir: dataDir as string, clock, log }));
  const web = createWeb({ log, allowedHosts: () => true, closed: true });
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  const url = options.publicUrl ?? `http://127.0.0.1:${port}`;
  const own = `http://127.0.0.1:${port}`;
  const audit = createAudit({ database, clock });
  const identity = await createIdentity({ database, clock, audit, publicUrl: url });
  const egress = createEgress({ allow: ['loopback'] });
  const connectors = new Set(options.connectors ?? ['alpha', 'beta']);
  const resources: ResourceDirectory = {
    find(uri) {
      const match = new RegExp(`^${url.replaceAll('.', '\\.')}/mcp/([a-z]+)/([a-z]+)$`).exec(uri);
      const [, tenant, name] = match ?? [];
      if (tenant === undefined || name === undefined || !connectors.has(name)) return undefined;
      return { tenant: tenant as TenantId, connector: name, title: `The ${name}`, uri };
    },
    only: () => (connectors.size === 1 ? `${url}/mcp/default/${[...connectors][0]}` : undefined),
  };
  const as = await createAuthorizationServer({
    database,
    identity,
    egress,
    clock,
    log,
    audit,
    web,
    publicUrl: url,
    accessTokenTtlSeconds: options.accessTokenTtlSeconds ?? 600,
    resources,
    connectStep: options.connectStep ?? (() => Promise.resolve(null)),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  web.open();
  return {
    url: own,
    as,
    identity,
    database,
    clock,
    log: () => text,
    cutOff: () => egress.close(),
    resource: (name) => `${url}/mcp/default/${name}`,
    connectors,
    async person(email) {
      const { user } = await identity.users.invite({ tenant: TENANT, email, name: email, role: 'member' });
      return user;
    },
    async browser(user) {
      const browser = new Browser(own, url);
      if (user !== undefined) {
        browser.cookies.set(SESSION_COOKIE, {
          value: await identity.sessions.start(user.tenant, user.id, 'test'),
          path: '/',
        });
      }
      return browser;
    },
    async close() {
      as.close();
      await web.close(200);
      await egress.close();
      if (dataDir !== undefined) {
        await database.close();
        await rm(dataDir, { recursive: true, force: true });
      }
    },
  };
}

export type Visit = { status: number; url: string; headers: Headers; text: string };

/** A browser without scripts: cookies by path, redirects and refreshes within the gateway, forms. */
export class Browser {
  readonly cookies = new Map<string, { value: string; path: string }>();
  readonly #own: string;
  readonly #publicUrl: string;

  constructor(own: string, publicUrl: string) {
    this.#own = own;
    this.#publicUrl = publicUrl;
  }

  async fetch(url: string, init: RequestInit = {}): Promise<Visit> {
    const target = new URL(url.replace(this.#publicUrl, this.#own));
    const cookie = [...this.cookies]
      .filter(([, { path }]) => target.pathname === path || path === '/' || target.pathname.startsWith(`${path}/`))
      .map(([key, { value }]) => `${key.split('|')[0]}=${value}`)
      .join('; ');
    const response = await fetch(target, {
      ...init,
      redirect: 'manual',
      headers: {
        accept: 'text/html',
        ...(init.headers as Record<string, string>),
        ...(cookie === '' ? {} : { cookie }),
      },
    });
    for (const line of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim());
      const name = pair.slice(0, pair.indexOf('='));
      const path = attributes.find((part) => /^path=/i.test(part))?.slice(5) ?? '/';
      const gone = attributes.some((part) => /^(max-age=0|expires=thu, 01 jan 1970)/i.test(part));
      const key = path === '/' ? name : `${name}|${path}`;
      if (gone) this.cookies.delete(key);
      else this.cookies.set(key, { value: pair.slice(pair.indexOf('=') + 1), path });
    }
    return { status: response.status, url: target.href, headers: response.headers, text: await response.text() };
  }

  /** Follows redirects and refreshes as long as they stay at the gateway; the last answer, or the way out. */
  async go(url: string, init: RequestInit = {}): Promise<Visit & { out?: string }> {
    let visit = await this.fetch(url, init);
    for (let hop = 0; hop < 10; hop++) {
      const refresh = /http-equiv="refresh" content="\d+;url=([^"]+)"/.exec(visit.text)?.[1]?.replaceAll('&amp;', '&');
      const to = visit.headers.get('location') ?? refresh;
      if (to === undefined || to === null) return visit;
      const next = new URL(to, visit.url).href;
      if (!next.startsWith(`${this.#own}/`) && !next.startsWith(`${this.#publicUrl}/`)) return { ...visit, out: next };
      visit = await this.fetch(next);
    }
    throw new Error('a loop of redirects');
  }

  /** Sends the first form of a page that has a button of that value. */
  async press(visit: Visit, decision: string): Promise<Visit & { out?: string }> {
    const csrf = /name="csrf" value="([^"]+)"/.exec(visit.text)?.[1] ?? '';
    return await this.go(visit.url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ csrf, decision }).toString(),
    });
  }
}

export const VERIFIER = randomBytes(32).toString('base64url');
export const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url');
export const REDIRECT = 'http://127.0.0.1:4711/callback';

export type Json = Record<string, unknown>;

export async function register(gateway: Gateway, metadata: Json = {}): Promise<{ status: number; body: Json }> {
  const response = await fetch(`${gateway.url}/oauth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'Test client',
      redirect_uris: [REDIRECT],
      token_endpoint_auth_method: 'none',
      ...metadata,
    }),
  });
  return { status: response.status, body: (await response.json()) as Json };
}

export function authorizeUrl(
  gateway: Gateway,
  client: string,
  changes: Record<string, string | undefined> = {},
): string {
  const parameters: Record<string, string | undefined> = {
    response_type: 'code',
    client_id: client,
    redirect_uri: REDIRECT,
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    state: 'st-1',
    scope: 'mcp',
    resource: gateway.resource('alpha'),
    ...changes,
  };
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.append(name, value);
  return `${gateway.url}/oauth/authorize?${query.toString()}`;
}

export async function post(
  gateway: Gateway,
  path: string,
  form: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: Json; headers: Headers }> {
  const response = await fetch(`${gateway.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: new URLSearchParams(form).toString(),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Json), headers: response.headers };
}

/** Goes through consent and returns what the client gets back. */
export async function authorize(
  gateway: Gateway,
  browser: Browser,
  client: string,
  changes: Record<string, string | undefined> = {},
): Promise<URLSearchParams> {
  const page = await browser.go(authorizeUrl(gateway, client, changes));
  const back = page.out === undefined ? await browser.press(page, 'allow') : page;
  if (back.out === undefined) throw new Error(`not taken back: ${back.status} ${back.text}`);
  return new URL(back.out).searchParams;
}

export async function redeem(
  gateway: Gateway,
  client: string,
  code: string,
  changes: Record<string, string> = {},
): ReturnType<typeof post> {
  return await post(gateway, '/oauth/token', {
    grant_type: 'authorization_code',
    client_id: client,
    code,
    redirect_uri: REDIRECT,
    code_verifier: VERIFIER,
    ...changes,
  });
}

export type Tokens = { access_token: string; refresh_token: string; expires_in: number; scope: string };

/** A client with tokens for a connector. */
export async function signedInClient(
  gateway: Gateway,
  options: { user?: User; connector?: string } = {},
): Promise<{ client: string; user: User; browser: Browser; tokens: Tokens }> {
  const user = options.user ?? (await gateway.person(`p${randomBytes(4).toString('hex')}@example.com`));
  const browser = await gateway.browser(user);
  const client = String((await register(gateway)).body['client_id']);
  const resource = gateway.resource(options.connector ?? 'alpha');
  const params = await authorize(gateway, browser, client, { resource });
  const { status, body } = await redeem(gateway, client, params.get('code') ?? '');
  if (status !== 200) throw new Error(`not redeemed: ${JSON.stringify(body)}`);
  return { client, user, browser, tokens: body as unknown as Tokens };
}

export async function refresh(
  gateway: Gateway,
  client: string,
  token: string,
  changes: Record<string, string> = {},
): ReturnType<typeof post> {
  return await post(gateway, '/oauth/token', {
    grant_type: 'refresh_token',
    client_id: client,
    refresh_token: token,
    ...changes,
  });
}
