import { fail } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import type { Identity } from '../identity/identity.ts';

/** The only OAuth client whose tokens open this API: any other one can be registered by anybody. */
export const CLI_CLIENT_ID = 'valetkey-cli';

export type Caller = {
  principal: Principal;
  via: 'api_token' | 'admin_token' | 'session' | 'client';
  /** As the audit names actors. */
  actor: string;
  address: string;
};

export type Incoming = { method: string; header(name: string): string | undefined; address: string };
/** @throws ValetkeyError unauthenticated, cross_site_request */
export type Identify = (request: Incoming) => Promise<Caller>;

/** An access token of our own authorization server, whatever resource it is for; undefined when it is not good. */
export type VerifyToken = (token: string) => Promise<(Principal & { resource: string }) | undefined>;

export function createIdentify(options: {
  identity: Pick<Identity, 'session' | 'apiPrincipal'>;
  verify: VerifyToken;
  publicUrl: string;
}): Identify {
  const { identity, verify, publicUrl } = options;

  async function byToken(authorization: string): Promise<{ principal: Principal; via: Caller['via'] } | undefined> {
    const known = await identity.apiPrincipal(authorization);
    if (known !== undefined) return { principal: known, via: known.user === null ? 'admin_token' : 'api_token' };
    const token = /^Bearer +([\x21-\x7e]{1,4096})$/i.exec(authorization)?.[1];
    const verified = token === undefined ? undefined : await verify(token);
    // RFC 8707 §2: a token for a connector opens that connector and nothing else.
    if (verified?.resource !== `${publicUrl}/api/v1` || verified.client !== CLI_CLIENT_ID) return undefined;
    const { resource: _, ...principal } = verified;
    return { principal, via: 'client' };
  }

  async function bySession(request: Incoming): Promise<{ principal: Principal; via: Caller['via'] } | undefined> {
    const signedIn = await identity.session(request.header('cookie'));
    if (signedIn === undefined) return undefined;
    if (request.method !== 'GET' && request.method !== 'HEAD') checkSameOrigin(request);
    const { tenant, id, email, role } = signedIn.user;
    return { principal: { tenant, user: id, email, role, client: null, scopes: [], expiresAt: null }, via: 'session' };
  }

  /** Both, because each stands alone where the other fails: an old browser's missing Origin, a lax proxy's CORS. */
  function checkSameOrigin(request: Incoming): void {
    const site = request.header('sec-fetch-site');
    const fromHere = request.header('origin') === publicUrl && (site === undefined || site === 'same-origin');
    if (!fromHere || request.header('x-valetkey-csrf') === undefined) throw fail('cross_site_request');
  }

  return async (request) => {
    const authorization = request.header('authorization');
    // A bad token is refused, not overlooked in favour of a cookie that happens to be there.
    const found = authorization === undefined ? await bySession(request) : await byToken(authorization);
    if (found === undefined) throw fail('unauthenticated');
    const { principal, via } = found;
    return {
      principal,
      via,
      actor: principal.user === null ? 'admin-token' : `user:${principal.user}`,
      address: request.address,
    };
  };
}
