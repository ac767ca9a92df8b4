import type { ConnectorId, TenantId } from '../ids.ts';
import type { Role } from '../identity/principal.ts';
import type { ALGORITHMS } from './auth-flows.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import type { Injection } from './injection.ts';
import type { ServiceRules } from './provider-rules.ts';
import type { ToolRules } from './tools.ts';

/**
 * A secret in a document: a reference to a named secret of the tenant, or `***` for a value that was given plainly and
 * is stored sealed. Never the value.
 */
export type SecretField = '***' | { secret: string };

export type RefreshSettings = {
  enabled: boolean;
  /** Refreshes unused grants that would lapse. */
  keepAlive: boolean;
  /** Seconds before expiry. */
  bufferTime: number;
  maxRetries: number;
  /** Milliseconds. */
  retryDelay: number;
  fallbackBehavior: 'queue' | 'fail' | 'use-expired';
};

export type ClientAuth = 'client_secret_basic' | 'client_secret_post' | 'none';

/** `auth` of type oauth2 as the document has it. Who talks OAuth reads `Connector.oauth` instead, which is complete. */
export type OAuth2Auth = {
  type: 'oauth2';
  provider?: string | undefined;
  flow: 'authorization_code' | 'client_credentials' | 'token_exchange' | 'jwt_bearer';
  registration: 'auto' | 'static' | 'dynamic';
  registrationUrl?: string | undefined;
  issuer?: string | undefined;
  authorizationUrl?: string | undefined;
  tokenUrl?: string | undefined;
  revocationUrl?: string | undefined;
  /** Blank means: register. */
  clientId?: string | undefined;
  clientSecret?: SecretField | SecretField[] | undefined;
  clientAuth?: ClientAuth | undefined;
  scopes: string[];
  /** Further lists of scopes, by the names that the provider's row has for them. */
  scopeSets: Record<string, string[]>;
  pkce?: boolean | undefined;
  additionalParams: Record<string, string>;
  resource: string;
  owner: 'user' | 'tenant';
  /** Values for `{name}` in the URLs. */
  parameters: Record<string, string>;
  /** Members of the token answer, besides the tokens, that injection may use. */
  fields: string[];
  /** `allow`: the API hands a person the token of the person's own connection. Left out: it never does. */
  tokens?: 'keep' | 'allow' | undefined;
  refreshToken: RefreshSettings;
  /** RFC 8693: a secret, or the token of the same owner's connection of another connector. */
  subjectToken?: SecretField | { connector: string } | undefined;
  subjectTokenType?: string | undefined;
  actorToken?: SecretField | undefined;
  actorTokenType?: string | undefined;
  requestedTokenType?: string | undefined;
  /** RFC 7523: PEM or JWK. */
  privateKey?: SecretField | undefined;
  assertion?: Assertion | undefined;
};

export type Assertion = {
  algorithm: (typeof ALGORITHMS)[number];
  keyId?: string | undefined;
  /** Of the claim `iss`; the client id when left out. */
  issuer?: string | undefined;
  /** Of the claim `sub`, with `{email}` and `{user}` for the person; the issuer when left out. */
  subject?: string | undefined;
  /** `token_endpoint`, `issuer`, or the value itself. */
  audience: string;
  /** Seconds. */
  lifetime: number;
  claims: Record<string, unknown>;
};

/** Where each person may enter a credential of their own. */
type Entered = {
  /** `tenant` when left out. */
  owner?: 'user' | 'tenant' | undefined;
  labels?: { token?: string; value?: string; username?: string; password?: string } | undefined;
  guide?: string | undefined;
};

/** A login endpoint that answers with a token. Paths are members of its answer, from the outside in: `data.token`. */
export type LoginAuth = Entered & {
  type: 'login';
  loginUrl: string;
  refreshUrl?: string | undefined;
  body: 'json' | 'form';
  username?: string | undefined;
  password?: SecretField | undefined;
  usernameField: string;
  passwordField: string;
  refreshTokenField: string;
  additionalFields: Record<string, string | number | boolean>;
  tokenPath: string;
  expiresInPath: string;
  refreshTokenPath: string;
  refreshToken: RefreshSettings;
};

