import { createPublicKey, verify } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { ClientApplication } from './clients.ts';
import type { Grant, Grants, TokenAnswer } from './grants.ts';
import { oauthRefusal, required } from './http.ts';
import type { Policy } from './options.ts';

/* Grants without a browser: RFC 6749 §4.4, RFC 8693 and RFC 7523. */

export const CLIENT_CREDENTIALS = 'client_credentials';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const DIRECT_GRANTS: readonly string[] = [CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER];

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const HASHES: Record<string, string | null> = { RS256: 'sha256', ES256: 'sha256', EdDSA: null };

export type DirectGrants = {
  /** @throws {Refusal} what is wrong with the request */
  issue(
    grantType: string,
    client: ClientApplication | undefined,
    form: URLSearchParams,
    resource: string | null,
    policy: Policy,
  ): { answer: TokenAnswer; grant: Grant };
};

export function createDirectGrants(options: {
  clock: Clock;
  grants: Grants;
  scopes: readonly string[];
  /** PEM of who may sign assertions; none are taken without it. */
  assertionKey: string | undefined;
  /** What an assertion may name as its audience (RFC 7523 §3). */
  audiences: readonly string[];
  isUser: (username: string) => boolean;
}): DirectGrants {
  const { clock, grants } = options;
  const seen = new Set<string>();

  function subjectOfAssertion(assertion: string): { subject: string; issuer: string } {
    const refuse = (why: string) => oauthRefusal('invalid_grant', why);
    const [header = '', payload = '', signature = ''] = assertion.split('.');
    const { alg } = decoded(header) ?? {};
    if (options.assertionKey === undefined || typeof alg !== 'string' || !(alg in HASHES)) {
      throw refuse('the assertion cannot be verified');
    }
    const key = { key: createPublicKey(options.assertionKey), dsaEncoding: 'ieee-p1363' as const };
    const good = verify(
      HASHES[alg] ?? null,
      Buffer.from(`${header}.${payload}`),
      key,
      Buffer.from(signature, 'base64url'),
    );
    if (!good) throw refuse('the signature of the assertion is wrong');
    const claims = decoded(payload) ?? {};
    const now = clock.now() / 1_000;
    const { iss, sub, aud, exp, iat, jti } = claims;
    if (typeof exp !== 'number' || exp <= now || exp > now + 3_600) throw refuse('the assertion is over');
    if (typeof iat === 'number' && iat > now + 60) throw refuse('the assertion is from the future');
    if (typeof aud !== 'string' || !options.audiences.includes(aud))
      throw refuse('the assertion is for another server');
    if (typeof jti !== 'string' || seen.has(jti)) throw refuse('the assertion was seen before');
    seen.add(jti);
    if (typeof iss !== 'string' || typeof sub !== 'string') throw refuse('the assertion names nobody');
    return { subject: sub, issuer: iss };
  }

  function wantedScopes(form: URLSearchParams, allowed: readonly string[]): string[] {
    const scope = form.get('scope');
    if (scope === null || scope === '') return [...allowed];
    const wanted = scope.split(' ').filter((item) => item !== '');
    if (wanted.some((item) => !allowed.includes(item))) {
      throw oauthRefusal('invalid_scope', 'scope goes beyond what may be had here');
    }
    return wanted;
  }

  function subjectOfToken(form: URLSearchParams, name: 'subject' | 'actor'): Grant {
    if (required(form, `${name}_token_type`) !== ACCESS_TOKEN) {
      throw oauthRefusal('invalid_request', `${name}_token_type is not one that is taken here`);
    }
    const token = grants.accessToken(required(form, `${name}_token`));
    if (token === undefined) throw oauthRefusal('invalid_request', `${name}_token is not valid here`);
    return token.grant;
  }

  return {
    issue(grantType, client, form, resource, policy) {
      if (grantType === CLIENT_CREDENTIALS) {
        if (client === undefined || client.clientSecret === null) {
          throw oauthRefusal('unauthorized_client', 'only a client with a secret may have tokens of its own');
        }
        const scopes = wantedScopes(form, options.scopes);
        const { clientId } = client;
        return grants.open({ clientId, subject: clientId, scopes, resource }, policy, false);
      }
      if (grantType === TOKEN_EXCHANGE) {
        const subject = subjectOfToken(form, 'subject');
        const actor = form.has('actor_token') ? subjectOfToken(form, 'actor') : undefined;
        const scopes = wantedScopes(form, subject.scopes);
        const clientId = client?.clientId ?? actor?.clientId ?? subject.clientId;
        const opened = grants.open({ clientId, subject: subject.subject, scopes, resource }, policy, false);
        return { ...opened, answer: { ...opened.answer, issued_token_type: ACCESS_TOKEN } };
      }
      const { subject, issuer } = subjectOfAssertion(required(form, 'assertion'));
      if (subject !== issuer && !options.isUser(subject))
        throw oauthRefusal('invalid_grant', 'there is no such person');
      const scopes = wantedScopes(form, options.scopes);
      return grants.open({ clientId: client?.clientId ?? issuer, subject, scopes, resource }, policy, false);
    },
  };
}

function decoded(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
