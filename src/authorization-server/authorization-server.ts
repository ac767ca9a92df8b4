import { errors } from 'oidc-provider';
import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import type { Egress } from '../egress/egress.ts';
import { hashToken, type TenantId, type UserId } from '../ids.ts';
import { DEFAULT_TENANT, type Role } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import type { Web } from '../web/web.ts';
import { createAdapterFactory, type Revoked } from './adapter.ts';
import { createClientDocuments, STALE_MS } from './client-documents.ts';
import { createConsent } from './consent.ts';
import { createDeviceRequests } from './device.ts';
import { mountEndpoints, renderError } from './endpoints.ts';
import { accountOf, personOf, type ConnectStep, type People } from './people.ts';
import { createProvider } from './provider.ts';
import { isLoopbackRedirect, redirectKey } from './redirects.ts';
import type { Rate } from './rate.ts';
import { createRegistration, type RegistrationLimits } from './registration.ts';
import { createTargets, type ResourceDirectory } from './resources.ts';
import { mountPages } from './routes.ts';
import { createStore } from './store.ts';
import { registerGrants } from './tokens.ts';
import { authorizationServerMetadata } from './metadata.ts';
import { mountWellKnown } from './well-known.ts';

export type { ConnectStep } from './people.ts';
export type { Resource, ResourceDirectory } from './resources.ts';
export type { Revoked } from './adapter.ts';

/** An access token of ours that is good at this moment. Times in milliseconds since 1970. */
export type VerifiedToken = {
  tenant: TenantId;
  user: UserId;
  email: string;
  role: Role;
  /** The client's id; its name is the client's own claim. */
  client: string;
  scopes: readonly string[];
  /** The one resource that the token is for. */
  resource: string;
  expiresAt: number;
  /** The chain that the token belongs to, as `onRevoked` names it. */
  grant: string;
};

/** What a person has allowed one client, at one redirect, for one resource. */
export type AllowedClient = {
  client: string;
  name: string;
  redirect: string;
  resource: string;
  scopes: readonly string[];
  allowedAt: number;
  lastAllowedAt: number;
};

export type AuthorizationServer = {
  /** One look-up by hash, and one for the user. Undefined for whatever is not a live access token of ours. */
  verify(token: string): Promise<VerifiedToken | undefined>;
  /** Called in every process; with null when notices may have been missed. A `token` is named by `hashToken`. */
  onRevoked(listener: (what: Revoked | null) => void): () => void;
  readonly clients: {
    list(tenant: TenantId, user: UserId): Promise<AllowedClient[]>;
    /** Takes back everything that the person has allowed the client. Its tokens stop working at once. */
    revoke(tenant: TenantId, user: UserId, client: string): Promise<void>;
  };
  /** Every grant of a person, consents included. */
  revokeUser(tenant: TenantId, user: UserId): Promise<void>;
  /** The RFC 8414 document, for the other places where clients look for it. */
  metadata(): Record<string, unknown>;
  /** Removes what has expired; the composition root calls it now and then. */
  sweep(): Promise<number>;
  close(): void;
};

const TOPIC = 'authorization-server.revoked';

