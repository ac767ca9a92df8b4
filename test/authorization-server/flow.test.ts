import {
  auth,
  type OAuthClientInformationMixed,
  type OAuthClientProvider,
  type OAuthTokens,
} from '@modelcontextprotocol/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REDIRECT, startGateway, type Gateway } from './gateway.ts';

let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => await gateway.close());

describe('the official client', () => {
  it('discovers, registers, has the person consent, redeems the code and refreshes', async () => {
    const user = await gateway.person('ada@example.com');
    const browser = await gateway.browser(user);
    let information: OAuthClientInformationMixed | undefined;
    let tokens: OAuthTokens | undefined;
    let verifier = '';
    let opened: URL | undefined;
    const provider: OAuthClientProvider = {
      redirectUrl: REDIRECT,
      clientMetadata: { client_name: 'SDK client', redirect_uris: [REDIRECT] },
      state: () => 'state-1',
      clientInformation: () => information,
      saveClientInformation: (fresh) => void (information = fresh),
      tokens: () => tokens,
      saveTokens: (fresh) => void (tokens = fresh),
      redirectToAuthorization: (url) => void (opened = url),
      saveCodeVerifier: (value) => void (verifier = value),
      codeVerifier: () => verifier,
    };
    // The protected resource's document is the gateway room's; here the client is told where the server is.
    const fetchFn: typeof fetch = async (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      if (!url.pathname.startsWith('/.well-known/oauth-protected-resource')) return await fetch(input, init);
      return Response.json({ resource: gateway.resource('alpha'), authorization_servers: [gateway.url] });
    };
    const options = { serverUrl: gateway.resource('alpha'), scope: 'mcp', fetchFn };
    expect(await auth(provider, options)).toBe('REDIRECT');
    const page = await browser.go(String(opened));
    expect(page.text).toContain('Allow SDK client to use The alpha?');
    const back = await browser.press(page, 'allow');
    const params = new URL(back.out ?? '').searchParams;
    expect(params.get('iss')).toBe(gateway.url);
    expect(params.get('state')).toBe('state-1');
    expect(
      await auth(provider, { ...options, authorizationCode: params.get('code') ?? '', iss: params.get('iss') ?? '' }),
    ).toBe('AUTHORIZED');
    expect(await gateway.as.verify(tokens?.access_token ?? '')).toMatchObject({
      tenant: 'default',
      user: user.id,
      email: 'ada@example.com',
      role: 'member',
      scopes: ['mcp'],
      resource: gateway.resource('alpha'),
    });
    const before = tokens;
    expect(await auth(provider, options)).toBe('AUTHORIZED');
    expect(tokens?.access_token).not.toBe(before?.access_token);
    expect(await gateway.as.verify(tokens?.access_token ?? '')).toMatchObject({ user: user.id });
  });
});
