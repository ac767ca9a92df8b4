import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { describePersonas } from '../../src/test-server/describe.ts';
import { PERSONA_NAMES, PERSONAS, type PersonaName } from '../../src/test-server/personas.ts';
import { strayed, type Strayed } from './strayed.ts';

const DAY_MS = 86_400_000;
const NO_PKCE = { code_challenge: null, code_challenge_method: null };
const basic = (pair: string) => ({ authorization: `Basic ${Buffer.from(pair).toString('base64')}` });
const WELL_KNOWN = '/.well-known/oauth-authorization-server';

/** Refreshes a new grant and returns the answer. */
async function renewed(service: Strayed) {
  const grant = await service.grant();
  return { grant, answer: await service.refresh(grant.refresh_token) };
}
async function dead(service: Strayed) {
  const grant = await service.grant();
  await service.server.control.revokeGrants();
  return service.refresh(grant.refresh_token);
}
async function lifetime(service: Strayed): Promise<unknown> {
  return (await renewed(service)).answer.body.expires_in;
}
async function challenge(service: Strayed): Promise<string | null> {
  const { status, headers } = await service.send('/api/me');
  expect(status).toBe(401);
  return headers.get('www-authenticate');
}
async function expired(service: Strayed) {
  const { access_token: token } = await service.grant();
  service.clock.move(301_000);
  return service.me(token);
}
async function endsAfter(service: Strayed, days: number, renewing: boolean): Promise<void> {
  const { refresh_token: first } = await service.grant();
  service.clock.move((days / 2) * DAY_MS);
  const next = await service.refresh(first);
  expect(next.status).toBe(200);
  service.clock.move((days / 2) * DAY_MS);
  const then = await service.refresh(next.body.refresh_token as string);
  expect(then.status).toBe(renewing ? 200 : 400);
  if (!renewing) return;
  service.clock.move(days * DAY_MS);
  expect((await service.refresh(then.body.refresh_token as string)).body.error).toBe('invalid_grant');
}
async function offline(service: Strayed, asked: Record<string, string>): Promise<boolean> {
  const callback = await service.authorize(asked);
  return 'refresh_token' in (await service.redeem(callback.get('code'))).body;
}

