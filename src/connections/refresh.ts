import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES, type ServiceRules } from '../connectors/provider-rules.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { hashToken, newId, newToken, type ConnectionId, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import { createBreaker } from './breaker.ts';
import type { ConnectStore, Registration } from './connect-store.ts';
import { usableUntil, type Connection, type Intent, type LastError, type Tokens } from './connection.ts';
import { createIntentWatch, DEADLINE_MS } from './intent-watch.ts';
import type { Persist } from './persist.ts';
import type { Refusal } from './refusal.ts';
import {
  createAnswers,
  errorOf,
  MISCONFIGURED_MS,
  POLL_MS,
  withIntent,
  type Renewal,
  type Step,
} from './refresh-answer.ts';
import type { Registrations } from './registration.ts';
import { formOf, urlWith } from './rules.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import { judge, type Judged, type RawAnswer } from './token-answer.ts';
import type { ClientIdentity, TokenEndpoint } from './token-request.ts';
import { mayHoldTokens, neverSent } from './unread-answer.ts';

/** Why a refresh is wanted; `ahead` and `sweep` have nobody waiting. */
type Reason = 'ahead' | 'expired' | 'rejected' | 'sweep';

export type { Renewal, Step } from './refresh-answer.ts';

const WAITING: ReadonlySet<Reason> = new Set(['expired', 'rejected']);

/** Whole exchange; the connection has to stand within a sixth of it. */
const SEND_MS = 30_000;
/** A wait within one call; what takes longer is left to the sweep. */
const MAX_WAIT_IN_CALL_MS = 4_000;
/** Until an owner has said whether this database is the one. */
const DOUBT_MS = 60_000;
/** Writes of one flight that find another row than it has read. More than that, and something else is wrong. */
const MAX_LOST_WRITES = 20;

