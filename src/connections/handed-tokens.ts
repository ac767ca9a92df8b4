import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import { boundOf } from '../connectors/connection-settings.ts';
import type { Connector } from '../connectors/connector.ts';
import { fail, type ErrorCode } from '../errors.ts';
import { newId, type ConnectionId, type TenantId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import type { Connection, Owner, Terms } from './connection.ts';
import type { CredentialSource } from './credential-source.ts';
import type { Discovered, Discovery } from './discovery.ts';
import type { Refresh } from './refresh.ts';
import type { Registrations } from './registration.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';

export type HandedIn = {
  connector: Connector;
  owner: Owner;
  /** At least one of the two. */
  accessToken: string | null;
  refreshToken: string | null;
  /** Of the access token, milliseconds since 1970. */
  expiresAt: number | null;
  scopes: readonly string[];
  /** As the audit names actors. */
  actor: string;
};

export type HandedOut = {
  accessToken: string;
  expiresAt: number | null;
  scopes: readonly string[];
  connection: string;
};

export type HandedTokens = {
  /**
   * Takes tokens that were obtained elsewhere. A refresh token is spent at once, under the same protocol as any other, and
   * what comes back is kept; one that the service refuses leaves no connection.
   * `proved`: the service has taken it; false when it could not be asked yet, and is asked again by itself.
   * @throws ValetkeyError conflict, invalid_request, token_not_taken, and what discovery throws
   */
  take(given: HandedIn): Promise<{ connection: ConnectionId; proved: boolean }>;
  /**
   * A live token for its own owner. Recorded before it is returned.
   * @throws ValetkeyError connection_required, needs_reconnect, missing_scopes, temporarily_unavailable
   */
  give(connector: Connector, principal: Principal, scopes: readonly string[]): Promise<HandedOut>;
};

export function createHandedTokens(options: {
  store: ConnectionStore;
  source: Pick<CredentialSource, 'credential'>;
  refresh: Pick<Refresh, 'renew'>;
  discovery: Discovery;
  registrations: Registrations;
  sealing: Sealing;
  /** What is replayed at refresh besides the client, as a connect would have it. */
  termsOf: (
    connector: Connector,
    found: Discovered,
    scopes: readonly string[],
  ) => Omit<Terms, 'clientId' | 'authMethod' | 'redirectUri' | 'grantedKnown'>;
  audit: Pick<Audit, 'record'>;
  announce: (row: Connection) => Promise<void>;
  disconnect: (tenant: TenantId, id: string) => Promise<unknown>;
  clock: Clock;
}): HandedTokens {
  const { store, source, refresh, discovery, registrations, sealing, clock } = options;

  /** Durable when it resolves. */
  const record = async (
    action: 'connection.connected' | 'credential.released',
    row: Connection,
    { detail, ...by }: { actor: string; client?: string | null; detail: Record<string, string> },
  ): Promise<void> =>
    await options.audit.record({
      tenant: row.tenant,
      action,
      ...by,
      object: `connection:${row.id}`,
      outcome: 'success',
      detail: { connector: row.connector, generation: row.generation, ...detail },
    });

  return {
    async take({ connector, owner, accessToken, refreshToken, expiresAt, scopes, actor }) {
      const { tenant, id, oauth } = connector;
      if (refreshToken !== null && oauth?.clientId == null) {
        throw fail('invalid_request', {
          message: `A refresh token works with the client that got it, and ${connector.name} has no client id of its own.`,
          hint: 'Set it first: valetkey auth set.',
        });
      }
      const before = await store.findOwned(tenant, id, owner);
      if (before?.status === 'connected' || before?.status === 'suspect') {
        throw fail('conflict', {
          message: 'There is a connection already.',
          hint: 'Disconnect it first; a token that turns out to be no good would otherwise replace one that works.',
        });
      }
      const found = await discovery.discover(connector);
      const registration = await registrations.ensure(connector, found);
      const { clientId, authMethod, redirectUri } = registration;
      const terms: Terms = {
        ...options.termsOf(connector, found, scopes),
        clientId,
        authMethod,
        redirectUri,
        grantedKnown: false,
      };
      const now = clock.now();
      await store.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector: id, owner, now });
      const row = await store.findOwned(tenant, id, owner);
      if (row === undefined) throw fail('conflict');
      const generation = row.generation + 1;
      const tokens = {
        access_token: accessToken ?? '',
        refresh_token: refreshToken,
        fields: {},
        bound: boundOf(connector),
      };
      const taken = await store.connect(row, {
        sealed: await sealing.sealTokens(row, generation, tokens),
        generation,
        issuedAt: now,
        // Without an access token there is nothing to serve before the refresh.
        expiresAt: accessToken === null ? now : expiresAt,
        grantExpiresAt: null,
        nextRefreshAt: null,
        scopesGranted: [...scopes],
        terms,
        registration: registration.id,
        scopesRequested: [...scopes],
        account: { subject: null, label: null },
        now,
      });
      if (!taken) throw fail('conflict');
      const connected = await store.find(tenant, row.id);
      if (connected === undefined) throw fail('conflict');
      await record('connection.connected', connected, { actor, detail: { how: 'tokens/store' } });
      await options.announce(connected);
      if (refreshToken === null) return { connection: row.id, proved: false };
      const outcome = await refresh.renew(connected, 'rejected');
      if (outcome.kind === 'dead' || outcome.kind === 'gone') {
        const why = (await store.find(tenant, row.id))?.lastError ?? null;
        await options.disconnect(tenant, row.id);
        throw fail(
          'token_not_taken',
          why === null ? {} : { message: `The service does not take the refresh token: ${why.message}` },
        );
      }
      return { connection: row.id, proved: outcome.kind === 'renewed' };
    },

    async give(connector, principal, scopes) {
      const answer = await source.credential(connector, principal);
      if (answer === null) throw fail('connection_required');
      if ('refusal' in answer) throw fail(answer.refusal satisfies ErrorCode);
      const row = await store.find(connector.tenant, answer.key);
      const token = answer.fields['access_token'];
      if (row === undefined || token === undefined) throw fail('connection_required');
      const missing = scopes.filter((scope) => !row.scopesGranted.includes(scope));
      if (missing.length > 0) {
        throw fail('missing_scopes', { message: `The connection does not have ${missing.slice(0, 10).join(', ')}.` });
      }
      const actor = `user:${principal.user ?? ''}`;
      await record('credential.released', row, { actor, client: principal.client, detail: { to: 'tokens/get' } });
      return {
        accessToken: token.unwrap(),
        expiresAt: answer.expiresAt,
        scopes: row.scopesGranted,
        connection: row.id,
      };
    },
  };
}
