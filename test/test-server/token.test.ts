import * as oauth from 'oauth4webapi';
import { describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { shortHash } from '../../src/test-server/ledger.ts';
import type { TestServerOptions } from '../../src/test-server/test-server.ts';
import {
  authorize,
  CALLBACK,
  connect,
  me,
  postForm,
  redeem,
  refresh,
  register,
  request,
  startServer,
  type Application,
} from './practice.ts';

async function connected(options: Partial<TestServerOptions> = {}, method?: Parameters<typeof register>[1]) {
  const clock = movableClock();
  const server = await startServer({ mode: 'oauth-dcr', clock, ...options });
  const app = await register(server, method);
  return { server, clock, app, tokens: await connect(app) };
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'accepted',
    (error: unknown) => (error instanceof oauth.ResponseBodyError ? error.error : String(error)),
  );

describe('the token endpoint', () => {
  it.each(['none', 'client_secret_basic', 'client_secret_post'] as const)(
    'takes a client through code, call, refresh and revocation with %s',
    async (method) => {
      const { server, app, tokens } = await connected({}, method);
      expect(tokens).toMatchObject({ token_type: 'bearer', expires_in: 300, scope: 'items:read items:write profile' });
      expect((await me(server, tokens.access_token)).body).toMatchObject({
        subject: 'alice',
        clientId: app.client.client_id,
        tokenGeneration: 1,
      });
      const next = await refresh(app, tokens.refresh_token!);
      expect(next.refresh_token).not.toBe(tokens.refresh_token);
      expect((await me(server, next.access_token)).body).toMatchObject({ tokenGeneration: 2 });
      const loopback = { [oauth.allowInsecureRequests]: true };
      await oauth.processRevocationResponse(
        await oauth.revocationRequest(app.as, app.client, app.auth, next.refresh_token!, loopback),
      );
      expect(await me(server, next.access_token)).toMatchObject({ status: 401 });
      expect(await code(refresh(app, next.refresh_token!))).toBe('invalid_grant');
    },
  );

  it('redeems a code once: the second time ends what came of it', async () => {
    const { server, app } = await connected();
    const { verifier, url } = await request(app);
    const callback = await authorize(url);
    const tokens = await redeem(app, callback, verifier);
    expect(await code(redeem(app, callback, verifier))).toBe('invalid_grant');
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    expect(await code(refresh(app, tokens.refresh_token!))).toBe('invalid_grant');
    expect(server.ledger.of('token_exchange').map((event) => event.outcome)).toEqual(['ok', 'ok', 'replayed']);
  });

  it('keeps a code through a wrong verifier, client or callback, and for 60 seconds', async () => {
    const { server, clock, app } = await connected();
    const other = await register(server);
    const { verifier, url } = await request(app);
    const callback = await authorize(url);
    expect(await code(redeem(app, callback, oauth.generateRandomCodeVerifier()))).toBe('invalid_grant');
    expect(await code(redeem({ ...other, as: app.as }, callback, verifier))).toBe('invalid_grant');
    const form = {
      grant_type: 'authorization_code',
      client_id: app.client.client_id,
      code: callback.searchParams.get('code')!,
    };
    const elsewhere = await postForm(app.as.token_endpoint!, {
      ...form,
      code_verifier: verifier,
      redirect_uri: `${CALLBACK}2`,
    });
    expect(elsewhere).toMatchObject({ status: 400, body: { error: 'invalid_grant' } });
    expect(await code(redeem(app, callback, verifier))).toBe('accepted');

    const late = await request(app);
    const lateCallback = await authorize(late.url);
    clock.move(60_000);
    expect(await code(redeem(app, lateCallback, late.verifier))).toBe('invalid_grant');
  });

  it.each([
    { rotation: 'none', reused: 'accepted', successor: 'accepted', outcomes: ['kept', 'kept'] },
    { rotation: 'soft', reused: 'invalid_grant', successor: 'accepted', outcomes: ['rotated', 'reused_refused'] },
    { rotation: 'grace', reused: 'accepted', successor: 'accepted', outcomes: ['rotated', 'same_successor'] },
    {
      rotation: 'strict',
      reused: 'invalid_grant',
      successor: 'invalid_grant',
      outcomes: ['rotated', 'reused_family_revoked'],
    },
  ] as const)(
    'with rotation $rotation a refresh token used twice is $reused and its successor $successor',
    async ({ rotation, reused, successor, outcomes }) => {
      const { server, app, tokens } = await connected({ rotation });
      const first = await refresh(app, tokens.refresh_token!);
      expect(first.refresh_token === undefined).toBe(rotation === 'none');
      expect(await code(refresh(app, tokens.refresh_token!))).toBe(reused);
      expect(server.ledger.refreshes('alice').map((event) => event.outcome)).toEqual(outcomes);
      expect(await me(server, first.access_token)).toMatchObject({ status: rotation === 'strict' ? 401 : 200 });
      expect(await code(refresh(app, first.refresh_token ?? tokens.refresh_token!))).toBe(successor);
    },
  );

  it('answers with one and the same successor in the grace window, and ends the grant after it', async () => {
    const { clock, app, tokens } = await connected({ rotation: 'grace', graceSeconds: 20 });
    const first = await refresh(app, tokens.refresh_token!);
    clock.move(20_000 - 5_000);
    const again = await refresh(app, tokens.refresh_token!);
    expect(again).toMatchObject({ access_token: first.access_token, refresh_token: first.refresh_token });
    expect(again.expires_in).toBeLessThanOrEqual(285);
    clock.move(6_000);
    expect(await code(refresh(app, tokens.refresh_token!))).toBe('invalid_grant');
    expect(await code(refresh(app, first.refresh_token!))).toBe('invalid_grant');
  });

  it('ends access and refresh tokens when their time is up', async () => {
    const { server, clock, app, tokens } = await connected({ accessTokenTtl: 10, refreshTokenTtl: 100 });
    expect(tokens.expires_in).toBe(10);
    clock.move(9_000);
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 200 });
    clock.move(1_000);
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    clock.move(90_000);
    expect(await code(refresh(app, tokens.refresh_token!))).toBe('invalid_grant');
    expect(server.ledger.refreshes()[0]).toMatchObject({ outcome: 'expired', successor: null });
  });

  it('refuses a refresh token to another client, and leaves it good for its own', async () => {
    const { server, app, tokens } = await connected();
    const other = await register(server);
    expect(await code(refresh(other, tokens.refresh_token!))).toBe('invalid_grant');
    expect(server.ledger.refreshes()[0]).toMatchObject({ outcome: 'wrong_client', clientId: other.client.client_id });
    expect(await code(refresh(app, tokens.refresh_token!))).toBe('accepted');
  });

  it('leaves out what the policy leaves out', async () => {
    const { server, app, tokens } = await connected({ refreshTokens: false, sendExpiresIn: false });
    expect(tokens).not.toHaveProperty('refresh_token');
    expect(tokens).not.toHaveProperty('expires_in');
    await server.control.setPolicy({ clientId: app.client.client_id, iss: 'omitted' });
    expect((await authorize((await request(app)).url)).searchParams.has('iss')).toBe(false);
    await server.control.setPolicy({ iss: 'wrong', clientId: app.client.client_id });
    const { url, verifier } = await request(app);
    await expect(authorize(url).then((callback) => redeem(app, callback, verifier))).rejects.toThrow(/iss/);
  });

  it('kills the access token before, where the policy says so', async () => {
    const { server, app, tokens } = await connected({ refreshKillsAccessTokens: true });
    const next = await refresh(app, tokens.refresh_token!);
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    expect(await me(server, next.access_token)).toMatchObject({ status: 200 });
  });

  it('narrows scope and keeps the resource, and spends nothing on a refusal', async () => {
    const { app, tokens, server } = await connected();
    const form = { grant_type: 'refresh_token', client_id: app.client.client_id, refresh_token: tokens.refresh_token! };
    const ask = (more: Record<string, string>) => postForm(app.as.token_endpoint!, { ...form, ...more });
    expect((await ask({ resource: 'https://example.com' })).body.error).toBe('invalid_target');
    expect((await ask({ scope: 'items:read admin' })).body.error).toBe('invalid_scope');
    const narrowed = await ask({ scope: 'items:read' });
    expect(narrowed.body.scope).toBe('items:read');
    const response = await fetch(`${server.url}/api/items`, {
      method: 'POST',
      body: '{"title":"x"}',
      headers: { authorization: `Bearer ${String(narrowed.body.access_token)}`, 'content-type': 'application/json' },
    });
    expect(response.status).toBe(403);
    expect(response.headers.get('www-authenticate')).toContain('error="insufficient_scope", scope="items:write"');
  });

  it('keeps the lineage of every refresh token in the ledger, and no token itself', async () => {
    const { server, app, tokens } = await connected();
    const chain = [tokens.refresh_token!];
    for (let i = 0; i < 3; i += 1) chain.push((await refresh(app, chain.at(-1)!)).refresh_token!);
    const hashes = chain.map(shortHash);
    expect(server.ledger.refreshes('alice')).toMatchObject(
      [0, 1, 2].map((i) => ({
        clientId: app.client.client_id,
        token: hashes[i],
        parent: hashes[i - 1] ?? null,
        successor: hashes[i + 1],
        generation: i + 2,
        outcome: 'rotated',
        answer: 'sent',
        inFlight: 1,
      })),
    );
    expect(server.ledger.refreshes('bob')).toEqual([]);
    const text = JSON.stringify(server.ledger.events);
    for (const token of [...chain, tokens.access_token]) expect(text).not.toContain(token);
  });
});

