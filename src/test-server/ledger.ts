import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import type { Clock } from '../clock.ts';

/** What became of a refresh at the authorization server. */
export type RefreshOutcome =
  | 'rotated'
  | 'kept'
  /** A used token inside the grace window: answered with the successor that already exists. */
  | 'same_successor'
  | 'reused_refused'
  | 'reused_family_revoked'
  | 'expired'
  | 'grant_revoked'
  | 'unknown_token'
  | 'wrong_client'
  | 'scope_refused'
  | 'target_refused'
  /** An injected fault answered before the grant was touched. */
  | 'not_processed';

/** How the answer left: as it should, or as an injected fault had it. */
export type Answer = 'sent' | 'dropped' | 'replaced';

/** Tokens stand as `shortHash`: enough to follow a lineage, useless as a credential. */
type LedgerEntry =
  | { type: 'register'; clientId: string; authMethod: string }
  | {
      type: 'authorize';
      clientId: string;
      outcome: string;
      subject: string | null;
      scopes: string[];
      resource: string | null;
    }
  | { type: 'code_issued'; clientId: string; subject: string; code: string }
  | {
      type: 'token_exchange';
      clientId: string;
      subject: string | null;
      grant: string | null;
      code: string;
      outcome: string;
      answer: Answer;
    }
  | {
      /** Client credentials, token exchange, JWT bearer. */
      type: 'direct_grant';
      clientId: string;
      subject: string | null;
      grant: string | null;
      grantType: string;
      audience: string | null;
      outcome: string;
    }
  | {
      type: 'refresh';
      clientId: string;
      subject: string | null;
      grant: string | null;
      token: string;
      parent: string | null;
      successor: string | null;
      /** Of the grant after this refresh: 1 is the code exchange, each rotation or renewal adds one. */
      generation: number | null;
      outcome: RefreshOutcome;
      answer: Answer;
      /** Requests with this same refresh token that were open when this one arrived, itself included. */
      inFlight: number;
      startedAt: number;
    }
  | { type: 'client_refused'; clientId: string; endpoint: string; error: string }
  | { type: 'introspect'; clientId: string; token: string; active: boolean }
  | {
      type: 'revoke';
      clientId: string;
      token: string;
      outcome: 'revoked' | 'unknown';
      subject: string | null;
      grant: string | null;
    }
  | { type: 'login'; subject: string | null; outcome: 'ok' | 'refused' }
  | {
      type: 'api_call';
      method: string;
      path: string;
      status: number;
      subject: string | null;
      token: string | null;
      generation: number | null;
    }
  | {
      type: 'mcp_call';
      transport: 'http' | 'sse';
      era: 'legacy' | 'modern' | null;
      method: string;
      name: string | null;
      status: number;
      subject: string | null;
      token: string | null;
      generation: number | null;
    }
  /** A running tool whose caller gave up: by `notifications/cancelled`, or by closing the answer's stream. */
  | { type: 'mcp_cancelled'; name: string; subject: string; generation: number | null }
  | { type: 'control'; action: string; detail: Record<string, unknown> };

/** `sequence` counts from 1 without gaps; `time` is milliseconds since 1970 on the server's clock. */
export type LedgerEvent = LedgerEntry & { sequence: number; time: number };
export type RefreshEvent = Extract<LedgerEvent, { type: 'refresh' }>;

export type Ledger = {
  /** In order; the oldest are dropped beyond half a million. */
  readonly events: readonly LedgerEvent[];
  record(entry: LedgerEntry): void;
  of<T extends LedgerEvent['type']>(type: T): Extract<LedgerEvent, { type: T }>[];
  refreshes(subject?: string): RefreshEvent[];
  /** The most requests that were ever open together with one and the same refresh token. */
  maxInFlight(): number;
  /** Counts a request with this refresh token as open until `leave` is called. */
  enter(refreshToken: string): { inFlight: number; leave(): void };
};

export function shortHash(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 12);
}

const DEFAULT_LIMIT = 500_000;

export function createLedger(options: { clock: Clock; file?: string; limit?: number }): Ledger {
  const { clock, file, limit = DEFAULT_LIMIT } = options;
  const events: LedgerEvent[] = [];
  const open = new Map<string, number>();
  let most = 0;
  let last = 0;

  const of = <T extends LedgerEvent['type']>(type: T) =>
    events.filter((event): event is Extract<LedgerEvent, { type: T }> => event.type === type);

  return {
    events,
    record(entry) {
      const event = Object.freeze({ sequence: (last += 1), time: clock.now(), ...entry });
      events.push(event);
      // A service that runs for weeks forgets its oldest tenth; the file keeps all.
      if (events.length > limit) events.splice(0, Math.ceil(limit / 10));
      // Written at once: a drill kills this process and reads the file afterwards.
      if (file !== undefined) appendFileSync(file, `${JSON.stringify(event)}\n`, { mode: 0o600 });
    },
    of,
    refreshes: (subject) => of('refresh').filter((event) => subject === undefined || event.subject === subject),
    maxInFlight: () => most,
    enter(refreshToken) {
      const key = shortHash(refreshToken);
      const inFlight = (open.get(key) ?? 0) + 1;
      open.set(key, inFlight);
      most = Math.max(most, inFlight);
      let left = false;
      return {
        inFlight,
        leave() {
          if (left) return;
          left = true;
          const rest = open.get(key)! - 1;
          if (rest === 0) open.delete(key);
          else open.set(key, rest);
        },
      };
    },
  };
}
