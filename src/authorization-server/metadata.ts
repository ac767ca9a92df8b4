import { DEVICE_GRANT } from './device-code.ts';
import { ADMIN_SCOPE, CONNECTOR_SCOPE } from './resources.ts';

const AUTH_METHODS = ['none', 'client_secret_basic', 'client_secret_post'];
const WITH_CREDENTIALS = ['client_secret_basic', 'client_secret_post'];

/** RFC 8414 document; the issuer is the public URL byte for byte and never what a request says. */
export function authorizationServerMetadata(publicUrl: string): Record<string, unknown> {
  const at = (name: string): string => `${publicUrl}/oauth/${name}`;
  return {
    issuer: publicUrl,
    authorization_endpoint: at('authorize'),
    token_endpoint: at('token'),
    registration_endpoint: at('register'),
    revocation_endpoint: at('revoke'),
    introspection_endpoint: at('introspect'),
    pushed_authorization_request_endpoint: at('par'),
    device_authorization_endpoint: at('device'),
    jwks_uri: at('jwks'),
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: ['authorization_code', 'refresh_token', DEVICE_GRANT],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: AUTH_METHODS,
    revocation_endpoint_auth_methods_supported: AUTH_METHODS,
    introspection_endpoint_auth_methods_supported: WITH_CREDENTIALS,
    scopes_supported: [CONNECTOR_SCOPE, ADMIN_SCOPE, 'offline_access'],
    authorization_response_iss_parameter_supported: true,
    client_id_metadata_document_supported: true,
    require_pushed_authorization_requests: false,
    request_parameter_supported: false,
    request_uri_parameter_supported: false,
  };
}

/** The same under OpenID Connect's name, with the members that strict readers of that document insist on. */
export function openidConfiguration(publicUrl: string): Record<string, unknown> {
  return {
    ...authorizationServerMetadata(publicUrl),
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [],
    claims_parameter_supported: false,
  };
}
