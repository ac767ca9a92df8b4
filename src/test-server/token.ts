import type { ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import type { ClientApplication, Clients } from './clients.ts';
import { answerOf, sendFaulty, type Faults } from './faults.ts';
import type { Grant, Grants, Redeemed, Refreshed } from './grants.ts';
import { oauthRefusal, readForm, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import { shortHash, type Ledger } from './ledger.ts';
import type { Policy } from './options.ts';
import { recordNotProcessed, refreshGrant, type RefreshCall } from './refresh.ts';

export type TokenOptions = {
  clock: Clock;
  clients: Clients;
  grants: Grants;
  ledger: Ledger;
  faults: Faults;
  policyFor: (client: ClientApplication) => Policy;
  servesResource: (resource: string) => boolean;
};

/** What an answered grant looks like: the wire body, or a refusal. */
type Outcome = { body: unknown } | { refusal: Refusal };

const CODE_TROUBLE: Record<Exclude<Redeemed['outcome'], 'ok'>, [error: string, description: string]> = {
  unknown_code: ['invalid_grant', 'the code is not known'],
  expired: ['invalid_grant', 'the code is over'],
  replayed: ['invalid_grant', 'the code was used before; what came of it is revoked'],
  wrong_client: ['invalid_grant', 'the code belongs to another client'],
  wrong_redirect: ['invalid_grant', 'redirect_uri is not the one of the authorization request'],
  wrong_verifier: ['invalid_grant', 'code_verifier does not fit code_challenge'],
  wrong_target: ['invalid_target', 'resource is not the one of the authorization request'],
};

const REFRESH_TROUBLE: Partial<Record<Refreshed['outcome'], [error: string, description: string]>> = {
  reused_refused: ['invalid_grant', 'the refresh token was used before'],
  reused_family_revoked: ['invalid_grant', 'the refresh token was used before; the grant is revoked'],
  expired: ['invalid_grant', 'the refresh token is over'],
  grant_revoked: ['invalid_grant', 'the grant is revoked'],
  unknown_token: ['invalid_grant', 'the refresh token is not known'],
  wrong_client: ['invalid_grant', 'the refresh token belongs to another client'],
  scope_refused: ['invalid_scope', 'scope goes beyond what was granted'],
  target_refused: ['invalid_target', 'resource is not the one that was granted'],
};

/** The token endpoint (RFC 6749 §4.1.3 and §6). */
export function tokenRoutes(options: TokenOptions): Route[] {
  const { clock, clients, grants, ledger, faults } = options;

  async function token({ req, res }: Exchange): Promise<void> {
    const startedAt = clock.now();
    const form = await readForm(req);
    const grantType = form.get('grant_type') ?? '';
    const presented = grantType === 'refresh_token' ? form.get('refresh_token') : null;
    const flight = presented === null ? undefined : ledger.enter(presented);
    try {
      const clientId = (form.get('client_id') ?? basicId(req.headers.authorization)).slice(0, 80);
      const fault = faults.takeTokenFault(grantType, clientId);
      await faults.wait(faults.latency.token + (fault?.delayMs ?? 0));
      const answer = answerOf(fault);
      const call = { clientId, token: presented ?? '', inFlight: flight?.inFlight ?? 1, startedAt, answer };
      if (answer === 'sent' || fault?.commit === true) {
        const outcome = decide(req, form, grantType, call);
        await faults.wait(fault?.answerDelayMs ?? 0);
        return sendFaulty(res, fault, () => sendOutcome(res, outcome));
      }
      if (grantType === 'refresh_token') recordNotProcessed(ledger, call);
      else recordExchange(call, form.get('code') ?? '', 'not_processed', null);
      sendFaulty(res, fault, () => undefined);
    } finally {
      flight?.leave();
    }
  }

  function recordExchange(call: RefreshCall, code: string, outcome: string, grant: Grant | null): void {
    const { clientId, answer } = call;
    const [subject, id] = [grant?.subject ?? null, grant?.id ?? null];
    ledger.record({ type: 'token_exchange', clientId, subject, grant: id, code: shortHash(code), outcome, answer });
  }

  function decide(req: Exchange['req'], form: URLSearchParams, grantType: string, call: RefreshCall): Outcome {
    try {
      const client = clients.authenticate(req, form);
      const resource = form.get('resource') || null;
      if (resource !== null && !options.servesResource(resource)) {
        throw oauthRefusal('invalid_target', 'this server issues no tokens for that resource');
      }
      if (grantType === 'authorization_code') return { body: exchange(client, form, resource, call) };
      if (grantType === 'refresh_token') return { body: refresh(client, form, resource, call) };
      throw grantType === ''
        ? oauthRefusal('invalid_request', 'grant_type is missing')
        : oauthRefusal('unsupported_grant_type', 'authorization_code and refresh_token are supported');
    } catch (error) {
      if (error instanceof Refusal) return { refusal: error };
      throw error;
    }
  }

  function exchange(client: ClientApplication, form: URLSearchParams, resource: string | null, call: RefreshCall) {
    const code = required(form, 'code');
    const verifier = required(form, 'code_verifier');
    if (!/^[A-Za-z0-9._~-]{43,128}$/.test(verifier))
      throw oauthRefusal('invalid_request', 'code_verifier is malformed');
    const presented = { code, clientId: client.clientId, redirectUri: form.get('redirect_uri'), verifier, resource };
    const redeemed = grants.redeem(presented, options.policyFor(client));
    recordExchange(call, code, redeemed.outcome, redeemed.grant);
    if (redeemed.outcome === 'ok') return redeemed.answer;
    throw oauthRefusal(...CODE_TROUBLE[redeemed.outcome]);
  }

  function refresh(client: ClientApplication, form: URLSearchParams, resource: string | null, call: RefreshCall) {
    required(form, 'refresh_token');
    const scope = form.get('scope');
    const scopes = scope === null || scope === '' ? null : scope.split(' ').filter((item) => item !== '');
    const refreshed = refreshGrant(options, call, { scopes, resource }, options.policyFor(client));
    if (refreshed.answer !== null) return refreshed.answer;
    throw oauthRefusal(...REFRESH_TROUBLE[refreshed.outcome]!);
  }

  return [{ method: 'POST', path: '/auth/token', handle: token }];
}

function required(form: URLSearchParams, name: string): string {
  const value = form.get(name);
  if (value === null || value === '') throw oauthRefusal('invalid_request', `${name} is missing`);
  return value;
}

function sendOutcome(res: ServerResponse, outcome: Outcome): void {
  if ('refusal' in outcome) sendJson(res, outcome.refusal.status, outcome.refusal.body, outcome.refusal.headers);
  else sendJson(res, 200, outcome.body, { pragma: 'no-cache' });
}

/** Only to pick a fault before the client is authenticated. */
function basicId(header: string | undefined): string {
  const encoded = /^basic +(\S+)$/i.exec(header ?? '')?.[1] ?? '';
  try {
    return decodeURIComponent(Buffer.from(encoded, 'base64').toString('utf8').split(':', 1)[0]!);
  } catch {
    return '';
  }
}

/** RFC 7009 and RFC 7662. */
export function tokenStatusRoutes(
  options: Pick<TokenOptions, 'clients' | 'grants' | 'ledger'> & { issuer: string },
): Route[] {
  const { clients, grants, ledger } = options;

  async function revoke({ req, res }: Exchange): Promise<void> {
    const form = await readForm(req);
    const { clientId } = clients.authenticate(req, form);
    const token = required(form, 'token');
    const grant = grants.revokeToken(token, clientId);
    ledger.record({
      type: 'revoke',
      clientId,
      token: shortHash(token),
      outcome: grant === undefined ? 'unknown' : 'revoked',
      subject: grant?.subject ?? null,
      grant: grant?.id ?? null,
    });
    sendJson(res, 200, {});
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
