import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { TenantId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import { createBearers, type Verified, type VerifyToken } from './bearer.ts';
import { createOriginPolicy, type OriginPolicy } from './origin.ts';

/** The scope that every connector asks for. */
export const SCOPE = 'mcp';
const METADATA_PATH = '/.well-known/oauth-protected-resource';

export type Challenge = {
  status: 401 | 403;
  /** The value of WWW-Authenticate (RFC 6750 §3, RFC 9728 §5.1). */
  header: string;
  error: 'invalid_token' | 'insufficient_scope' | undefined;
  message: string;
};

/** RFC 9728 §2. */
export type ResourceMetadata = {
  resource: string;
  resource_name: string;
  authorization_servers: [string];
  scopes_supported: string[];
  bearer_methods_supported: string[];
};

export type ProtectedResource = {
  readonly origins: OriginPolicy;
  /** Who calls this connector; synchronous when the token was verified a moment ago. */
  authenticate(request: IncomingMessage, connector: Connector): Principal | Challenge | Promise<Principal | Challenge>;
  /** Undefined for a connector that asks for no authorization. */
  metadata(connector: Connector): ResourceMetadata | undefined;
  /** The connector that a path below `/.well-known/oauth-protected-resource` or a resource's own path names. */
  connectorAt(path: string): Connector | undefined;
};

export function isChallenge(answer: Principal | Challenge): answer is Challenge {
  return 'header' in answer;
}

/** RFC 6750 §2.1; the only place where a token is looked for. */
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]{1,4096}=*)$/i;

export function createProtectedResource(options: {
  verify: VerifyToken;
  connectors: { find(tenant: TenantId, name: string): Connector | undefined };
  clock: Clock;
  /** Origin without a slash. */
  publicUrl: string;
  /** Calls its listener whenever a token that was good may have ceased to be. */
  onRevoked: (listener: () => void) => void;
  /** Origins of web pages that may call, besides our own and, on a loopback gateway, loopback ones. */
  allowedOrigins?: readonly string[];
}): ProtectedResource {
  const { connectors, publicUrl } = options;
  const bearers = createBearers(options);
  options.onRevoked(() => bearers.forget());
  const resources = new WeakMap<Connector, { uri: string; metadataUrl: string; anonymous: Principal }>();

  function resourceOf(connector: Connector): { uri: string; metadataUrl: string; anonymous: Principal } {
    let resource = resources.get(connector);
    if (resource === undefined) {
      const path = `/mcp/${connector.tenant}/${connector.name}`;
      resource = {
        uri: `${publicUrl}${path}`,
        metadataUrl: `${publicUrl}${METADATA_PATH}${path}`,
        anonymous: {
          tenant: connector.tenant,
          user: null,
          email: null,
          role: 'member',
          client: null,
          scopes: [],
          expiresAt: null,
        },
      };
      resources.set(connector, resource);
    }
    return resource;
  }

  function challenge(connector: Connector, error: Challenge['error'], message: string): Challenge {
    const { metadataUrl } = resourceOf(connector);
    // RFC 6750 §3.1: no error where no credentials were sent.
    const start = error === undefined ? '' : `error="${error}", error_description="${message}", `;
    return {
      status: error === 'insufficient_scope' ? 403 : 401,
      header: `Bearer ${start}resource_metadata="${metadataUrl}", scope="${SCOPE}"`,
      error,
      message,
    };
  }

  function judge(connector: Connector, verified: Verified | undefined): Principal | Challenge {
    if (verified === undefined) {
      return challenge(connector, 'invalid_token', 'The access token is unknown, expired or revoked.');
    }
    const { token, principal } = verified;
    if (token.tenant !== connector.tenant || token.resource !== resourceOf(connector).uri) {
      return challenge(connector, 'invalid_token', 'The access token was issued for another resource.');
    }
    return token.scopes.includes(SCOPE)
      ? principal
      : challenge(connector, 'insufficient_scope', 'The access token lacks a scope.');
  }

  return {
    origins: createOriginPolicy(publicUrl, options.allowedOrigins ?? []),
    authenticate(request, connector) {
      if (connector.document.access.mode === 'public') return resourceOf(connector).anonymous;
      const { authorization } = request.headers;
      const token = authorization === undefined ? undefined : BEARER.exec(authorization)?.[1];
      if (token === undefined) {
        return authorization !== undefined && /^bearer\b/i.test(authorization)
          ? challenge(connector, 'invalid_token', 'The access token is malformed.')
          : challenge(connector, undefined, 'Authorization is required.');
      }
      const verified = bearers.verify(token);
      return verified instanceof Promise
        ? verified.then((answer) => judge(connector, answer))
        : judge(connector, verified);
    },
    metadata(connector) {
      if (connector.document.access.mode !== 'oauth') return undefined;
      return {
        resource: resourceOf(connector).uri,
        resource_name: connector.document.title === '' ? connector.name : connector.document.title,
        authorization_servers: [publicUrl],
        scopes_supported: [SCOPE],
        bearer_methods_supported: ['header'],
      };
    },
    connectorAt(path) {
      const inner = path.startsWith(METADATA_PATH) ? path.slice(METADATA_PATH.length) : path;
      const [, tenant, name] = /^\/mcp\/([a-z0-9-]+)\/([a-z0-9-]+)$/.exec(inner) ?? [];
      return tenant === undefined || name === undefined ? undefined : connectors.find(tenant as TenantId, name);
    },
  };
}
