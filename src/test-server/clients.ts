import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { newToken } from '../ids.ts';
import { oauthRefusal } from './http.ts';
import type { Policy } from './options.ts';

export const AUTH_METHODS = ['none', 'client_secret_basic', 'client_secret_post'] as const;
type AuthMethod = (typeof AUTH_METHODS)[number];

export type ClientApplication = {
  clientId: string;
  clientSecret: string | null;
  authMethod: AuthMethod;
  name: string;
  redirectUris: string[];
  /** Only the application printed at start: it has to work before anyone knows the gateway's callback. */
  anyLoopbackRedirect: boolean;
  origin: 'configured' | 'by_hand' | 'dynamic';
  issuedAt: number;
  /** What differs for this client from the server's policy. */
  policy: Partial<Policy>;
};

export type Clients = {
  add(client: Partial<ClientApplication> & Pick<ClientApplication, 'origin' | 'authMethod'>): ClientApplication;
  get(clientId: string): ClientApplication | undefined;
  list(): ClientApplication[];
  forget(clientId: string): boolean;
  /** @throws {Refusal} `invalid_client` unless the request authenticates exactly as the client is registered */
  authenticate(req: IncomingMessage, form: URLSearchParams): ClientApplication;
};

const MAX_CLIENTS = 10_000;

export function createClients(options: {
  clock: Clock;
  onRefused: (clientId: string, error: string) => void;
  policyFor: (client: ClientApplication) => Pick<Policy, 'clientAuth' | 'basicEncoding'>;
}): Clients {
  const clients = new Map<string, ClientApplication>();

  function refuse(clientId: string, why: string): never {
    options.onRefused(clientId.slice(0, 80), 'invalid_client');
    throw oauthRefusal('invalid_client', why, 401, { 'www-authenticate': 'Basic realm="practice"' });
  }

  return {
    add(given) {
      if (clients.size >= MAX_CLIENTS) throw oauthRefusal('temporarily_unavailable', 'too many clients', 503);
      const client: ClientApplication = {
        clientId: `practice-${newToken(12)}`,
        clientSecret: given.authMethod === 'none' ? null : newToken(),
        name: 'Unnamed application',
        redirectUris: [],
        anyLoopbackRedirect: false,
        issuedAt: options.clock.now(),
        policy: {},
        ...given,
      };
      clients.set(client.clientId, client);
      return client;
    },
    get: (clientId) => clients.get(clientId),
    list: () => [...clients.values()],
    forget: (clientId) => clients.delete(clientId),
    authenticate(req, form) {
      const header = req.headers.authorization;
      const basic = header === undefined ? undefined : parseBasic(header);
      const inBody = { id: form.get('client_id'), secret: form.get('client_secret') };
      if (header !== undefined && basic === undefined) refuse('', 'the Authorization header is not Basic');
      if (basic !== undefined && inBody.secret !== null) {
        throw oauthRefusal('invalid_request', 'the client authenticates in two ways at once');
      }
      const clientId = basic?.id ?? inBody.id ?? '';
      if (clientId === '') refuse('', 'the client did not say who it is');
      if (inBody.id !== null && inBody.id !== clientId) {
        throw oauthRefusal('invalid_request', 'client_id differs between header and body');
      }
      const client = clients.get(clientId);
      if (client === undefined) refuse(clientId, 'this client is not registered here');
      const { clientAuth, basicEncoding } = options.policyFor(client);
      const used: AuthMethod =
        basic !== undefined ? 'client_secret_basic' : inBody.secret === null ? 'none' : 'client_secret_post';
      const wanted = clientAuth === 'registered' ? client.authMethod : (`client_secret_${clientAuth}` as const);
      if (used !== wanted) refuse(clientId, `this client has to use ${wanted}`);
      const secret = (basicEncoding === 'raw' ? basic?.rawSecret : basic?.secret) ?? inBody.secret;
      if (client.clientSecret !== null && !same(secret ?? '', client.clientSecret)) {
        refuse(clientId, 'the client secret is wrong');
      }
      return client;
    },
  };
}