export type Auth =
  | { type: 'none' }
  | (Entered & { type: 'bearer'; token?: SecretField | undefined })
  | (Entered & {
      type: 'api-key';
      header?: string | undefined;
      query?: string | undefined;
      cookie?: string | undefined;
      value?: SecretField | undefined;
    })
  | (Entered & { type: 'basic'; username?: string | undefined; password?: SecretField | undefined })
  | { type: 'headers'; headers: Record<string, SecretField> }
  | LoginAuth
  | OAuth2Auth;

export type InjectionRule = { header: string; value: string };

export type ToolSettings = {
  /** What happens to a tool that neither list names: `enable` switches it on, `ask` leaves it off until someone does. */
  new: 'ask' | 'enable';
  enabled: string[];
  disabled: string[];
  /** Upstream name → name that clients see. */
  rename: Record<string, string>;
};

/** The connector document of docs/connectors.md, validated, defaults filled in, without any secret value. */
export type ConnectorDocument = {
  name: string;
  title: string;
  description: string;
  instructions: string;
  category: string;
  icon: string;
  active: boolean;
  kind: 'mcp';
  url: string;
  transport: 'auto' | 'streamable-http' | 'sse';
  /** Both lists empty: everyone of the tenant. `users` holds ids or e-mail addresses. */
  access: { mode: 'oauth' | 'public'; allow: { roles: Role[]; users: string[] } };
  auth: Auth;
  inject: InjectionRule[];
  tools: ToolSettings;
  limits: { callsPerMinute: number; timeoutSeconds: number; maxResultBytes: number };
};

/**
 * OAuth settings with the provider's row filled in and `{name}` replaced in the URLs. What is null is discovered
 * (endpoints, issuer), negotiated (clientAuth) or registered (clientId).
 */
export type OAuth2Settings = {
  provider: string | null;
  registration: 'auto' | 'static' | 'dynamic';
  registrationUrl: string | null;
  issuer: string | null;
  authorizationUrl: string | null;
  tokenUrl: string | null;
  revocationUrl: string | null;
  clientId: string | null;
  hasClientSecret: boolean;
  clientAuth: ClientAuth | null;
  scopes: readonly string[];
  /** What joins scopes in the authorization request. */
  scopeSeparator: string;
  pkce: boolean;
  /** Added to the authorization request; never a parameter of the protocol itself. */
  additionalParams: Readonly<Record<string, string>>;
  /** `auto`, `none`, or the URI to send. */
  resource: string;
  owner: 'user' | 'tenant';
  fields: readonly string[];
  refreshToken: RefreshSettings;
  /** What is peculiar to the service. */
  rules: ServiceRules;
};

export type Connector = {
  tenant: TenantId;
  id: ConnectorId;
  name: string;
  /** 1, 2, 3 … with every change. */
  revision: number;
  /** `file`: declared in valetkey.yaml, changed there only. */
  source: 'api' | 'file';
  document: ConnectorDocument;
  /** Null unless `auth.type` is oauth2. */
  oauth: OAuth2Settings | null;
  /** Null for a connector that has a credential of its own, or none. */
  connection: ConnectionSettings | null;
  injection: Injection;
  tools: ToolRules;
  /** Milliseconds since 1970. */
  createdAt: number;
  updatedAt: number;
};

/** Whether this person may use the connector at all. Owners may: they could change the list. */
export function mayUse(
  connector: Connector,
  person: { tenant: TenantId; user: string | null; email: string | null; role: Role },
): boolean {
  if (person.tenant !== connector.tenant) return false;
  const { roles, users } = connector.document.access.allow;
  if (person.role === 'owner' || (roles.length === 0 && users.length === 0)) return true;
  return (
    roles.includes(person.role) ||
    (person.user !== null && users.includes(person.user)) ||
    (person.email !== null && users.includes(person.email.toLowerCase()))
  );
}