export type Refresh = {
  /** Notes the attempt of a row as it stands, and tells whether it may be acted on now. */
  ripe(row: Pick<Connection, 'id' | 'intent' | 'intentText'>): boolean;
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
  /** While there is doubt, nothing is sent. */
  epoch?: { doubt(): unknown; number(): number } | undefined;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  onChanged: (row: Connection) => Promise<void>;
  /** A connection now needs its owner. */
  onDead: (row: Connection, refusal: Refusal) => Promise<void>;
  onStep?: ((step: Step, connection: ConnectionId) => void | Promise<void>) | undefined;
}): Refresh {
  const { store, registrations, tokens, sealing, clock, log } = options;
  const instance = options.instance === undefined ? undefined : `${options.instance}/`;
  const processId = `${instance ?? ''}${newToken(9)}`;
  const flights = new Map<string, { work: Promise<Renewal>; waits: boolean }>();
  const providers = createBreaker({ clock, threshold: 5, baseMs: 1_000 });
  const clients = createBreaker({ clock, threshold: 1, baseMs: 30_000 });
  const watch = createIntentWatch({
    clock,
    isOurs: (intent) =>
      options.exclusive ||
      intent.process === processId ||
      (instance !== undefined && intent.process.startsWith(instance)),
  });
  const answers = createAnswers({
    ...options,
    step: async (name, row) => await step(name, row),
    watch,
    providers,
    clients,
  });
  const { settle, stayOpen, postpone, misconfigured, giveUp, tidy } = answers;
  const waiting = new Set<() => void>();
  let stopping = false;

  const step = async (name: Step, row: Connection): Promise<void> => await options.onStep?.(name, row.id);
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
    for (let sent = 0, lostWrites = 0; ;) {
      if (lostWrites > MAX_LOST_WRITES) {
        log.error({ connection: wanted.id, lostWrites }, 'a refresh goes round without getting anywhere');
        return { kind: 'postponed', retryAfterMs: 1_000 };
      }
      const row = await store.find(wanted.tenant, wanted.id);
      if (row === undefined || row.status === 'revoked' || row.status === 'pending') return { kind: 'gone' };
      if (row.generation !== wanted.generation) return { kind: 'renewed', row };
      if (row.status === 'needs_reconnect') await tidy(row);
      if (row.status === 'needs_reconnect' || row.status === 'quarantined') return { kind: 'dead' };
      const connector = options.connectorById(row.tenant, row.connector);
      if (connector?.oauth == null) return { kind: 'gone' };
      const settings = connector.oauth.refreshToken;
      const now = clock.now();
      const usable = reason !== 'rejected' && usableUntil(row.expiresAt, row.issuedAt) > now;

      // Nothing is even begun: on a copy of a database the refresh token may be somebody else's by now.
      if (options.epoch?.doubt() !== undefined) {
        return { kind: 'postponed', retryAfterMs: DOUBT_MS, told: errorOf('instance_not_adopted') };
      }
      const { registration, held, terms, client } = await prepare(row, connector);
      // An open attempt runs on, whatever the settings say by now: its refresh token may be spent already.
      if (held.refresh_token === null || (row.attempt === null && !settings.enabled)) {
        if (usable) return { kind: 'kept', row };
        const change = { status: 'needs_reconnect', lastError: errorOf('not_renewable'), nextRefreshAt: null } as const;
        const changed =
          row.attempt === null
            ? await store.change(row, change, now)
            : await store.closeAttempt(row, row.attempt, change, now);
        if (!changed) {
          lostWrites += 1;
          continue;
        }
        await options.onChanged(row);
        return { kind: 'dead' };
      }
      // A refused refresh token is tried once more when the access token has ended, and then never again.
      const refusedBefore = row.tombstone === hashToken(held.refresh_token);
      if (refusedBefore && row.status !== 'suspect') return { kind: 'dead' };
      if (refusedBefore && usable) return { kind: 'kept', row };

      let attempted: Connection;
      // Its own deadline counts from before the commit, that of others from when they first see it.
      const began = { monotonic: clock.monotonic(), wall: now };
      if (row.attempt !== null && row.intent !== null) {
        const { intent } = row;
        const { heldMs, waitMs } = watch.look(row);
        if (heldMs > 0) {
          if (!waits) return { kind: 'postponed', retryAfterMs: heldMs, told: row.lastError };
          await changed(Math.min(POLL_MS, heldMs));
          continue;
        }
        const staged = row.staged === null ? undefined : await readStaged(row, connector);
        if (staged !== undefined && staged.judged.kind === 'unreadable') {
          if (waitMs > 0) return { kind: 'postponed', retryAfterMs: waitMs, told: row.lastError };
          return await stayOpen(row, intent, MISCONFIGURED_MS, errorOf('refresh_unreadable'));
        }
        if (staged === undefined && waitMs > 0) {
          if (!(await worthWaiting(waitMs, waits && sent < settings.maxRetries)))
            return { kind: 'postponed', retryAfterMs: waitMs, told: row.lastError };
          continue;
        }
        // Its holder may have spent the refresh token, and is gone.
        const lost = (intent.lost ?? 0) + (intent.deadline === 0 ? 0 : 1);
        if (staged === undefined && lost > 0 && connector.oauth.rules.rotation.reuse === 'ends_user') {
          // One replay, and only when nothing is left to lose by it.
          const left = usableUntil(row.expiresAt, row.issuedAt) - now;
          if (usable) return { kind: 'postponed', retryAfterMs: Math.min(left, MISCONFIGURED_MS) };
          if (lost > 1) return await giveUp(row, row.attempt, held);
        }
        const admitted = staged === undefined ? admit(terms.tokenEndpoint, registration) : 0;
        if (admitted > 0) return { kind: 'postponed', retryAfterMs: admitted, told: toldBy(row, registration) };
        // The same attempt, the same fence: its answer was lost, or its holder is.
        const next: Intent = {
          ...intent,
          deadline: now + DEADLINE_MS,
          notBefore: 0,
          asked: 0,
          lost,
          replays: intent.replays + 1,
          process: processId,
        };
        if (!(await store.moveIntent(row, next))) {
          lostWrites += 1;
          continue;
        }
        attempted = withIntent(row, row.attempt, next);
        if (staged !== undefined) {
          const { raw, judged } = staged;
          const read = await settle(attempted, connector, registration, held, raw, judged, usable);
          if (read !== 'again') return read;
          lostWrites += 1;
          continue;
        }
      } else {
        const admitted = admit(terms.tokenEndpoint, registration);
        if (admitted > 0) return { kind: 'postponed', retryAfterMs: admitted, told: toldBy(row, registration) };
        const attempt = newId<string>('att');
        const intent: Intent = {
          generation: row.generation,
          started: now,
          deadline: now + DEADLINE_MS,
          notBefore: 0,
          asked: 0,
          lost: 0,
          replays: 0,
          process: processId,
          epoch: options.epoch?.number() ?? 0,
        };
        // Durable before anything leaves: a store that cannot commit spends no refresh token.
        if (!(await store.takeIntent(row, attempt, intent))) {
          lostWrites += 1;
          continue;
        }
        attempted = withIntent(row, attempt, intent);
      }
      await step('intent_committed', attempted);
      sent += 1;
      const result = await exchange(attempted, connector, registration, client, held, usable, began);
      if (result !== 'again') {
        const again = result.kind === 'postponed' && waits && sent <= settings.maxRetries;
        if (again && (await worthWaiting(result.retryAfterMs, true))) continue;
        return result;
      }
    }
  }

  /** An answer that could not be read when it came, judged by what is known now. */
  async function readStaged(
    row: Connection,
    connector: Connector,
  ): Promise<{ raw: RawAnswer; judged: Judged } | undefined> {
    const staged = await sealing.openStaged<{ kind: string; raw: RawAnswer }>(row);
    if (staged.kind !== 'refresh') return undefined;
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
    const judged = judge(staged.raw, rules);
    return judged.kind === 'unreadable' && !mayHoldTokens(staged.raw, rules) ? undefined : { raw: staged.raw, judged };
  }

  const toldBy = (row: Connection, registration: Registration): LastError | null =>
    clients.admit(registration.id) > 0 ? errorOf('client_refused') : row.lastError;

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
    usable: boolean,
    began: { monotonic: number; wall: number },
  ): Promise<Renewal | 'again'> {
    const { intent, terms } = row;
    if (intent === null || terms === null) throw fail('internal');
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
    const known = { ...terms.values, ...held.fields };
    const endpoint = urlWith(rules, rules.refresh.url, known) ?? terms.tokenEndpoint;
    const origin = new URL(terms.tokenEndpoint).origin;
    const repeatsRedirect = rules.refresh.repeat.includes('redirect_uri') && terms.redirectUri !== undefined;
    await step('before_send', row);
    // A process that was held up until now may find another one at work: it must not send any more.
    // Two clocks, since one can be set and the other stands still while the machine sleeps.
    const passed = Math.max(clock.monotonic() - began.monotonic, clock.now() - began.wall);
    if (passed > DEADLINE_MS - SEND_MS) return { kind: 'postponed', retryAfterMs: POLL_MS };
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
      const { reuse } = rules.rotation;
      const harmful = (reuse === 'ends_grant' || reuse === 'ends_user') && !neverSent(error);
      const risked = harmful ? { ...intent, lost: (intent.lost ?? 0) + 1 } : intent;
      // Where a second use ends the grant, the token at hand is used up before the answer is risked.
      if (harmful && usable && row.expiresAt !== null) {
        const left = usableUntil(row.expiresAt, row.issuedAt) - clock.now();
        return await stayOpen(row, risked, Math.max(0, left), errorOf('refresh_postponed'));
      }
      const atOnce = intent.replays === 0 && error.code !== 'egress_timeout' && reuse !== 'ends_user' && !stopping;
      return atOnce ? 'again' : await postpone(row, risked, connector, null);
    }
    await step('answer_received', row);
    return await settle(row, connector, registration, held, raw, judge(raw, rules), usable);
  }

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
      .then((result) => {
        const { id: connection, generation } = row;
        const connector = options.connectorById(row.tenant, row.connector)?.name;
        const level = result.kind === 'postponed' || result.kind === 'kept' ? 'debug' : 'info';
        log[level]({ connection, connector, generation, reason, outcome: result.kind }, 'a refresh is over');
        return result;
      })
      .catch((thrown: unknown): Renewal => {
        log.error({ err: asValetkeyError(thrown), connection: row.id }, 'a refresh failed inside the gateway');
        return { kind: 'postponed', retryAfterMs: 1_000 };
      })
      .finally(() => flights.delete(key));
    flights.set(key, { work, waits });
    return await work;
  }

  return {
    ripe(row) {
      const { heldMs, waitMs } = watch.look(row);
      return heldMs === 0 && waitMs === 0;
    },
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
