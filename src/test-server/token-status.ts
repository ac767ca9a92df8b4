import { oauthRefusal, readForm, readJson, Refusal, required, sendJson, type Exchange, type Route } from './http.ts';
import { shortHash } from './ledger.ts';
import type { TokenOptions } from './token.ts';

/** RFC 7009 and RFC 7662. */
export function tokenStatusRoutes(
  options: Pick<TokenOptions, 'clients' | 'grants' | 'ledger' | 'policyOf'> & { issuer: string },
): Route[] {
  const { clients, grants, ledger } = options;

  async function revoke({ req, res }: Exchange): Promise<void> {
    const header = /^Bearer +(\S+)$/i.exec(req.headers.authorization ?? '')?.[1];
    const bearer = header === undefined ? undefined : grants.accessToken(header);
    if (bearer !== undefined && options.policyOf(bearer.grant.clientId).revocation === 'bearer_json') {
      await readJson(req);
      end(header!, bearer.grant.clientId);
      return sendJson(res, 200, { ok: true });
    }
    const form = await readForm(req);
    const { clientId } = clients.authenticate(req, form);
    const token = required(form, 'token');
    const { revocation } = options.policyOf(clientId);
    if (revocation === 'absent') throw new Refusal(404, { error: 'not_found' });
    if (revocation === 'bearer_json') throw oauthRefusal('invalid_request', 'send JSON with the access token');
    const live = grants.accessToken(token) !== undefined || grants.refreshToken(token)?.live === true;
    end(token, clientId);
    if (revocation === 'refuses_twice' && !live) throw oauthRefusal('invalid_request', 'it is revoked already');
    sendJson(res, 200, {});
  }

  function end(token: string, clientId: string): void {
    const grant = grants.revokeToken(token, clientId);
    ledger.record({
      type: 'revoke',
      clientId,
      token: shortHash(token),
      outcome: grant === undefined ? 'unknown' : 'revoked',
      subject: grant?.subject ?? null,
      grant: grant?.id ?? null,
    });
  }

  async function introspect({ req, res }: Exchange): Promise<void> {
    const form = await readForm(req);
    const client = clients.authenticate(req, form);
    if (client.authMethod === 'none') throw oauthRefusal('invalid_client', 'only a client with a secret may ask', 401);
    const token = required(form, 'token');
    const access = grants.accessToken(token);
    const refresh = grants.refreshToken(token);
    const grant = access?.grant ?? (refresh?.live === true ? refresh.grant : undefined);
    const active = grant !== undefined && grant.clientId === client.clientId;
    ledger.record({ type: 'introspect', clientId: client.clientId, token: shortHash(token), active });
    if (!active) return sendJson(res, 200, { active: false });
    sendJson(res, 200, {
      active: true,
      iss: options.issuer,
      client_id: grant.clientId,
      sub: grant.subject,
      username: grant.subject,
      scope: (access?.scopes ?? grant.scopes).join(' '),
      ...(grant.resource === null ? {} : { aud: grant.resource }),
      ...(access === undefined ? {} : { token_type: 'Bearer', exp: Math.floor(access.expiresAt / 1_000) }),
    });
  }

  return [
    { method: 'POST', path: '/auth/revoke', handle: revoke },
    { method: 'POST', path: '/auth/introspect', handle: introspect },
  ];
}
