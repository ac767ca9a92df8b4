import * as oauth from 'oauth4webapi';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REDIRECT, startGateway, type Gateway } from './gateway.ts';

const insecure = { [oauth.allowInsecureRequests]: true };
let gateway: Gateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => await gateway.close());

describe('a client that takes every RFC at its word', () => {
  it.each(['oauth2', 'oidc'] as const)('gets along, from %s discovery to revocation', async (algorithm) => {
    const issuer = new URL(gateway.url);
    // The issuer has no slash; the client compares what it was given by the protected resource.
    const discovery = await oauth.discoveryRequest(issuer, { algorithm, ...insecure });
    const as = (await discovery.json()) as oauth.AuthorizationServer;
    expect(as.issuer).toBe(gateway.url);
    const registration = await oauth.dynamicClientRegistrationRequest(
      as,
      { redirect_uris: [REDIRECT], client_name: 'Strict', token_endpoint_auth_method: 'client_secret_basic' },
      insecure,
    );
    const client = await oauth.processDynamicClientRegistrationResponse(registration);
    const authentication = oauth.ClientSecretBasic(client.client_secret as string);

    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const parameters = {
      response_type: 'code',
      client_id: client.client_id,
      redirect_uri: REDIRECT,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      resource: gateway.resource('alpha'),
      scope: 'mcp offline_access',
      state,
    };
    const par = await oauth.pushedAuthorizationRequest(as, client, authentication, parameters, insecure);
    const { request_uri } = await oauth.processPushedAuthorizationResponse(as, client, par);
    const browser = await gateway.browser(await gateway.person(`${algorithm}@example.com`));
    const query = new URLSearchParams({ client_id: client.client_id, request_uri });
    const page = await browser.go(`${String(as.authorization_endpoint)}?${query.toString()}`);
    const back = await browser.press(page, 'allow');

    const params = oauth.validateAuthResponse(as, client, new URL(back.out ?? ''), state);
    const grant = await oauth.authorizationCodeGrantRequest(
      as,
      client,
      authentication,
      params,
      REDIRECT,
      verifier,
      insecure,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, grant);
    expect(tokens).toMatchObject({ token_type: 'bearer', scope: 'mcp', expires_in: 600 });

    const renewal = await oauth.refreshTokenGrantRequest(
      as,
      client,
      authentication,
      String(tokens.refresh_token),
      insecure,
    );
    const renewed = await oauth.processRefreshTokenResponse(as, client, renewal);
    const asked = await oauth.introspectionRequest(as, client, authentication, renewed.access_token, insecure);
    expect(await oauth.processIntrospectionResponse(as, client, asked)).toMatchObject({ active: true });
    const revoked = await oauth.revocationRequest(as, client, authentication, String(renewed.refresh_token), insecure);
    expect(await oauth.processRevocationResponse(revoked)).toBeUndefined();
    expect(await gateway.as.verify(renewed.access_token)).toBeUndefined();
  });
});
