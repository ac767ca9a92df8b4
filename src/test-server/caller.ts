import type { IncomingMessage } from 'node:http';
import type { Accounts } from './accounts.ts';
import { same } from './clients.ts';
import type { Grants } from './grants.ts';
import { Refusal } from './http.ts';
import { shortHash } from './ledger.ts';
import type { Mode, Policy } from './options.ts';

/** Who a REST or MCP call belongs to, and how that was shown. Never holds the credential. */
export type Caller = {
  subject: string;
  name: string;
  scopes: string[];
  clientId: string | null;
  /** Of the access token within its grant: 1 after the code exchange, one more with each refresh. */
  generation: number | null;
  audience: string | null;
  /** The header the credential arrived in. */
  header: string | null;
  tokenHash: string | null;
};

export type Callers = {
  /** @throws {Refusal} 401 with the mode's challenge, 400 when the credential stands twice */
  identify(req: IncomingMessage, path: '/api' | '/mcp' | '/sse'): Caller;
  challenge(path: string, error?: string): Refusal;
  /** @throws {Refusal} 403 `insufficient_scope` naming what is missing (RFC 6750 §3.1) */
  requireScope(caller: Caller, scope: string, path: string): void;
};

export function createCallers(options: {
  mode: Mode;
  base: string;
  scopes: readonly string[];
  defaultScopes: readonly string[];
  accounts: Accounts;
  grants: Grants;
  /** username → static token or key */
  tokens: ReadonlyMap<string, string>;
  apiKeys: ReadonlyMap<string, string>;
  /** The server's for the empty id. */
  policyOf: (clientId: string) => Policy;
}): Callers {
  const { mode, base, accounts } = options;
  const oauth = mode === 'oauth' || mode === 'oauth-dcr';

  function challenge(path: string, error?: string): Refusal {
    const kind = oauth ? options.policyOf('').challenge : 'bare';
    const headers = (value: string) => (kind === 'none' ? undefined : { 'www-authenticate': value });
    const parts =
      kind === 'full'
        ? [
            `resource_metadata="${base}/.well-known/oauth-protected-resource${path}"`,
            `scope="${options.defaultScopes.join(' ')}"`,
          ]
        : ['realm="practice"'];
    // RFC 6750 §3.1: no error where the request carried no credential.
    if (error !== undefined) parts.unshift(`error="${error}"`);
    const scheme = mode === 'apikey' ? 'ApiKey' : 'Bearer';
    const description =
      mode === 'apikey' ? 'send a valid key in X-API-Key' : 'send a valid token as Authorization: Bearer';
    return new Refusal(
      401,
      { error: error ?? 'unauthorized', error_description: description },
      headers(`${scheme} ${parts.join(', ')}`),
    );
  }

  function person(username: string, header: string, credential: string): Caller {
    return {
      subject: username,
      name: accounts.get(username)?.name ?? username,
      scopes: [...options.scopes],
      clientId: null,
      generation: null,
      audience: null,
      header,
      tokenHash: shortHash(credential),
    };
  }

  function byToken(token: string, header: Policy['tokenHeader'], path: '/api' | '/mcp' | '/sse'): Caller {
    const access = options.grants.accessToken(token);
    const policy = options.policyOf(access?.grant.clientId ?? '');
    if (access === undefined) throw expired(path, policy);
    if (!covers(access.grant.resource, base, path) || policy.tokenHeader !== header) {
      throw challenge(path, 'invalid_token');
    }
    access.used = true;
    return {
      ...person(access.grant.subject, header === 'authorization' ? 'Authorization' : 'X-Access-Token', token),
      scopes: access.scopes,
      clientId: access.grant.clientId,
      generation: access.generation,
      audience: access.grant.resource,
    };
  }

  function expired(path: string, { expirySignal }: Policy): Refusal {
    if (expirySignal === '200') return new Refusal(200, { ok: false, error: 'token_expired' });
    if (expirySignal === '401') return challenge(path, 'invalid_token');
    return new Refusal(Number(expirySignal), { error: 'not_available' });
  }

  function owner(credentials: ReadonlyMap<string, string>, presented: string): string | undefined {
    return [...credentials].find(([, credential]) => same(credential, presented))?.[0];
  }

  function single(req: IncomingMessage, name: string): string | undefined {
    const values = req.headersDistinct[name] ?? [];
    if (values.length > 1) {
      throw new Refusal(400, {
        error: 'invalid_request',
        error_description: `the header ${name} stands more than once`,
      });
    }
    return values[0];
  }

  return {
    challenge,
    identify(req, path) {
      const authorization = single(req, 'authorization');
      const apiKey = single(req, 'x-api-key');
      if (mode === 'none') {
        const header = authorization === undefined ? (apiKey === undefined ? null : 'X-API-Key') : 'Authorization';
        return {
          subject: 'anonymous',
          name: 'Anonymous',
          scopes: [...options.scopes],
          clientId: null,
          generation: null,
          audience: null,
          header,
          tokenHash: null,
        };
      }
      if (mode === 'apikey') {
        if (apiKey === undefined) throw challenge(path);
        const username = owner(options.apiKeys, apiKey);
        if (username === undefined) throw challenge(path, 'invalid_token');
        return person(username, 'X-API-Key', apiKey);
      }
      const otherHeader = single(req, 'x-access-token');
      if (authorization === undefined && otherHeader !== undefined && oauth)
        return byToken(otherHeader, 'x-access-token', path);
      if (authorization === undefined) throw challenge(path);
      const token = /^Bearer +([A-Za-z0-9._~+/=-]+)$/i.exec(authorization)?.[1];
      if (token === undefined) throw challenge(path, 'invalid_token');
      if (mode === 'bearer') {
        const username = owner(options.tokens, token);
        if (username === undefined) throw challenge(path, 'invalid_token');
        return person(username, 'Authorization', token);
      }
      return byToken(token, 'authorization', path);
    },
    requireScope(caller, scope, path) {
      if (caller.scopes.includes(scope)) return;
      const metadata = oauth ? `, resource_metadata="${base}/.well-known/oauth-protected-resource${path}"` : '';
      throw new Refusal(
        403,
        { error: 'insufficient_scope', error_description: `this needs the scope ${scope}`, scope },
        { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"${metadata}` },
      );
    },
  };
}

/** A token for the whole service serves each part of it; one for a part serves only that part. */
function covers(resource: string | null, base: string, path: string): boolean {
  return resource === null || resource === base || resource === `${base}/` || resource === `${base}${path}`;
}
