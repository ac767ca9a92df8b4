import { createHash } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import type { PersonaName } from '../../src/test-server/personas.ts';
import { createTestServer, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { CALLBACK } from './practice.ts';

export type Answered = { status: number; headers: Headers; text: string; body: Record<string, unknown> };
export type Strayed = Awaited<ReturnType<typeof strayed>>;

const VERIFIER = 'v'.repeat(43);

/** A service with personas, a registered client and the requests that it would send by hand. */
export async function strayed(personas: readonly PersonaName[], options: Partial<TestServerOptions> = {}) {
  const slept: number[] = [];
  const clock = { ...movableClock(), sleep: async (ms: number) => void slept.push(ms) };
  const server = await createTestServer({
    mode: 'oauth-dcr',
    port: 0,
    clock,
    unsafeAutoApprove: true,
    personas: [...personas],
    ...options,
  });
  onTestFinished(() => server.close());

  async function send(path: string, init: RequestInit = {}): Promise<Answered> {
    const response = await fetch(`${server.url}${path}`, { redirect: 'manual', ...init });
    const text = await response.text();
    const json = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {};
    return { status: response.status, headers: response.headers, text, body: json };
  }
  async function register(method: 'none' | 'client_secret_basic' | 'client_secret_post' = 'none') {
    const { body } = await send('/auth/register', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ redirect_uris: [CALLBACK], token_endpoint_auth_method: method }),
    });
    return { clientId: body.client_id as string, secret: body.client_secret as string };
  }
  const client = await register();

  const form = (fields: Record<string, string>, headers: Record<string, string> = {}): RequestInit => ({
    method: 'POST',
    headers,
    body: new URLSearchParams(fields),
  });
  const token = (fields: Record<string, string>, headers: Record<string, string> = {}, path = '/auth/token') =>
    send(path, form(fields, headers));
  const grant = (clientId = client.clientId, subject = 'alice') => server.control.issueGrant({ subject, clientId });
  const refreshFields = (refreshToken: string | undefined, more: Record<string, string> = {}) => ({
    grant_type: 'refresh_token',
    client_id: client.clientId,
    refresh_token: refreshToken ?? '',
    ...more,
  });

  return {
    server,
    clock,
    slept,
    client,
    send,
    form,
    token,
    register,
    grant,
    refreshFields,
    /** A proper refresh by a public client. */
    refresh: (refreshToken: string | undefined, more: Record<string, string> = {}) =>
      token(refreshFields(refreshToken, more)),
    me: (accessToken: unknown, header = 'authorization') =>
      send('/api/me', {
        headers: { [header]: header === 'authorization' ? `Bearer ${String(accessToken)}` : String(accessToken) },
      }),
    /** The parameters of the callback; null takes one out of the request. */
    async authorize(changes: Record<string, string | null> = {}): Promise<URLSearchParams> {
      const query = new URLSearchParams({
        client_id: client.clientId,
        redirect_uri: CALLBACK,
        response_type: 'code',
        state: 's',
        code_challenge: createHash('sha256').update(VERIFIER).digest('base64url'),
        code_challenge_method: 'S256',
      });
      for (const [name, value] of Object.entries(changes)) {
        if (value === null) query.delete(name);
        else query.set(name, value);
      }
      const { headers } = await send(`/auth/authorize?${query}`);
      return new URL(headers.get('location') ?? '').searchParams;
    },
    redeem: (code: string | null, more: Record<string, string> = { code_verifier: VERIFIER }) =>
      token({
        grant_type: 'authorization_code',
        client_id: client.clientId,
        redirect_uri: CALLBACK,
        code: code ?? '',
        ...more,
      }),
  };
}
