import { onTestFinished } from 'vitest';
import * as oauth from 'oauth4webapi';
import { createTestServer, type TestServer, type TestServerOptions } from '../../src/test-server/test-server.ts';
import { createPlainBrowser, type PlainBrowser } from '../browser/plain-browser.ts';
import { walk } from '../browser/walk.ts';

export const CALLBACK = 'http://127.0.0.1:9/callback';
const loopback = { [oauth.allowInsecureRequests]: true };

/** A practice service on a free port that goes with the test. */
export async function startServer(options: Omit<TestServerOptions, 'port'>): Promise<TestServer> {
  const server = await createTestServer({ port: 0, ...options });
  onTestFinished(() => server.close());
  return server;
}

export type Application = {
  as: oauth.AuthorizationServer;
  client: oauth.Client;
  auth: oauth.ClientAuth;
  secret?: string;
};

export async function discover(server: TestServer): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(server.issuer);
  const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...loopback });
  return oauth.processDiscoveryResponse(issuer, response);
}

export async function register(
  server: TestServer,
  method: 'none' | 'client_secret_basic' | 'client_secret_post' = 'none',
): Promise<Application> {
  const as = await discover(server);
  const metadata = { redirect_uris: [CALLBACK], token_endpoint_auth_method: method, client_name: 'Test client' };
  const response = await oauth.dynamicClientRegistrationRequest(as, metadata, loopback);
  const client = (await oauth.processDynamicClientRegistrationResponse(response)) as oauth.Client;
  const secret = client.client_secret as string | undefined;
  const auth =
    method === 'none'
      ? oauth.None()
      : method === 'client_secret_basic'
        ? oauth.ClientSecretBasic(secret!)
        : oauth.ClientSecretPost(secret!);
  return { as, client, auth, secret };
}

/** The parameters of a proper authorization request, to be varied. */
export async function request(app: Application, changes: Record<string, string | null> = {}) {
  const verifier = oauth.generateRandomCodeVerifier();
  const parameters = new URLSearchParams({
    client_id: app.client.client_id,
    redirect_uri: CALLBACK,
    response_type: 'code',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state: 'the state',
  });
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  return { verifier, url: `${app.as.authorization_endpoint}?${parameters}` };
}

export const newBrowser = (): PlainBrowser => createPlainBrowser((url) => url.startsWith(CALLBACK));

/** Signs in and answers the consent page; returns the URL at the client's callback. */
export async function authorize(
  url: string,
  options: { username?: string; press?: RegExp; browser?: PlainBrowser } = {},
): Promise<URL> {
  const { username = 'alice', press, browser = newBrowser() } = options;
  await browser.open(url);
  const person = { email: '', password: '', provider: { username, password: 'practice' } };
  await walk(browser, person, {
    until: (view) => view.url.startsWith(CALLBACK),
    press: press === undefined ? [] : [press],
  });
  return new URL((await browser.view()).url);
}

export async function redeem(
  app: Application,
  callback: URL,
  verifier: string,
  changes: Record<string, string> = {},
): Promise<oauth.TokenEndpointResponse> {
  const parameters = oauth.validateAuthResponse(app.as, app.client, callback, 'the state');
  const response = await oauth.authorizationCodeGrantRequest(
    app.as,
    app.client,
    app.auth,
    parameters,
    CALLBACK,
    verifier,
    {
      ...loopback,
      additionalParameters: changes,
    },
  );
  return oauth.processAuthorizationCodeResponse(app.as, app.client, response);
}

/** The whole way through the browser to a pair of tokens. */
export async function connect(
  app: Application,
  options: { username?: string; parameters?: Record<string, string> } = {},
): Promise<oauth.TokenEndpointResponse> {
  const { verifier, url } = await request(app, options.parameters);
  return redeem(app, await authorize(url, { username: options.username }), verifier);
}

export async function refresh(app: Application, token: string): Promise<oauth.TokenEndpointResponse> {
  const response = await oauth.refreshTokenGrantRequest(app.as, app.client, app.auth, token, loopback);
  return oauth.processRefreshTokenResponse(app.as, app.client, response);
}

/** A token request by hand, for what a proper client would not send. */
export async function postForm(
  url: string,
  form: Record<string, string> | string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
  const body = typeof form === 'string' ? form : new URLSearchParams(form).toString();
  const response = await fetch(url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Record<string, unknown>,
  };
}

export async function me(
  server: TestServer,
  token: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${server.url}/api/me`, { headers: { authorization: `Bearer ${token}` } });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
