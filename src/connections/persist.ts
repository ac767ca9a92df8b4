import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES } from '../connectors/provider-rules.ts';
import { asValetkeyError } from '../errors.ts';
import { hashToken, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import { aheadOfTime, backoffMs, type Connection, type Tokens } from './connection.ts';
import { at, captured, grantEnd } from './rules.ts';
import type { Sealing } from './sealing.ts';
import type { Spool } from './spool.ts';
import type { ConnectionStore } from './store.ts';
import type { TokenAnswer } from './token-answer.ts';

export type Persist = {
  /**
   * Stores what a refresh brought, and does not give up: until the commit the pair exists in this memory only.
   * `superseded`: another process has taken the attempt over; should it find the grant ended, the pair is taken from the
   * spool and tried. `late`: the connection is gone, and the pair is revoked.
   */
  refreshed(
    row: Connection,
    attempt: string,
    held: Tokens,
    answer: TokenAnswer,
    sentAt: number,
    connector: Connector | undefined,
  ): Promise<{ kind: 'stored'; row: Connection } | { kind: 'superseded' } | { kind: 'late' }>;
  /** Pairs that could only be spooled, at start before anyone presents their predecessors again. */
  recoverSpooled(): Promise<number>;
  /** From now on a pair that is safe in the spool does not hold anything up, and one that is not does so for a minute. */
  stop(): void;
};

const HOLD_UP_MS = 60_000;

export function createPersist(options: {
  store: ConnectionStore;
  sealing: Sealing;
  spool: Spool;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  clock: Clock;
  log: Log;
  /** True where no other process can have the store open, and with it the old pair. */
  exclusive: boolean;
  /** The pair is safe in the spool although the store does not take it yet: whoever waits may have it. */
  onHeld: (row: Connection, tokens: Tokens) => void;
  /** Tokens that nobody will use: a disconnect was faster. */
  onLate: (row: Connection, tokens: Tokens) => Promise<void>;
}): Persist {
  const { store, sealing, spool, clock, log } = options;
  let stopBy: number | undefined;

  const refreshed: Persist['refreshed'] = async (row, attempt, held, answer, sentAt, connector) => {
    const settings = connector?.oauth?.refreshToken;
    // Absent, empty or null: the old one goes on (RFC 6749 §6).
    const refreshToken = answer.refreshToken ?? held.refresh_token;
    const fields = { ...held.fields };
    for (const name of connector?.oauth?.fields ?? []) {
      const value = answer.members[name];
      if (typeof value === 'string' || typeof value === 'number') fields[name] = String(value);
    }
    const rules = connector?.oauth?.rules ?? PLAIN_RULES;
    Object.assign(
      fields,
      captured(rules, 'token_response', (path) => at(answer.members, path)),
    );
    const tokens: Tokens = { access_token: answer.accessToken, refresh_token: refreshToken, fields, bound: held.bound };
    const generation = row.generation + 1;
    const next: Connection = {
      ...row,
      generation,
      status: 'connected',
      issuedAt: sentAt,
      expiresAt: answer.expiresAt,
      grantExpiresAt:
        grantEnd(rules, { now: sentAt, announced: answer.grantExpiresAt, absolute: row.terms?.grantEndsAt ?? null }) ??
        row.grantExpiresAt,
      scopesGranted: answer.scopes ?? row.scopesGranted,
    };
    let spooled = false;
    for (let failures = 0; ; failures += 1) {
      try {
        const given = {
          sealed: await sealing.sealTokens(row, generation, tokens),
          generation,
          issuedAt: sentAt,
          expiresAt: next.expiresAt,
          grantExpiresAt: next.grantExpiresAt,
          nextRefreshAt:
            next.expiresAt === null || settings?.enabled === false
              ? null
              : aheadOfTime({
                  from: sentAt,
                  expiresAt: next.expiresAt,
                  bufferMs: (settings?.bufferTime ?? 300) * 1_000,
                  jitter: Math.random(),
                }),
          scopesGranted: next.scopesGranted,
        };
        const committed =
          (await store.commitRefresh(row, attempt, given, clock.now())) ||
          (await store.adoptRefresh(row, hashToken(held.refresh_token ?? ''), given, clock.now()));
        const current = await store.find(row.tenant, row.id);
        if (spooled && (committed || current?.generation !== row.generation)) spool.remove(attempt);
        if (committed) return { kind: 'stored', row: current ?? next };
        if (current !== undefined && current.status !== 'revoked') {
          if (current.generation > row.generation) return { kind: 'stored', row: current };
          // Kept until it is known what the one who took the attempt over has found out.
          if (!spooled) await spool.write(row, attempt, answer, sentAt);
          return { kind: 'superseded' };
        }
        await options.onLate(row, tokens);
        return { kind: 'late' };
      } catch (thrown) {
        if (failures === 0) {
          spooled = await spool.write(row, attempt, answer, sentAt);
          // Some providers end the old refresh token with the first use of the new access token: before the pair is on
          // disk, a crash would then cost the grant.
          // Of several processes another one may still present the old refresh token, which some end with that use.
          if (spooled && options.exclusive) options.onHeld(next, tokens);
        }
        log.error(
          { err: asValetkeyError(thrown), connection: row.id, failures },
          'a refreshed credential is not stored yet',
        );
        if (stopBy !== undefined && (spooled || clock.monotonic() > stopBy)) throw thrown;
        // A second at most: who sees the store come back at the same time leaves this one more than that.
        await clock.sleep(backoffMs(Math.min(failures, 2), 250, Math.random()));
      }
    }
  };

  return {
    refreshed,
    async recoverSpooled() {
      let recovered = 0;
      for (const { tenant, id, generation, attempt, intent, answer, sentAt } of await spool.all()) {
        const row = await store.find(tenant, id);
        if (row?.status === 'revoked') {
          const { accessToken: access_token, refreshToken: refresh_token } = answer;
          await options.onLate(row, { access_token, refresh_token, fields: {} });
        } else if (row !== undefined && row.generation === generation && row.sealed !== null) {
          const held = await sealing.openTokens(row);
          const connector = options.connectorById(tenant, row.connector);
          const result = await refreshed({ ...row, intentText: intent }, attempt, held, answer, sentAt, connector);
          if (result.kind === 'superseded') continue;
          recovered += 1;
        }
        spool.remove(attempt);
      }
      return recovered;
    },
    stop() {
      stopBy = clock.monotonic() + HOLD_UP_MS;
    },
  };
}
