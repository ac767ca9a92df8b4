import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Egress, OutboundResponse } from '../egress/egress.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../errors.ts';
import { parseChallenge, type Challenge } from './challenge.ts';

/** One address that discovery looked at and what came back, for the page of a failure. */
export type Tried = { url: string; result: string };

export type Discovered = {
  /** Of the metadata, byte for byte; `endpoint:<token endpoint>` when the endpoints were typed in. */
  issuer: string;
  typed: boolean;
  authorizationEndpoint: string;
  tokenEndpoint: string;
  registrationEndpoint: string | null;
  revocationEndpoint: string | null;
  userinfoEndpoint: string | null;
  introspectionEndpoint: string | null;
  authMethods: readonly string[] | null;
  scopesSupported: readonly string[];
  /** RFC 9207: the callback has to carry `iss`. */
  issPromised: boolean;
  metadataDocuments: boolean;
  /** From protected-resource metadata, for `resource: auto`. */
  resource: string | null;
  challengeScopes: readonly string[] | null;
  resourceScopes: readonly string[] | null;
  tried: readonly Tried[];
};

export type Discovery = {
  /** @throws ValetkeyError discovery_failed, issuer_mismatch, resource_mismatch, pkce_unsupported; `detail.tried` lists addresses */
  discover(connector: Connector): Promise<Discovered>;
  /** What an upstream said at run time, which can be more than it says to a probe. Also drops what is cached. */
  learn(connector: Connector, challenge: Challenge | undefined): void;
  forget(connector: Connector): void;
};

const text = z.string().min(1).max(2_048);
const resourceSchema = z.object({
  resource: text,
  authorization_servers: z.array(text).max(20).optional(),
  scopes_supported: z.array(z.string().max(256)).max(1_000).optional(),
});
const serverSchema = z.object({
  issuer: text,
  authorization_endpoint: text.optional(),
  token_endpoint: text.optional(),
  registration_endpoint: text.optional(),
  revocation_endpoint: text.optional(),
  userinfo_endpoint: text.optional(),
  introspection_endpoint: text.optional(),
  scopes_supported: z.array(z.string().max(256)).max(2_000).optional().catch(undefined),
  token_endpoint_auth_methods_supported: z.array(z.string()).max(50).optional(),
  code_challenge_methods_supported: z.array(z.string()).max(50).optional(),
  authorization_response_iss_parameter_supported: z.boolean().optional().catch(undefined),
  client_id_metadata_document_supported: z.boolean().optional().catch(undefined),
});
type ServerMetadata = z.output<typeof serverSchema>;

const FRESH_MS = 60_000;
const MAX_CACHED = 1_000;

export function createDiscovery(options: { egress: Egress; clock: Clock }): Discovery {
  const { egress, clock } = options;
  const cached = new Map<string, { found: Discovered; until: number }>();
  const learned = new Map<string, Challenge>();
  const keyOf = (connector: Connector) => `${connector.tenant}/${connector.id}/${connector.revision}`;

  return {
    async discover(connector) {
      const key = keyOf(connector);
      const hit = cached.get(key);
      if (hit !== undefined && hit.until > clock.now()) return hit.found;
      const found = await discover(egress, connector, learned.get(key));
      cached.delete(key);
      cached.set(key, { found, until: clock.now() + FRESH_MS });
      bound(cached);
      return found;
    },
    learn(connector, challenge) {
      const key = keyOf(connector);
      cached.delete(key);
      if (challenge === undefined) return;
      learned.set(key, challenge);
      bound(learned);
    },
    forget: (connector) => void cached.delete(keyOf(connector)),
  };
}

function bound(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > MAX_CACHED && oldest !== undefined) map.delete(oldest);
}

