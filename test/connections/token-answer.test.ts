import { describe, expect, it } from 'vitest';
import { parseChallenge } from '../../src/connections/challenge.ts';
import { aheadOfTime, backoffMs, usableUntil } from '../../src/connections/connection.ts';
import { classify } from '../../src/connections/refusal.ts';
import { judge, type RawAnswer } from '../../src/connections/token-answer.ts';
import { retryAfter } from '../../src/connections/token-request.ts';

const SENT = 1_800_000_000_000;
const raw = (status: number, body: unknown, contentType = 'application/json'): RawAnswer => ({
  status,
  contentType,
  body: typeof body === 'string' ? body : JSON.stringify(body),
  retryAfterMs: null,
  sentAt: SENT,
});
const jwt = (claims: unknown): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;

/* Shapes as services send them, after data of the catalogue. */
describe('a token answer', () => {
  it.each<[string, RawAnswer, Record<string, unknown>]>([
    [
      'by the book',
      raw(200, { access_token: 'a', token_type: 'Bearer', expires_in: 3600, refresh_token: 'r', scope: 'x y' }),
      { accessToken: 'a', refreshToken: 'r', expiresAt: SENT + 3_600_000, scopes: ['x', 'y'] },
    ],
    [
      'as a form (GitHub)',
      raw(200, 'access_token=gho_1&scope=repo%2Cgist&token_type=bearer', 'application/x-www-form-urlencoded'),
      { accessToken: 'gho_1', scopes: ['repo', 'gist'], expiresAt: null, refreshToken: null },
    ],
    ['as JSON that calls itself text', raw(200, '{"access_token":"a"}', 'text/plain'), { accessToken: 'a' }],
    ['under 201 (Sentry)', raw(201, { access_token: 'a', expires_in: 60 }), { expiresAt: SENT + 60_000 }],
    [
      'nested beside a bot token that is absent (Slack)',
      raw(200, {
        ok: true,
        authed_user: { access_token: 'xoxp', refresh_token: 'xoxe', expires_in: 43_200, scope: 'a,b' },
      }),
      { accessToken: 'xoxp', refreshToken: 'xoxe', expiresAt: SENT + 43_200_000, scopes: ['a', 'b'] },
    ],
    [
      'in camel case',
      raw(200, { accessToken: 'a', refreshToken: 'r', expiresIn: 60 }),
      { refreshToken: 'r', expiresAt: SENT + 60_000 },
    ],
    ['inside data (TikTok)', raw(200, { code: 0, data: { access_token: 'a', expires_in: 60 } }), { accessToken: 'a' }],
    [
      'with expires_in as text (Entra v1)',
      raw(200, { access_token: 'a', expires_in: '3599' }),
      { expiresAt: SENT + 3_599_000 },
    ],
    ['with expires_in 0 (never)', raw(200, { access_token: 'a', expires_in: 0 }), { expiresAt: null }],
    ['with expires_in null', raw(200, { access_token: 'a', expires_in: null }), { expiresAt: null }],
    [
      'with a negative expires_in, which costs no token',
      raw(200, { access_token: 'a', refresh_token: 'r', expires_in: -1 }),
      { expiresAt: null, refreshToken: 'r' },
    ],
    [
      'that would live for three hundred years',
      raw(200, { access_token: 'a', expires_in: 1e10 }),
      { expiresAt: SENT + 315_360_000_000 },
    ],
    [
      'without expires_in, as a JWT',
      raw(200, { access_token: jwt({ exp: 1_900_000_000 }) }),
      { expiresAt: 1_900_000_000_000 },
    ],
    ['without expires_in, opaque: nothing is made up', raw(200, { access_token: 'a' }), { expiresAt: null }],
    [
      'with an absolute time',
      raw(200, { access_token: 'a', expires_at: '2027-01-15T08:00:00Z' }),
      { expiresAt: 1_800_000_000_000 },
    ],
    ['with an empty refresh token', raw(200, { access_token: 'a', refresh_token: '' }), { refreshToken: null }],
    ['with scopes as a list (Twitch)', raw(200, { access_token: 'a', scope: ['x', 'y'] }), { scopes: ['x', 'y'] }],
    [
      'that says when the grant ends',
      raw(200, { access_token: 'a', refresh_token_expires_in: 10 }),
      { grantExpiresAt: SENT + 10_000 },
    ],
  ])('is understood %s', (_what, answer, expected) => {
    expect(judge(answer)).toMatchObject({ kind: 'tokens', tokens: expected });
  });

  it.each<[string, RawAnswer, string, string]>([
    ['a dead grant', raw(400, { error: 'invalid_grant' }), 'grant_dead', 'invalid_grant'],
    ['a dead grant under 200 (Slack)', raw(200, { ok: false, error: 'token_revoked' }), 'grant_dead', 'token_revoked'],
    [
      'a dead grant under 200 (GitHub)',
      raw(200, 'error=bad_refresh_token', 'application/x-www-form-urlencoded'),
      'grant_dead',
      'bad_refresh_token',
    ],
    ['a dead grant under 500', raw(500, { error: 'invalid_grant' }), 'grant_dead', 'invalid_grant'],
    [
      'a dead grant that only words name',
      raw(403, { error: 'unauthorized_client', error_description: 'refresh_token is invalid' }),
      'grant_dead',
      'unauthorized_client',
    ],
    [
      'a dead grant in a list (Fitbit)',
      raw(401, { errors: [{ errorType: 'invalid_grant' }] }),
      'grant_dead',
      'invalid_grant',
    ],
    [
      'a person who has to come again',
      raw(400, { error: 'interaction_required' }),
      'interaction',
      'interaction_required',
    ],
    ['a person who has to come again (Google)', raw(400, { error: 'invalid_rapt' }), 'interaction', 'invalid_rapt'],
    ['a client that is not known', raw(401, { error: 'invalid_client' }), 'client_config', 'invalid_client'],
    [
      'a client that is not known (Supabase)',
      raw(422, { message: 'Unrecognized client_id', error: 'x' }),
      'client_config',
      'x',
    ],
    ['a client that may not', raw(403, { error: 'unauthorized_client' }), 'client_config', 'unauthorized_client'],
    ['a scope that is wrong', raw(400, { error: 'invalid_scope' }), 'request_bug', 'invalid_scope'],
    ['a resource that is wrong', raw(400, { error: 'invalid_target' }), 'request_bug', 'invalid_target'],
    ['a 503', raw(503, ''), 'transient', 'http_503'],
    ['a 429 with words', raw(429, { error: 'whatever' }), 'transient', 'whatever'],
    ['a rate limit under 200', raw(200, { ok: false, error: 'ratelimited' }), 'transient', 'ratelimited'],
    ['a page of a firewall', raw(403, '<!doctype html><title>Denied</title>', 'text/html'), 'transient', 'http_403'],
    ['half a document', raw(200, '{"access_token": "a'), 'transient', 'http_200'],
    ['an empty 200', raw(200, ''), 'transient', 'http_200'],
    ['something never seen', raw(418, { error: 'teapot' }), 'unknown_4xx', 'teapot'],
    ['a code that is no code', raw(400, { error: 'token prt_123 is bad\n' }), 'unknown_4xx', 'unprintable_error'],
  ])('is classed: %s', (_what, answer, refusal, code) => {
    const judged = judge(answer);
    if (judged.kind === 'tokens') throw new Error('taken for tokens');
    expect(classify(answer, judged)).toEqual({ class: refusal, code });
  });
});

