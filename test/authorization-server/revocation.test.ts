import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Revoked } from '../../src/authorization-server/authorization-server.ts';
import { hashToken } from '../../src/ids.ts';
import {
  authorize,
  post,
  redeem,
  refresh,
  register,
  signedInClient,
  startGateway,
  TENANT,
  type Gateway,
  type Tokens,
} from './gateway.ts';

let gateway: Gateway;
const heard: (Revoked | null)[] = [];
beforeAll(async () => {
  gateway = await startGateway();
  gateway.as.onRevoked((what) => heard.push(what));
});
afterAll(async () => await gateway.close());

async function confidential(): Promise<{ id: string; secret: string; tokens: Tokens }> {
  const { body } = await register(gateway, { token_endpoint_auth_method: 'client_secret_post' });
  const [id, secret] = [String(body['client_id']), String(body['client_secret'])];
  const browser = await gateway.browser(await gateway.person(`${id.slice(4, 12).toLowerCase()}@example.com`));
  const params = await authorize(gateway, browser, id);
  const { body: tokens } = await redeem(gateway, id, params.get('code') ?? '', { client_secret: secret });
  return { id, secret, tokens: tokens as unknown as Tokens };
}

describe('revocation', () => {
  it('of a refresh token ends its chain and the access tokens of it', async () => {
    const { client, tokens } = await signedInClient(gateway);
    const next = (await refresh(gateway, client, tokens.refresh_token)).body as unknown as Tokens;
    const answer = await post(gateway, '/oauth/revoke', { client_id: client, token: next.refresh_token });
    expect(answer.status).toBe(200);
    for (const token of [tokens.access_token, next.access_token])
      expect(await gateway.as.verify(token)).toBeUndefined();
    expect((await refresh(gateway, client, next.refresh_token)).body['error']).toBe('invalid_grant');
    expect(heard.some((what) => what?.kind === 'grant')).toBe(true);
  });

  it('of an access token ends that token', async () => {
    const { client, tokens } = await signedInClient(gateway);
    await post(gateway, '/oauth/revoke', { client_id: client, token: tokens.access_token });
    expect(await gateway.as.verify(tokens.access_token)).toBeUndefined();
    expect(heard).toContainEqual({ kind: 'token', hash: hashToken(tokens.access_token) });
  });

  it('of what is unknown, or another client’s, says 200 and changes nothing', async () => {
    const { tokens } = await signedInClient(gateway);
    const stranger = String((await register(gateway)).body['client_id']);
    for (const token of ['unknown', tokens.refresh_token, tokens.access_token]) {
      expect((await post(gateway, '/oauth/revoke', { client_id: stranger, token })).status).toBe(200);
    }
    expect(await gateway.as.verify(tokens.access_token)).toBeDefined();
    expect((await post(gateway, '/oauth/revoke', { token: tokens.access_token })).status).toBe(400);
  });
});

describe('introspection', () => {
  it('tells an authenticated client about its own live tokens only', async () => {
    const own = await confidential();
    const other = await confidential();
    const ask = async (client: { id: string; secret: string }, token: string) =>
      (await post(gateway, '/oauth/introspect', { client_id: client.id, client_secret: client.secret, token })).body;
    expect(await ask(own, own.tokens.access_token)).toMatchObject({
      active: true,
      client_id: own.id,
      aud: gateway.resource('alpha'),
      scope: 'mcp',
      iss: gateway.url,
      token_type: 'Bearer',
    });
    expect(await ask(own, own.tokens.refresh_token)).toMatchObject({ active: true });
    for (const token of [other.tokens.access_token, other.tokens.refresh_token, 'unknown']) {
      expect(await ask(own, token)).toEqual({ active: false });
    }
    const spent = own.tokens.refresh_token;
    await refresh(gateway, own.id, spent, { client_secret: own.secret });
    expect(await ask(own, spent)).toEqual({ active: false });
  });

  it('tells a client without credentials nothing', async () => {
    const { client, tokens } = await signedInClient(gateway);
    const answer = await post(gateway, '/oauth/introspect', { client_id: client, token: tokens.access_token });
    expect(answer.body).toEqual({ active: false });
    const own = await confidential();
    const wrong = await post(gateway, '/oauth/introspect', { client_id: own.id, client_secret: 'x', token: 'y' });
    expect(wrong.status).toBe(401);
  });
});

