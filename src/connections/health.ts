import { rfc3339 } from '../clock.ts';
import type { CheckResult } from '../connectors/check-store.ts';
import type { Connection, LastError } from './connection.ts';

/**
 * Healthy: a call would carry a good credential. Unhealthy: somebody has to act, or calls fail now. Unknown: nothing can be
 * said before something is tried.
 */
export type Health = 'healthy' | 'unhealthy' | 'unknown';

export type HealthReport = {
  health: Health;
  /** One sentence for people. */
  reason: string;
  /** What to do; null when there is nothing to do. */
  nextStep: string | null;
};

export type ConnectionHealth = HealthReport & {
  /** What works today and will not for ever. */
  warnings: LastError[];
};

/** What health is told from. */
export type HealthFacts = Pick<
  Connection,
  'status' | 'lastError' | 'issuedAt' | 'expiresAt' | 'grantExpiresAt' | 'scopesGranted'
>;

export const DAY_MS = 86_400_000;
/** Before the end of a grant its owner is warned this many days ahead, each once. */
export const WARNING_DAYS = [14, 3, 1] as const;
/** Clocks further apart than this make lifetimes and signed assertions go wrong. */
export const SKEW_LIMIT_MS = 30_000;

/** Failures that stay until somebody acts, although the access token may still be good. */
const DEFINITE = new Set([
  'client_refused',
  'refresh_refused',
  'refresh_unreadable',
  'scope_not_given',
  'admin_consent_required',
]);
/** What takes nothing from the connection as it is. */
const NOTED = new Set(['insufficient_scope', 'no_refresh_token']);

/**
 * Health as it can be told from what is known; nothing is asked and nothing renewed for it.
 * @param seen.skewMs how far the provider's clock is ahead of ours; null when it has not been measured
 */
export function connectionHealth(row: HealthFacts, seen: { now: number; skewMs: number | null }): ConnectionHealth {
  return { ...judged(row, seen.now), warnings: warningsOf(row, seen) };
}

function judged({ status, lastError, expiresAt }: HealthFacts, now: number): HealthReport {
  const told = (health: Health, fallback: string, nextStep: string): HealthReport => ({
    health,
    reason: lastError?.message ?? fallback,
    nextStep: lastError?.hint ?? nextStep,
  });
  const expired = expiresAt !== null && expiresAt <= now;
  switch (status) {
    case 'pending':
      return { health: 'unknown', reason: 'Nothing is connected yet.', nextStep: 'Connect the account.' };
    case 'revoked':
      return { health: 'unknown', reason: 'It was disconnected.', nextStep: 'Connect again to use it.' };
    case 'needs_reconnect':
      return told('unhealthy', 'The authorization has ended.', 'Connect again.');
    case 'suspect':
      return told('unhealthy', 'The service refused to renew the token.', 'Connect again.');
    case 'quarantined':
      return told('unhealthy', 'It is held back until an owner has looked at it.', 'Ask an owner of the gateway.');
    case 'connected':
      break;
    default:
      return status satisfies never;
  }
  if (lastError !== null && (expired || !NOTED.has(lastError.code))) {
    if (expired || DEFINITE.has(lastError.code)) return told('unhealthy', '', '');
    return {
      health: 'unknown',
      reason: `${lastError.message} The present token is still good.`,
      nextStep: lastError.hint,
    };
  }
  if (expired) {
    return {
      health: 'healthy',
      reason: 'Connected. The access token has run out; the next call renews it.',
      nextStep: null,
    };
  }
  return { health: 'healthy', reason: 'Connected.', nextStep: null };
}

function warningsOf(row: HealthFacts, { now, skewMs }: { now: number; skewMs: number | null }): LastError[] {
  const usable = row.status === 'connected' || row.status === 'suspect';
  const found: LastError[] = [];
  const days = usable ? warningDays(row.grantExpiresAt, now) : null;
  if (days !== null && row.grantExpiresAt !== null) {
    const when = rfc3339(row.grantExpiresAt)?.slice(0, 10);
    found.push({
      code: 'grant_ending',
      message: `The authorization ends on ${when}, whatever is done until then.`,
      hint: 'Connect again before that day; nothing is interrupted.',
    });
  }
  if (usable && row.lastError !== null && NOTED.has(row.lastError.code)) found.push(row.lastError);
  if (usable && skewMs !== null && Math.abs(skewMs) > SKEW_LIMIT_MS) found.push(skewWarning(skewMs));
  return found;
}

export function skewWarning(skewMs: number): LastError {
  const seconds = Math.round(Math.abs(skewMs) / 1_000);
  return {
    code: 'clock_skew',
    message: `The clock of the service is ${seconds} s ${skewMs > 0 ? 'ahead of' : 'behind'} the clock of the gateway.`,
    hint: 'Let the gateway set its clock by the network (NTP); if it does, the service is wrong.',
  };
}

/** The strongest warning that is due: 14, 3 or 1; null when the end is further away, past, or not known. */
export function warningDays(grantExpiresAt: number | null, now: number): number | null {
  if (grantExpiresAt === null || grantExpiresAt <= now) return null;
  return WARNING_DAYS.toReversed().find((days) => grantExpiresAt - now <= days * DAY_MS) ?? null;
}

const ORDER: readonly Health[] = ['healthy', 'unknown', 'unhealthy'];

export function worst<T extends { health: Health }>(all: readonly T[]): T | undefined {
  return all.toSorted((a, b) => ORDER.indexOf(b.health) - ORDER.indexOf(a.health))[0];
}

/**
 * A connector's health in the sight of one viewer: the service itself, and with OAuth the worst connection that the viewer
 * may see.
 * @param seen.connections those that were made and not ended
 */
export function connectorHealth(seen: {
  active: boolean;
  oauth: boolean;
  /** What testing it found last. */
  check: CheckResult | null;
  connections: readonly HealthReport[];
}): HealthReport {
  const { check } = seen;
  const test = 'Test the connection.';
  if (!seen.active) {
    return { health: 'unknown', reason: 'The connector is switched off.', nextStep: 'Switch it on to use it.' };
  }
  if (check !== null && !check.reachable) {
    const { message, hint } = check.error ?? { message: 'The service did not answer.', hint: test };
    return { health: 'unhealthy', reason: message, nextStep: hint };
  }
  if (seen.oauth) {
    const found = worst(seen.connections);
    if (found === undefined) {
      return { health: 'unknown', reason: 'No account is connected.', nextStep: 'Connect an account.' };
    }
    if (found.health !== 'healthy') return found;
    return {
      health: 'healthy',
      reason: check === null ? found.reason : 'The service answers, and every connection works.',
      nextStep: null,
    };
  }
  if (check === null) return { health: 'unknown', reason: 'The service has not been tried yet.', nextStep: test };
  if (check.auth === 'refused' || check.auth === 'required') {
    return {
      health: 'unhealthy',
      reason:
        check.auth === 'refused'
          ? 'The service refuses the credential.'
          : 'The service wants a credential, and none is set.',
      nextStep: 'Set the credential of the connector, then test again.',
    };
  }
  return { health: 'healthy', reason: 'The service answers and takes the calls.', nextStep: null };
}
