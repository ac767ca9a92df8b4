import { decodeJwt } from 'jose';
import { describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { me, startServer } from './practice.ts';

async function post(url: string, body: unknown) {
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });
  return { status: response.status, body: (await response.json()) as Record<string, string> };
}

describe('mode jwt', () => {
  it('signs in with a password, and the token says whose it is and until when', async () => {
    const clock = movableClock();
    const server = await startServer({ mode: 'jwt', clock, accessTokenTtl: 60 });
    const { status, body } = await post(`${server.url}/auth/login`, { username: 'bob', password: 'practice' });
    expect(status).toBe(200);
    const claims = decodeJwt(body.access_token!);
    expect(claims).toMatchObject({ sub: 'bob', iss: server.url });
    expect(claims.exp! - claims.iat!).toBe(60);
    expect((await me(server, body.access_token!)).body).toMatchObject({ subject: 'bob' });
    const [header, payload] = body.access_token!.split('.');
    expect(await me(server, `${header}.${payload}.AAAA`)).toMatchObject({ status: 401 });
    clock.move(60_000);
    expect(await me(server, body.access_token!)).toMatchObject({ status: 401 });

    const next = await post(`${server.url}/auth/refresh`, { refresh_token: body.refresh_token });
    expect((await me(server, next.body.access_token!)).body).toMatchObject({ tokenGeneration: 2 });
    expect(await post(`${server.url}/auth/refresh`, { refresh_token: body.refresh_token })).toMatchObject({
      status: 401,
    });
    expect(server.ledger.refreshes('bob').map((event) => event.outcome)).toEqual(['rotated', 'reused_family_revoked']);
  });

  it('takes a form as well', async () => {
    const server = await startServer({ mode: 'jwt' });
    const body = new URLSearchParams({ username: 'alice', password: 'practice' });
    expect((await fetch(`${server.url}/auth/login`, { method: 'POST', body })).status).toBe(200);
  });

  it.each([
    { body: { username: 'alice', password: 'wrong' }, status: 401, error: 'invalid_credentials' },
    { body: { username: 'mallory', password: 'practice' }, status: 401, error: 'invalid_credentials' },
    { body: { username: 'alice' }, status: 400, error: 'invalid_request' },
    { body: { username: ['alice'], password: 'practice' }, status: 400, error: 'invalid_request' },
    { body: [], status: 400, error: 'invalid_request' },
  ])('answers $status to $body', async ({ body, status, error }) => {
    const server = await startServer({ mode: 'jwt' });
    expect(await post(`${server.url}/auth/login`, body)).toMatchObject({ status, body: { error } });
  });

  it('has no authorization server', async () => {
    const server = await startServer({ mode: 'jwt' });
    const paths = ['/.well-known/oauth-authorization-server', '/auth/authorize', '/auth/clients'];
    const answers = await Promise.all(paths.map((path) => fetch(server.url + path)));
    expect(answers.map((answer) => answer.status)).toEqual([404, 404, 404]);
  });

  it('loses an answer where a fault says so', async () => {
    const server = await startServer({ mode: 'jwt', rotation: 'grace' });
    const { body } = await post(`${server.url}/auth/login`, { username: 'bob', password: 'practice' });
    await server.control.failTokenCalls({ answer: 'drop', commit: true });
    const again = () => post(`${server.url}/auth/refresh`, { refresh_token: body.refresh_token });
    await expect(again()).rejects.toThrow();
    expect((await again()).status).toBe(200);
    expect(server.ledger.refreshes().map((event) => [event.outcome, event.answer])).toEqual([
      ['rotated', 'dropped'],
      ['same_successor', 'sent'],
    ]);
  });
});
