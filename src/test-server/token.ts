import type { ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import type { ClientApplication, Clients } from './clients.ts';
import { CLIENT_CREDENTIALS, DIRECT_GRANTS, type DirectGrants } from './direct-grants.ts';
import { answerOf, sendFaulty, type Faults } from './faults.ts';
import type { Grant, Grants, Redeemed, Refreshed, TokenAnswer } from './grants.ts';
import { oauthRefusal, Refusal, required, send, sendJson, type Exchange, type Route } from './http.ts';
import { shortHash, type Ledger } from './ledger.ts';
import type { Policy } from './options.ts';
import { recordNotProcessed, refreshGrant, type RefreshCall } from './refresh.ts';
import { sendRefusal, sendTokens } from './token-answer.ts';
import { readTokenRequest, refuseWrongPlace } from './token-request.ts';

export type TokenOptions = {
  clock: Clock;
  clients: Clients;
  grants: Grants;
  direct: DirectGrants;
  ledger: Ledger;
  faults: Faults;
  policyFor: (client: ClientApplication) => Policy;
  /** Of a client that has yet to prove who it is; the server's for one that is not known. */
  policyOf: (clientId: string) => Policy;
  servesResource: (resource: string) => boolean;
};

/** What the grant came to. `kept`: the refresh token that was presented, for a policy that repeats it. */
type Outcome = { tokens: TokenAnswer; grant: Grant; kept: string | null } | { refusal: Refusal };

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
  const calls = new Map<string, number[]>();

  async function token(exchange: Exchange, place: Policy['refreshAt']): Promise<void> {
    const { req, res } = exchange;
    const startedAt = clock.now();
    const { parameters: form, clientId, policy } = await readTokenRequest(exchange, options.policyOf);
    if (place !== 'token' && policy.refreshAt !== place) throw new Refusal(404, { error: 'not_found' });
    if (policy.tokenEndpointRedirects && !exchange.query.has('moved')) {
      return send(res, 307, '', { location: `${exchange.path}?moved=1` });
    }
    const grantType = form.get('grant_type') ?? '';
    const presented = grantType === 'refresh_token' ? form.get('refresh_token') : null;
    const flight = presented === null ? undefined : ledger.enter(presented);
    try {
      const fault = faults.takeTokenFault(grantType, clientId);
      await faults.wait(faults.latency.token + policy.tokenDelayMs + (fault?.delayMs ?? 0));
      const answer = answerOf(fault);
      const call = { clientId, token: presented ?? '', inFlight: flight?.inFlight ?? 1, startedAt, answer };
      const busyMs = fault === undefined ? busyFor(clientId, policy) : 0;
      if (busyMs === 0 && (answer === 'sent' || fault?.commit === true)) {
        const outcome = decide(req, form, grantType, place, call);
        await faults.wait(fault?.answerDelayMs ?? 0);
        return sendFaulty(res, fault, () => sendOutcome(res, outcome, policy));
      }
      if (grantType === 'refresh_token') recordNotProcessed(ledger, call);
      else if (!DIRECT_GRANTS.includes(grantType)) recordExchange(call, form.get('code') ?? '', 'not_processed', null);
      sendFaulty(res, fault, () => {
        const headers = { 'retry-after': String(Math.ceil(busyMs / 1_000)) };
        sendJson(res, 429, { error: 'too_many_requests' }, headers);
      });
    } finally {
      flight?.leave();
    }
  }

  /** Milliseconds until this client may ask again; 0 when it may now. */
  function busyFor(clientId: string, { tokenCallsPerMinute: most }: Policy): number {
    if (most === 0) return 0;
    const now = clock.now();
    const recent = (calls.get(clientId) ?? []).filter((at) => at > now - 60_000);
    const busy = recent.length >= most;
    calls.set(clientId, busy ? recent : [...recent, now]);
    return busy ? recent[0]! + 60_000 - now : 0;
  }

  function recordExchange(call: RefreshCall, code: string, outcome: string, grant: Grant | null): void {
    const { clientId, answer } = call;
    const [subject, id] = [grant?.subject ?? null, grant?.id ?? null];
    ledger.record({ type: 'token_exchange', clientId, subject, grant: id, code: shortHash(code), outcome, answer });
  }

  function decide(
    req: Exchange['req'],
    form: URLSearchParams,
    grantType: string,
    place: Policy['refreshAt'],
    call: RefreshCall,
  ): Outcome {
    try {
      // RFC 7523 §3.1: who brings an assertion need not be a client.
      const anonymous =
        DIRECT_GRANTS.includes(grantType) && req.headers.authorization === undefined && !form.has('client_id');
      if (anonymous && grantType !== CLIENT_CREDENTIALS)
        return direct(undefined, form, grantType, options.policyOf(''));
      const client = clients.authenticate(req, form);
      const policy = options.policyFor(client);
      refuseWrongPlace(grantType, place, policy);
      const resource = form.get('resource') || null;
      if (policy.resource === (resource === null ? 'required' : 'rejected')) {
        throw oauthRefusal('invalid_target', `resource is ${policy.resource}`);
      }
      if (resource !== null && !options.servesResource(resource)) {
        throw oauthRefusal('invalid_target', 'this server issues no tokens for that resource');
      }
      if (grantType === 'authorization_code') return exchange(client, form, resource, call);
      if (grantType === 'refresh_token') return refresh(client, form, resource, call);
      if (DIRECT_GRANTS.includes(grantType)) return direct(client, form, grantType, policy);
      throw grantType === ''
        ? oauthRefusal('invalid_request', 'grant_type is missing')
        : oauthRefusal('unsupported_grant_type', 'this grant type is not supported');
    } catch (error) {
      if (error instanceof Refusal) return { refusal: error };
      throw error;
    }
  }

  function direct(
    client: ClientApplication | undefined,
    form: URLSearchParams,
    grantType: string,
    policy: Policy,
  ): Outcome {
    const clientId = client?.clientId ?? '';
    const audience = form.get('audience');
    const record = (grant: Grant | null, outcome: string): void =>
      ledger.record({
        type: 'direct_grant',
        clientId,
        subject: grant?.subject ?? null,
        grant: grant?.id ?? null,
        grantType,
        audience,
        outcome,
      });
    try {
      const { answer, grant } = options.direct.issue(grantType, client, form, form.get('resource'), policy);
      record(grant, 'ok');
      return { tokens: answer, grant, kept: null };
    } catch (error) {
      record(null, error instanceof Refusal ? String(error.body.error) : 'failed');
      throw error;
    }
  }

  function exchange(
    client: ClientApplication,
    form: URLSearchParams,
    resource: string | null,
    call: RefreshCall,
  ): Outcome {
    const code = required(form, 'code');
    const policy = options.policyFor(client);
    const verifier = policy.pkce === 'required' ? required(form, 'code_verifier') : form.get('code_verifier');
    if (verifier !== null && !/^[A-Za-z0-9._~-]{43,128}$/.test(verifier))
      throw oauthRefusal('invalid_request', 'code_verifier is malformed');
    const presented = { code, clientId: client.clientId, redirectUri: form.get('redirect_uri'), verifier, resource };
    const redeemed = grants.redeem(presented, policy);
    recordExchange(call, code, redeemed.outcome, redeemed.grant);
    if (redeemed.outcome === 'ok') return { tokens: redeemed.answer, grant: redeemed.grant, kept: null };
    throw oauthRefusal(...CODE_TROUBLE[redeemed.outcome]);
  }

  function refresh(
    client: ClientApplication,
    form: URLSearchParams,
    resource: string | null,
    call: RefreshCall,
  ): Outcome {
    const held = required(form, 'refresh_token');
    const policy = options.policyFor(client);
    const scope = policy.scopeOnRefresh === 'required' ? required(form, 'scope') : form.get('scope');
    const scopes = scope === null || scope === '' ? null : scope.split(' ').filter((item) => item !== '');
    const refreshed = refreshGrant(options, call, { scopes, resource }, policy);
    const { answer, grant } = refreshed;
    if (answer !== null && grant !== null) return { tokens: answer, grant, kept: held };
    throw oauthRefusal(...REFRESH_TROUBLE[refreshed.outcome]!);
  }

  function sendOutcome(res: ServerResponse, outcome: Outcome, policy: Policy): void {
    if ('refusal' in outcome) return sendRefusal(res, outcome.refusal, policy);
    const { tokens, grant, kept } = outcome;
    sendTokens(res, tokens, policy, { kept, now: clock.now(), grantEndsAt: grants.endOf(grant, policy) });
  }

  return [
    { method: 'POST', path: '/auth/token', handle: (exchange) => token(exchange, 'token') },
    { method: 'POST', path: '/auth/refresh', handle: (exchange) => token(exchange, 'post_refresh') },
    { method: 'GET', path: '/auth/refresh', handle: (exchange) => token(exchange, 'get_refresh') },
  ];
}
