import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { newId, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import type { ConnectStore } from './connect-store.ts';
import { backoffMs, type Connection, type Tokens } from './connection.ts';
import { revocationCall, sendRevocation, type RevocationCall } from './revocation-call.ts';
import type { Registrations } from './registration.ts';
import type { Sealing } from './sealing.ts';
import type { RevocationRow, RevocationStore } from './revocation-store.ts';
import type { ConnectionStore } from './store.ts';
import { judge } from './token-answer.ts';
import type { TokenEndpoint } from './token-request.ts';

/** What became of the tokens at the service; the connection here is gone in every case. */
export type UpstreamRevocation =
  | 'revoked'
  /** The service did not take it yet; tried for a day. */
  | 'pending'
  /** The service has no way to do it: its own settings page is the place. */
  | 'unsupported'
  /** Another connection lives on the same account and registration, which the service would end with it. */
  | 'shared'
  | 'nothing_to_revoke';

/** Sealed in the outbox row. */
type Outgoing = {
  issuer: string;
  /** RFC 7009; null where the service has a call of its own. */
  endpoint: string | null;
  call?: RevocationCall | null;
  connector: ConnectorId;
  registration: string;
  refreshToken: string | null;
  accessToken: string | null;
};

const KEPT_MS = 86_400_000;
const CLAIM_MS = 60_000;

export type Revoke = {
  disconnect(row: Connection): Promise<{ done: boolean; upstream: UpstreamRevocation }>;
  /** Tokens that came too late for a connection that is gone. */
  late(row: Connection, tokens: Tokens): Promise<void>;
  /** The grant of another account, after a reconnect as somebody else. */
  replaced(former: Connection): Promise<void>;
  /** One round over what is due. */
  run(): Promise<void>;
};

export function createRevoke(options: {
  store: ConnectionStore;
  outbox: RevocationStore;
  registrationOf: ConnectStore['registration'];
  registrations: Registrations;
  tokens: TokenEndpoint;
  egress: Egress;
  sealing: Sealing;
  clock: Clock;
  log: Log;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
}): Revoke {
  const { store, outbox, registrations, tokens, sealing, clock, log } = options;

  async function outgoing(row: Connection, held: Tokens): Promise<RevocationRow | null> {
    if (row.terms === null || row.registration === null) return null;
    const call = revocationCall(row, held, options.connectorById(row.tenant, row.connector));
    if (row.terms.revocationEndpoint === null && call === null) return null;
    const id = newId<string>('tok');
    const payload: Outgoing = {
      issuer: row.terms.issuer,
      endpoint: row.terms.revocationEndpoint,
      call: row.terms.revocationEndpoint === null ? call : null,
      connector: row.connector,
      registration: row.registration,
      refreshToken: held.refresh_token,
      accessToken: held.access_token,
    };
    const now = clock.now();
    return {
      tenant: row.tenant,
      id,
      connection: row.id,
      sealed: await sealing.sealFor(row.tenant, id, 'revocation', payload),
      attempts: 0,
      nextAttemptAt: now,
      expiresAt: now + KEPT_MS,
    };
  }

  /** A provider ends the whole grant of a client and a person, so a sibling on the same account would die with it. */
  async function isShared(row: Connection): Promise<boolean> {
    if (row.registration === null || row.accountSubject === null) return false;
    const siblings = await store.list({ tenant: row.tenant, registration: row.registration });
    return siblings.some(
      (other) =>
        other.id !== row.id &&
        other.accountSubject === row.accountSubject &&
        (other.status === 'connected' || other.status === 'suspect'),
    );
  }

  async function attempt(row: RevocationRow): Promise<boolean> {
    const now = clock.now();
    const wait = Math.max(CLAIM_MS, backoffMs(row.attempts, 30_000, Math.random()));
    if (!(await outbox.claim(row, now + wait))) return false;
    const payload = await sealing.openFor<Outgoing>(row.tenant, row.id, 'revocation', row.sealed);
    const registration = await options.registrationOf(row.tenant, payload.registration);
    const connector = options.connectorById(row.tenant, payload.connector);
    if (registration === undefined || (registration.kind === 'static' && connector === undefined)) {
      await outbox.remove(row);
      return false;
    }
    const client = await registrations.identity(registration, connector as Connector);
    let done = true;
    if (payload.call) {
      done = await sendRevocation(options.egress, payload.call, client).catch((error: unknown) => {
        log.warn({ err: asValetkeyError(error), connection: row.connection }, 'a revocation got no answer');
        return false;
      });
    }
    // The refresh token first: with it goes the grant (RFC 7009 §2.1).
    for (const hint of ['refresh_token', 'access_token'] as const) {
      const token = hint === 'refresh_token' ? payload.refreshToken : payload.accessToken;
      const { issuer, endpoint } = payload;
      if (token === null || endpoint === null) continue;
      try {
        const raw = await tokens.revoke({ issuer, endpoint, client, token: new Secret(token), hint });
        // Unknown or revoked already is what was wanted; a server that cannot revoke this kind will not learn it.
        const judged = judge(raw);
        const settled =
          raw.status < 300 ||
          (raw.status === 400 && !(judged.kind === 'refusal' && /^invalid_client$/.test(judged.code))) ||
          (judged.kind === 'refusal' && judged.code === 'unsupported_token_type');
        done &&= settled;
      } catch (error) {
        log.warn({ err: asValetkeyError(error), connection: row.connection }, 'a revocation got no answer');
        done = false;
      }
    }
    if (done || row.expiresAt <= now) await outbox.remove(row);
    return done;
  }

  async function late(row: Connection, held: Tokens): Promise<void> {
    const entry = await outgoing(row, held);
    if (entry === null) return;
    await outbox.add(entry);
    log.info({ connection: row.id }, 'tokens that nobody will use are revoked');
    await attempt(entry).catch((error: unknown) => log.warn({ err: error }, 'a late revocation failed'));
  }

  return {
    late,
    async replaced(former) {
      if (former.sealed === null || former.status === 'revoked' || (await isShared(former))) return;
      await late(former, await sealing.openTokens(former));
    },
    async disconnect(row) {
      const held = row.sealed === null ? undefined : await sealing.openTokens(row);
      const shared = await isShared(row);
      const entry = held === undefined || shared ? null : await outgoing(row, held);
      const done = await store.disconnect(row, entry, clock.now());
      if (!done) return { done, upstream: 'pending' };
      if (held === undefined) return { done, upstream: 'nothing_to_revoke' };
      if (shared) return { done, upstream: 'shared' };
      if (entry === null) return { done, upstream: 'unsupported' };
      return { done, upstream: (await attempt(entry).catch(() => false)) ? 'revoked' : 'pending' };
    },
    async run() {
      for (const row of await outbox.due(clock.now(), 50)) {
        await attempt(row).catch((thrown: unknown) => {
          log.warn({ err: thrown instanceof Error ? thrown : fail('internal') }, 'a revocation failed');
        });
      }
    },
  };
}
