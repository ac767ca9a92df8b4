import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { newId, newToken, type RegistrationId } from '../ids.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import type { Vault } from '../vault/vault.ts';
import type { ConnectStore, Registration } from './connect-store.ts';
import { printable, type Discovered } from './discovery.ts';
import { judge, parseBody } from './token-answer.ts';
import { AUTH_METHODS, type ClientIdentity, type TokenEndpoint } from './token-request.ts';

export type Registrations = {
  /**
   * Our client identity at the issuer: static, then client-id metadata document, then dynamic.
   * @throws ValetkeyError registration_needed (with the callback to register), registration_failed, issuer_changed
   */
  ensure(connector: Connector, found: Discovered): Promise<Registration>;
  /** Whether the issuer still knows a dynamic client; when it does not, the registration is retired. */
  proveAlive(registration: Registration, found: { issuer: string; tokenEndpoint: string }): Promise<boolean>;
  identity(registration: Registration, connector: Connector): Promise<ClientIdentity>;
  /** The callback that an admin registers by hand; stable for the life of the connector. */
  callbackUrl(connector: Connector): Promise<string>;
  /** Our client-id metadata document, undefined for any other registration. */
  document(id: string): Promise<Record<string, unknown> | undefined>;
};

const answerSchema = z.object({
  client_id: z.string().min(1).max(2_048),
  client_secret: z.string().max(4_096).nullish(),
  client_secret_expires_at: z.number().nullish().catch(null),
  token_endpoint_auth_method: z.string().nullish(),
  registration_access_token: z.string().max(4_096).nullish(),
});

/** A dynamic client proved to exist is not asked about again for this long. */
const PROVED_MS = 60_000;