describe('what a proper client would not send to the token endpoint', () => {
  const basic = (id: string, secret: string) => ({
    authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
  });
  type Case = {
    what: string;
    send: (app: Application) => [form: Record<string, string> | string, headers?: Record<string, string>];
    status: number;
    error: string;
  };
  const form = { grant_type: 'refresh_token', refresh_token: 'prt_x' };

  it.each<Case>([
    { what: 'no client', send: () => [form], status: 401, error: 'invalid_client' },
    { what: 'an unknown client', send: () => [{ ...form, client_id: 'x' }], status: 401, error: 'invalid_client' },
    {
      what: 'a wrong secret',
      send: ({ client }) => [form, basic(client.client_id, 'wrong')],
      status: 401,
      error: 'invalid_client',
    },
    {
      what: 'the secret in the body where it belongs in the header',
      send: ({ client, secret }) => [{ ...form, client_id: client.client_id, client_secret: secret! }],
      status: 401,
      error: 'invalid_client',
    },
    {
      what: 'no secret at all',
      send: ({ client }) => [{ ...form, client_id: client.client_id }],
      status: 401,
      error: 'invalid_client',
    },
    {
      what: 'two authentications',
      send: ({ client, secret }) => [
        { ...form, client_id: client.client_id, client_secret: secret! },
        basic(client.client_id, secret!),
      ],
      status: 400,
      error: 'invalid_request',
    },
    {
      what: 'two client ids',
      send: ({ client, secret }) => [{ ...form, client_id: 'other' }, basic(client.client_id, secret!)],
      status: 400,
      error: 'invalid_request',
    },
    {
      what: 'Basic that is no Basic',
      send: () => [form, { authorization: 'Basic %%%' }],
      status: 401,
      error: 'invalid_client',
    },
    {
      what: 'a parameter twice',
      send: () => ['grant_type=refresh_token&grant_type=refresh_token', {}],
      status: 400,
      error: 'invalid_request',
    },
    { what: 'JSON', send: () => ['{}', { 'content-type': 'application/json' }], status: 415, error: 'invalid_request' },
    {
      what: 'an empty body',
      send: ({ client, secret }) => ['', basic(client.client_id, secret!)],
      status: 400,
      error: 'invalid_request',
    },
    {
      what: 'an unknown refresh token',
      send: ({ client, secret }) => [form, basic(client.client_id, secret!)],
      status: 400,
      error: 'invalid_grant',
    },
    {
      what: 'no refresh token',
      send: ({ client, secret }) => [{ grant_type: 'refresh_token' }, basic(client.client_id, secret!)],
      status: 400,
      error: 'invalid_request',
    },
    {
      what: 'another grant type',
      send: ({ client, secret }) => [{ grant_type: 'password' }, basic(client.client_id, secret!)],
      status: 400,
      error: 'unsupported_grant_type',
    },
    {
      what: 'a body over 64 KB',
      send: () => [{ ...form, x: 'y'.repeat(65 * 1024) }],
      status: 413,
      error: 'invalid_request',
    },
  ])('$what gets $status $error', async ({ send, status, error }) => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const app = await register(server, 'client_secret_basic');
    const [body, headers] = send(app);
    const answer = await postForm(app.as.token_endpoint!, body, headers);
    expect(answer).toMatchObject({ status, body: { error } });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('www-authenticate')).toBe(status === 401 ? 'Basic realm="practice"' : null);
  });

  it('answers 405 with Allow to a GET', async () => {
    const server = await startServer({ mode: 'oauth-dcr' });
    const response = await fetch(`${server.url}/auth/token`);
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('POST');
  });
});

