import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { hashToken } from '../../src/ids.ts';
import { describeStores } from '../database/stores.ts';
import {
  authorize,
  post,
  redeem,
  REDIRECT,
  refresh,
  register,
  signedInClient,
  startGateway,
  VERIFIER,
  type Gateway,
  type GatewayOptions,
  type Tokens,
} from './gateway.ts';

describeStores('the token endpoint', (open, stores) => {
  const running: Gateway[] = [];
  async function start(options: GatewayOptions = {}): Promise<Gateway> {
    const gateway = await startGateway({ database: await open(), ...options });
    running.push(gateway);
    return gateway;
  }
  afterEach(async () => {
    for (const gateway of running.splice(0)) await gateway.close();
  });

  async function codeFor(gateway: Gateway): Promise<{ client: string; code: string }> {
    const client = String((await register(gateway)).body['client_id']);
    const user = await gateway.person(`c${randomBytes(4).toString('hex')}@example.com`);
    const params = await authorize(gateway, await gateway.browser(user), client);
    return { client, code: params.get('code') ?? '' };
  }

  it('refuses a code with a wrong verifier, redirect, client or resource, and consumes nothing by that', async () => {
    const gateway = await start();
    const { client, code } = await codeFor(gateway);
    const stranger = String((await register(gateway)).body['client_id']);
    const wrong: [Record<string, string>, string][] = [
      [{ code_verifier: randomBytes(32).toString('base64url') }, 'invalid_grant'],
      [{ code_verifier: '' }, 'invalid_grant'],
      [{ redirect_uri: 'http://127.0.0.1:4712/callback' }, 'invalid_grant'],
      [{ redirect_uri: 'http://localhost:4711/callback' }, 'invalid_grant'],
      [{ client_id: stranger }, 'invalid_grant'],
      [{ code: `${code.slice(0, -1)}${code.endsWith('A') ? 'B' : 'A'}` }, 'invalid_grant'],
      [{ resource: gateway.resource('beta') }, 'invalid_target'],
      [{ resource: 'https://elsewhere.example/' }, 'invalid_target'],
    ];
    for (const [changes, error] of wrong) {
      const answer = await redeem(gateway, client, code, changes);
      expect({ changes, status: answer.status, error: answer.body['error'] }).toEqual({ changes, status: 400, error });
      expect(answer.headers.get('cache-control')).toContain('no-store');
    }
    const right = await redeem(gateway, client, code, { resource: `${gateway.resource('alpha')}/` });
    expect(right.status).toBe(200);
    expect(right.headers.get('cache-control')).toContain('no-store');
  });

  it('gives tokens for a code once, and takes all of them back when it is used again', async () => {
    const gateway = await start();
    const { client, code } = await codeFor(gateway);
    const first = (await redeem(gateway, client, code)).body as unknown as Tokens;
    expect(await gateway.as.verify(first.access_token)).toBeDefined();
    const wrongVerifier = await redeem(gateway, client, code, { code_verifier: 'x'.repeat(43) });
    expect(wrongVerifier.body['error']).toBe('invalid_grant');
    const stranger = String((await register(gateway)).body['client_id']);
    expect((await redeem(gateway, stranger, code)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(first.access_token)).toBeDefined();
    expect((await redeem(gateway, client, code)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(first.access_token)).toBeUndefined();
    expect((await refresh(gateway, client, first.refresh_token)).body['error']).toBe('invalid_grant');
  });

  it('gives tokens to one of many that present a code at once', async () => {
    const gateway = await start();
    const { client, code } = await codeFor(gateway);
    const answers = await Promise.all(Array.from({ length: 8 }, () => redeem(gateway, client, code)));
    expect(answers.filter(({ status }) => status === 200).length).toBe(1);
    const given = answers.map(({ body }) => String(body['access_token']));
    for (const token of given) expect(await gateway.as.verify(token)).toBeUndefined();
  });

  it('lets a code go after a minute', async () => {
    const gateway = await start();
    const { client, code } = await codeFor(gateway);
    gateway.clock.move(61_000);
    expect((await redeem(gateway, client, code)).body['error']).toBe('invalid_grant');
  });

  it('rotates a refresh token and gives the same successor to everyone within half a minute', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    const first = await refresh(gateway, client, tokens.refresh_token);
    expect(first.status).toBe(200);
    expect(first.body['refresh_token']).not.toBe(tokens.refresh_token);
    gateway.clock.move(29_000);
    const second = await refresh(gateway, client, tokens.refresh_token);
    expect(second.body['refresh_token']).toBe(first.body['refresh_token']);
    expect(second.body['access_token']).toBe(first.body['access_token']);
    expect(second.body['expires_in']).toBeLessThanOrEqual(571);
    expect(await gateway.as.verify(String(second.body['access_token']))).toBeDefined();
    expect((await refresh(gateway, client, String(second.body['refresh_token']))).status).toBe(200);
  });

  it('gives parallel refreshes one successor', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    const answers = await Promise.all(Array.from({ length: 12 }, () => refresh(gateway, client, tokens.refresh_token)));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 12 }, () => 200));
    expect(new Set(answers.map(({ body }) => body['refresh_token'])).size).toBe(1);
    expect(new Set(answers.map(({ body }) => body['access_token'])).size).toBe(1);
  });

  it('ends that chain and no other when a refresh token is used again later', async () => {
    const gateway = await start();
    const { client, user, browser, tokens } = await signedInClient(gateway);
    const other = await authorize(gateway, browser, client);
    const sameClient = (await redeem(gateway, client, other.get('code') ?? '')).body as unknown as Tokens;
    const bystander = await signedInClient(gateway, { user });
    const next = (await refresh(gateway, client, tokens.refresh_token)).body as unknown as Tokens;
    gateway.clock.move(31_000);
    const replay = await refresh(gateway, client, tokens.refresh_token);
    expect(replay.body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(next.access_token)).toBeUndefined();
    expect((await refresh(gateway, client, next.refresh_token)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(sameClient.access_token)).toBeDefined();
    expect((await refresh(gateway, client, sameClient.refresh_token)).status).toBe(200);
    expect((await refresh(gateway, bystander.client, bystander.tokens.refresh_token)).status).toBe(200);
  });

  it('tells a refresh token that was spent long ago from a made-up one, and keeps neither', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    let newest = tokens;
    for (let i = 0; i < 3; i++) {
      gateway.clock.move(2 * 3_600_000);
      newest = (await refresh(gateway, client, newest.refresh_token)).body as unknown as Tokens;
      await gateway.as.sweep();
    }
    const rows = gateway.database.query.selectFrom('oauth_records').selectAll().where('model', '=', 'RefreshToken');
    expect((await rows.execute()).length).toBeLessThanOrEqual(2);
    const [random = '', grant = '', proof = ''] = tokens.refresh_token.split('.');
    const stranger = String((await register(gateway)).body['client_id']);
    const harmless: [string, string][] = [
      [client, `${random.slice(0, -1)}${random.endsWith('A') ? 'B' : 'A'}.${grant}.${proof}`],
      [client, `${random}.${grant}.${'A'.repeat(proof.length)}`],
      [client, `${random}.${grant}`],
      [client, grant],
      [stranger, tokens.refresh_token],
    ];
    for (const [who, token] of harmless) {
      expect((await refresh(gateway, who, token)).body['error']).toBe('invalid_grant');
      expect(await gateway.as.verify(newest.access_token)).toBeDefined();
    }
    expect((await refresh(gateway, client, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(newest.access_token)).toBeUndefined();
    expect((await refresh(gateway, client, newest.refresh_token)).body['error']).toBe('invalid_grant');
  });

  it('serves a clock that runs ahead of the machine’s', async () => {
    const gateway = await start();
    gateway.clock.move(86_400_000);
    const { client, tokens } = await signedInClient(gateway);
    expect((await refresh(gateway, client, tokens.refresh_token)).status).toBe(200);
    expect(await gateway.as.verify(tokens.access_token)).toBeDefined();
  });

  it('knows a code that was used, after its minute as well', async () => {
    const gateway = await start();
    const { client, code } = await codeFor(gateway);
    const first = (await redeem(gateway, client, code)).body as unknown as Tokens;
    gateway.clock.move(300_000);
    expect(await gateway.as.verify(first.access_token)).toBeDefined();
    expect((await redeem(gateway, client, code)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(first.access_token)).toBeUndefined();
  });

  it('does not let another client use, or end, a refresh token', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    const stranger = String((await register(gateway)).body['client_id']);
    expect((await refresh(gateway, stranger, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    expect((await refresh(gateway, client, tokens.refresh_token)).status).toBe(200);
  });

  it('takes the resource and scope of the grant when a refresh names none, and refuses another resource', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    const foreign = await refresh(gateway, client, tokens.refresh_token, { resource: gateway.resource('beta') });
    expect(foreign.body['error']).toBe('invalid_target');
    const twice = await fetch(`${gateway.url}/oauth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: `grant_type=refresh_token&client_id=${client}&refresh_token=${tokens.refresh_token}&resource=a&resource=b`,
    });
    expect(((await twice.json()) as { error: string }).error).toBe('invalid_target');
    const plain = (await refresh(gateway, client, tokens.refresh_token)).body as unknown as Tokens;
    expect(await gateway.as.verify(plain.access_token)).toMatchObject({
      resource: gateway.resource('alpha'),
      scopes: ['mcp'],
    });
    const origin = await refresh(gateway, client, plain.refresh_token, { resource: gateway.url, scope: 'mcp openid' });
    expect(origin.body['scope']).toBe('mcp');
  });

  it('refreshes for no connector that is gone, and goes on when it is back', async () => {
    const gateway = await start();
    const { client, tokens } = await signedInClient(gateway);
    gateway.connectors.delete('alpha');
    expect((await refresh(gateway, client, tokens.refresh_token)).body['error']).toBe('invalid_target');
    gateway.connectors.add('alpha');
    expect((await refresh(gateway, client, tokens.refresh_token)).status).toBe(200);
  });

  it('ends a chain that is idle for 60 days, and any after 180', async () => {
    const gateway = await start();
    const day = 86_400_000;
    const idle = await signedInClient(gateway);
    const busy = await signedInClient(gateway);
    let held = busy.tokens.refresh_token;
    for (let days = 0; days < 150; days += 50) {
      gateway.clock.move(50 * day);
      const answer = await refresh(gateway, busy.client, held);
      expect(answer.status).toBe(200);
      held = String(answer.body['refresh_token']);
    }
    expect((await refresh(gateway, idle.client, idle.tokens.refresh_token)).body['error']).toBe('invalid_grant');
    gateway.clock.move(31 * day);
    expect((await refresh(gateway, busy.client, held)).body['error']).toBe('invalid_grant');
  });

  it('gives an access token its time and not a second more', async () => {
    const gateway = await start({ accessTokenTtlSeconds: 120 });
    const { tokens } = await signedInClient(gateway);
    expect(tokens.expires_in).toBe(120);
    gateway.clock.move(118_000);
    expect(await gateway.as.verify(tokens.access_token)).toBeDefined();
    gateway.clock.move(2_000);
    expect(await gateway.as.verify(tokens.access_token)).toBeUndefined();
  });

  it('keeps no bearer value in the store and none in the log', async () => {
    const gateway = await start();
    const { body } = await register(gateway, { token_endpoint_auth_method: 'client_secret_post' });
    const client = String(body['client_id']);
    const secret = String(body['client_secret']);
    const browser = await gateway.browser(await gateway.person('canary@example.com'));
    const page = await browser.go(
      `${gateway.url}/oauth/authorize?${new URLSearchParams({
        client_id: client,
        response_type: 'code',
        redirect_uri: REDIRECT,
        state: 'canary-state-value',
        resource: gateway.resource('alpha'),
        code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
        code_challenge_method: 'S256',
      })}`,
    );
    const uid = page.url.split('/').at(-1) ?? '';
    const pending = JSON.stringify(await gateway.database.query.selectFrom('oauth_records').selectAll().execute());
    expect(pending).not.toContain(uid);
    expect(pending).not.toContain('canary-state-value');
    const back = await browser.press(page, 'allow');
    const code = new URL(back.out ?? '').searchParams.get('code') ?? '';
    const verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
    const withSecret = { client_secret: secret, code_verifier: verifier };
    const tokens = (await redeem(gateway, client, code, withSecret)).body as unknown as Tokens;
    const renewed = (await refresh(gateway, client, tokens.refresh_token, withSecret)).body as unknown as Tokens;
    await redeem(gateway, client, code, { ...withSecret, client_secret: 'wrong-canary' });
    const values = [secret, code, uid, tokens.access_token, tokens.refresh_token, renewed.access_token, verifier];
    const rows = JSON.stringify([
      await gateway.database.query.selectFrom('oauth_records').selectAll().execute(),
      await gateway.database.query.selectFrom('audit_events').selectAll().execute(),
    ]);
    expect(rows).toContain(hashToken(renewed.refresh_token));
    for (const value of [...values, renewed.refresh_token, 'wrong-canary', 'canary-state-value']) {
      expect(value.length).toBeGreaterThan(10);
      expect(rows).not.toContain(value);
      expect(gateway.log()).not.toContain(value);
    }
  });

  if (stores.kind === 'postgres') {
    it('gives one successor to clients that ask two replicas at once', async () => {
      const clock = movableClock();
      const one = await start({ clock });
      const two = await start({ clock, database: await stores.replica(), publicUrl: one.url });
      for (let round = 0; round < 5; round++) {
        const { client, tokens } = await signedInClient(one);
        const answers = await Promise.all(
          Array.from({ length: 10 }, (_, index) => refresh(index % 2 === 0 ? one : two, client, tokens.refresh_token)),
        );
        expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
        expect(new Set(answers.map(({ body }) => body['refresh_token'])).size).toBe(1);
        expect(await two.as.verify(String(answers[0]?.body['access_token']))).toBeDefined();
      }
    });

    it('lets a person consent at one replica and the client redeem at the other, and revokes at both', async () => {
      const clock = movableClock();
      const one = await start({ clock });
      const two = await start({ clock, database: await stores.replica(), publicUrl: one.url });
      const client = String((await register(one)).body['client_id']);
      const user = await one.person('replica@example.com');
      const params = await authorize(one, await one.browser(user), client);
      const form = { grant_type: 'authorization_code', client_id: client, redirect_uri: REDIRECT };
      const answer = await post(two, '/oauth/token', {
        ...form,
        code: params.get('code') ?? '',
        code_verifier: VERIFIER,
      });
      expect(answer.status).toBe(200);
      const heard = new Promise((resolve) => one.as.onRevoked(resolve));
      await two.as.clients.revoke(user.tenant, user.id, client);
      expect(await heard).toMatchObject({ kind: 'grant' });
      expect(await one.as.verify(String(answer.body['access_token']))).toBeUndefined();
    });
  }
});

describe('client authentication', () => {
  it('is taken by Basic or in the form, as the secret was given, and never both ways at once', async () => {
    const gateway = await startGateway();
    try {
      const { body } = await register(gateway, { token_endpoint_auth_method: 'client_secret_basic' });
      const id = String(body['client_id']);
      const secret = String(body['client_secret']);
      expect(body['client_secret_expires_at']).toBe(0);
      const basic = (value: string) => ({ authorization: `Basic ${Buffer.from(value).toString('base64')}` });
      const form = { grant_type: 'refresh_token', refresh_token: 'nothing' };
      const cases: [Record<string, string>, Record<string, string>, number, string][] = [
        [form, basic(`${id}:${secret}`), 400, 'invalid_grant'],
        [{ ...form, client_id: id, client_secret: secret }, {}, 400, 'invalid_grant'],
        [{ ...form, client_id: id }, basic(`${id}:${secret}`), 400, 'invalid_grant'],
        [{ ...form, client_id: id, client_secret: secret }, basic(`${id}:${secret}`), 400, 'invalid_request'],
        [form, basic(`${id}:${secret}x`), 401, 'invalid_client'],
        [form, basic(`${id}:${hashToken(secret)}`), 401, 'invalid_client'],
        [{ ...form, client_id: id, client_secret: 'no' }, {}, 401, 'invalid_client'],
        [{ ...form, client_id: id }, {}, 401, 'invalid_client'],
        [{ ...form, client_id: 'nobody' }, {}, 401, 'invalid_client'],
        [form, {}, 400, 'invalid_request'],
        [form, { authorization: 'Basic %%%' }, 400, 'invalid_request'],
        [form, basic('no-colon'), 400, 'invalid_request'],
        [{ ...form, client_id: id }, basic('other:x'), 400, 'invalid_request'],
      ];
      for (const [fields, headers, status, error] of cases) {
        const answer = await post(gateway, '/oauth/token', fields, headers);
        expect({ fields, headers, status: answer.status, error: answer.body['error'] }).toEqual({
          fields,
          headers,
          status,
          error,
        });
        const challenged = answer.headers.get('www-authenticate')?.startsWith('Basic') === true;
        expect(challenged).toBe(status === 401 && headers['authorization'] !== undefined);
      }
      for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded2', ';;;']) {
        const response = await fetch(`${gateway.url}/oauth/token`, {
          method: 'POST',
          headers: { 'content-type': type },
          body: new URLSearchParams({ ...form, client_id: id, client_secret: secret }).toString(),
        });
        expect({ type, status: response.status }).toEqual({ type, status: 400 });
      }
    } finally {
      await gateway.close();
    }
  });
});