/** RFC 6749 §2.3.1: both halves are form-encoded before they are joined. */
function parseBasic(header: string): { id: string; secret: string; rawSecret: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/=]+)$/i.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const at = text.indexOf(':');
  if (at < 1) return undefined;
  const [rawId, rawSecret] = [text.slice(0, at), text.slice(at + 1)];
  return { id: formDecoded(rawId) ?? rawId, secret: formDecoded(rawSecret) ?? '', rawSecret };
}

function formDecoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

export function same(left: string, right: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(left), digest(right));
}

export function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
}

/** RFC 8252 §7: https, http on loopback, or a scheme in reverse-domain form; no fragment, no user. */
function isRedirectUri(text: string): boolean {
  if (!URL.canParse(text) || text.includes('#') || /[\p{Cc}\p{Cf}\s]/u.test(text)) return false;
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return false;
  if (url.protocol === 'https:') return true;
  if (url.protocol === 'http:') return isLoopback(url);
  return /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:$/i.test(url.protocol);
}

/** RFC 9700 §2.1: equal as strings; for loopback only the port may differ (RFC 8252 §7.3). */
export function redirectAllowed(client: ClientApplication, text: string): boolean {
  if (!isRedirectUri(text)) return false;
  const url = new URL(text);
  const loopback = isLoopback(url);
  if (loopback && client.anyLoopbackRedirect) return true;
  return client.redirectUris.some((registered) => {
    if (registered === text) return true;
    const other = new URL(registered);
    return loopback && isLoopback(other) && withoutPort(url) === withoutPort(other);
  });
}

function withoutPort(url: URL): string {
  return `${url.hostname}${url.pathname}${url.search}`;
}

/** A name as it may stand on a page: no control, bidirectional or zero-width characters, 64 at most. */
export function cleanName(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
    .trim()
    .slice(0, 64);
}

const registrationSchema = z.object({
  redirect_uris: z.array(z.string().max(2_000)).min(1).max(20),
  token_endpoint_auth_method: z.enum(AUTH_METHODS).default('client_secret_basic'),
  grant_types: z
    .array(z.enum(['authorization_code', 'refresh_token']))
    .default(['authorization_code', 'refresh_token']),
  response_types: z.array(z.literal('code')).default(['code']),
  client_name: z.string().max(500).optional(),
});

/**
 * RFC 7591 §3.1, from a JSON document.
 * @throws {Refusal} `invalid_redirect_uri` or `invalid_client_metadata`, naming the field
 */
export function parseRegistration(document: unknown): Pick<ClientApplication, 'authMethod' | 'redirectUris' | 'name'> {
  const parsed = registrationSchema.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const field = issue.path.join('.');
    const error = field.startsWith('redirect_uris') ? 'invalid_redirect_uri' : 'invalid_client_metadata';
    throw oauthRefusal(error, `${field}: ${issue.message}`);
  }
  const wrong = parsed.data.redirect_uris.find((uri) => !isRedirectUri(uri));
  if (wrong !== undefined) throw oauthRefusal('invalid_redirect_uri', 'use https, or http on a loopback address');
  return {
    authMethod: parsed.data.token_endpoint_auth_method,
    redirectUris: parsed.data.redirect_uris,
    name: cleanName(parsed.data.client_name ?? '') || 'Unnamed application',
  };
}

/** RFC 7591 §3.2.1. */
export function registrationAnswer(client: ClientApplication): Record<string, unknown> {
  return {
    client_id: client.clientId,
    client_id_issued_at: Math.floor(client.issuedAt / 1_000),
    ...(client.clientSecret === null ? {} : { client_secret: client.clientSecret, client_secret_expires_at: 0 }),
    client_name: client.name,
    redirect_uris: client.redirectUris,
    token_endpoint_auth_method: client.authMethod,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  };
}
