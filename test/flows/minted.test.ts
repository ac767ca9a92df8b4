import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { signAssertion } from '../../src/connections/assertion.ts';
import { Secret } from '../../src/secret.ts';
import { createTestServer, type TestServer, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { plainProfile } from '../browser/profile.ts';
import type { Profile } from '../browser/profile.ts';
import { connectSdkClient, textOf } from '../clients/sdk-client.ts';
import type { SdkClient } from '../clients/sdk-client.ts';
import { postForm } from '../test-server/practice.ts';
import { startGateway } from '../fixtures/gateway.ts';
import type { TestGateway } from '../fixtures/gateway.ts';

const clock = movableClock();
const CLIENT = { clientId: 'batch', clientSecret: 'batch secret: 100%' };
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
const assertionKey = publicKey.export({ type: 'spki', format: 'pem' }) as string;

let gateway: TestGateway;
let alice: Profile;

beforeAll(async () => {
  gateway = await startGateway({ clock });
  alice = plainProfile(await gateway.invite('Alice', { username: 'alice', password: 'practice' }));
});
afterAll(async () => gateway?.close());

async function service(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await createTestServer({
    mode: 'oauth',
    port: 0,
    accessTokenTtl: 300,
    client: CLIENT,
    assertionKey,
    clock,
    ...options,
  });
  onTestFinished(async () => server.close());
  return server;
}

async function client(name: string, profile = alice): Promise<SdkClient> {
  const session = await connectSdkClient({
    url: gateway.mcpUrl(name),
    era: 'modern',
    authorize: (url) => profile.authorize(url),
  });
  onTestFinished(async () => session.close());
  return session;
}

async function call({ client: sdk }: SdkClient): Promise<{ isError?: boolean; text: string }> {
  const result = await sdk.callTool({ name: 'whoami', arguments: {} });
  return { ...(result.isError === undefined ? {} : { isError: result.isError }), text: textOf(result) };
}

async function whoami(session: SdkClient): Promise<Record<string, unknown>> {
  const { text } = await call(session);
  return JSON.parse(text) as Record<string, unknown>;
}

/** A token of the practice service, got by hand. */
async function tokenOf(server: TestServer, person: string): Promise<string> {
  const settings = { algorithm: 'RS256', audience: '', lifetime: 60, claims: {} } as const;
  const audience = `${server.url}/auth/token`;
  const assertion = signAssertion(settings, new Secret(PEM), {
    issuer: 'robot',
    subject: person,
    audience,
    now: clock.now(),
  });
  const { body } = await postForm(audience, {
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    assertion,
  });
  return body['access_token'] as string;
}

const grantsOf = (server: TestServer) => server.ledger.of('direct_grant');
const own = (server: TestServer, more: Record<string, unknown> = {}) => ({
  type: 'oauth2',
  tokenUrl: `${server.url}/auth/token`,
  ...CLIENT,
  ...more,
});

describe('client credentials', () => {
  it('are turned into a token at the first call, one for all callers, with the audience that is asked for', async () => {
    const server = await service();
    const auth = own(server, {
      flow: 'client_credentials',
      scopes: ['items:read', 'profile'],
      additionalParams: { audience: 'https://items.example' },
    });
    await gateway.apply({ name: 'machine', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('machine');
    const answers = await Promise.all([whoami(session), whoami(session), whoami(session)]);
    for (const answer of answers) expect(answer).toMatchObject({ subject: 'batch' });
    expect(grantsOf(server)).toMatchObject([{ clientId: 'batch', audience: 'https://items.example', outcome: 'ok' }]);
    expect(server.ledger.refreshes()).toEqual([]);
  });

  it('are asked for another token before the old one ends, when it has ended, and when it is refused', async () => {
    const server = await service();
    await gateway.apply({
      name: 'renewed',
      kind: 'mcp',
      url: server.mcpUrl,
      auth: own(server, { flow: 'client_credentials' }),
    });
    const session = await client('renewed');
    await whoami(session);
    clock.move(280_000);
    await whoami(session);
    await expect.poll(() => grantsOf(server).length, { timeout: 10_000 }).toBe(2);
    clock.move(3_600_000);
    await Promise.all([whoami(session), whoami(session)]);
    expect(grantsOf(server)).toHaveLength(3);
    await server.control.expireAccessTokens();
    expect(await whoami(session)).toMatchObject({ subject: 'batch' });
    expect(grantsOf(server)).toHaveLength(4);
  });

  it('that the service refuses are not asked for again at every call, and the owner sees why', async () => {
    const server = await service();
    const auth = own(server, { flow: 'client_credentials' });
    await gateway.apply({ name: 'wrong', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('wrong');
    await gateway.api('PATCH', '/tenants/default/connectors/wrong', { auth: { clientSecret: 'wrong' } });
    for (let round = 0; round < 3; round += 1) expect((await call(session)).isError).toBe(true);
    expect(server.ledger.of('client_refused')).toHaveLength(1);
    const shown = (await gateway.api('GET', '/tenants/default/connectors/wrong/connections')) as {
      items: { lastError: { code: string } }[];
    };
    expect(shown.items[0]?.lastError.code).toBe('client_refused');
    await gateway.api('PATCH', '/tenants/default/connectors/wrong', { auth: { clientSecret: CLIENT.clientSecret } });
    clock.move(31_000);
    expect(await whoami(session)).toMatchObject({ subject: 'batch' });
  });
});

describe('a client secret that is rolled over', () => {
  it('is tried after the first one is refused, and then goes first', async () => {
    const server = await service();
    const auth = own(server, { flow: 'client_credentials', clientSecret: ['the next one', CLIENT.clientSecret] });
    await gateway.apply({ name: 'rolled', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('rolled');
    expect(await whoami(session)).toMatchObject({ subject: 'batch' });
    expect(server.ledger.of('client_refused')).toHaveLength(1);
    clock.move(3_600_000);
    await whoami(session);
    expect(grantsOf(server)).toHaveLength(2);
    expect(server.ledger.of('client_refused')).toHaveLength(1);
    const shown = (await gateway.api('GET', '/tenants/default/connectors/rolled')) as {
      auth: { clientSecret: unknown };
    };
    expect(shown.auth.clientSecret).toEqual(['***', '***']);
  });

  it('is not looked for among the others when it is something else that the service refuses', async () => {
    const server = await service();
    const auth = own(server, { flow: 'client_credentials', clientSecret: [CLIENT.clientSecret, 'the next one'] });
    await gateway.apply({ name: 'scoped', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('scoped');
    await whoami(session);
    await gateway.api('PATCH', '/tenants/default/connectors/scoped', { auth: { scopes: ['everything'] } });
    expect((await call(session)).isError).toBe(true);
    expect(grantsOf(server).map(({ outcome }) => outcome)).toEqual(['ok', 'invalid_scope']);
    expect(server.ledger.of('client_refused')).toEqual([]);
  });

  it('has to be sent again when the token URL moves', async () => {
    const server = await service();
    await gateway.apply({
      name: 'moved',
      kind: 'mcp',
      url: server.mcpUrl,
      auth: own(server, { flow: 'client_credentials' }),
    });
    const elsewhere = { auth: { tokenUrl: `${server.url}/elsewhere` } };
    await expect(gateway.api('PATCH', '/tenants/default/connectors/moved', elsewhere)).rejects.toThrow(
      'secret_required',
    );
  });
});

describe('a JWT bearer assertion', () => {
  it('brings the token of the service account that it names', async () => {
    const server = await service();
    const auth = {
      type: 'oauth2',
      flow: 'jwt_bearer',
      tokenUrl: `${server.url}/auth/token`,
      privateKey: PEM,
      assertion: { issuer: 'robot', keyId: 'key-1', claims: { purpose: 'reports' } },
    };
    await gateway.apply({ name: 'robot', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('robot');
    expect(await whoami(session)).toMatchObject({ subject: 'robot' });
    clock.move(3_600_000);
    // An assertion is good once: another token takes another one.
    expect(await whoami(session)).toMatchObject({ subject: 'robot' });
    expect(grantsOf(server).map(({ outcome }) => outcome)).toEqual(['ok', 'ok']);
    const shown = JSON.stringify(await gateway.api('GET', '/tenants/default/connectors/robot'));
    expect(shown).not.toContain('PRIVATE KEY');
    expect(gateway.logs()).not.toContain('PRIVATE KEY');
  });

  it('names each person by their e-mail address where it stands for people', async () => {
    const server = await service({
      users: [{ username: 'alice@example.com' }, { username: 'bob@example.com' }],
    });
    const auth = own(server, {
      flow: 'jwt_bearer',
      privateKey: PEM,
      assertion: { issuer: 'robot', subject: '{email}', audience: server.issuer },
    });
    await gateway.apply({ name: 'delegated', kind: 'mcp', url: server.mcpUrl, auth });
    const bob = plainProfile(await gateway.invite('Bob'));
    expect(await whoami(await client('delegated'))).toMatchObject({ subject: 'alice@example.com' });
    expect(await whoami(await client('delegated', bob))).toMatchObject({ subject: 'bob@example.com' });
  });
});

describe('a token exchange', () => {
  it("turns the token of a person's other connection into one for this service, once they have connected it", async () => {
    const server = await service();
    await gateway.apply({ name: 'source', kind: 'mcp', url: server.mcpUrl, auth: { type: 'oauth2', ...CLIENT } });
    const auth = own(server, {
      flow: 'token_exchange',
      subjectToken: { connector: 'source' },
      requestedTokenType: 'urn:ietf:params:oauth:token-type:access_token',
      scopes: ['items:read', 'profile'],
    });
    await gateway.apply({ name: 'exchanged', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('exchanged');
    expect(await whoami(session)).toMatchObject({ subject: 'alice' });
    expect(grantsOf(server)).toMatchObject([{ subject: 'alice', outcome: 'ok' }]);
    // When that connection is gone, the link leads to it.
    const mine = (await gateway.api('GET', '/tenants/default/connectors/source/connections')) as {
      items: { id: string }[];
    };
    await gateway.api('DELETE', `/connections/${mine.items[0]?.id}`);
    clock.move(3_600_000);
    const answer = await call(session);
    expect(answer.isError).toBe(true);
    const link = /http:\S+/.exec(answer.text)![0];
    await alice.visit(link, { until: (view) => view.title.startsWith('source is connected') });
    expect(await whoami(session)).toMatchObject({ subject: 'alice' });
  });

  it('does not go round in circles', async () => {
    const server = await service();
    const exchange = (connector: string) => own(server, { flow: 'token_exchange', subjectToken: { connector } });
    await gateway.apply({ name: 'hen', kind: 'mcp', url: server.mcpUrl, auth: { type: 'oauth2', ...CLIENT } });
    await gateway.apply({ name: 'egg', kind: 'mcp', url: server.mcpUrl, auth: exchange('hen') });
    const session = await client('egg');
    expect(await whoami(session)).toMatchObject({ subject: 'alice' });
    await gateway.apply({ name: 'hen', kind: 'mcp', url: server.mcpUrl, auth: exchange('egg') });
    clock.move(3_600_000);
    expect((await call(session)).isError).toBe(true);
    const shown = (await gateway.api('GET', '/tenants/default/connectors/egg/connections')) as {
      items: { lastError: { message: string } }[];
    };
    expect(shown.items[0]?.lastError.message).toContain('exchanges a token itself');
  });

  it('takes a subject token and an actor token from secrets', async () => {
    const server = await service();
    const subject = await tokenOf(server, 'alice');
    const actor = await tokenOf(server, 'bob');
    const auth = own(server, { flow: 'token_exchange', subjectToken: subject, actorToken: actor });
    await gateway.apply({ name: 'fixed', kind: 'mcp', url: server.mcpUrl, auth });
    expect(await whoami(await client('fixed'))).toMatchObject({ subject: 'alice', clientId: 'batch' });
    expect(JSON.stringify(await gateway.api('GET', '/tenants/default/connectors/fixed'))).not.toContain(subject);
  });
});

describe('a login endpoint', () => {
  const login = (server: TestServer, more: Record<string, unknown>) => ({
    type: 'login',
    loginUrl: `${server.url}/auth/login`,
    ...more,
  });

  it('gives the token for the credentials of the connector, and another one when that has ended or is refused', async () => {
    const server = await service({ mode: 'jwt' });
    const auth = login(server, { username: 'bob', password: 'practice', body: 'form' });
    await gateway.apply({ name: 'jwt', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('jwt');
    expect(await whoami(session)).toMatchObject({ subject: 'bob' });
    await whoami(session);
    expect(server.ledger.of('login')).toHaveLength(1);
    clock.move(3_600_000);
    expect(await whoami(session)).toMatchObject({ subject: 'bob' });
    await server.control.expireAccessTokens();
    expect(await whoami(session)).toMatchObject({ subject: 'bob' });
    expect(server.ledger.of('login')).toHaveLength(3);
  });

  it('is spared where the answer brought something to refresh with, and comes back when that is refused', async () => {
    const server = await service({ mode: 'jwt' });
    const auth = login(server, { username: 'bob', password: 'practice', refreshUrl: `${server.url}/auth/refresh` });
    await gateway.apply({ name: 'jwt-refresh', kind: 'mcp', url: server.mcpUrl, auth });
    const session = await client('jwt-refresh');
    await whoami(session);
    clock.move(3_600_000);
    await whoami(session);
    expect(server.ledger.refreshes()).toMatchObject([{ outcome: 'rotated' }]);
    expect(server.ledger.of('login')).toHaveLength(1);
    await server.control.revokeGrants();
    expect(await whoami(session)).toMatchObject({ subject: 'bob' });
    expect(server.ledger.of('login')).toHaveLength(2);
  });

  it('does not get the stored password when it moves', async () => {
    const server = await service({ mode: 'jwt' });
    const auth = login(server, { username: 'bob', password: 'practice' });
    await gateway.apply({ name: 'jwt-moved', kind: 'mcp', url: server.mcpUrl, auth });
    for (const moved of [{ loginUrl: `${server.url}/other` }, { refreshUrl: `${server.url}/other` }]) {
      const change = gateway.api('PATCH', '/tenants/default/connectors/jwt-moved', { auth: moved });
      await expect(change).rejects.toThrow('secret_required');
    }
  });

  it("takes each person's own user name and password, from the connect page, and keeps them to itself", async () => {
    const server = await service({ mode: 'jwt' });
    await gateway.apply({ name: 'jwt-user', kind: 'mcp', url: server.mcpUrl, auth: login(server, { owner: 'user' }) });
    const session = await client('jwt-user');
    expect(await whoami(session)).toMatchObject({ subject: 'alice' });
    clock.move(3_600_000);
    expect(await whoami(session)).toMatchObject({ subject: 'alice' });
    expect(gateway.logs()).not.toContain('practice"');
  });
});
