import { generateKeyPairSync } from 'node:crypto';
import { errors, Provider, type Adapter, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { hashToken } from '../ids.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import { scopesOf, type Targets } from './resources.ts';
import { redirectMatches } from './redirects.ts';
import { DEVICE_GRANT, DEVICE_SECONDS } from './device-code.ts';
import { CODE_SECONDS, GRANT_SECONDS } from './tokens.ts';

/** A person may leave the browser open on the consent or the connect page for this long. */
export const INTERACTION_SECONDS = 3_600;
export const INTERACTION_COOKIE = 'valetkey_authorization';
export const CLI_CLIENT = 'valetkey-cli';

export type ProviderOptions = {
  publicUrl: string;
  adapter: (model: string) => Adapter;
  targets: Targets;
  log: Log;
  isActive(account: string): Promise<boolean>;
  /** The page that says what the engine refused. */
  renderError(ctx: KoaContextWithOIDC, error: Error & { error_description?: string }): Promise<void>;
};

/** The prefix that makes a browser take a cookie over TLS only; `__Host-` would forbid the path that keeps tabs apart. */
export function cookieName(publicUrl: string, base: string): string {
  return publicUrl.startsWith('https:') ? `__Secure-${base}` : base;
}

/** oidc-provider, set up for authorization code with PKCE and opaque tokens that belong to one resource. */
export function createProvider(options: ProviderOptions): Provider {
  const { publicUrl, targets, log } = options;
  // The engine wants a key although nothing here is signed: tokens are opaque and there are no ID tokens.
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  const provider = new Provider(publicUrl, {
    adapter: options.adapter,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
    clients: [
      {
        client_id: CLI_CLIENT,
        client_name: 'Valetkey command line',
        redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback', 'http://[::1]/callback'],
        grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        id_token_signed_response_alg: 'ES256',
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    responseTypes: ['code'],
    scopes: [],
    claims: {},
    clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post'],
    allowOmittingSingleRegisteredRedirectUri: false,
    clientBasedCORS: () => true,
    pkce: { required: () => true },
    routes: {
      authorization: '/oauth/authorize',
      token: '/oauth/token',
      revocation: '/oauth/revoke',
      introspection: '/oauth/introspect',
      pushed_authorization_request: '/oauth/par',
      device_authorization: '/oauth/device',
      code_verification: '/device',
      jwks: '/oauth/jwks',
    },
    cookies: {
      names: {
        session: cookieName(publicUrl, 'valetkey_unused'),
        interaction: cookieName(publicUrl, INTERACTION_COOKIE),
        resume: cookieName(publicUrl, 'valetkey_resume'),
      },
      short: { httpOnly: true, sameSite: 'lax', secure: publicUrl.startsWith('https:') },
      long: { httpOnly: true, sameSite: 'lax', secure: publicUrl.startsWith('https:') },
    },
    interactions: { url: (_ctx, interaction) => `/consent/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: true },
      deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****', deviceInfo: () => ({}) },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      introspection: {
        enabled: true,
        // RFC 7662 §2.1: a caller without credentials is nobody, its answer is the one of an unknown token.
        allowedPolicy: (_ctx, client, token) =>
          client.tokenEndpointAuthMethod !== 'none' && token.clientId === client.clientId,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => {
          throw new errors.InvalidTarget('name the connector that the token is for with the resource parameter');
        },
        getResourceServerInfo: (ctx, uri) => {
          const several = Array.isArray(ctx.oidc.params?.['resource']);
          const resource = several ? undefined : targets.find(uri);
          if (resource === undefined) throw new errors.InvalidTarget('there is no such resource, or more than one');
          return { scope: scopesOf(resource).join(' '), audience: resource.uri, accessTokenFormat: 'opaque' };
        },
      },
    },
    formats: { bitsOfOpaqueRandomness: 256 },
    ttl: {
      AuthorizationCode: CODE_SECONDS,
      DeviceCode: DEVICE_SECONDS,
      Grant: GRANT_SECONDS,
      Interaction: INTERACTION_SECONDS,
      Session: 60,
      AccessToken: 600,
      RefreshToken: GRANT_SECONDS,
    },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    findAccount: async (_ctx, account) => {
      if (!(await options.isActive(account))) throw new errors.AccessDenied('the person may not sign in any more');
      return { accountId: account, claims: () => ({ sub: account }) };
    },
    loadExistingGrant: async (ctx) => {
      const grant = ctx.oidc.result?.consent?.grantId;
      return grant === undefined ? undefined : await ctx.oidc.provider.Grant.find(grant);
    },
    renderError: async (ctx, _out, error) => await options.renderError(ctx, error),
  });

  // Whoever is signed in is identity's to say: the engine keeps no browser session of its own.
  Object.assign(provider.Session, {
    get: (ctx: KoaContextWithOIDC) => {
      const session = new provider.Session();
      ctx.oidc.entity('Session', session);
      return Promise.resolve(session);
    },
  });
  Object.assign(provider.Session.prototype, { save: () => Promise.resolve(''), persist: () => Promise.resolve('') });

  Object.assign(provider.Client.prototype, {
    redirectUriAllowed(this: Client, value: unknown) {
      return redirectMatches(value, this.redirectUris ?? []);
    },
    compareClientSecret(this: Client, actual: unknown) {
      return typeof actual === 'string' && new Secret(this.clientSecret ?? '').equals(new Secret(hashToken(actual)));
    },
  });

  provider.proxy = true;
  provider.on('server_error', (ctx, error) => log.error({ err: error, path: ctx.path }, 'the OAuth engine failed'));
  provider.on('error' as 'server_error', (error: unknown) => log.error({ err: error }, 'the OAuth engine failed'));
  const refused = (ctx: KoaContextWithOIDC, error: errors.OIDCProviderError): void => {
    const { route, client } = ctx.oidc;
    const reason = error.error_detail ?? error.error_description;
    log.info({ route, error: error.error, reason, client: client?.clientId }, 'an OAuth request was refused');
  };
  provider.on('authorization.error', refused);
  provider.on('grant.error', refused);
  provider.on('revocation.error', refused);
  provider.on('introspection.error', refused);
  return provider;
}
