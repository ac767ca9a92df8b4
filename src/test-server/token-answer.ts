import type { ServerResponse } from 'node:http';
import type { TokenAnswer } from './grants.ts';
import { send, sendJson, type Refusal } from './http.ts';
import type { Policy } from './options.ts';

const REFUSED_TOKEN: Record<Policy['deadGrantAs'], { status: number; error: string; description: string }> = {
  invalid_grant: { status: 400, error: 'invalid_grant', description: '' },
  bad_refresh_token: { status: 400, error: 'bad_refresh_token', description: 'The refresh token is incorrect.' },
  unauthorized_client: { status: 403, error: 'unauthorized_client', description: 'refresh_token is invalid' },
  invalid_request: { status: 400, error: 'invalid_request', description: 'Value passed for the token was invalid.' },
  aadsts: { status: 400, error: 'invalid_grant', description: 'AADSTS700082: The refresh token has expired.' },
};

/** Tokens as this policy writes them. `kept`: the answer to a refresh that left the refresh token as it was. */
export function sendTokens(
  res: ServerResponse,
  answer: TokenAnswer,
  policy: Policy,
  more: { kept: string | null; now: number; grantEndsAt: number | null },
): void {
  const tokens = members(answer, policy, more);
  const body = place(tokens, policy);
  const headers = { 'cache-control': 'no-store', pragma: 'no-cache' };
  const { answerFormat: format, answerStatus: status } = policy;
  if (format === 'json') return sendJson(res, status, body, headers);
  if (format === 'text') return send(res, status, JSON.stringify(body), { ...headers, 'content-type': 'text/plain' });
  const form = new URLSearchParams(
    Object.entries(body).map(([name, value]): [string, string] => [
      name,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  );
  send(res, status, form.toString(), { ...headers, 'content-type': 'application/x-www-form-urlencoded' });
}

function members(
  { access_token, refresh_token, expires_in, scope, issued_token_type }: TokenAnswer,
  policy: Policy,
  more: { kept: string | null; now: number; grantEndsAt: number | null },
): Record<string, unknown> {
  const tokens: Record<string, unknown> = { access_token };
  if (issued_token_type !== undefined) tokens.issued_token_type = issued_token_type;
  if (policy.tokenType !== 'missing') tokens.token_type = policy.tokenType === 'odd' ? 'user' : 'Bearer';
  if (expires_in !== undefined) Object.assign(tokens, lifetime(expires_in, policy, more.now));
  if (refresh_token !== undefined) tokens.refresh_token = refresh_token;
  else if (more.kept !== null && policy.keptRefreshToken !== 'missing') {
    const { keptRefreshToken } = policy;
    tokens.refresh_token = keptRefreshToken === 'same' ? more.kept : keptRefreshToken === 'null' ? null : '';
  }
  const scopes = scope.split(' ');
  if (policy.scopeFormat === 'space') tokens.scope = scope;
  if (policy.scopeFormat === 'comma') tokens.scope = scopes.join(',');
  if (policy.scopeFormat === 'array') tokens.scope = scopes;
  if (policy.grantExpiryMember !== undefined && more.grantEndsAt !== null) {
    tokens[policy.grantExpiryMember] = Math.floor((more.grantEndsAt - more.now) / 1_000);
  }
  return tokens;
}

function lifetime(seconds: number, { expiresIn }: Policy, now: number): Record<string, unknown> {
  switch (expiresIn) {
    case 'seconds':
      return { expires_in: seconds };
    case 'string':
      return { expires_in: String(seconds) };
    case 'milliseconds':
      return { expires_in: seconds * 1_000 };
    case 'zero':
      return { expires_in: 0 };
    case 'null':
      return { expires_in: null };
    case 'absolute':
      return { expires_at: new Date(now + seconds * 1_000).toISOString() };
    default:
      return expiresIn satisfies never;
  }
}

function place(tokens: Record<string, unknown>, { tokenPlace, answerMembers }: Policy): Record<string, unknown> {
  switch (tokenPlace) {
    case 'top':
      return { ...tokens, ...answerMembers };
    case 'authed_user':
      return { ok: true, authed_user: tokens, ...answerMembers };
    case 'data':
      return { code: 0, data: tokens, ...answerMembers };
    case 'camel_case': {
      const camel = (name: string) => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      return {
        ...Object.fromEntries(Object.entries(tokens).map(([name, value]) => [camel(name), value])),
        ...answerMembers,
      };
    }
    default:
      return tokenPlace satisfies never;
  }
}

/** A refusal of the token endpoint as this policy writes it. */
export function sendRefusal(res: ServerResponse, refusal: Refusal, policy: Policy): void {
  let { status } = refusal;
  let body = refusal.body;
  if (body.error === 'invalid_grant' && policy.deadGrantAs !== 'invalid_grant') {
    const as = REFUSED_TOKEN[policy.deadGrantAs];
    status = as.status;
    body = { error: as.error, error_description: as.description };
  }
  if (policy.refusals === 'html') {
    return send(res, 502, '<!doctype html><title>Bad gateway</title><h1>Bad gateway</h1>', {
      'content-type': 'text/html; charset=utf-8',
    });
  }
  if (policy.refusals === 'ok_false') body = { ok: false, error: body.error };
  if (policy.refusals === 'status_500') status = 500;
  else if (policy.refusals !== 'oauth') status = 200;
  sendJson(res, status, body, refusal.headers);
}
