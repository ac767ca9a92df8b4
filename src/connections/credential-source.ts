import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import { fail } from '../errors.ts';
import type { ConnectionId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import { parseChallenge, unionScopes } from './challenge.ts';
import type { Connection, LastError, Owner, Tokens } from './connection.ts';
import type { Discovery } from './discovery.ts';
import { liveKey, ownerFor, type Live, type LiveCredentials } from './live.ts';
import type { Refresh, Renewal } from './refresh.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';

type Refusal = {
  refusal: 'connection_required' | 'needs_reconnect' | 'missing_scopes' | 'temporarily_unavailable';
  connector: Connector;
  /** With missing_scopes: everything to ask for, what was asked for before included. */
  scopes?: string[];
  /** With missing_scopes: all of it was asked for already, so that asking again would lead nowhere. */
  exhausted?: boolean;
  retryAfterMs?: number;
  /** With temporarily_unavailable: why waiting alone will not help. */
  told?: LastError;
};

/** Null: the connector has no credential to bring. */
type CredentialAnswer = Credential | Refusal | null;

export type CredentialSource = {
  credential(connector: Connector, principal: Principal): CredentialAnswer | Promise<CredentialAnswer>;
  rejected(
    connector: Connector,
    principal: Principal,
    credential: Credential,
    answer: {
      status: number;
      wwwAuthenticate: string | null;
      /** The credential is what an earlier refusal of this very call has brought. */
      again?: boolean | undefined;
    },
  ): Promise<CredentialAnswer>;
};

/** How long a call waits for a refresh before it is told to come again. */
const MAX_WAIT_MS = 10_000;
/** Between two tries ahead of time; the sweep is there as well. */
const AGAIN_MS = 5_000;
/** Past its end, an access token is given out under `use-expired` for so long at most. */
const USE_EXPIRED_MS = 3_600_000;

/** What only an owner of the gateway can put right; whoever calls is told so instead of being asked to wait. */
const FOR_OPERATORS = new Set(['client_refused', 'refresh_refused', 'refresh_unreadable']);

export function createCredentialSource(options: {
  store: ConnectionStore;
  live: LiveCredentials;
  refresh: Refresh;
  sealing: Sealing;
  discovery: Discovery;
  clock: Clock;
  log: Log;
  staticCredential: (connector: Connector) => Promise<Credential | null>;
  /** The row for a first token, where the gateway gets it by itself; undefined where a person is needed. */
  reserve: (connector: Connector, owner: Owner) => Promise<Connection | undefined>;
  /** Whether what is sealed still serves the connector as it is now. */
  standing: (connector: Connector, tokens: Tokens) => 'good' | 'mint' | 'reconnect';
  /** Durable when it resolves; called before a credential leaves the store for the first time in this process. */
  onReleased: (row: Connection, principal: Principal) => Promise<void>;
  /** The service wants permissions that the grant does not have. `exhausted`: all of them were asked for before. */
  onScopeRefused?: (row: Connection, needed: readonly string[], exhausted: boolean) => Promise<void>;
  /** A fresh token was refused: the connection cannot heal by itself. */
  onTokenRejected: (row: Connection) => Promise<void>;
}): CredentialSource {
  const { store, live, refresh, sealing, discovery, clock, log } = options;
  /** Connections whose token was renewed because of a 401, and which generation came of it. */
  const forced = new Map<ConnectionId, number>();
  const released = new Map<ConnectionId, number>();
  const refuse = (connector: Connector, refusal: Refusal['refusal'], more: Partial<Refusal> = {}): Refusal => ({
    refusal,
    connector,
    ...more,
  });

  async function release(row: Connection, principal: Principal): Promise<void> {
    if (released.get(row.id) === row.generation) return;
    await options.onReleased(row, principal);
    released.set(row.id, row.generation);
  }

  async function load(row: Connection, connector: Connector, principal: Principal): Promise<Live> {
    const readAt = live.version();
    await release(row, principal);
    return live.put(row, await sealing.openTokens(row), connector, readAt);
  }

  /** Renews in the background while the present token is served. */
  function ahead(entry: Live, connector: Connector, owner: Owner): void {
    if (clock.now() < entry.refreshAt) return;
    entry.refreshAt = clock.now() + AGAIN_MS;
    store
      .findOwned(connector.tenant, connector.id, owner)
      .then(async (row) =>
        row?.generation === entry.credential.generation ? await refresh.renew(row, 'ahead') : undefined,
      )
      .catch((error: unknown) =>
        log.warn({ err: error, connection: entry.id }, 'a refresh ahead of time did not start'),
      );
  }

  async function slow(connector: Connector, owner: Owner, principal: Principal): Promise<CredentialAnswer> {
    const readAt = live.version();
    const row = await store.findOwned(connector.tenant, connector.id, owner);
    if (row === undefined || row.status === 'pending') {
      const reserved = await options.reserve(connector, owner);
      if (reserved === undefined) return refuse(connector, 'connection_required');
      return await renewed(connector, principal, reserved, undefined, 'expired');
    }
    if (row.status === 'revoked') return refuse(connector, 'connection_required');
    if (row.status === 'needs_reconnect' || row.status === 'quarantined') return refuse(connector, 'needs_reconnect');
    const tokens = await sealing.openTokens(row);
    const standing = options.standing(connector, tokens);
    if (standing === 'reconnect') {
      const { message, hint } = fail('entered_elsewhere');
      const lastError = { code: 'entered_elsewhere', message, hint };
      await store.change(row, { status: 'needs_reconnect', lastError, nextRefreshAt: null }, clock.now());
      return refuse(connector, 'needs_reconnect');
    }
    if (standing === 'mint') return await renewed(connector, principal, row, undefined, 'expired');
    await release(row, principal);
    const entry = live.put(row, tokens, connector, readAt);
    entry.usedAt = clock.now();
    if (clock.now() < entry.usableUntil) {
      ahead(entry, connector, owner);
      return entry.credential;
    }
    return await renewed(connector, principal, row, entry, 'expired');
  }

  async function renewed(
    connector: Connector,
    principal: Principal,
    row: Connection,
    entry: Live | undefined,
    reason: 'expired' | 'rejected',
  ): Promise<CredentialAnswer> {
    const behaviour = connector.connection?.refreshToken.fallbackBehavior ?? 'queue';
    const work = refresh.renew(row, reason);
    if (behaviour === 'fail' && reason === 'expired') {
      work.catch(() => undefined);
      return refuse(connector, 'temporarily_unavailable', { retryAfterMs: 1_000 });
    }
    const abort = new AbortController();
    const late = clock.sleep(MAX_WAIT_MS, abort.signal).then(
      (): Renewal => ({ kind: 'postponed', retryAfterMs: 1_000 }),
      (): Renewal => ({ kind: 'postponed', retryAfterMs: 1_000 }),
    );
    const outcome = await Promise.race([work, late]);
    abort.abort();
    switch (outcome.kind) {
      case 'renewed':
        return await serve(connector, principal, outcome.row, reason);
      case 'kept':
        return reason === 'expired'
          ? (await load(outcome.row, connector, principal)).credential
          : refuse(connector, 'needs_reconnect');
      case 'dead':
        return refuse(connector, 'needs_reconnect');
      case 'gone':
        return refuse(connector, 'connection_required');
      case 'postponed':
        return postponed(connector, row, entry, reason, outcome);
      default:
        return outcome satisfies never;
    }
  }

  async function serve(
    connector: Connector,
    principal: Principal,
    row: Connection,
    reason: 'expired' | 'rejected',
  ): Promise<CredentialAnswer> {
    if (row.status !== 'connected' && row.status !== 'suspect') {
      return refuse(connector, row.status === 'revoked' ? 'connection_required' : 'needs_reconnect');
    }
    if (reason === 'rejected') forced.set(row.id, row.generation);
    const next = await load(row, connector, principal);
    next.usedAt = clock.now();
    return next.credential;
  }

  function postponed(
    connector: Connector,
    row: Connection,
    entry: Live | undefined,
    reason: 'expired' | 'rejected',
    { retryAfterMs, told }: Extract<Renewal, { kind: 'postponed' }>,
  ): CredentialAnswer {
    const forOperators = told != null && FOR_OPERATORS.has(told.code) ? { told } : {};
    const expiredFor = clock.now() - (row.expiresAt ?? 0);
    const allowed = connector.connection?.refreshToken.fallbackBehavior === 'use-expired' && reason === 'expired';
    if (entry === undefined || !allowed || expiredFor >= USE_EXPIRED_MS)
      return refuse(connector, 'temporarily_unavailable', { retryAfterMs, ...forOperators });
    log.warn({ connection: row.id, expiredForMs: expiredFor }, 'an expired token is used, as the connector allows');
    return entry.credential;
  }

  return {
    credential(connector, principal) {
      if (connector.connection === null) return options.staticCredential(connector);
      const owner = ownerFor(connector, principal);
      if (owner === undefined) return refuse(connector, 'connection_required');
      const entry = live.get(liveKey(connector.tenant, connector.id, owner));
      const now = clock.now();
      if (entry === undefined || now >= entry.usableUntil) return slow(connector, owner, principal);
      entry.usedAt = now;
      if (now >= entry.refreshAt) ahead(entry, connector, owner);
      return entry.credential;
    },

    async rejected(connector, principal, credential, { status, wwwAuthenticate, again }) {
      const owner = ownerFor(connector, principal);
      if (connector.connection === null || owner === undefined) return credential;
      const challenge = parseChallenge(wwwAuthenticate);
      discovery.learn(connector, challenge);
      const row = await store.findOwned(connector.tenant, connector.id, owner);
      if (row === undefined || row.status === 'pending' || row.status === 'revoked') {
        return refuse(connector, 'connection_required');
      }
      if (status === 403) {
        // A refresh cannot widen a grant (RFC 6749 §6): this is for the person to decide.
        const needed = challenge?.scopes ?? [];
        if (challenge?.error !== 'insufficient_scope') return credential;
        const scopes = unionScopes(row.scopesRequested, row.scopesGranted, needed);
        const exhausted = needed.every((scope) => row.scopesRequested.includes(scope));
        await options.onScopeRefused?.(row, needed, exhausted);
        return refuse(connector, 'missing_scopes', { scopes, exhausted });
      }
      if (status !== 401) throw fail('internal', { detail: { reason: 'rejected takes 401 and 403', status } });
      if (row.status === 'needs_reconnect' || row.status === 'quarantined') return refuse(connector, 'needs_reconnect');
      // Someone has renewed it already: the refusal was about an older token.
      if (row.id === credential.key && row.generation > credential.generation) {
        return (await load(row, connector, principal)).credential;
      }
      // Refused at once, though it came from a refresh that a refusal had caused: the service refuses fresh ones. A token
      // that has worked in between may be refreshed as often as the service ends it.
      if (again && forced.get(row.id) === row.generation) {
        await options.onTokenRejected(row);
        return refuse(connector, 'needs_reconnect');
      }
      return await renewed(connector, principal, row, await load(row, connector, principal), 'rejected');
    },
  };
}
