import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES, type ServiceRules } from '../connectors/provider-rules.ts';
import { asValetkeyError, fail, type ErrorCode } from '../errors.ts';
import { hashToken, newId, newToken, type ConnectionId, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import { createBreaker } from './breaker.ts';
import type { ConnectStore, Registration } from './connect-store.ts';
import { backoffMs, usableUntil, type Connection, type Intent, type LastError, type Tokens } from './connection.ts';
import type { Persist } from './persist.ts';
import { classify, toldOf, type Refusal } from './refusal.ts';
import type { Registrations } from './registration.ts';
import { formOf, urlWith } from './rules.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import { judge, type RawAnswer } from './token-answer.ts';
import type { ClientIdentity, TokenEndpoint } from './token-request.ts';

/** Why a refresh is wanted; `ahead` and `sweep` have nobody waiting. */
type Reason = 'ahead' | 'expired' | 'rejected' | 'sweep';

const WAITING: ReadonlySet<Reason> = new Set(['expired', 'rejected']);

export type Renewal =
  /** `row` holds a newer credential than the one that was to be replaced. */
  | { kind: 'renewed'; row: Connection }
  /** Not renewed, but the access token is good until it ends: refused once, or not renewable. */
  | { kind: 'kept'; row: Connection }
  | { kind: 'dead' }
  | { kind: 'gone' }
  | { kind: 'postponed'; retryAfterMs: number };

/** Named places where a process can die; drills stop it there. */
export type Step =
  | 'intent_committed'
  | 'before_send'
  | 'answer_received'
  | 'answer_staged'
  | 'before_commit'
  | 'credential_committed'
  | 'refusal_received'
  | 'attempt_closed'
  | 'attempt_postponed';

/** Whole exchange; the connection has to stand within a sixth of it. */
const SEND_MS = 30_000;
/** Longer than the exchange and its commit: while it lasts nobody else may send. */
const DEADLINE_MS = 45_000;
/** How often a waiting process looks at the row itself; notices only make it sooner. */
const POLL_MS = 500;
/** A wait within one call; what takes longer is left to the sweep. */
const MAX_WAIT_IN_CALL_MS = 4_000;
const MISCONFIGURED_MS = 5 * 60_000;

export type Refresh = {
  /** Joins the refresh that is under way for this credential; never cancelled by whoever waits. */
  renew(row: Connection, reason: Reason): Promise<Renewal>;
  /** To be called when a row may have changed elsewhere. */
  wake(): void;
  /** No further repeats; resolves when every exchange has been answered and stored. */
  stop(): Promise<void>;
};

export function createRefresh(options: {
  store: ConnectionStore;
  registrationOf: ConnectStore['registration'];
  registrations: Registrations;
  tokens: TokenEndpoint;
  sealing: Sealing;
  persist: Persist;
  clock: Clock;
  log: Log;
  /** True where no other process can have the store open, so that foreign attempts are left-overs of dead ones. */
  exclusive: boolean;
  /** A name that this process alone has, and has again after a restart: its earlier attempts are then left-overs too. */
  instance?: string | undefined;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  onChanged: (row: Connection) => Promise<void>;
  /** A connection now needs its owner. */
  onDead: (row: Connection, refusal: Refusal) => Promise<void>;
  onStep?: ((step: Step, connection: ConnectionId) => void | Promise<void>) | undefined;
}): Refresh {
  const { store, registrations, tokens, sealing, persist, clock, log } = options;
  const instance = options.instance === undefined ? undefined : `${options.instance}/`;
  const processId = `${instance ?? ''}${newToken(9)}`;
  const flights = new Map<string, { work: Promise<Renewal>; waits: boolean }>();
  const providers = createBreaker({ clock, threshold: 5, baseMs: 1_000 });
  const clients = createBreaker({ clock, threshold: 1, baseMs: 30_000 });
  const waiting = new Set<() => void>();
  let stopping = false;

  const step = async (name: Step, row: Connection): Promise<void> => await options.onStep?.(name, row.id);
  const errorOf = (code: ErrorCode): LastError => {
    const { message, hint } = fail(code);
    return { code, message, hint };
  };

  /** What a refresh needs besides the row; read before anything is committed, since reading it can fail. */
  async function prepare(row: Connection, connector: Connector) {
    if (row.terms === null || row.registration === null) throw fail('unsealing_failed', { detail: { row: row.id } });
    const registration = await options.registrationOf(row.tenant, row.registration);
    if (registration === undefined) throw fail('not_found', { detail: { registration: row.registration } });
    const held = await sealing.openTokens(row);
    const identity = await registrations.identity(registration, connector);
    return { registration, held, terms: row.terms, client: { ...identity, clientId: row.terms.clientId } };
  }

  async function flight(wanted: Connection, reason: Reason): Promise<Renewal> {
    const waits = WAITING.has(reason);
    for (let sent = 0; ;) {
      const row = await store.find(wanted.tenant, wanted.id);
      if (row === undefined || row.status === 'revoked' || row.status === 'pending') return { kind: 'gone' };
      if (row.generation !== wanted.generation) return { kind: 'renewed', row };
      if (row.status === 'needs_reconnect' || row.status === 'quarantined') return { kind: 'dead' };
      const connector = options.connectorById(row.tenant, row.connector);
      if (connector?.oauth == null) return { kind: 'gone' };
      const settings = connector.oauth.refreshToken;
      const now = clock.now();
      const usable = reason !== 'rejected' && usableUntil(row.expiresAt, row.issuedAt) > now;

      const { registration, held, terms, client } = await prepare(row, connector);
      if (held.refresh_token === null || !settings.enabled) {
        if (usable) return { kind: 'kept', row };
        const change = { status: 'needs_reconnect', lastError: errorOf('not_renewable'), nextRefreshAt: null } as const;
        if (!(await store.change(row, change, now))) continue;
        await options.onChanged(row);
        return { kind: 'dead' };
      }
      // A refused refresh token is tried once more when the access token has ended, and then never again.
      const refusedBefore = row.tombstone === hashToken(held.refresh_token);
      if (refusedBefore && row.status !== 'suspect') return { kind: 'dead' };
      if (refusedBefore && usable) return { kind: 'kept', row };

      let attempted: Connection;
      if (row.attempt !== null && row.intent !== null) {
        const { intent } = row;
        if (intent.notBefore > now) {
          const wait = intent.notBefore - now;
          if (!(await worthWaiting(wait, waits && sent < settings.maxRetries)))
            return { kind: 'postponed', retryAfterMs: wait };
          continue;
        }
        if (mayBeAtWork(intent) && intent.deadline > now) {
          if (!waits) return { kind: 'postponed', retryAfterMs: intent.deadline - now };
          await changed(Math.min(POLL_MS, intent.deadline - now));
          continue;
        }
        const admitted = admit(terms.tokenEndpoint, registration);
        if (admitted > 0) return { kind: 'postponed', retryAfterMs: admitted };
        // The same attempt, the same fence: its answer was lost, or its holder is.
        const next = {
          ...intent,
          deadline: now + DEADLINE_MS,
          notBefore: 0,
          replays: intent.replays + 1,
          process: processId,
        };
        if (!(await store.moveIntent(row, next))) continue;
        attempted = withIntent(row, row.attempt, next);
      } else {
        const admitted = admit(terms.tokenEndpoint, registration);
        if (admitted > 0) return { kind: 'postponed', retryAfterMs: admitted };
        const attempt = newId<string>('att');
        const intent: Intent = {
          generation: row.generation,
          started: now,
          deadline: now + DEADLINE_MS,
          notBefore: 0,
          replays: 0,
          process: processId,
          epoch: 0,
        };
        // Durable before anything leaves: a store that cannot commit spends no refresh token.
        if (!(await store.takeIntent(row, attempt, intent))) continue;
        attempted = withIntent(row, attempt, intent);
      }
      await step('intent_committed', attempted);
      sent += 1;
      const result = await exchange(attempted, connector, registration, client, held, reason, usable);
      if (result !== 'again') {
        const again = result.kind === 'postponed' && waits && sent <= settings.maxRetries;
        if (again && (await worthWaiting(result.retryAfterMs, true))) continue;
        return result;
      }
    }
  }

  function mayBeAtWork(intent: Intent): boolean {
    if (options.exclusive || intent.process === processId) return false;
    return instance === undefined || !intent.process.startsWith(instance);
  }

  function admit(endpoint: string, registration: Registration): number {
    return Math.max(clients.admit(registration.id), providers.admit(new URL(endpoint).origin));
  }

  async function worthWaiting(ms: number, wanted: boolean): Promise<boolean> {
    if (!wanted || stopping || ms > MAX_WAIT_IN_CALL_MS) return false;
    await clock.sleep(ms);
    return !stopping;
  }

  async function changed(ms: number): Promise<void> {
    let wake = (): void => undefined;
    const notice = new Promise<void>((resolve) => {
      wake = resolve;
      waiting.add(resolve);
    });
    await Promise.race([notice, clock.sleep(ms)]);
    waiting.delete(wake);
  }

  /** Sends once and settles what came. `again`: the answer was lost, and the same attempt goes out again at once. */
  async function exchange(
    row: Connection,
    connector: Connector,
    registration: Registration,
    client: ClientIdentity,
    held: Tokens,
    reason: Reason,
    usable: boolean,
  ): Promise<Renewal | 'again'> {
    const { attempt, intent, terms } = row;
    if (attempt === null || intent === null || terms === null) throw fail('internal');
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
    const known = { ...terms.values, ...held.fields };
    const endpoint = urlWith(rules, rules.refresh.url, known) ?? terms.tokenEndpoint;
    const origin = new URL(terms.tokenEndpoint).origin;
    const repeatsRedirect = rules.refresh.repeat.includes('redirect_uri') && terms.redirectUri !== undefined;
    await step('before_send', row);
    // A process that was held up until now may find another one at work: it must not send any more.
    if (clock.now() > intent.deadline - SEND_MS) return { kind: 'postponed', retryAfterMs: POLL_MS };
    let raw: RawAnswer;
    try {
      raw = await tokens.send({
        issuer: terms.issuer,
        endpoint,
        client,
        form: formOf(rules, 'refresh'),
        parameters: {
          ...rules.refresh.parameters,
          grant_type: 'refresh_token',
          refresh_token: held.refresh_token ?? '',
          ...(repeatsRedirect ? { redirect_uri: terms.redirectUri } : {}),
          ...(terms.resource === null ? {} : { resource: terms.resource }),
          ...(terms.scopeOnRefresh == null ? {} : { scope: terms.scopeOnRefresh }),
        },
        timeoutMs: sendMs(rules),
      });
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      log.warn({ err: error, connection: row.id }, 'a refresh got no answer');
      if (error.code === 'egress_blocked' || error.code === 'egress_insecure' || error.code === 'egress_redirect') {
        return await misconfigured(row, intent, error.message);
      }
      providers.failed(origin);
      // Where a second use ends the grant, the token at hand is used up before the answer is risked.
      if (rules.rotation.reuse === 'ends_grant' && usable && row.expiresAt !== null) {
        const left = usableUntil(row.expiresAt, row.issuedAt) - clock.now();
        return await stayOpen(row, intent, Math.max(0, left), errorOf('refresh_postponed'));
      }
      const atOnce = intent.replays === 0 && error.code !== 'egress_timeout' && !stopping;
      return atOnce ? 'again' : await postpone(row, intent, connector, null);
    }
    await step('answer_received', row);
    const judged = judge(raw, rules);
    if (judged.kind === 'tokens') {
      providers.succeeded(origin);
      clients.succeeded(registration.id);
      const answer = judged.tokens;
      await step('before_commit', row);
      const stored = await persist.refreshed(row, attempt, held, answer, raw.sentAt, connector);
      await step('credential_committed', row);
      if (stored.kind === 'late') return { kind: 'gone' };
      if (stored.kind === 'superseded') return 'again';
      await options.onChanged(stored.row);
      return { kind: 'renewed', row: stored.row };
    }
    if (raw.status >= 200 && raw.status < 300) {
      await store.stage(row, attempt, await sealing.sealStaged(row, { kind: 'refresh', raw }));
      await step('answer_staged', row);
    }
    const refusal = classify(raw, judged, rules.errors);
    log.warn(
      { connection: row.id, class: refusal.class, error: refusal.code, status: raw.status },
      'a refresh was refused',
    );
    await step('refusal_received', row);
    switch (refusal.class) {
      case 'grant_dead':
      case 'interaction':
        providers.succeeded(origin);
        return await bury(row, attempt, held, refusal, usable);
      case 'client_config': {
        providers.succeeded(origin);
        return await blameClient(row, intent, registration, refusal);
      }
      case 'request_bug':
        providers.succeeded(origin);
        return await misconfigured(row, intent, `The service refuses the refresh request: ${refusal.code}.`);
      default:
        providers.failed(origin, raw.retryAfterMs);
        return await postpone(row, intent, connector, raw.retryAfterMs);
    }
  }

  /** The attempt stays open, under its fence, until it gets an answer about the grant: it may have been processed. */
  async function stayOpen(row: Connection, intent: Intent, wait: number, lastError: LastError): Promise<Renewal> {
    const now = clock.now();
    await store.moveIntent(row, { ...intent, deadline: now, notBefore: now + wait }, lastError);
    await step('attempt_postponed', row);
    return { kind: 'postponed', retryAfterMs: wait };
  }

  async function postpone(
    row: Connection,
    intent: Intent,
    connector: Connector,
    retryAfterMs: number | null,
  ): Promise<Renewal> {
    const base = connector.oauth?.refreshToken.retryDelay ?? 1_000;
    const wait = Math.max(retryAfterMs ?? 0, backoffMs(intent.replays, Math.max(100, base), Math.random()));
    return await stayOpen(row, intent, wait, errorOf('refresh_postponed'));
  }

  /** The provider says that the grant is over. Nothing is deleted; the refused token is marked. */
  async function bury(
    row: Connection,
    attempt: string,
    held: Tokens,
    refusal: Refusal,
    usable: boolean,
  ): Promise<Renewal | 'again'> {
    const suspect = usable && row.status !== 'suspect' && refusal.class === 'grant_dead';
    const closed = await store.closeAttempt(
      row,
      attempt,
      {
        status: suspect ? 'suspect' : 'needs_reconnect',
        lastError: errorOf(toldOf(refusal)),
        tombstone: hashToken(held.refresh_token ?? ''),
        nextRefreshAt: suspect ? row.expiresAt : null,
        staged: null,
      },
      clock.now(),
    );
    // A sibling has moved the row: whatever it found there holds, and the refusal was about an older token.
    if (!closed) return 'again';
    await step('attempt_closed', row);
    const current = await store.find(row.tenant, row.id);
    if (current === undefined) return { kind: 'gone' };
    await options.onChanged(current);
    await options.onDead(current, refusal);
    return suspect ? { kind: 'kept', row: current } : { kind: 'dead' };
  }

  /** Client authentication comes before the token is looked at: nothing was spent, and no user is to blame. */
  async function blameClient(
    row: Connection,
    intent: Intent,
    registration: Registration,
    refusal: Refusal,
  ): Promise<Renewal> {
    clients.failed(registration.id);
    const postponed = await stayOpen(row, intent, clients.admit(registration.id), errorOf('client_refused'));
    log.error({ registration: registration.id, error: refusal.code }, 'the service does not accept our client');
    const terms = row.terms;
    if (registration.kind === 'dynamic' && terms !== null && refusal.code !== 'unauthorized_client') {
      const probe = { issuer: terms.issuer, tokenEndpoint: terms.tokenEndpoint };
      if (!(await registrations.proveAlive({ ...registration, createdAt: 0 }, probe))) return { kind: 'dead' };
    }
    return postponed;
  }

  const misconfigured = async (row: Connection, intent: Intent, message: string): Promise<Renewal> =>
    await stayOpen(row, intent, MISCONFIGURED_MS, { ...errorOf('refresh_refused'), message });

  async function renew(row: Connection, reason: Reason): Promise<Renewal> {
    const key = `${row.tenant}/${row.id}/${row.generation}`;
    const waits = WAITING.has(reason);
    const running = flights.get(key);
    if (running !== undefined) {
      const result = await running.work;
      // One that nobody waited for gives up sooner than this caller would.
      return result.kind === 'postponed' && waits && !running.waits ? await renew(row, reason) : result;
    }
    const work = flight(row, reason)
      .catch((thrown: unknown): Renewal => {
        log.error({ err: asValetkeyError(thrown), connection: row.id }, 'a refresh failed inside the gateway');
        return { kind: 'postponed', retryAfterMs: 1_000 };
      })
      .finally(() => flights.delete(key));
    flights.set(key, { work, waits });
    return await work;
  }

  return {
    renew,
    wake() {
      for (const resolve of waiting) resolve();
    },
    async stop() {
      stopping = true;
      while (flights.size > 0) await Promise.all([...flights.values()].map(({ work }) => work));
    },
  };
}

/** A third of the time for which the service still answers the old token, so that there is time for a repeat. */
function sendMs(rules: ServiceRules): number {
  const { graceSeconds } = rules.rotation;
  return graceSeconds === undefined ? SEND_MS : Math.min(SEND_MS, Math.max(5_000, (graceSeconds * 1_000) / 3));
}

function withIntent(row: Connection, attempt: string, intent: Intent): Connection {
  return { ...row, attempt, intent, intentText: JSON.stringify(intent) };
}
