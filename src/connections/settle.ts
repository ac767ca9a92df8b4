import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES } from '../connectors/provider-rules.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { hashToken, newId, type ConnectionId, type ConnectorId, type FlowId, type UserId } from '../ids.ts';
import type { Log } from '../log.ts';
import { accountOf, askAccount, type Account } from './account.ts';
import type { ConnectStore } from './connect-store.ts';
import { aheadOfTime, type Connection } from './connection.ts';
import { failed, type Outcome, type StagedConnect } from './outcome.ts';
import type { Lookups } from './lookup.ts';
import type { Registrations } from './registration.ts';
import { absoluteEnd, at, captured, grantEnd } from './rules.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import { judge } from './token-answer.ts';
import type { TokenEndpoint } from './token-request.ts';

export type Settle = {
  /** Commits the raw answer of a code exchange before anything is judged, then turns it into the credential. */
  commit(connector: Connector, staged: StagedConnect, onRefusal: () => Promise<Outcome>): Promise<Outcome>;
  /** Settles answers that were committed before a crash, and at least so long ago. */
  recover(minimumAgeMs: number): Promise<number>;
};

/** Named places where a process can die; drills stop it there. */
export type ConnectStep = 'connect_answered' | 'connect_staged' | 'connect_committed';

/** From a code exchange's answer to a connection. */
export function createSettle(options: {
  store: ConnectStore;
  connections: ConnectionStore;
  registrations: Registrations;
  tokens: TokenEndpoint;
  sealing: Sealing;
  egress: Egress;
  lookups: Lookups;
  clock: Clock;
  log: Log;
  connectorById: (tenant: Connector['tenant'], id: ConnectorId) => Connector | undefined;
  onConnected: (connection: Connection, user: UserId, flow: FlowId) => Promise<void>;
  onReplaced: (former: Connection) => Promise<void>;
  onStep?: ((step: ConnectStep, connection: ConnectionId) => void | Promise<void>) | undefined;
}): Settle {
  const { store, connections, registrations, tokens, sealing, egress, clock, log } = options;

  async function rowOf(connector: Connector, owner: Connection['owner']): Promise<Connection> {
    const { tenant, id } = connector;
    const found = await connections.findOwned(tenant, id, owner);
    if (found !== undefined) return found;
    await connections.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector: id, owner, now: clock.now() });
    const reserved = await connections.findOwned(tenant, id, owner);
    if (reserved === undefined) throw fail('conflict');
    return reserved;
  }

  /** Turns a staged answer into the credential, in one commit. */
  async function settled(
    connector: Connector,
    row: Connection,
    staged: StagedConnect,
    onRefusal: () => Promise<Outcome>,
  ): Promise<Outcome> {
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
    const judged = judge(staged.raw, rules);
    if (judged.kind !== 'tokens') {
      await connections.change(row, { staged: null }, clock.now());
      return await onRefusal();
    }
    const { tokens: answer } = judged;
    const { asked } = staged;
    if (/^(dpop|mac|n_a)$/i.test(answer.tokenType ?? '')) {
      await connections.change(row, { staged: null }, clock.now());
      return failed('token_type_unsupported', asked.returnTo);
    }
    const account = accountOf(answer);
    const refreshToken = answer.refreshToken ?? (await keptRefreshToken(row, account));
    const generation = row.generation + 1;
    const fields: Record<string, string> = {};
    for (const name of connector.oauth?.fields ?? []) {
      const value = answer.members[name];
      if (typeof value === 'string' || typeof value === 'number') fields[name] = String(value);
    }
    Object.assign(
      fields,
      captured(rules, 'token_response', (path) => at(answer.members, path)),
    );
    const granted = answer.scopes ?? asked.scopes;
    const grantEndsAt = refreshToken === null ? null : absoluteEnd(rules, staged.raw.sentAt);
    const settings = connector.oauth?.refreshToken;
    const renewable = refreshToken !== null && settings?.enabled !== false;
    // It works today and ends without warning: said at once, where one was to be expected.
    const ends = refreshToken === null && answer.expiresAt !== null && expectsRefreshToken(connector, asked.scopes);
    const ending = fail('no_refresh_token');
    const committed = await connections.connect(row, {
      sealed: await sealing.sealTokens(row, generation, {
        access_token: answer.accessToken,
        refresh_token: refreshToken,
        fields,
        bound: asked.bound,
      }),
      generation,
      issuedAt: staged.raw.sentAt,
      expiresAt: answer.expiresAt,
      grantExpiresAt:
        refreshToken === null
          ? answer.grantExpiresAt
          : grantEnd(rules, { now: staged.raw.sentAt, announced: answer.grantExpiresAt, absolute: grantEndsAt }),
      nextRefreshAt:
        renewable && answer.expiresAt !== null
          ? aheadOfTime({
              from: staged.raw.sentAt,
              expiresAt: answer.expiresAt,
              bufferMs: (settings?.bufferTime ?? 300) * 1_000,
              jitter: Math.random(),
            })
          : null,
      terms: { ...asked.terms, grantEndsAt, grantedKnown: answer.scopes !== null },
      scopesGranted: granted,
      registration: staged.registration,
      scopesRequested: asked.scopes,
      account,
      lastError: ends ? { code: 'no_refresh_token', message: ending.message, hint: ending.hint } : null,
      now: clock.now(),
    });
    if (!committed) {
      // The row moved on between staging and now: the newer state is read and the same answer settled on it.
      const current = await connections.find(row.tenant, row.id);
      if (current === undefined || current.generation === row.generation) throw fail('conflict');
      await connections.stageConnect(current, await sealing.sealStaged(current, staged));
      return await settled(connector, current, staged, onRefusal);
    }
    await options.onStep?.('connect_committed', row.id);
    const connected = await connections.find(row.tenant, row.id);
    if (connected === undefined) throw fail('conflict');
    log.info(
      {
        connection: row.id,
        connector: connector.name,
        flow: staged.flow,
        generation,
        renewable,
        expires: answer.expiresAt !== null,
      },
      'a connect is finished',
    );
    await options.onConnected(connected, staged.user, staged.flow);
    const told = await options.lookups.complete(connected, connector, answer.accessToken);
    const known = { subject: account.subject ?? told?.subject ?? null, label: account.label ?? told?.label ?? null };
    if (told !== undefined) await connections.nameAccount(connected, known);
    const named = await nameOf(connected, connector, staged, known, answer.accessToken);
    const changedHands = row.accountSubject !== null && named.subject !== null && row.accountSubject !== named.subject;
    if (changedHands) await options.onReplaced(row);
    return {
      kind: 'connected',
      connection: row.id,
      account: named,
      previousAccount: changedHands ? (row.accountLabel ?? row.accountSubject) : null,
      granted,
      refused:
        answer.scopes === null
          ? []
          : asked.scopes.filter(
              (scope) => !granted.includes(scope) && scope !== 'offline_access' && scope !== rules.offlineScope,
            ),
      renewable: refreshToken !== null,
      endsAt: refreshToken === null ? answer.expiresAt : null,
      hint: ends ? ending.hint : null,
      returnTo: asked.returnTo,
    };
  }

  /** Everything is saved by now; the name may fail. */
  async function nameOf(
    connected: Connection,
    connector: Connector,
    staged: StagedConnect,
    account: Account,
    accessToken: string,
  ): Promise<Account> {
    if (account.label !== null || connected.terms === null) return account;
    const registration = await store.registration(connected.tenant, staged.registration);
    if (registration === undefined) return account;
    const asked = await askAccount(
      { egress, tokens, client: await registrations.identity(registration, connector), terms: connected.terms },
      accessToken,
    );
    if (asked === undefined || (account.subject !== null && asked.subject !== account.subject)) return account;
    await connections.nameAccount(connected, asked);
    return asked;
  }

  /** Given at the first consent only by some; the old one is good as long as it is the same person's. */
  async function keptRefreshToken(row: Connection, account: Account): Promise<string | null> {
    if (row.sealed === null || account.subject === null || row.accountSubject !== account.subject) return null;
    const { refresh_token: old } = await sealing.openTokens(row);
    return old !== null && hashToken(old) !== row.tombstone ? old : null;
  }

  return {
    async commit(connector, staged, onRefusal) {
      const row = await rowOf(connector, staged.asked.owner);
      await options.onStep?.('connect_answered', row.id);
      await connections.stageConnect(row, await sealing.sealStaged(row, staged));
      await options.onStep?.('connect_staged', row.id);
      return await settled(connector, row, staged, onRefusal);
    },

    async recover(minimumAgeMs) {
      let recovered = 0;
      for (const row of await connections.stagedConnects()) {
        const connector = options.connectorById(row.tenant, row.connector);
        if (connector === undefined) continue;
        try {
          const staged = await sealing.openStaged<StagedConnect | { kind: 'refresh' }>(row);
          // A younger one may be in the hands of another process.
          if (staged.kind !== 'connect' || clock.now() - staged.raw.sentAt < minimumAgeMs) continue;
          const outcome = await settled(connector, row, staged, async () => failed('exchange_failed', null));
          if (outcome.kind === 'connected') recovered += 1;
          log.info({ connection: row.id, outcome: outcome.kind }, 'an answer committed before a stop was settled');
        } catch (error) {
          // The credential has moved on since: what is staged belongs to a generation that is over.
          log.warn({ err: asValetkeyError(error), connection: row.id }, 'a staged answer could not be settled');
          await connections.change(row, { staged: null }, clock.now());
        }
      }
      return recovered;
    },
  };
}

function expectsRefreshToken({ oauth }: Connector, asked: readonly string[]): boolean {
  if (oauth === null || !oauth.refreshToken.enabled) return false;
  const { refreshToken, offlineScope } = oauth.rules;
  if (asked.includes('offline_access') || (offlineScope !== null && asked.includes(offlineScope))) return true;
  return refreshToken === 'always' || (refreshToken === 'asked' && offlineScope === null);
}