/** What a client sees of each, over HTTP. */
const CASES: Record<PersonaName, (service: Strayed) => Promise<void>> = {
  'tenant-in-callback': async (service) => expect((await service.authorize()).get('realmId')).toBe('9130357'),
  'tenant-in-answer': async (service) =>
    expect((await renewed(service)).answer.body.instance_url).toBe('https://tenant.invalid'),
  async 'token-redirect'(service) {
    const { grant, answer } = await renewed(service);
    expect(answer).toMatchObject({ status: 307, text: '' });
    const followed = await service.token(
      service.refreshFields(grant.refresh_token),
      {},
      answer.headers.get('location')!,
    );
    expect(followed.status).toBe(200);
  },

  async 'comma-scopes'(service) {
    const callback = await service.authorize({ scope: 'items:read,profile' });
    expect((await service.redeem(callback.get('code'))).body.scope).toBe('items:read profile');
    expect((await service.authorize({ scope: 'items:read profile' })).get('error')).toBe('invalid_scope');
  },
  async 'offline-scope'(service) {
    expect(await offline(service, { scope: 'profile offline_access' })).toBe(true);
    expect(await offline(service, { scope: 'profile' })).toBe(false);
  },
  async 'offline-parameter'(service) {
    expect(await offline(service, { access_type: 'offline' })).toBe(true);
    expect(await offline(service, {})).toBe(false);
  },
  async 'first-consent-only'(service) {
    expect(await offline(service, { access_type: 'offline' })).toBe(true);
    expect(await offline(service, { access_type: 'offline' })).toBe(false);
    expect(await offline(service, { access_type: 'offline', prompt: 'consent' })).toBe(true);
  },
  async 'resource-rejected'(service) {
    expect((await service.authorize({ resource: service.server.mcpUrl })).get('error')).toBe('invalid_target');
    const { grant, answer } = await renewed(service);
    expect(answer.status).toBe(200);
    const again = await service.refresh(grant.refresh_token, { resource: service.server.mcpUrl });
    expect(again.body.error).toBe('invalid_target');
  },
  async 'resource-required'(service) {
    expect((await service.authorize()).get('error')).toBe('invalid_target');
    const { grant, answer } = await renewed(service);
    expect(answer.body.error).toBe('invalid_target');
    const resource = service.server.mcpUrl;
    expect((await service.refresh(grant.refresh_token, { resource })).status).toBe(200);
  },
  async 'audience-required'(service) {
    expect((await service.authorize()).get('error')).toBe('invalid_request');
    expect((await service.authorize({ audience: 'api' })).has('code')).toBe(true);
  },
  async 'no-pkce'(service) {
    expect((await service.authorize()).get('error')).toBe('invalid_request');
    const callback = await service.authorize(NO_PKCE);
    expect((await service.redeem(callback.get('code'), {})).status).toBe(200);
    expect((await service.send(WELL_KNOWN)).body).not.toHaveProperty('code_challenge_methods_supported');
  },
  async 'optional-pkce'(service) {
    const without = await service.authorize(NO_PKCE);
    expect((await service.redeem(without.get('code'), {})).status).toBe(200);
    const withIt = (await service.authorize()).get('code');
    expect((await service.redeem(withIt, {})).body.error).toBe('invalid_grant');
    expect((await service.redeem(withIt)).status).toBe(200);
  },
  async 'short-code'(service) {
    const callback = await service.authorize();
    service.clock.move(31_000);
    expect((await service.redeem(callback.get('code'))).body.error).toBe('invalid_grant');
  },

  async 'odd-code-parameter'(service) {
    const callback = await service.authorize();
    expect(callback.has('code')).toBe(false);
    expect((await service.redeem(callback.get('spapi_oauth_code'))).status).toBe(200);
  },
  'no-iss': async (service) => expect((await service.authorize()).has('iss')).toBe(false),
  'wrong-iss': async (service) => expect((await service.authorize()).get('iss')).toBe('https://issuer.invalid'),

  'basic-only': (service) => authenticates(service, 'basic'),
  'post-only': (service) => authenticates(service, 'post'),
  async 'raw-basic'(service) {
    const { clientId } = await service.register('client_secret_basic');
    const clientSecret = 's%+:/ecret';
    await service.server.control.changeClientSecret({ clientId, clientSecret });
    const { refresh_token: held = '' } = await service.grant(clientId);
    const fields = { grant_type: 'refresh_token', refresh_token: held };
    const encoded = await service.token(fields, basic(`${clientId}:${encodeURIComponent(clientSecret)}`));
    expect(encoded.body.error).toBe('invalid_client');
    expect((await service.token(fields, basic(`${clientId}:${clientSecret}`))).status).toBe(200);
  },
  async 'json-body'(service) {
    const { refresh_token: held } = await service.grant();
    expect((await service.refresh(held)).body.error).toBe('invalid_request');
    const json = { method: 'POST', headers: { 'content-type': 'application/json' } };
    const body = JSON.stringify(service.refreshFields(held));
    expect((await service.send('/auth/token', { ...json, body })).status).toBe(200);
  },
  async 'query-parameters'(service) {
    const { refresh_token: held } = await service.grant();
    expect((await service.refresh(held)).body.error).toBe('invalid_request');
    const query = new URLSearchParams(service.refreshFields(held));
    expect((await service.send(`/auth/token?${query}`, { method: 'POST' })).status).toBe(200);
  },
  async 'scope-on-refresh'(service) {
    const { grant, answer } = await renewed(service);
    expect(answer.body.error).toBe('invalid_request');
    expect((await service.refresh(grant.refresh_token, { scope: 'profile' })).status).toBe(200);
  },
  async 'refresh-url'(service) {
    const { grant, answer } = await renewed(service);
    expect(answer.body.error).toBe('unsupported_grant_type');
    expect((await service.token(service.refreshFields(grant.refresh_token), {}, '/auth/refresh')).status).toBe(200);
  },
  async 'get-refresh'(service) {
    const { grant, answer } = await renewed(service);
    expect(answer.body.error).toBe('unsupported_grant_type');
    const query = new URLSearchParams(service.refreshFields(grant.refresh_token));
    expect((await service.send(`/auth/refresh?${query}`)).body).toHaveProperty('access_token');
  },

  async 'form-answer'(service) {
    const { answer } = await renewed(service);
    expect(answer.headers.get('content-type')).toBe('application/x-www-form-urlencoded');
    const fields = new URLSearchParams(answer.text);
    expect((await service.me(fields.get('access_token'))).status).toBe(200);
    expect(fields.get('expires_in')).toBe('300');
  },
  async 'text-answer'(service) {
    const { answer } = await renewed(service);
    expect(answer.headers.get('content-type')).toBe('text/plain');
    expect((await service.me(answer.body.access_token)).status).toBe(200);
  },
  'ok-false': async (service) =>
    expect(await dead(service)).toMatchObject({ status: 200, body: { ok: false, error: 'invalid_grant' } }),
  async 'error-200'(service) {
    expect(await dead(service)).toMatchObject({ status: 200, body: { error: 'invalid_grant' } });
  },
  'error-500': async (service) =>
    expect(await dead(service)).toMatchObject({ status: 500, body: { error: 'invalid_grant' } }),
  'status-201': async (service) => expect((await renewed(service)).answer.status).toBe(201),
  async 'nested-user'(service) {
    const { body } = (await renewed(service)).answer;
    expect(body).toMatchObject({ ok: true, authed_user: { token_type: 'user', expires_in: 300 } });
    expect(body).not.toHaveProperty('access_token');
  },
  'nested-data': async (service) =>
    expect((await renewed(service)).answer.body).toMatchObject({ code: 0, data: { token_type: 'Bearer' } }),
  'camel-case': async (service) =>
    expect(Object.keys((await renewed(service)).answer.body)).toEqual([
      'accessToken',
      'tokenType',
      'expiresIn',
      'refreshToken',
      'scope',
    ]),
  'no-expires-in': async (service) => expect(await lifetime(service)).toBeUndefined(),
  'string-expires-in': async (service) => expect(await lifetime(service)).toBe('300'),
  'millisecond-expires-in': async (service) => expect(await lifetime(service)).toBe(300_000),
  'zero-expires-in': async (service) => expect(await lifetime(service)).toBe(0),
  'null-expires-in': async (service) => expect(await lifetime(service)).toBeNull(),
  async 'expires-at'(service) {
    const { body } = (await renewed(service)).answer;
    expect(body).not.toHaveProperty('expires_in');
    const left = Date.parse(String(body.expires_at)) - service.clock.now();
    expect(left).toBeGreaterThan(290_000);
    expect(left).toBeLessThanOrEqual(300_000);
  },
  'no-token-type': async (service) => expect((await renewed(service)).answer.body).not.toHaveProperty('token_type'),
  'odd-token-type': async (service) => expect((await renewed(service)).answer.body.token_type).toBe('user'),
  'comma-scope-answer': async (service) =>
    expect((await renewed(service)).answer.body.scope).toBe('items:read,items:write,profile'),
  'array-scope-answer': async (service) =>
    expect((await renewed(service)).answer.body.scope).toEqual(['items:read', 'items:write', 'profile']),
  'no-scope-answer': async (service) => expect((await renewed(service)).answer.body).not.toHaveProperty('scope'),
  'no-refresh-token': async (service) => expect(await service.grant()).not.toHaveProperty('refresh_token'),
  'refresh-token-kept': async (service) =>
    expect((await renewed(service)).answer.body).not.toHaveProperty('refresh_token'),
  'refresh-token-empty': async (service) => expect((await renewed(service)).answer.body.refresh_token).toBe(''),
  'refresh-token-null': async (service) => expect((await renewed(service)).answer.body.refresh_token).toBeNull(),
  async 'long-tokens'(service) {
    const token = String((await renewed(service)).answer.body.access_token);
    expect(token).toHaveLength(4_096);
    expect((await service.me(token)).status).toBe(200);
  },
  warning: async (service) => expect((await renewed(service)).answer.body).toHaveProperty('warning'),

  async static(service) {
    const { grant, answer } = await renewed(service);
    expect(answer.body.refresh_token).toBe(grant.refresh_token);
    expect((await service.refresh(grant.refresh_token)).status).toBe(200);
  },
  strict: (service) => reuse(service, 'reused_family_revoked', 400),
  'single-use': (service) => reuse(service, 'reused_refused', 200),
  async grace(service) {
    const { grant, answer } = await renewed(service);
    expect((await service.refresh(grant.refresh_token)).body.refresh_token).toBe(answer.body.refresh_token);
    service.clock.move(31_000);
    expect((await service.refresh(grant.refresh_token)).status).toBe(400);
  },
  async 'until-used'(service) {
    const { grant, answer } = await renewed(service);
    const again = await service.refresh(grant.refresh_token);
    expect(again.status).toBe(200);
    expect((await service.refresh(answer.body.refresh_token as string)).status).toBe(400);
    expect((await service.me(again.body.access_token)).status).toBe(200);
    expect((await service.refresh(grant.refresh_token)).body.error).toBe('invalid_grant');
    expect((await service.refresh(again.body.refresh_token as string)).status).toBe(200);
  },
  async 'rotates-daily'(service) {
    const { grant, answer } = await renewed(service);
    expect(answer.body).not.toHaveProperty('refresh_token');
    service.clock.move(DAY_MS);
    expect((await service.refresh(grant.refresh_token)).body).toHaveProperty('refresh_token');
    expect((await service.refresh(grant.refresh_token)).body.error).toBe('invalid_grant');
  },
  async 'kills-old-access-token'(service) {
    const { grant, answer } = await renewed(service);
    expect((await service.me(grant.access_token)).status).toBe(401);
    expect((await service.me(answer.body.access_token)).status).toBe(200);
  },
  'idle-expiry': (service) => endsAfter(service, 30, true),
  'absolute-expiry': (service) => endsAfter(service, 90, false),
  async 'announced-expiry'(service) {
    const { answer } = await renewed(service);
    expect(answer.body.x_refresh_token_expires_in).toBeGreaterThan(89 * 86_400);
    expect(answer.body.x_refresh_token_expires_in).toBeLessThanOrEqual(90 * 86_400);
  },
  'five-grants': (service) => capped(service, 5),
  'one-grant': (service) => capped(service, 1),
  'seven-days': (service) => endsAfter(service, 7, false),

  'expired-403': async (service) => expect((await expired(service)).status).toBe(403),
  'expired-404': async (service) => expect((await expired(service)).status).toBe(404),
  'expired-200': async (service) =>
    expect(await expired(service)).toMatchObject({ status: 200, body: { ok: false, error: 'token_expired' } }),
  async 'other-header'(service) {
    const { access_token: token } = await service.grant();
    expect((await service.me(token)).status).toBe(401);
    expect((await service.me(token, 'x-access-token')).status).toBe(200);
  },

  'bad-refresh-token': async (service) => expect((await dead(service)).body.error).toBe('bad_refresh_token'),
  'unauthorized-client': async (service) =>
    expect(await dead(service)).toMatchObject({
      status: 403,
      body: { error: 'unauthorized_client', error_description: 'refresh_token is invalid' },
    }),
  'invalid-request': async (service) => expect((await dead(service)).body.error).toBe('invalid_request'),
  'numbered-error': async (service) => expect((await dead(service)).body.error_description).toMatch(/^AADSTS700082: /),
  async 'html-errors'(service) {
    const answer = await dead(service);
    expect(answer).toMatchObject({ status: 502, text: expect.stringMatching(/^<!doctype html>/) as string });
  },
  async 'rate-limited'(service) {
    const chain = await service.grant();
    const first = await service.refresh(chain.refresh_token);
    const second = await service.refresh(first.body.refresh_token as string);
    const third = await service.refresh(second.body.refresh_token as string);
    expect(third.status).toBe(429);
    expect(Number(third.headers.get('retry-after'))).toBeGreaterThan(50);
    expect(service.server.ledger.refreshes().at(-1)).toMatchObject({ outcome: 'not_processed' });
    service.clock.move(60_000);
    expect((await service.refresh(second.body.refresh_token as string)).status).toBe(200);
  },
  slow: (service) => takes(service, 12_000),
  'very-slow': (service) => takes(service, 40_000),

  'other-issuer': async (service) =>
    expect((await service.send(WELL_KNOWN)).body.issuer).toBe(`${service.server.url}/other`),
  async 'no-server-metadata'(service) {
    expect((await service.send(WELL_KNOWN)).status).toBe(404);
    expect((await service.send('/.well-known/openid-configuration')).status).toBe(404);
  },
  'no-auth-methods': async (service) =>
    expect((await service.send(WELL_KNOWN)).body).not.toHaveProperty('token_endpoint_auth_methods_supported'),
  'bare-challenge': async (service) => expect(await challenge(service)).toBe('Bearer realm="practice"'),
  'no-challenge': async (service) => expect(await challenge(service)).toBeNull(),
  async 'root-metadata'(service) {
    expect((await service.send('/.well-known/oauth-protected-resource/mcp')).status).toBe(404);
    expect((await service.send('/.well-known/oauth-protected-resource')).status).toBe(200);
  },
  async 'no-resource-metadata'(service) {
    expect((await service.send('/.well-known/oauth-protected-resource')).status).toBe(404);
    expect(await challenge(service)).not.toContain('resource_metadata');
  },

  async 'revoked-twice'(service) {
    const { refresh_token: token = '' } = await service.grant();
    const fields = { client_id: service.client.clientId, token };
    expect((await service.token(fields, {}, '/auth/revoke')).status).toBe(200);
    expect((await service.token(fields, {}, '/auth/revoke')).status).toBe(400);
  },
  async 'bearer-revocation'(service) {
    const { access_token: token, refresh_token: refresh = '' } = await service.grant();
    const fields = { client_id: service.client.clientId, token: refresh };
    expect((await service.token(fields, {}, '/auth/revoke')).status).toBe(400);
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    expect((await service.send('/auth/revoke', { method: 'POST', headers, body: '{}' })).status).toBe(200);
    expect((await service.me(token)).status).toBe(401);
  },
  async 'no-revocation'(service) {
    const { refresh_token: token = '' } = await service.grant();
    const answer = await service.token({ client_id: service.client.clientId, token }, {}, '/auth/revoke');
    expect(answer.status).toBe(404);
    expect((await service.send(WELL_KNOWN)).body).not.toHaveProperty('revocation_endpoint');
  },
};

