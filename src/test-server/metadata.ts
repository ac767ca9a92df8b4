import { sendJson, type Route } from './http.ts';
import { AUTH_METHODS } from './clients.ts';

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
}): Route[] {
  const { base, overrides } = options;

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
        grant_types_supported: ['authorization_code', 'refresh_token'],
        token_endpoint_auth_methods_supported: AUTH_METHODS,
        code_challenge_methods_supported: ['S256'],
        authorization_response_iss_parameter_supported: true,
      },
      overrides.authorizationServer,
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

  const wellKnown = (path: string, document: () => unknown): Route => ({
    method: 'GET',
    path: `/.well-known/${path}`,
    handle: ({ res }) => sendJson(res, 200, document(), { 'access-control-allow-origin': '*' }),
  });

  return [
    wellKnown('oauth-authorization-server', authorizationServer),
    wellKnown('openid-configuration', authorizationServer),
    wellKnown('oauth-protected-resource', () => protectedResource('')),
    ...['/mcp', '/sse', '/api'].map((path) =>
      wellKnown(`oauth-protected-resource${path}`, () => protectedResource(path)),
    ),
  ];
}

function overlay(document: Record<string, unknown>, over: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries({ ...document, ...over }).filter(([, value]) => value !== null));
}