describe('introspection and revocation', () => {
  it('tells a client about its own tokens only', async () => {
    const { server, app, tokens } = await connected({}, 'client_secret_basic');
    const other = await register(server, 'client_secret_basic');
    const ask = async (who: Application, token: string) => {
      const options = { [oauth.allowInsecureRequests]: true };
      const response = await oauth.introspectionRequest(who.as, who.client, who.auth, token, options);
      return oauth.processIntrospectionResponse(who.as, who.client, response);
    };
    expect(await ask(app, tokens.access_token)).toMatchObject({
      active: true,
      sub: 'alice',
      scope: 'items:read items:write profile',
    });
    expect(await ask(app, tokens.refresh_token!)).toMatchObject({ active: true });
    expect(await ask(other, tokens.access_token)).toEqual({ active: false });
    expect(await ask(app, 'nothing')).toEqual({ active: false });
    await refresh(app, tokens.refresh_token!);
    expect(await ask(app, tokens.refresh_token!)).toEqual({ active: false });
    expect(server.ledger.of('introspect').map((event) => event.active)).toEqual([true, true, false, false, false]);
  });

  it('refuses introspection to a client without a secret', async () => {
    const { app, tokens } = await connected();
    const answer = await postForm(app.as.introspection_endpoint!, {
      client_id: app.client.client_id,
      token: tokens.access_token,
    });
    expect(answer).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
  });

  it("leaves another client's tokens alone and answers 200 all the same", async () => {
    const { server, app, tokens } = await connected();
    const other = await register(server);
    for (const token of [tokens.access_token, tokens.refresh_token!, 'nothing']) {
      const form = { client_id: other.client.client_id, token };
      expect(await postForm(app.as.revocation_endpoint!, form)).toMatchObject({ status: 200 });
    }
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 200 });
    await postForm(app.as.revocation_endpoint!, { client_id: app.client.client_id, token: tokens.access_token });
    expect(await me(server, tokens.access_token)).toMatchObject({ status: 401 });
    expect(await code(refresh(app, tokens.refresh_token!))).toBe('accepted');
  });
});