async function discover(egress: Egress, connector: Connector, learned: Challenge | undefined): Promise<Discovered> {
  const { oauth } = connector;
  if (oauth === null) throw fail('internal', { detail: { reason: 'discovery for a connector without OAuth' } });
  const tried: Tried[] = [];
  const typed = oauth.authorizationUrl !== null && oauth.tokenUrl !== null;
  const given = (await probe(egress, connector, tried)) ?? learned;
  const challenge = given === undefined ? undefined : { ...learned, ...defined(given) };

  const document = await protectedResource(egress, connector.document.url, challenge?.resourceMetadata, tried);
  if (document !== undefined && !covers(document.resource, connector.document.url) && oauth.resource === 'auto') {
    throw fail('resource_mismatch', {
      message: `The server says that it is ${printable(document.resource)}, not ${connector.document.url}.`,
      detail: { tried },
    });
  }
  const common = {
    resource: document?.resource ?? null,
    challengeScopes: challenge?.scopes ?? null,
    resourceScopes: document?.scopes_supported ?? null,
    tried,
  };
  if (typed) {
    return {
      ...common,
      issuer: oauth.issuer ?? `endpoint:${oauth.tokenUrl}`,
      typed: true,
      authorizationEndpoint: oauth.authorizationUrl ?? '',
      tokenEndpoint: oauth.tokenUrl ?? '',
      registrationEndpoint: oauth.registrationUrl,
      revocationEndpoint: oauth.revocationUrl,
      userinfoEndpoint: null,
      introspectionEndpoint: null,
      authMethods: null,
      scopesSupported: [],
      issPromised: false,
      metadataDocuments: false,
    };
  }

  // Without protected-resource metadata the server is its own issuer, as in the revision of 2025-03-26.
  const origin = new URL(connector.document.url).origin;
  const issuers = oauth.issuer !== null ? [oauth.issuer] : (document?.authorization_servers ?? [origin]);
  for (const issuer of issuers.slice(0, 5)) {
    const metadata = await authorizationServer(egress, issuer, tried);
    if (metadata === undefined) continue;
    const authorizationEndpoint = oauth.authorizationUrl ?? metadata.authorization_endpoint;
    const tokenEndpoint = oauth.tokenUrl ?? metadata.token_endpoint;
    if (authorizationEndpoint === undefined || tokenEndpoint === undefined) {
      tried.push({ url: issuer, result: 'the metadata names no authorization endpoint or no token endpoint' });
      continue;
    }
    if (oauth.pkce && metadata.code_challenge_methods_supported?.includes('S256') !== true) {
      throw fail('pkce_unsupported', {
        message: `The authorization server ${printable(issuer)} does not say that it supports PKCE with S256.`,
        detail: { tried },
      });
    }
    for (const endpoint of [authorizationEndpoint, tokenEndpoint]) checkEndpoint(egress, endpoint, tried);
    return {
      ...common,
      issuer: metadata.issuer,
      typed: false,
      authorizationEndpoint,
      tokenEndpoint,
      registrationEndpoint: oauth.registrationUrl ?? metadata.registration_endpoint ?? null,
      revocationEndpoint: oauth.revocationUrl ?? metadata.revocation_endpoint ?? null,
      userinfoEndpoint: metadata.userinfo_endpoint ?? null,
      introspectionEndpoint: metadata.introspection_endpoint ?? null,
      authMethods: metadata.token_endpoint_auth_methods_supported ?? null,
      scopesSupported: metadata.scopes_supported ?? [],
      issPromised: metadata.authorization_response_iss_parameter_supported === true,
      metadataDocuments: metadata.client_id_metadata_document_supported === true,
    };
  }
  throw fail('discovery_failed', {
    message: `No usable authorization server was found for ${connector.document.url}.`,
    detail: { tried },
  });
}

function defined(challenge: Challenge): Partial<Challenge> {
  return Object.fromEntries(Object.entries(challenge).filter(([, value]) => value !== undefined));
}

/** An endpoint from metadata is a place where secrets and people are sent. */
function checkEndpoint(egress: Egress, endpoint: string, tried: Tried[]): void {
  try {
    egress.check(endpoint);
  } catch (error) {
    tried.push({ url: printable(endpoint), result: asValetkeyError(error).message });
    throw fail('discovery_failed', {
      message: `The authorization server names an endpoint that may not be used: ${printable(endpoint)}.`,
      detail: { tried },
      cause: error,
    });
  }
}

/**
 * Asks the server without a credential. Some answer `initialize` to anyone and only then refuse, so that a second
 * question is asked.
 */
