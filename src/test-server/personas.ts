import type { Policy } from './options.ts';

/** What a persona is in the list of quirk classes: a letter for the step, a number within it. */
export type Persona = { class: string; does: string; policy: Partial<Policy> };

const DAY = 86_400;
const persona = (quirk: string, does: string, policy: Partial<Policy>): Persona => ({ class: quirk, does, policy });

/**
 * The quirks of services that a broker meets, by name. Several may be combined; of two that set the same thing the later
 * one wins.
 */
export const PERSONAS = {
  'tenant-in-callback': persona('A2', 'puts realmId on the callback', { callbackMembers: { realmId: '9130357' } }),
  'tenant-in-answer': persona('A3', 'names the API base in the token answer', {
    answerMembers: { instance_url: 'https://tenant.invalid' },
  }),
  'token-redirect': persona('A10', 'redirects the token request', { tokenEndpointRedirects: true }),

  'comma-scopes': persona('B1', 'takes scopes separated by commas only', { scopeSeparator: 'comma' }),
  'offline-scope': persona('B5', 'gives a refresh token only for the scope offline_access', { offline: 'scope' }),
  'offline-parameter': persona('B5', 'gives a refresh token only for access_type=offline', { offline: 'access_type' }),
  'first-consent-only': persona('B6', 'gives a refresh token at the first consent, later only for prompt=consent', {
    offline: 'first_consent',
  }),
  'resource-rejected': persona('B7', 'refuses the parameter resource', { resource: 'rejected' }),
  'resource-required': persona('I5', 'refuses requests without the parameter resource', { resource: 'required' }),
  'audience-required': persona('B7', 'refuses authorization without the parameter audience', { audience: 'required' }),
  'no-pkce': persona('B9', 'refuses code_challenge', { pkce: 'rejected', serverMetadata: 'no_pkce' }),
  'optional-pkce': persona('B9', 'works with and without code_challenge', { pkce: 'optional' }),
  'short-code': persona('B16', 'ends a code after 30 seconds', { codeTtl: 30 }),

  'odd-code-parameter': persona('C1', 'calls the code spapi_oauth_code', { codeParameter: 'spapi_oauth_code' }),
  'no-iss': persona('C4', 'leaves iss out of the callback', { iss: 'omitted' }),
  'wrong-iss': persona('C4', 'names another issuer in the callback', { iss: 'wrong' }),

  'basic-only': persona('D1', 'takes client authentication in the header only', { clientAuth: 'basic' }),
  'post-only': persona('D1', 'takes client authentication in the body only', { clientAuth: 'post' }),
  'raw-basic': persona('D3', 'does not form-decode Basic credentials', { clientAuth: 'basic', basicEncoding: 'raw' }),
  'json-body': persona('D5', 'takes token requests as JSON only', { parametersIn: 'json' }),
  'query-parameters': persona('D6', 'takes token parameters in the query only', { parametersIn: 'query' }),
  'scope-on-refresh': persona('D7', 'refuses a refresh without scope', { scopeOnRefresh: 'required' }),
  'refresh-url': persona('D8', 'refreshes at /auth/refresh', { refreshAt: 'post_refresh' }),
  'get-refresh': persona('D8', 'refreshes at /auth/refresh by GET', { refreshAt: 'get_refresh' }),

  'form-answer': persona('E1', 'answers form-encoded', { answerFormat: 'form' }),
  'text-answer': persona('E1', 'answers JSON under text/plain', { answerFormat: 'text' }),
  'ok-false': persona('E2', 'refuses under HTTP 200 with ok: false', { refusals: 'ok_false' }),
  'error-200': persona('E2', 'refuses under HTTP 200 with error', { refusals: 'status_200' }),
  'error-500': persona('E3', 'refuses under HTTP 500 whatever is wrong', { refusals: 'status_500' }),
  'status-201': persona('E4', 'answers 201', { answerStatus: 201 }),
  'nested-user': persona('E5', 'puts the tokens under authed_user', { tokenPlace: 'authed_user', tokenType: 'odd' }),
  'nested-data': persona('E5', 'puts the tokens under data', { tokenPlace: 'data' }),
  'camel-case': persona('E5', 'writes accessToken, refreshToken, expiresIn', { tokenPlace: 'camel_case' }),
  'no-expires-in': persona('E7', 'leaves expires_in out', { sendExpiresIn: false }),
  'string-expires-in': persona('E8', 'sends expires_in as a string', { expiresIn: 'string' }),
  'millisecond-expires-in': persona('E8', 'sends expires_in in milliseconds', { expiresIn: 'milliseconds' }),
  'zero-expires-in': persona('E8', 'sends expires_in 0', { expiresIn: 'zero' }),
  'null-expires-in': persona('E8', 'sends expires_in null', { expiresIn: 'null' }),
  'expires-at': persona('E8', 'sends expires_at as a date instead', { expiresIn: 'absolute' }),
  'no-token-type': persona('E9', 'leaves token_type out', { tokenType: 'missing' }),
  'odd-token-type': persona('E9', 'sends token_type user', { tokenType: 'odd' }),
  'comma-scope-answer': persona('E10', 'answers scope separated by commas', { scopeFormat: 'comma' }),
  'array-scope-answer': persona('E10', 'answers scope as an array', { scopeFormat: 'array' }),
  'no-scope-answer': persona('E10', 'leaves scope out of the answer', { scopeFormat: 'missing' }),
  'no-refresh-token': persona('E12', 'gives no refresh token', { refreshTokens: false }),
  'refresh-token-kept': persona('E13', 'leaves the refresh token out of a refresh', {
    rotation: 'none',
    keptRefreshToken: 'missing',
  }),
  'refresh-token-empty': persona('E13', 'answers a refresh with an empty refresh token', {
    rotation: 'none',
    keptRefreshToken: 'empty',
  }),
  'refresh-token-null': persona('E13', 'answers a refresh with refresh_token null', {
    rotation: 'none',
    keptRefreshToken: 'null',
  }),
  'long-tokens': persona('E14', 'makes access tokens of 4 KB', { accessTokenLength: 4_096 }),
  warning: persona('E16', 'puts a warning beside the tokens', {
    answerMembers: { warning: 'This API version ends soon.' },
  }),

  static: persona('F1', 'never rotates', { rotation: 'none', keptRefreshToken: 'same' }),
  strict: persona('F5', 'rotates; a used refresh token ends the grant', { rotation: 'strict' }),
  'single-use': persona('F2', 'rotates; a used refresh token is refused', { rotation: 'soft' }),
  grace: persona('F3', 'rotates; for 30 seconds a used one answers with the same successor', {
    rotation: 'grace',
    graceSeconds: 30,
  }),
  'until-used': persona('F4', 'rotates; the old one lives until the new pair is used', { rotation: 'until_used' }),
  'rotates-daily': persona('F6', 'rotates once a day', { rotation: 'soft', rotateAfter: DAY }),
  'kills-old-access-token': persona('F7', 'ends the access token before at each refresh', {
    refreshKillsAccessTokens: true,
  }),
  'idle-expiry': persona('F8', 'ends a grant that is not refreshed for 30 days', { idleSeconds: 30 * DAY }),
  'absolute-expiry': persona('F9', 'ends a grant 90 days after consent', {
    grantSeconds: 90 * DAY,
    refreshTokenTtl: 365 * DAY,
  }),
  'announced-expiry': persona('F10', 'tells the end of the grant as x_refresh_token_expires_in', {
    grantSeconds: 90 * DAY,
    grantExpiryMember: 'x_refresh_token_expires_in',
  }),
  'five-grants': persona('F12', 'ends the oldest of more than five grants of a person', { maxGrants: 5 }),
  'one-grant': persona('F13', 'ends the grant before when a person connects again', { maxGrants: 1 }),
  'seven-days': persona('F18', 'ends every grant after 7 days', { grantSeconds: 7 * DAY }),

  'expired-403': persona('G2', 'answers 403 to an expired token', { expirySignal: '403' }),
  'expired-404': persona('G2', 'answers 404 to an expired token', { expirySignal: '404' }),
  'expired-200': persona('G2', 'answers 200 with token_expired', { expirySignal: '200' }),
  'other-header': persona('G5', 'wants the token in X-Access-Token', { tokenHeader: 'x-access-token' }),

  'bad-refresh-token': persona('H', 'says bad_refresh_token for a dead grant', { deadGrantAs: 'bad_refresh_token' }),
  'unauthorized-client': persona('H', 'says unauthorized_client under 403 for a dead grant', {
    deadGrantAs: 'unauthorized_client',
  }),
  'invalid-request': persona('H', 'says invalid_request for a dead grant', { deadGrantAs: 'invalid_request' }),
  'numbered-error': persona('H', 'says why a grant is dead by a number in the description', { deadGrantAs: 'aadsts' }),
  'html-errors': persona('H', 'refuses with a page of HTML under 502', { refusals: 'html' }),
  'rate-limited': persona('G11', 'takes two token requests a minute, then 429 with Retry-After', {
    tokenCallsPerMinute: 2,
  }),
  slow: persona('E17', 'takes 12 seconds for a token request', { tokenDelayMs: 12_000 }),
  'very-slow': persona('E17', 'takes 40 seconds for a token request', { tokenDelayMs: 40_000 }),

  'other-issuer': persona('I3', 'names another issuer in its metadata', { serverMetadata: 'other_issuer' }),
  'no-server-metadata': persona('I3', 'has no authorization server metadata', { serverMetadata: 'absent' }),
  'no-auth-methods': persona('I3', 'names no client authentication methods', { serverMetadata: 'no_auth_methods' }),
  'bare-challenge': persona('I7', 'names no metadata in its 401', { challenge: 'bare' }),
  'no-challenge': persona('I7', 'sends 401 without WWW-Authenticate', { challenge: 'none' }),
  'root-metadata': persona('I7', 'has resource metadata at its origin only', { resourceMetadata: 'root_only' }),
  'no-resource-metadata': persona('I7', 'has no resource metadata', { challenge: 'bare', resourceMetadata: 'absent' }),

  'revoked-twice': persona('J1', 'answers 400 to a revocation of what is revoked', { revocation: 'refuses_twice' }),
  'bearer-revocation': persona('J2', 'revokes by a JSON call that carries the access token', {
    revocation: 'bearer_json',
  }),
  'no-revocation': persona('J6', 'has no revocation', { revocation: 'absent' }),
} as const satisfies Record<string, Persona>;

export type PersonaName = keyof typeof PERSONAS;
export const PERSONA_NAMES = Object.keys(PERSONAS) as [PersonaName, ...PersonaName[]];

/** What these personas together set, the later over the earlier. */
export function policyOf(personas: readonly PersonaName[]): Partial<Policy> {
  return Object.assign({}, ...personas.map((name) => PERSONAS[name].policy)) as Partial<Policy>;
}
