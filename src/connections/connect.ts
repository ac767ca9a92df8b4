import { calculatePKCECodeChallenge } from 'oauth4webapi';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError, fail, type ErrorCode } from '../errors.ts';
import { hashToken, newId, newToken, type ConnectionId, type ConnectorId, type FlowId, type UserId } from '../ids.ts';
import type { Log } from '../log.ts';
import { accountOf, askAccount, type Account } from './account.ts';
import { unionScopes } from './challenge.ts';
import type { ConnectStore, Pending, Registration } from './connect-store.ts';
import { aheadOfTime, type Connection, type Owner, type Terms } from './connection.ts';
import { printable, type Discovered, type Discovery, type Tried } from './discovery.ts';
import type { Registrations } from './registration.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import { judge, safeCode, type RawAnswer } from './token-answer.ts';
import type { TokenEndpoint } from './token-request.ts';

/** The state of RFC 6749 and everything that the callback must compare lives this long. */
export const PENDING_MS = 10 * 60_000;

/** What a callback led to; kept, so that a second hit of the same callback shows the same. */
export type Outcome =
  | {
      kind: 'connected';
      connection: ConnectionId;
      account: Account;
      /** Another account than before, when the connection changed hands. */
      previousAccount: string | null;
      granted: string[];
      refused: string[];
      renewable: boolean;
      returnTo: string | null;
    }
  | {
      kind: 'failed';
      code: ErrorCode;
      message: string;
      hint: string;
      /** The URI that the provider has to allow. */
      redirectUri?: string;
      tried?: readonly Tried[];
      returnTo: string | null;
    };

/** Sealed in the pending row. */
type Asked = {
  verifier: string | null;
  issuer: string;
  typed: boolean;
  issPromised: boolean;
  scopes: string[];
  returnTo: string | null;
  owner: Owner;
  terms: Omit<Terms, 'grantedKnown'>;
};

/** Sealed and committed with the raw answer of a code exchange. */
export type StagedConnect = {
  kind: 'connect';
  raw: RawAnswer;
  asked: Asked;
  registration: Registration['id'];
  user: UserId;
  flow: FlowId;
};

export type Connect = {
  /** What a connect would ask for, for the page before it. */
  preview(
    connector: Connector,
    extraScopes: readonly string[],
    owner: Owner,
  ): Promise<{ found: Discovered; scopes: string[] }>;
  /** Returns where the browser goes. */
  begin(request: {
    connector: Connector;
    user: UserId;
    owner: Owner;
    scopes: readonly string[];
    flow: FlowId;
    returnTo: string | null;
    browser: string;
  }): Promise<{ url: string; registration: Registration }>;
  /** The callback, after state, browser and user were found to belong together. */
  finish(pending: Pending, registration: Registration, query: URLSearchParams): Promise<Outcome>;
  /** Judges answers that were committed before a crash. */
  recoverStaged(minimumAgeMs: number): Promise<number>;
  /** Resolves when no exchange of this process is open. */
  settled(): Promise<void>;
};