describe('an access token', () => {
  it('is nothing but itself', async () => {
    const { tokens } = await signedInClient(gateway);
    expect(Buffer.from(tokens.access_token, 'base64url')).toHaveLength(32);
    for (const token of ['', 'x', tokens.refresh_token, hashToken(tokens.access_token), `${tokens.access_token}x`]) {
      expect(await gateway.as.verify(token)).toBeUndefined();
    }
    expect(await gateway.as.verify(tokens.access_token)).toMatchObject({ tenant: TENANT, role: 'member' });
  });

  it('ends with its user being disabled, and so does every refresh token', async () => {
    const owner = await gateway.identity.users.invite({
      tenant: TENANT,
      email: 'o@example.com',
      name: 'o',
      role: 'owner',
    });
    expect(owner.user.role).toBe('owner');
    const { client, user, tokens } = await signedInClient(gateway);
    const bystander = await signedInClient(gateway);
    await gateway.identity.users.disable(TENANT, user.id);
    expect(await gateway.as.verify(tokens.access_token)).toBeUndefined();
    expect((await refresh(gateway, client, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    await expect.poll(() => heard).toContainEqual({ kind: 'user', account: `default/${user.id}` });
    await gateway.identity.users.enable(TENANT, user.id);
    expect(await gateway.as.verify(tokens.access_token)).toBeUndefined();
    expect((await refresh(gateway, client, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(bystander.tokens.access_token)).toBeDefined();
  });
});

describe('a replica that missed the notice of a disabled user', () => {
  it('refuses that user all the same', async () => {
    const deaf = await startGateway();
    try {
      await deaf.identity.users.invite({ tenant: TENANT, email: 'o@example.com', name: 'o', role: 'owner' });
      const { client, user, tokens } = await signedInClient(deaf);
      deaf.as.close();
      await deaf.identity.users.disable(TENANT, user.id);
      expect(await deaf.as.verify(tokens.access_token)).toBeUndefined();
      expect((await refresh(deaf, client, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    } finally {
      await deaf.close();
    }
  });
});

describe('the page of my clients', () => {
  it('lists what was allowed and takes it back at once', async () => {
    const { client, user, browser, tokens } = await signedInClient(gateway);
    const second = await authorize(gateway, browser, client, { resource: gateway.resource('beta') });
    const more = (await redeem(gateway, client, second.get('code') ?? '')).body as unknown as Tokens;
    const other = await signedInClient(gateway, { user });
    expect(await gateway.as.clients.list(TENANT, user.id)).toHaveLength(3);
    const page = await browser.go(`${gateway.url}/clients`);
    expect(page.text).toContain('Test client');
    expect(page.text).toContain(gateway.resource('beta'));
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? '';
    const send = async (form: Record<string, string>) =>
      await browser.go(`${gateway.url}/clients`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams(form).toString(),
      });
    expect((await send({ client })).status).toBe(400);
    expect(await gateway.as.verify(tokens.access_token)).toBeDefined();
    expect((await send({ csrf, client })).text).toContain('Revoked.');
    for (const token of [tokens.access_token, more.access_token])
      expect(await gateway.as.verify(token)).toBeUndefined();
    expect((await refresh(gateway, client, tokens.refresh_token)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(other.tokens.access_token)).toBeDefined();
    expect(await gateway.as.clients.list(TENANT, user.id)).toHaveLength(1);
    const asked = await browser.go(`${gateway.url}/clients`);
    expect(asked.text).not.toContain(client);
  });

  it('shows nobody the clients of somebody else', async () => {
    const { client } = await signedInClient(gateway);
    const stranger = await gateway.browser(await gateway.person('nosy@example.com'));
    expect((await stranger.go(`${gateway.url}/clients`)).text).not.toContain(client);
    expect((await (await gateway.browser()).go(`${gateway.url}/clients`)).url).toContain('/sign-in');
  });
});