describe('a challenge', () => {
  it.each([
    ['Bearer', {}],
    ['Bearer resource_metadata="https://a/b", scope="x y"', { resourceMetadata: 'https://a/b', scopes: ['x', 'y'] }],
    ['Basic realm="a, b", Bearer error=insufficient_scope,scope="x"', { error: 'insufficient_scope', scopes: ['x'] }],
    ['Negotiate YII=, bearer  scope = "quoted \\"x\\""', { scopes: ['quoted', '"x"'] }],
  ])('%s is read', (field, expected) => expect(parseChallenge(field)).toMatchObject(expected));

  it.each([null, '', 'Basic realm="Bearer scope=x"', '"', '='.repeat(9_000)])('%s holds none for us', (field) =>
    expect(parseChallenge(field)).toBeUndefined(),
  );
});

describe('times', () => {
  it('are spread ahead of the end: a fifth of short lives, the buffer of long ones', () => {
    const at = (life: number, jitter: number) =>
      life - aheadOfTime({ from: 0, expiresAt: life, bufferMs: 300_000, jitter });
    expect(at(3_600_000, 0)).toBe(300_000);
    expect(at(3_600_000, 1)).toBe(330_000);
    expect(at(60_000, 0)).toBe(12_000);
  });
  it('leave a margin before the end that a short life can bear', () => {
    expect(usableUntil(3_600_000, 0)).toBe(3_595_000);
    expect(usableUntil(1_000, 0)).toBe(900);
    expect(usableUntil(null, 0)).toBe(Number.POSITIVE_INFINITY);
  });
  it('grow between attempts and stop growing at a minute', () => {
    expect([0, 1, 2, 20].map((failures) => backoffMs(failures, 1_000, 1))).toEqual([1_000, 2_000, 4_000, 60_000]);
    expect(backoffMs(0, 1_000, 0)).toBe(500);
  });
  it('of Retry-After are seconds or a date, a day at most', () => {
    expect(retryAfter('120', 0)).toBe(120_000);
    expect(retryAfter('Thu, 01 Jan 1970 00:01:00 GMT', 0)).toBe(60_000);
    expect(retryAfter('99999999', 0)).toBe(86_400_000);
    expect(retryAfter('soon', 0)).toBeNull();
  });
});
