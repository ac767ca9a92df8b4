import { createHash } from 'node:crypto';
import { DEVICE_GRANT } from './device-code.ts';
import { isWebRedirect, redirectFault } from './redirects.ts';

/** What is kept of a client's metadata, by whatever way it came (RFC 7591 §2). */
export type ClientMetadata = {
  client_id: string;
  client_name: string;
  redirect_uris: string[];
  grant_types: string[];
  response_types: 'code'[];
  token_endpoint_auth_method: AuthMethod;
  application_type: 'native' | 'web';
  client_uri?: string;
  client_id_issued_at?: number;
  /** SHA-256 of the secret; the secret itself is shown once. */
  client_secret?: string;
  client_secret_expires_at?: number;
};

export type AuthMethod = 'none' | 'client_secret_basic' | 'client_secret_post';

const MAX_REDIRECTS = 10;
const NAME_LENGTH = 64;
const GRANTS = ['authorization_code', 'refresh_token', DEVICE_GRANT];
const DEFAULT_GRANTS = ['authorization_code', 'refresh_token'];

/** Control and format characters (bidi overrides and zero-width among them), surrogates and private use. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;

/** A client's name as it may stand on a page: what it looks like is what it is. */
export function displayName(name: unknown): string {
  const text = typeof name === 'string' ? name.slice(0, 1_000) : '';
  const clean = text.normalize('NFC').replaceAll(INVISIBLE, '').replaceAll(/\s+/gu, ' ').trim();
  return Array.from(clean).slice(0, NAME_LENGTH).join('').trim() || 'Unnamed client';
}

/**
 * Reads the members that we know. Unknown grants, response types and scopes are dropped, and so are redirect URIs that
 * may not be registered, as long as one is left; what was kept is echoed.
 *
 * @throws RedirectFault when no redirect URI is left
 */
export function readMetadata(
  document: Record<string, unknown>,
  given: { client_id: string; token_endpoint_auth_method: AuthMethod },
): ClientMetadata {
  const listed = Array.isArray(document['redirect_uris']) ? document['redirect_uris'] : [];
  const faults = new Map(listed.map((uri: unknown) => [uri, redirectFault(uri)]));
  const redirects = [...faults].filter(([, fault]) => fault === undefined).map(([uri]) => uri as string);
  if (redirects.length === 0) throw new RedirectFault([...faults.values()][0] ?? 'redirect_uris is missing');
  const asked = Array.isArray(document['grant_types']) ? (document['grant_types'] as unknown[]) : DEFAULT_GRANTS;
  const grants = GRANTS.filter((grant) => grant === 'authorization_code' || asked.includes(grant));
  const uri = document['client_uri'];
  return {
    client_id: given.client_id,
    client_name: displayName(document['client_name']),
    redirect_uris: redirects.slice(0, MAX_REDIRECTS),
    grant_types: grants,
    response_types: ['code'],
    token_endpoint_auth_method: given.token_endpoint_auth_method,
    // The clients' own statements are not reliable (Cursor says `web` and lists cursor://), the redirects are.
    application_type: redirects.every(isWebRedirect) ? 'web' : 'native',
    ...(typeof uri === 'string' && uri.length <= 500 && isWebRedirect(uri) && redirectFault(uri) === undefined
      ? { client_uri: uri }
      : {}),
  };
}

export class RedirectFault extends Error {
  constructor(fault: string) {
    super(`No redirect URI can be registered: ${fault}.`);
  }
}

/** Changes when what a person was shown, or what the client may receive codes at, changes. */
export function fingerprint(client: {
  clientName?: string | undefined;
  redirectUris?: readonly string[] | undefined;
}): string {
  const parts = [client.clientName ?? '', ...[...(client.redirectUris ?? [])].sort()];
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}