/** OAuth 2.1 towards MCP clients. Mounts `/oauth`, the well-known documents, `/consent/…` and `/clients` on `web`. */
export async function createAuthorizationServer(options: {
  database: Database;
  identity: People;
  egress: Egress;
  clock: Clock;
  log: Log;
  audit: Audit;
  web: Web;
  publicUrl: string;
  accessTokenTtlSeconds: number;
  resources: ResourceDirectory;
  connectStep: ConnectStep;
  /** Other than the defaults: registrations, and authorization requests from one address. */
  limits?: { registrations?: Partial<RegistrationLimits>; authorizations?: Rate };
}): Promise<AuthorizationServer> {
  const { database, identity, clock, audit, web, publicUrl } = options;
  const log = options.log.child({ room: 'authorization-server' });
  const store = createStore(database);
  const targets = createTargets(options.resources, publicUrl, DEFAULT_TENANT);
  const documents = createClientDocuments({
    store,
    clock,
    egress: options.egress,
    log,
    allowLoopback: isLoopbackRedirect(publicUrl),
  });

  const revoked = async (what: Revoked): Promise<void> => await database.publish(TOPIC, JSON.stringify(what));
  const activeUser = async (account: string) => {
    const { tenant, user } = personOf(account);
    const found = await identity.users.find(tenant, user);
    return found === undefined || found.disabledAt !== null ? undefined : found;
  };
  const isActive = async (account: string): Promise<boolean> => (await activeUser(account)) !== undefined;

  async function revokeGrant(grant: string, reason: string): Promise<void> {
    const record = await store.find('Grant', hashToken(grant), clock.now());
    await store.removeOfGrant(grant);
    await revoked({ kind: 'grant', grant });
    if (record?.account === undefined || record.account === null) return;
    const { tenant, user } = personOf(record.account);
    log.warn({ client: record.client_id, user, reason }, 'a grant was revoked');
    await audit.record({
      tenant,
      action: 'grant.revoked',
      actor: 'gateway',
      client: record.client_id,
      object: `grant:${grant}`,
      outcome: 'success',
      detail: { reason, user },
    });
  }

  const adapter = createAdapterFactory({
    store,
    clock,
    findDocumentClient: (clientId) => documents.find(clientId),
    revoked,
    async replayed(model, grant) {
      if (grant !== null) await revokeGrant(grant, `${model} used twice`);
      throw new errors.InvalidGrant(`${model} was used before`);
    },
  });
  const provider = createProvider({ publicUrl, adapter, targets, log, isActive, renderError });
  const { accessTokenTtlSeconds } = options;
  registerGrants(provider, { store, clock, targets, accessTokenTtlSeconds, isActive, revokeGrant });

  const register = createRegistration({
    store,
    clock,
    limits: { burst: 30, refillMs: 10_000, total: 10_000, ...options.limits?.registrations },
    registered: async (client, address) =>
      await audit.record({
        tenant: DEFAULT_TENANT,
        action: 'client.registered',
        actor: 'anonymous',
        client: client.client_id,
        address,
        object: `client:${client.client_id}`,
        outcome: 'success',
        detail: { name: client.client_name, redirects: client.redirect_uris },
      }),
  });

  async function revokeClient(tenant: TenantId, user: UserId, client: string): Promise<void> {
    const account = accountOf(tenant, user);
    const grants = await store.grantsOf(account, client);
    await store.removeOfAccount(account, client);
    await store.removeConsents(tenant, user, client);
    for (const { grant_id: grant } of grants) if (grant !== null) await revoked({ kind: 'grant', grant });
    await audit.record({
      tenant,
      action: 'grant.revoked',
      actor: `user:${user}`,
      client,
      object: `client:${client}`,
      outcome: 'success',
      detail: { grants: grants.length },
    });
  }

  async function revokeUser(tenant: TenantId, user: UserId): Promise<void> {
    const account = accountOf(tenant, user);
    await store.removeOfAccount(account);
    await store.removeConsents(tenant, user);
    await revoked({ kind: 'user', account });
  }

  const stopListening = identity.onUserChanged((tenant, user) => {
    if (tenant === null || user === null) return;
    revokeUser(tenant, user).catch((error: unknown) => log.error({ err: error, user }, 'grants were not revoked'));
  });

  mountWellKnown(web.app, publicUrl, (uri) => targets.find(uri) !== undefined);
  const consent = createConsent({ provider, store, clock, targets, audit, connectStep: options.connectStep });
  mountPages({
    web,
    people: identity,
    consent,
    clock,
    findDevice: createDeviceRequests({ provider, store, clock, targets }),
    publicUrl,
    listClients: ({ user }) => store.listConsents(user.tenant, user.id),
    revokeClient: ({ user }, client) => revokeClient(user.tenant, user.id, client),
  });
  mountEndpoints({
    web,
    provider,
    clock,
    authorizations: options.limits?.authorizations ?? { burst: 300, refillMs: 200 },
    publicUrl,
    targets,
    log,
    register,
    async hasAllowed(cookieHeader, client, redirect) {
      const signedIn = await identity.session(cookieHeader);
      if (signedIn === undefined) return false;
      return await store.hasConsent(signedIn.user.tenant, signedIn.user.id, client, redirectKey(redirect));
    },
  });

  return {
    metadata: () => authorizationServerMetadata(publicUrl),
    async verify(token) {
      if (token.length > 200) return undefined;
      const record = await store.findUnderGrant('AccessToken', hashToken(token), clock.now());
      const user = record?.account ? await activeUser(record.account) : undefined;
      if (record === undefined || user === undefined) return undefined;
      const payload = JSON.parse(record.payload) as { aud: string; scope: string; clientId: string };
      return {
        tenant: user.tenant,
        user: user.id,
        email: user.email,
        role: user.role,
        client: payload.clientId,
        scopes: payload.scope.split(' '),
        resource: payload.aud,
        expiresAt: record.expires_at ?? 0,
        grant: record.grant_id ?? '',
      };
    },
    onRevoked: (listener) =>
      database.subscribe(TOPIC, (key) => listener(key === null ? null : (JSON.parse(key) as Revoked))),
    clients: {
      async list(tenant, user) {
        const consents = await store.listConsents(tenant, user);
        return consents.map((row) => ({
          client: row.client_id,
          name: row.client_name,
          redirect: row.redirect_uri,
          resource: row.resource,
          scopes: row.scopes.split(' '),
          allowedAt: row.created_at,
          lastAllowedAt: row.last_used_at,
        }));
      },
      revoke: revokeClient,
    },
    revokeUser,
    sweep: () => store.sweep(clock.now(), STALE_MS),
    close: stopListening,
  };
}
