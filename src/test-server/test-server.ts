import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  validateHostHeader,
  validateOriginHeader,
} from '@modelcontextprotocol/server';
import { newToken } from '../ids.ts';
import { createAccounts } from './accounts.ts';
import { apiRoutes } from './api.ts';
import { authorizeRoutes } from './authorize.ts';
import { createCallers } from './caller.ts';
import { createClients, type ClientApplication } from './clients.ts';
import { controlRoutes, createControl, type Control } from './control.ts';
import { describeTestServer, type Credentials } from './describe.ts';
import { createDirectGrants } from './direct-grants.ts';
import { createFaults } from './faults.ts';
import { createGrants, type Grant } from './grants.ts';
import { createRouter, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import { createItems } from './items.ts';
import { createLedger, type Ledger } from './ledger.ts';
import { jwtMint, loginRoutes } from './login.ts';
import { createMcpEndpoint } from './mcp.ts';
import { createSseEndpoint } from './mcp-sse.ts';
import { createToolServer } from './mcp-tools.ts';
import { metadataRoutes, type MetadataOverrides } from './metadata.ts';
import { openapiDocument } from './openapi.ts';
import { parseOptions, policySchema, SCOPES, type Mode, type Policy, type TestServerOptions } from './options.ts';
import type { PersonaName } from './personas.ts';
import { frontPage, sendPage } from './pages.ts';
import { registrationRoutes } from './registration.ts';
import { tokenStatusRoutes } from './token-status.ts';
import { tokenRoutes } from './token.ts';

export type { TestServerOptions } from './options.ts';

export type TestServer = {
  mode: Mode;
  /** Base of everything, without a trailing slash; also the issuer. */
  url: string;
  port: number;
  mcpUrl: string;
  sseUrl: string;
  issuer: string;
  credentials: Credentials;
  /** With which it was started. */
  personas: readonly PersonaName[];
  ledger: Ledger;
  control: Control;
  grants(): readonly Readonly<Grant>[];
  clients(): readonly Readonly<ClientApplication>[];
  /** Legacy MCP sessions that are open. */
  mcpSessions(): number;
  /** Cuts what is open and frees the port. */
  close(): Promise<void>;
};

/**
 * Starts the practice service and resolves when it listens.
 * @throws {z.ZodError} for a wrong option; the system's error when the port cannot be had
 */
export async function createTestServer(options: TestServerOptions): Promise<TestServer> {
  const settings = parseOptions(options);
  const { mode, clock } = settings;
  let handler: (exchange: Exchange) => Promise<void> | void = () => undefined;
  const http = createHttpServer((req, res) => void answer(req, res, (exchange) => handler(exchange)));
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(settings.port, settings.host, resolve);
  });
  const { port } = http.address() as AddressInfo;
  const host = settings.host.includes(':') ? `[${settings.host}]` : settings.host;
  const base = settings.publicUrl?.replace(/\/$/, '') ?? `http://${host}:${port}`;

  const ledger = createLedger({ clock, file: settings.ledgerFile });
  const faults = createFaults({ clock, latencyMs: settings.latencyMs });
  const accounts = createAccounts({ clock, users: settings.users });
  const items = createItems({ clock });
  const mint = mode === 'jwt' ? jwtMint({ clock, issuer: base }) : () => `pat_${newToken()}`;
  const grants = createGrants({ clock, mint });
  const policy = { server: policySchema.strip().parse(settings) };
  const policyFor = (client: ClientApplication): Policy => ({ ...policy.server, ...client.policy });
  const policyOf = (clientId: string): Policy => ({ ...policy.server, ...clients.get(clientId)?.policy });
  const clients = createClients({
    clock,
    policyFor,
    onRefused: (clientId, error) => ledger.record({ type: 'client_refused', clientId, endpoint: 'token', error }),
  });
  const usernames = accounts.list().map((account) => account.username);
  const perUser = (prefix: string) => new Map(usernames.map((username) => [username, `${prefix}_${newToken(24)}`]));
  const tokens = perUser('pst');
  const apiKeys = perUser('pak');
  const callers = createCallers({
    mode,
    base,
    scopes: SCOPES,
    defaultScopes: settings.defaultScopes,
    accounts,
    grants,
    tokens,
    apiKeys,
    policyOf,
  });

  const grantable = new Map<string, readonly string[]>();
  const overrides: MetadataOverrides = { authorizationServer: {}, protectedResource: {} };
  const resources = new Set([base, `${base}/`, ...['/mcp', '/sse', '/api'].map((path) => `${base}${path}`)]);

  const createServer = () => createToolServer({ clock, items, ledger });
  const mcp = createMcpEndpoint({ callers, ledger, faults, createServer });
  const sse = createSseEndpoint({ callers, ledger, faults, createServer });
  const control = createControl({
    grants,
    clients,
    accounts,
    faults,
    ledger,
    overrides,
    policy,
    policyOf,
    grantable,
    endMcpSessions: mcp.endSessions,
    notifyToolsChanged: async () => {
      await Promise.all([mcp.notifyToolsChanged(), sse.notifyToolsChanged()]);
    },
  });

  const oauth = mode === 'oauth' || mode === 'oauth-dcr';
  const application =
    mode === 'oauth'
      ? clients.add({
          ...settings.client,
          origin: 'configured',
          authMethod: 'client_secret_basic',
          name: 'Practice client',
          anyLoopbackRedirect: true,
        })
      : undefined;

  const authRoutes: Route[] = oauth
    ? [
        ...metadataRoutes({
          base,
          scopes: SCOPES,
          registration: mode === 'oauth-dcr',
          overrides,
          policy: () => policy.server,
        }),
        ...authorizeRoutes({
          clock,
          accounts,
          clients,
          grants,
          ledger,
          issuer: base,
          scopes: SCOPES,
          defaultScopes: settings.defaultScopes,
          policyFor,
          servesResource: (resource) => resources.has(resource),
          grantable: (subject) => grantable.get(subject) ?? SCOPES,
          autoApprove: settings.unsafeAutoApprove,
        }),
        ...tokenRoutes({
          clock,
          clients,
          grants,
          direct: createDirectGrants({
            clock,
            grants,
            scopes: SCOPES,
            assertionKey: settings.assertionKey,
            audiences: [base, `${base}/auth/token`],
            isUser: (username) => accounts.get(username) !== undefined,
          }),
          ledger,
          faults,
          policyFor,
          policyOf,
          servesResource: (resource) => resources.has(resource),
        }),
        ...tokenStatusRoutes({ clients, grants, ledger, policyOf, issuer: base }),
        ...registrationRoutes({ clients, ledger, dynamic: mode === 'oauth-dcr' }),
      ]
    : mode === 'jwt'
      ? loginRoutes({ clock, accounts, grants, ledger, faults, scopes: SCOPES, policy: () => policy.server })
      : [];

  const router = createRouter([
    ...authRoutes,
    ...apiRoutes({ callers, accounts, items, ledger, faults }),
    ...mcp.routes,
    ...sse.routes,
    ...(settings.control ? controlRoutes(control, ledger) : []),
    { method: 'GET', path: '/openapi.json', handle: ({ res }) => sendJson(res, 200, openapiDocument({ mode, base })) },
    {
      method: 'GET',
      path: '/',
      handle: ({ res }) => sendPage(res, 200, frontPage({ mode, mcpUrl: `${base}/mcp`, oauth })),
    },
  ]);

  const guards = new Set([...localhostAllowedHostnames(), new URL(base).hostname]);
  const onLoopback = localhostAllowedHostnames().includes(host);
  handler = async (exchange) => {
    const { req, res, path } = exchange;
    // A page elsewhere must not reach a service on this computer by a name that resolves to it (DNS rebinding).
    if (onLoopback && !validateHostHeader(req.headers.host, [...guards]).ok)
      throw new Refusal(403, { error: 'wrong_host' });
    if (
      !validateOriginHeader(req.headers.origin, [...guards, ...localhostAllowedOrigins()]).ok &&
      !path.startsWith('/auth/')
    ) {
      throw new Refusal(403, { error: 'wrong_origin' });
    }
    if ((path.startsWith('/auth/') || path.startsWith('/.well-known/')) && faults.refusesAuthorizationServer(res))
      return;
    await router(exchange);
  };

  const server: TestServer = {
    mode,
    url: base,
    port,
    mcpUrl: `${base}/mcp`,
    sseUrl: `${base}/sse`,
    issuer: base,
    credentials: {
      users: settings.users.map(({ username, password }) => ({ username, password })),
      tokens: mode === 'bearer' ? Object.fromEntries(tokens) : {},
      apiKeys: mode === 'apikey' ? Object.fromEntries(apiKeys) : {},
      client:
        application === undefined
          ? undefined
          : { clientId: application.clientId, clientSecret: application.clientSecret! },
    },
    personas: settings.personas,
    ledger,
    control,
    grants: grants.list,
    clients: () => clients.list(),
    mcpSessions: mcp.sessionCount,
    async close() {
      faults.close();
      await Promise.all([mcp.close(), sse.close()]);
      await new Promise<void>((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      });
    },
  };
  return server;
}

/** The text that the command prints, one string. */
export function printedCredentials(server: TestServer): string {
  return describeTestServer(server).join('\n');
}

async function answer(req: IncomingMessage, res: ServerResponse, handle: (exchange: Exchange) => Promise<void> | void) {
  try {
    const target = req.url ?? '/';
    if (!target.startsWith('/') || !URL.canParse(target, 'http://practice'))
      throw new Refusal(400, { error: 'invalid_request' });
    const { pathname, searchParams } = new URL(`http://practice${target}`);
    await handle({ req, res, method: req.method ?? '', path: pathname, query: searchParams });
  } catch (error) {
    if (res.headersSent) res.destroy();
    else if (error instanceof Refusal) sendJson(res, error.status, error.body, error.headers);
    // A client that goes away in the middle of its body ends up here as well, with nobody left to answer.
    else sendJson(res, 500, { error: 'server_error' });
  }
}