export function createConnect(options: {
  store: ConnectStore;
  connections: ConnectionStore;
  discovery: Discovery;
  registrations: Registrations;
  tokens: TokenEndpoint;
  sealing: Sealing;
  egress: Egress;
  clock: Clock;
  log: Log;
  connectorById: (tenant: Connector['tenant'], id: ConnectorId) => Connector | undefined;
  /** After a commit: memory is refreshed, other processes are told, the audit is written. */
  onConnected: (connection: Connection, user: UserId, flow: FlowId) => Promise<void>;
}): Connect {
  const { store, connections, discovery, registrations, tokens, sealing, egress, clock, log } = options;
  const underWay = new Map<string, Promise<Outcome>>();

  async function preview(connector: Connector, extra: readonly string[], owner: Owner) {
    const found = await discovery.discover(connector);
    const existing = await connections.findOwned(connector.tenant, connector.id, owner);
    const before = existing !== undefined && existing.status !== 'revoked' ? existing.scopesRequested : [];
    const configured = connector.oauth?.scopes ?? [];
    const base = configured.length > 0 ? configured : (found.challengeScopes ?? found.resourceScopes ?? []);
    // A step-up asks for what was there before as well: a provider replaces, it does not add.
    const scopes = unionScopes(base, extra.length > 0 ? before : [], extra);
    const offline = configured.length === 0 && scopes.length > 0 && found.scopesSupported.includes('offline_access');
    return { found, scopes: offline ? unionScopes(scopes, ['offline_access']) : scopes };
  }

  function resourceOf(connector: Connector, found: Discovered): string | null {
    const setting = connector.oauth?.resource ?? 'auto';
    if (setting === 'none') return null;
    return setting === 'auto' ? found.resource : setting;
  }

  async function finish(pending: Pending, registration: Registration, query: URLSearchParams): Promise<Outcome> {
    const asked = await sealing.openFor<Asked>(pending.tenant, pending.stateHash, 'pending', pending.sealed);
    const { returnTo } = asked;
    const failed = (code: ErrorCode, given: Partial<Extract<Outcome, { kind: 'failed' }>> = {}): Outcome => {
      const error = fail(code);
      return { kind: 'failed', code, message: error.message, hint: error.hint, returnTo, ...given };
    };
    const connector = options.connectorById(pending.tenant, pending.connector);
    if (connector === undefined) return failed('not_found');

    // RFC 9207 §2.4, plain comparison. What a wrong issuer has to say is not shown.
    const iss = query.get('iss');
    const expected = asked.typed && asked.issuer.startsWith('endpoint:') ? null : asked.issuer;
    if (iss === null ? asked.issPromised : expected !== null && iss !== expected)
      return failed('connect_issuer_mismatch');
    const error = query.get('error');
    if (error !== null) return failed(...authorizationError(safeCode(error), registration));
    const code = query.get('code');
    if (code === null || code === '') return failed('authorization_failed');

    let raw: RawAnswer;
    try {
      raw = await tokens.send({
        issuer: asked.terms.issuer,
        endpoint: asked.terms.tokenEndpoint,
        client: await registrations.identity(registration, connector),
        parameters: {
          grant_type: 'authorization_code',
          code,
          redirect_uri: registration.redirectUri,
          ...(asked.verifier === null ? {} : { code_verifier: asked.verifier }),
          ...(asked.terms.resource === null ? {} : { resource: asked.terms.resource }),
        },
        timeoutMs: 30_000,
      });
    } catch (thrown) {
      const known = asValetkeyError(thrown);
      log.warn({ err: known, flow: pending.flow, connector: connector.id }, 'a code exchange got no answer');
      return failed('exchange_failed', { message: `The code could not be exchanged: ${known.message}` });
    }
    if (raw.status < 200 || raw.status >= 300) return await refused(raw, registration, asked, failed);

    // From here on there may be a grant that exists nowhere else: it is committed before anything is judged.
    const row = await rowOf(connector, asked.owner);
    const staged: StagedConnect = {
      kind: 'connect',
      raw,
      asked: { ...asked, verifier: null },
      registration: registration.id,
      user: pending.user,
      flow: pending.flow,
    };
    await connections.stageConnect(row, await sealing.sealStaged(row, staged));
    return await settle(connector, row, staged, async () => await refused(raw, registration, asked, failed));
  }

  async function rowOf(connector: Connector, owner: Owner): Promise<Connection> {
    const { tenant, id } = connector;
    const found = await connections.findOwned(tenant, id, owner);
    if (found !== undefined) return found;
    await connections.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector: id, owner, now: clock.now() });
    const reserved = await connections.findOwned(tenant, id, owner);
    if (reserved === undefined) throw fail('conflict');
    return reserved;
  }

  async function refused(
    raw: RawAnswer,
    registration: Registration,
    asked: Asked,
    failed: (code: ErrorCode, given?: Partial<Extract<Outcome, { kind: 'failed' }>>) => Outcome,
  ): Promise<Outcome> {
    const judged = judge(raw);
    if (judged.kind === 'tokens') return failed('exchange_failed');
    if (judged.kind === 'unreadable') {
      return failed('exchange_failed', { message: `The token endpoint gave no usable answer: ${judged.why}.` });
    }
    if (/redirect/i.test(judged.code)) {
      return failed('redirect_uri_mismatch', { redirectUri: registration.redirectUri });
    }
    if (
      /^(invalid_client|unauthorized_client|incorrect_client_credentials|bad_client_secret|invalid_client_id)$/.test(
        judged.code,
      )
    ) {
      const alive = await registrations.proveAlive(
        { ...registration, createdAt: 0 },
        { issuer: asked.terms.issuer, tokenEndpoint: asked.terms.tokenEndpoint },
      );
      return alive ? failed('client_refused') : failed('client_vanished');
    }
    return failed('exchange_failed', { message: `The service refused to exchange the code: ${judged.code}.` });
  }

  /** Turns a staged answer into the credential, in one commit. */
  async function settle(
    connector: Connector,
    row: Connection,
    staged: StagedConnect,
    onRefusal: () => Promise<Outcome>,
  ): Promise<Outcome> {
    const judged = judge(staged.raw);
    if (judged.kind !== 'tokens') {
      await connections.change(row, { staged: null }, clock.now());
      return await onRefusal();
    }
    const { tokens: answer } = judged;
    const { asked } = staged;
    if (/^(dpop|mac|n_a)$/i.test(answer.tokenType ?? '')) {
      await connections.change(row, { staged: null }, clock.now());
      const error = fail('token_type_unsupported');
      return { kind: 'failed', code: error.code, message: error.message, hint: error.hint, returnTo: asked.returnTo };
    }
    const account = accountOf(answer);
    const refreshToken = answer.refreshToken ?? (await keptRefreshToken(row, account));
    const generation = row.generation + 1;
    const fields: Record<string, string> = {};
    for (const name of connector.oauth?.fields ?? []) {
      const value = answer.members[name];
      if (typeof value === 'string' || typeof value === 'number') fields[name] = String(value);
    }
    const granted = answer.scopes ?? asked.scopes;
    const settings = connector.oauth?.refreshToken;
    const renewable = refreshToken !== null && settings?.enabled !== false;
    const committed = await connections.connect(row, {
      sealed: await sealing.sealTokens(row, generation, {
        access_token: answer.accessToken,
        refresh_token: refreshToken,
        fields,
      }),
      generation,
      issuedAt: staged.raw.sentAt,
      expiresAt: answer.expiresAt,
      grantExpiresAt: answer.grantExpiresAt,
      nextRefreshAt:
        renewable && answer.expiresAt !== null
          ? aheadOfTime({
              from: staged.raw.sentAt,
              expiresAt: answer.expiresAt,
              bufferMs: (settings?.bufferTime ?? 300) * 1_000,
              jitter: Math.random(),
            })
          : null,
      terms: { ...asked.terms, grantedKnown: answer.scopes !== null },
      scopesGranted: granted,
      registration: staged.registration,
      scopesRequested: asked.scopes,
      account,
      now: clock.now(),
    });
    if (!committed) {
      // The row moved on between staging and now: the newer state is read and the same answer settled on it.
      const current = await connections.find(row.tenant, row.id);
      if (current === undefined || current.generation === row.generation) throw fail('conflict');
      await connections.stageConnect(current, await sealing.sealStaged(current, staged));
      return await settle(connector, current, staged, onRefusal);
    }
    const connected = await connections.find(row.tenant, row.id);
    if (connected === undefined) throw fail('conflict');
    await options.onConnected(connected, staged.user, staged.flow);
    const named = await nameOf(connected, connector, staged, account, answer.accessToken);
    return {
      kind: 'connected',
      connection: row.id,
      account: named,
      previousAccount:
        row.accountSubject !== null && named.subject !== null && row.accountSubject !== named.subject
          ? (row.accountLabel ?? row.accountSubject)
          : null,
      granted,
      refused:
        answer.scopes === null
          ? []
          : asked.scopes.filter((scope) => !granted.includes(scope) && scope !== 'offline_access'),
      renewable: refreshToken !== null,
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

  /** Google gives a refresh token at the first consent only; the old one is good as long as it is the same person's. */
  async function keptRefreshToken(row: Connection, account: Account): Promise<string | null> {
    if (row.sealed === null || account.subject === null || row.accountSubject !== account.subject) return null;
    const { refresh_token: old } = await sealing.openTokens(row);
    return old !== null && hashToken(old) !== row.tombstone ? old : null;
  }

  return {
    preview,
    async begin({ connector, user, owner, scopes: extra, flow, returnTo, browser }) {
      const { found, scopes } = await preview(connector, extra, owner);
      const registration = await registrations.ensure(connector, found);
      const { oauth } = connector;
      const state = newToken(32);
      const verifier = oauth?.pkce === false ? null : newToken(48);
      const resource = resourceOf(connector, found);
      const asked: Asked = {
        verifier,
        issuer: found.issuer,
        typed: found.typed,
        issPromised: found.issPromised,
        scopes,
        returnTo,
        owner,
        terms: {
          issuer: found.issuer,
          tokenEndpoint: found.tokenEndpoint,
          revocationEndpoint: found.revocationEndpoint,
          userinfoEndpoint: found.userinfoEndpoint,
          introspectionEndpoint: found.introspectionEndpoint,
          resource,
          scopeOnRefresh: null,
          clientId: registration.clientId,
          authMethod: registration.authMethod,
        },
      };
      const now = clock.now();
      const stateHash = hashToken(state);
      await store.addPending(
        {
          tenant: connector.tenant,
          stateHash,
          user,
          connector: connector.id,
          registration: registration.id,
          browserHash: hashToken(browser),
          sealed: await sealing.sealFor(connector.tenant, stateHash, 'pending', asked),
          flow,
          createdAt: now,
          expiresAt: now + PENDING_MS,
          consumedAt: null,
          outcome: null,
        },
        now,
      );
      const url = new URL(found.authorizationEndpoint);
      const parameters: Record<string, string | null> = {
        ...oauth?.additionalParams,
        response_type: 'code',
        client_id: registration.clientId,
        redirect_uri: registration.redirectUri,
        state,
        code_challenge: verifier === null ? null : await calculatePKCECodeChallenge(verifier),
        code_challenge_method: verifier === null ? null : 'S256',
        scope: scopes.length === 0 ? null : scopes.join(oauth?.scopeSeparator ?? ' '),
        resource,
      };
      for (const [name, value] of Object.entries(parameters)) if (value !== null) url.searchParams.set(name, value);
      return { url: url.href, registration };
    },

    async finish(pending, registration, query) {
      const key = `${pending.tenant}/${pending.stateHash}`;
      const running = underWay.get(key);
      if (running !== undefined) return await running;
      if (!(await store.consumePending(pending, clock.now()))) return await concluded(pending, registration);
      const work = finish(pending, registration, query)
        .catch((thrown: unknown): Outcome => {
          const error = asValetkeyError(thrown);
          log.error({ err: error, flow: pending.flow }, 'a connect could not be finished');
          return { kind: 'failed', code: error.code, message: error.message, hint: error.hint, returnTo: null };
        })
        .then(async (outcome) => {
          await store.concludePending(pending, JSON.stringify(outcome));
          return outcome;
        })
        .finally(() => underWay.delete(key));
      underWay.set(key, work);
      return await work;
    },

    async settled() {
      while (underWay.size > 0) await Promise.all(underWay.values());
    },

    async recoverStaged(minimumAgeMs) {
      let recovered = 0;
      for (const row of await connections.stagedConnects()) {
        const connector = options.connectorById(row.tenant, row.connector);
        if (connector === undefined) continue;
        const staged = await sealing.openStaged<StagedConnect | { kind: 'refresh' }>(row);
        // A younger one may be in the hands of another process.
        if (staged.kind !== 'connect' || clock.now() - staged.raw.sentAt < minimumAgeMs) continue;
        const outcome = await settle(connector, row, staged, async () => {
          const error = fail('exchange_failed');
          return { kind: 'failed', code: error.code, message: error.message, hint: error.hint, returnTo: null };
        });
        if (outcome.kind === 'connected') recovered += 1;
        log.info({ connection: row.id, outcome: outcome.kind }, 'an answer committed before a stop was settled');
      }
      return recovered;
    },
  };

  /** A second hit of the same callback, perhaps while the first one is still at work in another process. */
  async function concluded(pending: Pending, registration: Registration): Promise<Outcome> {
    for (let waited = 0; waited < 40_000; waited += 250) {
      const current = await store.pending(registration, pending.stateHash);
      if (current?.outcome) return JSON.parse(current.outcome) as Outcome;
      await clock.sleep(250);
    }
    const error = fail('exchange_failed');
    return { kind: 'failed', code: error.code, message: error.message, hint: error.hint, returnTo: null };
  }
}

function authorizationError(
  code: string,
  registration: Registration,
): [ErrorCode, Partial<Extract<Outcome, { kind: 'failed' }>>?] {
  if (/^(access_denied|user_denied|consent_required|login_required|user_cancelled.*)$/.test(code))
    return ['connect_denied'];
  if (/redirect/.test(code)) return ['redirect_uri_mismatch', { redirectUri: registration.redirectUri }];
  if (code === 'unauthorized_client' || code === 'invalid_client') return ['client_refused'];
  return ['authorization_failed', { message: `The service ended the sign-in with: ${printable(code)}.` }];
}