async function authenticates(service: Strayed, only: 'basic' | 'post'): Promise<void> {
  const { clientId, secret } = await service.register('client_secret_basic');
  const { refresh_token: held = '' } = await service.grant(clientId);
  const fields = { grant_type: 'refresh_token', refresh_token: held };
  const inHeader = () => service.token(fields, basic(`${clientId}:${secret}`));
  const inBody = () => service.token({ ...fields, client_id: clientId, client_secret: secret });
  const [good, bad] = only === 'basic' ? [inHeader, inBody] : [inBody, inHeader];
  expect(await bad()).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
  expect((await good()).status).toBe(200);
  const metadata = await service.send(WELL_KNOWN);
  expect(metadata.body.token_endpoint_auth_methods_supported).toEqual([`client_secret_${only}`]);
}

async function reuse(service: Strayed, outcome: string, successor: number): Promise<void> {
  const { grant, answer } = await renewed(service);
  expect((await service.refresh(grant.refresh_token)).body.error).toBe('invalid_grant');
  expect(service.server.ledger.refreshes().at(-1)?.outcome).toBe(outcome);
  expect((await service.refresh(answer.body.refresh_token as string)).status).toBe(successor);
}

async function capped(service: Strayed, most: number): Promise<void> {
  const grants = [];
  for (let i = 0; i <= most; i += 1) grants.push(await service.grant());
  const others = await service.grant(service.client.clientId, 'bob');
  const statuses = await Promise.all(
    [...grants, others].map(async (one) => (await service.me(one.access_token)).status),
  );
  expect(statuses).toEqual([401, ...grants.slice(1).map(() => 200), 200]);
}

