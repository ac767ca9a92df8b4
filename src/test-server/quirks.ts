import { z } from 'zod';

/**
 * How an authorization server strays from the RFCs. Each default is the proper way. What concerns the metadata or the
 * 401 challenge holds for the server; the rest can be set for one client.
 */
export const quirksSchema = z.strictObject({
  // The authorization request and its callback.
  scopeSeparator: z.enum(['space', 'comma']).default('space'),
  pkce: z.enum(['required', 'optional', 'rejected']).default('required'),
  /** What has to be asked for to get a refresh token; `first_consent`: `access_type=offline`, and not a second time. */
  offline: z.enum(['always', 'scope', 'access_type', 'first_consent']).default('always'),
  /** RFC 8707 `resource`, at authorization, exchange and refresh. */
  resource: z.enum(['accepted', 'rejected', 'required']).default('accepted'),
  audience: z.enum(['ignored', 'required']).default('ignored'),
  codeParameter: z.string().min(1).default('code'),
  /** Seconds. */
  codeTtl: z.number().positive().default(60),
  /** Added to the callback: where the tenant is told there. */
  callbackMembers: z.record(z.string(), z.string()).default({}),
  /** RFC 9207 `iss` on the callback. */
  iss: z.enum(['sent', 'omitted', 'wrong']).default('sent'),

  // The token request.
  clientAuth: z.enum(['registered', 'basic', 'post']).default('registered'),
  /** `raw`: neither half is form-encoded before they are joined. */
  basicEncoding: z.enum(['rfc6749', 'raw']).default('rfc6749'),
  parametersIn: z.enum(['form', 'json', 'query']).default('form'),
  /** Where refreshes go: `/auth/token`, or `/auth/refresh` by POST or GET. */
  refreshAt: z.enum(['token', 'post_refresh', 'get_refresh']).default('token'),
  scopeOnRefresh: z.enum(['optional', 'required']).default('optional'),
  tokenEndpointRedirects: z.boolean().default(false),
  /** Milliseconds before a token request is looked at. */
  tokenDelayMs: z.number().min(0).default(0),
  /** Token requests of one client in a minute; the next gets 429 with Retry-After. 0: as many as it likes. */
  tokenCallsPerMinute: z.number().int().min(0).default(0),

  // The token answer.
  answerFormat: z.enum(['json', 'form', 'text']).default('json'),
  answerStatus: z.number().int().min(200).max(299).default(200),
  tokenPlace: z.enum(['top', 'authed_user', 'data', 'camel_case']).default('top'),
  expiresIn: z.enum(['seconds', 'string', 'milliseconds', 'zero', 'null', 'absolute']).default('seconds'),
  tokenType: z.enum(['bearer', 'missing', 'odd']).default('bearer'),
  scopeFormat: z.enum(['space', 'comma', 'array', 'missing']).default('space'),
  /** What stands for the refresh token in the answer to a refresh that does not rotate it. */
  keptRefreshToken: z.enum(['missing', 'empty', 'null', 'same']).default('missing'),
  /** Under which name an answer tells when the grant ends. */
  grantExpiryMember: z.string().optional(),
  answerMembers: z.record(z.string(), z.unknown()).default({}),
  /** Bytes of an access token, at least. */
  accessTokenLength: z.number().int().min(0).max(32_768).default(0),

  // Refusals of the token endpoint.
  refusals: z.enum(['oauth', 'ok_false', 'status_200', 'status_500', 'html']).default('oauth'),
  deadGrantAs: z
    .enum(['invalid_grant', 'bad_refresh_token', 'unauthorized_client', 'invalid_request', 'aadsts'])
    .default('invalid_grant'),

  // The life of a grant.
  /** Seconds that a refresh token stays as it is before a refresh replaces it. */
  rotateAfter: z.number().min(0).default(0),
  /** Seconds without a refresh, and seconds since consent, after which the grant has ended. */
  idleSeconds: z.number().positive().optional(),
  grantSeconds: z.number().positive().optional(),
  /** Live grants of one person and client; a new one ends the oldest. 0: no bound. */
  maxGrants: z.number().int().min(0).default(0),

  // The use of an access token.
  expirySignal: z.enum(['401', '403', '404', '200']).default('401'),
  tokenHeader: z.enum(['authorization', 'x-access-token']).default('authorization'),
  /** `bare`: a 401 names no metadata; `none`: it has no WWW-Authenticate at all. */
  challenge: z.enum(['full', 'bare', 'none']).default('full'),

  // Metadata and revocation.
  serverMetadata: z.enum(['full', 'absent', 'no_pkce', 'no_auth_methods', 'other_issuer']).default('full'),
  resourceMetadata: z.enum(['full', 'absent', 'root_only']).default('full'),
  revocation: z.enum(['rfc7009', 'absent', 'refuses_twice', 'bearer_json']).default('rfc7009'),
});
