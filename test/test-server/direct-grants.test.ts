import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { signAssertion } from '../../src/connections/assertion.ts';
import { Secret } from '../../src/secret.ts';
import { TOKEN_EXCHANGE, JWT_BEARER } from '../../src/test-server/direct-grants.ts';
import { me, postForm, startServer } from './practice.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const assertionKey = publicKey.export({ type: 'spki', format: 'pem' }) as string;
const key = new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
const client = { clientId: 'batch', clientSecret: 'batch-secret' };
const basic = { authorization: `Basic ${Buffer.from('batch:batch-secret').toString('base64')}` };
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

async function start() {
  const clock = movableClock();
  const server = await startServer({ mode: 'oauth', client, clock, assertionKey });
  const endpoint = `${server.url}/auth/token`;
  const post = async (form: Record<string, string>, headers: Record<string, string> = {}) =>
    await postForm(endpoint, form, headers);
  const assertion = (more: Partial<Parameters<typeof signAssertion>[2]> = {}) =>
    signAssertion({ algorithm: 'ES256', audience: '', lifetime: 60, claims: {} }, key, {
      issuer: 'robot',
      subject: 'alice',
      audience: endpoint,
      now: clock.now(),
      ...more,
    });
  return { server, clock, post, assertion };
}

describe('the token endpoint of the practice service, without a browser', () => {
  it('gives a client with a secret tokens of its own, and none to refresh with', async () => {
    const { server, post } = await start();
    const { status, body } = await post({ grant_type: 'client_credentials', scope: 'items:read' }, basic);
    expect(status).toBe(200);
    expect(body).toMatchObject({ scope: 'items:read', token_type: 'Bearer' });
    expect(body).not.toHaveProperty('refresh_token');
    expect((await me(server, String(body['access_token']))).body).toMatchObject({ subject: 'batch' });
    expect((await post({ grant_type: 'client_credentials', client_id: 'batch' })).status).toBe(401);
    expect((await post({ grant_type: 'client_credentials', scope: 'all' }, basic)).body).toMatchObject({
      error: 'invalid_scope',
    });
  });

  it('takes an assertion for one of its people once, signed, in time and meant for it', async () => {
    const { clock, post, assertion } = await start();
    const good = assertion();
    const answers = [];
    for (const one of [
      good,
      good,
      `${good.slice(0, -6)}AAAAAA`,
      assertion({ audience: 'https://other.example/token' }),
      assertion({ subject: 'nobody' }),
      assertion({ now: clock.now() - 120_000 }),
    ]) {
      answers.push((await post({ grant_type: JWT_BEARER, assertion: one })).body['error'] ?? 'ok');
    }
    expect(answers).toEqual(['ok', ...Array.from({ length: 5 }, () => 'invalid_grant')]);
  });

  it('exchanges a token that it gave for one of the same person with no more than that had', async () => {
    const { server, post, assertion } = await start();
    const given = await post({ grant_type: JWT_BEARER, assertion: assertion(), scope: 'items:read profile' });
    const exchange = { grant_type: TOKEN_EXCHANGE, subject_token: String(given.body['access_token']) };
    const typed = { ...exchange, subject_token_type: ACCESS_TOKEN };
    const { body } = await post(typed, basic);
    expect(body).toMatchObject({ issued_token_type: ACCESS_TOKEN, scope: 'items:read profile' });
    expect((await me(server, String(body['access_token']))).body).toMatchObject({ subject: 'alice' });
    expect((await post(exchange, basic)).body).toMatchObject({ error: 'invalid_request' });
    expect((await post({ ...typed, scope: 'items:write' }, basic)).body).toMatchObject({ error: 'invalid_scope' });
    expect((await post({ ...typed, subject_token: 'made up' }, basic)).body).toMatchObject({
      error: 'invalid_request',
    });
  });
});
