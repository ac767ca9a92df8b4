import { DIRECT_GRANTS } from './direct-grants.ts';
import { Refusal, sendJson, type Route } from './http.ts';
import { AUTH_METHODS } from './clients.ts';
import type { Policy } from './options.ts';

export type MetadataOverrides = {
  authorizationServer: Record<string, unknown>;
  protectedResource: Record<string, unknown>;
};

/**
 * RFC 8414 and RFC 9728 documents. `overrides` are laid over them (a null removes a field), so that a test can have
 * this server lie about itself.
 */
export function metadataRoutes(options: {
  base: string;
  scopes: readonly string[];
  registration: boolean;
  overrides: MetadataOverrides;
  policy: () => Policy;
}): Route[] {
  const { base, overrides, policy } = options;

  const authorizationServer = () =>
    overlay(
      {
        issuer: base,
        authorization_endpoint: `${base}/auth/authorize`,
        token_endpoint: `${base}/auth/token`,
        ...(options.registration ? { registration_endpoint: `${base}/auth/register` } : {}),
        revocation_endpoint: `${base}/auth/revoke`,
        revocation_endpoint_auth_methods_supported: AUTH_METHODS,
        introspection_endpoint: `${base}/auth/introspect`,
        introspection_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
        scopes_supported: options.scopes,
        response_types_supported: ['code'],
        response_modes_supported: ['query'],
        grant_types_supported: ['authorization_code', 'refresh_token', ...DIRECT_GRANTS],
        token_endpoint_auth_methods_supported: AUTH_METHODS,
        code_challenge_methods_supported: ['S256'],
        authorization_response_iss_parameter_supported: true,
      },
      { ...strays(policy(), base), ...overrides.authorizationServer },
    );

  const protectedResource = (path: string) =>
    overlay(
      {
        resource: `${base}${path}`,
        authorization_servers: [base],
        scopes_supported: options.scopes,
        bearer_methods_supported: ['header'],
        resource_name: 'Practice service',
      },
      overrides.protectedResource,
    );

  const wellKnown = (path: string, document: () => unknown, absent: () => boolean): Route => ({
    method: 'GET',
    path: `/.well-known/${path}`,
    handle({ res }) {
      if (absent()) throw new Refusal(404, { error: 'not_found' });
      sendJson(res, 200, document(), { 'access-control-allow-origin': '*' });
    },
  });
  const noServer = () => policy().serverMetadata === 'absent';
  const noResource = () => policy().resourceMetadata === 'absent';

  return [
    wellKnown('oauth-authorization-server', authorizationServer, noServer),
    wellKnown('openid-configuration', authorizationServer, noServer),
    wellKnown('oauth-protected-resource', () => protectedResource(''), noResource),
    ...['/mcp', '/sse', '/api'].map((path) =>
      wellKnown(
        `oauth-protected-resource${path}`,
        () => protectedResource(path),
        () => policy().resourceMetadata !== 'full',
      ),
    ),
  ];
}

/** What the policy of the server changes in its metadata; a null takes a field away. */
function strays({ serverMetadata, clientAuth, revocation }: Policy, base: string): Record<string, unknown> {
  const only = clientAuth === 'registered' ? undefined : [`client_secret_${clientAuth}`];
  const gone = { revocation_endpoint: null, revocation_endpoint_auth_methods_supported: null };
  return {
    ...(only === undefined ? {} : { token_endpoint_auth_methods_supported: only }),
    ...(serverMetadata === 'no_auth_methods' ? { token_endpoint_auth_methods_supported: null } : {}),
    ...(serverMetadata === 'no_pkce' ? { code_challenge_methods_supported: null } : {}),
    ...(serverMetadata === 'other_issuer' ? { issuer: `${base}/other` } : {}),
    ...(revocation === 'absent' ? gone : {}),
  };
}

function overlay(document: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries({ ...document, ...over }).filter(([, value]) => value !== null));
}