async function probe(egress: Egress, connector: Connector, tried: Tried[]): Promise<Challenge | undefined> {
  const { url, transport } = connector.document;
  const headers = {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'mcp-protocol-version': '2025-06-18',
  };
  const initialize = {
    jsonrpc: '2.0',
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'valetkey', version: '0' } },
  };
  const questions: { method: string; headers: Record<string, string>; body?: string }[] =
    transport === 'sse'
      ? [{ method: 'GET', headers: { accept: 'text/event-stream' } }]
      : [
          { method: 'POST', headers, body: JSON.stringify(initialize) },
          { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list' }) },
        ];
  for (const question of questions) {
    const answer = await look(egress, url, tried, { ...question, timeoutMs: 5_000 });
    const challenge = parseChallenge(answer?.headers.get('www-authenticate'));
    if (answer?.status === 401 || (answer?.status === 403 && challenge !== undefined)) return challenge;
    if (answer === undefined) return undefined;
  }
  return undefined;
}

/** RFC 9728 §3: where the challenge points, else the path form, else the root. */
async function protectedResource(
  egress: Egress,
  server: string,
  pointed: string | undefined,
  tried: Tried[],
): Promise<z.output<typeof resourceSchema> | undefined> {
  const { origin, pathname } = new URL(server);
  const wellKnown = `${origin}/.well-known/oauth-protected-resource`;
  const candidates = [
    ...(pointed !== undefined && URL.canParse(pointed, server) ? [new URL(pointed, server).href] : []),
    ...(pathname === '/' ? [] : [`${wellKnown}${pathname}`]),
    wellKnown,
  ];
  for (const url of new Set(candidates)) {
    const found = await document(egress, url, tried, resourceSchema);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** RFC 8414 §3.1 and OpenID Connect Discovery, in the order that MCP names. */
export function metadataUrls(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  if (path === '')
    return [`${origin}/.well-known/oauth-authorization-server`, `${origin}/.well-known/openid-configuration`];
  return [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}/.well-known/openid-configuration${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
}

async function authorizationServer(
  egress: Egress,
  issuer: string,
  tried: Tried[],
): Promise<ServerMetadata | undefined> {
  if (!URL.canParse(issuer)) {
    tried.push({ url: printable(issuer), result: 'not an absolute URL' });
    return undefined;
  }
  for (const url of metadataUrls(issuer)) {
    const found = await document(egress, url, tried, serverSchema);
    if (found === undefined) continue;
    // RFC 8414 §3.3: identical, without any normalisation, or an issuer could speak for another.
    if (found.issuer !== issuer) {
      throw fail('issuer_mismatch', {
        message: `The metadata at ${url} belongs to ${printable(found.issuer)}, not to ${printable(issuer)}.`,
        detail: { tried },
      });
    }
    return found;
  }
  return undefined;
}

async function document<T extends z.ZodType>(
  egress: Egress,
  url: string,
  tried: Tried[],
  schema: T,
): Promise<z.output<T> | undefined> {
  const answer = await look(egress, url, tried, { headers: { accept: 'application/json' }, timeoutMs: 5_000 });
  if (answer === undefined || answer.status !== 200) return undefined;
  const parsed = schema.safeParse(parseJson(answer));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  amend(tried, `status 200, but not the expected document (${issue?.path.join('.') || 'not a JSON object'})`);
  return undefined;
}

function parseJson(answer: OutboundResponse): unknown {
  try {
    return JSON.parse(answer.body.toString('utf8'));
  } catch {
    return undefined;
  }
}

async function look(
  egress: Egress,
  url: string,
  tried: Tried[],
  request: { method?: string; headers: Record<string, string>; body?: string; timeoutMs: number },
): Promise<OutboundResponse | undefined> {
  try {
    const answer = await egress.request(url, { ...request, maxBytes: 256 * 1024 });
    tried.push({ url: printable(url), result: `status ${answer.status}` });
    return answer;
  } catch (error) {
    const known: ValetkeyError = asValetkeyError(error);
    tried.push({ url: printable(url), result: known.message });
    return undefined;
  }
}

function amend(tried: Tried[], result: string): void {
  const last = tried.at(-1);
  if (last !== undefined) last.result = result;
}

/** Whether a resource identifier covers a URL: same origin, and the same path or one above it. */
export function covers(resource: string, url: string): boolean {
  if (!URL.canParse(resource)) return false;
  const claimed = new URL(resource);
  const actual = new URL(url);
  if (claimed.origin !== actual.origin) return false;
  const path = claimed.pathname.replace(/\/$/, '');
  return actual.pathname === path || actual.pathname.startsWith(`${path}/`) || claimed.pathname === actual.pathname;
}

/** Text from outside as it may stand in a message. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, '').slice(0, 300);
}