export function createRegistrations(options: {
  store: ConnectStore;
  vault: Vault;
  egress: Egress;
  tokens: TokenEndpoint;
  clock: Clock;
  log: Log;
  publicUrl: string;
  /** In order, while one is rolled over. */
  clientSecrets: (connector: Connector) => Promise<Secret[]>;
  /** Called once for a registration that its issuer has forgotten, or whose client id was replaced. */
  onGone: (registration: Registration, why: 'client_vanished' | 'client_changed') => Promise<void>;
  /** Replaces the address of the client-id metadata document, for an operator who hosts it elsewhere. */
  clientMetadataUrl?: string | undefined;
}): Registrations {
  const { store, vault, egress, tokens, clock, log, publicUrl } = options;
  const flights = new Map<string, Promise<Registration>>();
  const proved = new Map<string, number>();

  const redirectUri = (id: string): string => `${publicUrl}/connect/callback/${id}`;
  const context = (registration: { tenant: Registration['tenant']; id: string }) => ({
    tenant: registration.tenant,
    row: registration.id,
    field: 'client',
    generation: 0,
  });

  function blank(connector: Connector, kind: Registration['kind'], issuer: string): Registration {
    const id = newId<RegistrationId>('reg');
    return {
      tenant: connector.tenant,
      id,
      connector: connector.id,
      issuer,
      kind,
      clientId: '',
      redirectUri: redirectUri(id),
      authMethod: 'none',
      sealed: null,
      secretExpiresAt: null,
      createdAt: clock.now(),
    };
  }

  async function keep(registration: Registration, slot: string): Promise<Registration> {
    await store.addRegistration(registration, slot);
    const kept = await store.registrationInSlot(registration.tenant, registration.connector, slot);
    if (kept === undefined) throw fail('conflict');
    return kept;
  }

  /** The row of the static registration is made as soon as anyone asks for its callback. */
  async function staticRow(connector: Connector): Promise<Registration> {
    const found = await store.registrationInSlot(connector.tenant, connector.id, 'static');
    const row = found ?? (await keep(blank(connector, 'static', ''), 'static'));
    const current = redirectUri(row.id);
    if (row.redirectUri === current) return row;
    await store.changeRegistration(row, { redirectUri: current });
    return { ...row, redirectUri: current };
  }

  async function ensureStatic(connector: Connector, found: Discovered, clientId: string): Promise<Registration> {
    const row = await staticRow(connector);
    const authMethod = staticAuthMethod(connector, found);
    // What an operator typed in is the operator's word; what a server says of itself is not.
    const typed = found.typed || connector.oauth?.issuer != null;
    if (!typed && row.clientId === clientId && row.issuer !== '' && row.issuer !== found.issuer) {
      // The secret was entered for another issuer: an upstream that renames its issuer must not get it.
      throw fail('issuer_changed', {
        message: `The client of this connector belongs to ${printable(row.issuer)}, but the server now names ${printable(found.issuer)}.`,
      });
    }
    if (row.clientId !== clientId || row.issuer !== found.issuer || row.authMethod !== authMethod) {
      await store.changeRegistration(row, { issuer: found.issuer, clientId, authMethod });
      if (row.clientId !== '' && row.clientId !== clientId) await options.onGone(row, 'client_changed');
    }
    return { ...row, issuer: found.issuer, clientId, authMethod };
  }

  async function ensureDocument(connector: Connector, found: Discovered): Promise<Registration> {
    const slot = `metadata_document:${found.issuer}`;
    const existing = await store.registrationInSlot(connector.tenant, connector.id, slot);
    if (existing !== undefined) {
      if (existing.redirectUri === redirectUri(existing.id)) return existing;
      await store.retireRegistration(existing, clock.now());
    }
    const registration = blank(connector, 'metadata_document', found.issuer);
    const clientId = options.clientMetadataUrl ?? `${publicUrl}/connect/client-metadata/${registration.id}`;
    return await keep({ ...registration, clientId }, slot);
  }

  async function ensureDynamic(connector: Connector, found: Discovered, endpoint: string): Promise<Registration> {
    const slot = `dynamic:${found.issuer}`;
    const existing = await store.registrationInSlot(connector.tenant, connector.id, slot);
    if (existing !== undefined) {
      const expired = existing.secretExpiresAt !== null && existing.secretExpiresAt <= clock.now();
      const moved = existing.redirectUri !== redirectUri(existing.id);
      if (!expired && !moved && (await proveAlive(existing, found))) return existing;
      if ((await store.retireRegistration(existing, clock.now())) && expired) {
        await options.onGone(existing, 'client_vanished');
      }
    }
    const registered = await register(connector, found, endpoint);
    return await keep(registered, slot);
  }

  async function register(connector: Connector, found: Discovered, endpoint: string): Promise<Registration> {
    const registration = blank(connector, 'dynamic', found.issuer);
    const wanted =
      found.authMethods === null
        ? 'client_secret_basic'
        : (AUTH_METHODS.find((method) => found.authMethods?.includes(method)) ?? 'none');
    const metadata = { ...clientMetadata(registration.redirectUri), token_endpoint_auth_method: wanted };
    let answer;
    try {
      answer = await egress.request(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify(metadata),
        maxBytes: 64 * 1024,
      });
    } catch (error) {
      throw fail('registration_failed', { message: asValetkeyError(error).message, cause: error });
    }
    const raw = { status: answer.status, contentType: '', body: answer.body.toString('utf8') };
    const parsed = answerSchema.safeParse(parseBody(raw));
    if (answer.status >= 400 || !parsed.success) {
      const judged = judge({ ...raw, retryAfterMs: null, sentAt: 0 });
      throw fail('registration_failed', {
        message: `${new URL(endpoint).host} refused to register the gateway: ${
          judged.kind === 'refusal' ? judged.code : `status ${answer.status}`
        }.`,
        hint: `The server may only accept approved clients: register the callback ${await callbackUrl(connector)} there by hand and enter the client id.`,
      });
    }
    const { client_secret: secret, registration_access_token: management, ...client } = parsed.data;
    const authMethod = client.token_endpoint_auth_method ?? (secret ? wanted : 'none');
    if (!(AUTH_METHODS as readonly string[]).includes(authMethod)) {
      throw fail('registration_failed', {
        message: `${new URL(endpoint).host} demands the client authentication ${printable(authMethod)}, which is not supported.`,
      });
    }
    const expiry = client.client_secret_expires_at ?? 0;
    return {
      ...registration,
      clientId: client.client_id,
      authMethod: secret ? authMethod : 'none',
      sealed:
        secret || management
          ? await vault.seal(
              context(registration),
              JSON.stringify({ client_secret: secret ?? null, registration_access_token: management ?? null }),
            )
          : null,
      secretExpiresAt: secret && expiry > 0 ? expiry * 1_000 : null,
    };
  }

  /** A made-up code is refused as a code by an issuer that knows the client, and as a client by one that does not. */
  async function proveAlive(
    registration: Registration,
    found: { issuer: string; tokenEndpoint: string },
  ): Promise<boolean> {
    const last = Math.max(registration.createdAt, proved.get(registration.id) ?? 0);
    if (registration.kind !== 'dynamic' || clock.now() - last < PROVED_MS) return true;
    try {
      const raw = await tokens.send({
        issuer: found.issuer,
        endpoint: found.tokenEndpoint,
        client: await dynamicIdentity(registration),
        parameters: {
          grant_type: 'authorization_code',
          code: newToken(16),
          redirect_uri: registration.redirectUri,
          code_verifier: newToken(32),
        },
        timeoutMs: 10_000,
      });
      const judged = judge(raw);
      const gone =
        judged.kind === 'refusal' &&
        (judged.code === 'invalid_client' || /unrecognized client/i.test(judged.description));
      if (!gone) {
        proved.set(registration.id, clock.now());
        return true;
      }
    } catch (error) {
      // No answer proves nothing; the connect itself will tell.
      log.debug({ err: error, registration: registration.id }, 'a registration could not be proved');
      return true;
    }
    if (await store.retireRegistration(registration, clock.now())) {
      log.warn({ registration: registration.id, issuer: registration.issuer }, 'the issuer has forgotten our client');
      await options.onGone(registration, 'client_vanished');
    }
    return false;
  }

  async function dynamicIdentity(registration: Registration): Promise<ClientIdentity> {
    const { clientId, authMethod } = registration;
    if (registration.sealed === null) return { clientId, authMethod, secret: undefined };
    const opened = await vault.open(context(registration), registration.sealed);
    const { client_secret: secret } = JSON.parse(opened.unwrap()) as { client_secret: string | null };
    return { clientId, authMethod, secret: secret === null ? undefined : new Secret(secret) };
  }

  const callbackUrl = async (connector: Connector): Promise<string> => (await staticRow(connector)).redirectUri;

  async function choose(connector: Connector, found: Discovered): Promise<Registration> {
    const { oauth } = connector;
    if (oauth === null) throw fail('internal', { detail: { reason: 'registration for a connector without OAuth' } });
    if (oauth.clientId !== null && oauth.registration !== 'dynamic') {
      return await ensureStatic(connector, found, oauth.clientId);
    }
    const reachable = publicUrl.startsWith('https:') || options.clientMetadataUrl !== undefined;
    if (oauth.registration === 'auto' && found.metadataDocuments && reachable) {
      return await ensureDocument(connector, found);
    }
    if (oauth.registration !== 'static' && found.registrationEndpoint !== null) {
      return await ensureDynamic(connector, found, found.registrationEndpoint);
    }
    throw fail('registration_needed', {
      message: `${found.typed ? new URL(found.authorizationEndpoint).host : printable(found.issuer)} does not register clients by itself.`,
      hint: `Register an application there with the callback ${await callbackUrl(connector)}, then enter its client id (and secret) at the connector.`,
    });
  }

  return {
    async ensure(connector, found) {
      const key = `${connector.tenant}/${connector.id}/${found.issuer}`;
      const running = flights.get(key) ?? choose(connector, found).finally(() => flights.delete(key));
      flights.set(key, running);
      return await running;
    },
    proveAlive,
    async identity(registration, connector) {
      if (registration.kind !== 'static') return await dynamicIdentity(registration);
      const { clientId, authMethod } = registration;
      const [secret, ...otherSecrets] = await options.clientSecrets(connector);
      return { clientId, authMethod, secret, otherSecrets };
    },
    callbackUrl,
    async document(id) {
      const registration = await store.registrationById(id);
      if (registration?.kind !== 'metadata_document') return undefined;
      return {
        client_id: registration.clientId,
        ...clientMetadata(registration.redirectUri),
        client_uri: publicUrl,
        token_endpoint_auth_method: 'none',
      };
    },
  };
}

function clientMetadata(redirectUri: string): Record<string, unknown> {
  return {
    client_name: 'Valetkey',
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    // OpenID Connect registration: a web client may not come back to http, a native one may come back to loopback.
    application_type: redirectUri.startsWith('https:') ? 'web' : 'native',
  };
}

/** RFC 8414 §2: metadata without a list means client_secret_basic. */
export function staticAuthMethod(connector: Connector, found: Discovered): string {
  const { oauth } = connector;
  if (oauth?.clientAuth) return oauth.clientAuth;
  if (oauth?.hasClientSecret !== true) return 'none';
  if (found.authMethods === null || found.authMethods.includes('client_secret_basic')) return 'client_secret_basic';
  return found.authMethods.includes('client_secret_post') ? 'client_secret_post' : 'client_secret_basic';
}
