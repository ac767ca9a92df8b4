import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { PLAIN_RULES } from '../connectors/provider-rules.ts';
import { fail, type ErrorCode } from '../errors.ts';
import { hashToken } from '../ids.ts';
import type { Log } from '../log.ts';
import type { createBreaker } from './breaker.ts';
import type { Registration } from './connect-store.ts';
import { backoffMs, type Connection, type Intent, type LastError, type Tokens } from './connection.ts';
import type { IntentWatch } from './intent-watch.ts';
import type { Persist } from './persist.ts';
import { classify, toldOf, type Refusal } from './refusal.ts';
import type { Registrations } from './registration.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import type { Judged, RawAnswer } from './token-answer.ts';
import { mayHoldTokens } from './unread-answer.ts';

export type Renewal =
  /** `row` holds a newer credential than the one that was to be replaced. */
  | { kind: 'renewed'; row: Connection }
  /** Not renewed, but the access token is good until it ends: refused once, or not renewable. */
  | { kind: 'kept'; row: Connection }
  | { kind: 'dead' }
  | { kind: 'gone' }
  /** `told`: what the connection is waiting for, where that is known. */
  | { kind: 'postponed'; retryAfterMs: number; told?: LastError | null };

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

/** How often a waiting process looks at the row itself; notices only make it sooner. */
export const POLL_MS = 500;
export const MISCONFIGURED_MS = 5 * 60_000;

type Breaker = ReturnType<typeof createBreaker>;

export type Answers = ReturnType<typeof createAnswers>;

/** What becomes of an attempt once its answer is here, or is lost. */
export function createAnswers(options: {
  store: ConnectionStore;
  registrations: Registrations;
  sealing: Sealing;
  persist: Persist;
  watch: IntentWatch;
  /** By origin of the token endpoint. */
  providers: Breaker;
  /** By registration. */
  clients: Breaker;
  clock: Clock;
  log: Log;
  step: (name: Step, row: Connection) => Promise<void>;
  onChanged: (row: Connection) => Promise<void>;
  /** A connection now needs its owner. */
  onDead: (row: Connection, refusal: Refusal) => Promise<void>;
}) {
  const { store, registrations, sealing, persist, watch, providers, clients, clock, log, step } = options;

  /** What an answer means for the row that is held. */
  async function settle(
    row: Connection,
    connector: Connector,
    registration: Registration,
    held: Tokens,
    raw: RawAnswer,
    judged: Judged,
    usable: boolean,
  ): Promise<Renewal | 'again'> {
    const { attempt, intent, terms } = row;
    if (attempt === null || intent === null || terms === null) throw fail('internal');
    const origin = new URL(terms.tokenEndpoint).origin;
    const rules = connector.oauth?.rules ?? PLAIN_RULES;
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
    if (judged.kind === 'unreadable' && mayHoldTokens(raw, rules)) {
      // The pair may be in it: what was spent for it is not presented again while nobody can tell.
      if (!(await store.stage(row, attempt, await sealing.sealStaged(row, { kind: 'refresh', raw })))) return 'again';
      await step('answer_staged', row);
      log.error({ connection: row.id, why: judged.why }, 'a refresh was answered in a form that cannot be read');
      return await stayOpen(row, intent, MISCONFIGURED_MS, errorOf('refresh_unreadable'));
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
    const next: Intent = { ...intent, deadline: 0, notBefore: clock.now() + wait, asked: wait };
    if (row.attempt !== null && (await store.moveIntent(row, next, lastError))) {
      watch.look(withIntent(row, row.attempt, next));
    }
    await step('attempt_postponed', row);
    return { kind: 'postponed', retryAfterMs: wait, told: lastError };
  }

  /** Its answer was lost twice at a service where another try could end what else this person has there. */
  async function giveUp(row: Connection, attempt: string, held: Tokens): Promise<Renewal> {
    const change = {
      status: 'needs_reconnect',
      lastError: errorOf('refresh_answer_lost'),
      tombstone: hashToken(held.refresh_token ?? ''),
      nextRefreshAt: null,
    } as const;
    if (!(await store.closeAttempt(row, attempt, change, clock.now()))) {
      return { kind: 'postponed', retryAfterMs: POLL_MS };
    }
    await options.onChanged(row);
    await options.onDead({ ...row, status: 'needs_reconnect' }, { class: 'grant_dead', code: 'answer_lost' });
    return { kind: 'dead' };
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
      if (!(await registrations.proveAlive({ ...registration, createdAt: 0 }, probe))) {
        const stranded = await store.find(row.tenant, row.id);
        if (stranded?.status === 'needs_reconnect' && stranded.attempt === row.attempt) await tidy(stranded);
        return { kind: 'dead' };
      }
    }
    return postponed;
  }

  const misconfigured = async (row: Connection, intent: Intent, message: string): Promise<Renewal> =>
    await stayOpen(row, intent, MISCONFIGURED_MS, { ...errorOf('refresh_refused'), message });

  /** What was stranded with an attempt open: when nobody is at work on it any more, it is closed. */
  async function tidy(row: Connection): Promise<void> {
    if (row.attempt === null || watch.look(row).heldMs > 0) return;
    await store.closeAttempt(row, row.attempt, { staged: null }, row.updatedAt);
  }

  return { settle, stayOpen, postpone, misconfigured, giveUp, tidy };
}

export function errorOf(code: ErrorCode): LastError {
  const { message, hint } = fail(code);
  return { code, message, hint };
}

export function withIntent(row: Connection, attempt: string, intent: Intent): Connection {
  return { ...row, attempt, intent, intentText: JSON.stringify(intent) };
}