async function takes(service: Strayed, ms: number): Promise<void> {
  expect((await renewed(service)).answer.status).toBe(200);
  expect(service.slept).toEqual([ms]);
}

describe('a persona', () => {
  it.each(PERSONA_NAMES)('%s does what it says', async (name) => {
    expect.hasAssertions();
    await CASES[name](await strayed([name]));
  });

  it('can be combined with others, and an option that is given as well wins', async () => {
    const service = await strayed(['nested-user', 'string-expires-in', 'status-201', 'slow'], { tokenDelayMs: 3 });
    const { answer } = await renewed(service);
    expect(answer).toMatchObject({ status: 201, body: { authed_user: { expires_in: '300' } } });
    expect(service.slept).toEqual([3]);
  });

  it('is put on and taken off one client while the server runs, and nothing else changes with it', async () => {
    const service = await strayed(['static'], { accessTokenTtl: 77 });
    const other = await service.register();
    const { control } = service.server;
    await control.setPolicy({ clientId: service.client.clientId, personas: ['form-answer'] });
    const refreshOf = async (clientId: string) => {
      const { refresh_token: held = '' } = await service.grant(clientId);
      return service.token({ grant_type: 'refresh_token', client_id: clientId, refresh_token: held });
    };
    const strange = new URLSearchParams((await refreshOf(service.client.clientId)).text);
    expect(strange.get('expires_in')).toBe('77');
    expect((await refreshOf(other.clientId)).body.expires_in).toBe(77);
    await control.setPolicy({ clientId: service.client.clientId, answerFormat: 'json' });
    await control.setPolicy({ personas: ['string-expires-in'] });
    const proper = (await refreshOf(service.client.clientId)).body;
    expect(proper).toMatchObject({ expires_in: '77', refresh_token: expect.any(String) as string });
  });

  it('has a name, a class and a line in the list', () => {
    const lines = describePersonas();
    expect(lines).toHaveLength(PERSONA_NAMES.length);
    for (const [index, name] of PERSONA_NAMES.entries()) {
      expect(lines[index]).toMatch(
        new RegExp(`^${name} +${PERSONAS[name].class} +${PERSONAS[name].does.slice(0, 10)}`),
      );
      expect(PERSONAS[name].class).toMatch(/^[A-J]\d*$/);
    }
  });

  it('stands in the documentation as it stands in the list', () => {
    const page = readFileSync(new URL('../../docs/practice-service.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `([a-z0-9-]+)` *\| ([A-J]\d*) *\| (.+?) *\|$/gm)].map((row) => row.slice(1));
    expect(rows).toEqual(PERSONA_NAMES.map((name) => [name, PERSONAS[name].class, PERSONAS[name].does]));
  });

  it('that is not known is refused by name', async () => {
    await expect(strayed(['slowish' as PersonaName])).rejects.toThrow('personas');
    const { server } = await strayed([]);
    await expect(server.control.setPolicy({ personas: ['slowish' as PersonaName] })).rejects.toThrow('personas');
  });
});
