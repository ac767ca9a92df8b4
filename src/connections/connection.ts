import type { ConnectionId, ConnectorId, RegistrationId, TenantId } from '../ids.ts';

export type ConnectionStatus = 'pending' | 'connected' | 'suspect' | 'needs_reconnect' | 'revoked' | 'quarantined';

export type Owner = { type: 'user' | 'tenant'; id: string };

/** What has to be replayed at refresh, as it stood when the grant was given. */
export type Terms = {
  issuer: string;
  tokenEndpoint: string;
  revocationEndpoint: string | null;
  userinfoEndpoint: string | null;
  introspectionEndpoint: string | null;
  /** RFC 8707 value that was sent; null when none was. */
  resource: string | null;
  /** Sent at refresh where the service needs it repeated; null otherwise. */
  scopeOnRefresh: string | null;
  clientId: string;
  authMethod: string;
  /** Where the code came back to, for services that want it again at each refresh. */
  redirectUri?: string;
  /** What the service told beside its tokens and is no secret: tenants, hosts. */
  values?: Record<string, string>;
  /** Milliseconds since 1970; whatever is done, the grant ends then. */
  grantEndsAt?: number | null;
  /** Of the provider's file when the grant was given. */
  catalogueVersion?: number;
  /** False when the answer named no scope, so that `granted` repeats what was asked (RFC 6749 §5.1). */
  grantedKnown: boolean;
};

/** The sealed part of a connection. */
export type Tokens = {
  access_token: string;
  refresh_token: string | null;
  /** Declared extra members of the token answer. */
  fields: Record<string, string>;
  /** Of the connector, where the gateway gets tokens by itself: after a change it gets another one. */
  revision?: number | undefined;
  /** See `boundOf`. */
  bound?: string | undefined;
  /** What a person entered for the gateway to get tokens with. */
  entered?: Record<string, string> | undefined;
};

/**
 * A refresh under way. While `process` is at work, nobody else may act on it; how long that can last, each process tells
 * by its own clock from when it first saw this very intent. For `asked`, nobody sends. It is closed by a definite answer
 * and by nothing else.
 */
export type Intent = {
  generation: number;
  /** Milliseconds since 1970, as the others. */
  started: number;
  /** 0: nobody is at work on it. Else when the sweep is to look, by the clock of `process`. */
  deadline: number;
  /** 0, or when `asked` is over by the clock of `process`. */
  notBefore: number;
  /** Milliseconds, from when the intent was written, in which nobody sends. */
  asked?: number;
  /** Sent so often without an answer, as far as that matters at this service. */
  lost?: number;
  replays: number;
  process: string;
  /** Place for the instance's epoch, so that a cloned database can be told from its original. */
  epoch: number;
};

export type LastError = { code: string; message: string; hint: string };

export type Connection = {
  tenant: TenantId;
  id: ConnectionId;
  connector: ConnectorId;
  owner: Owner;
  registration: RegistrationId | null;
  status: ConnectionStatus;
  generation: number;
  /** Sealed Tokens, bound to id and generation. */
  sealed: string | null;
  staged: string | null;
  /** Fence of the refresh under way. */
  attempt: string | null;
  intent: Intent | null;
  /** The intent as it is stored, for compare-and-set. */
  intentText: string | null;
  tombstone: string | null;
  /** When the request left that brought the credential. */
  issuedAt: number;
  expiresAt: number | null;
  grantExpiresAt: number | null;
  terms: Terms | null;
  scopesRequested: string[];
  scopesGranted: string[];
  accountSubject: string | null;
  accountLabel: string | null;
  createdAt: number;
  updatedAt: number;
  lastRefreshAt: number | null;
  nextRefreshAt: number | null;
  lastUsedAt: number | null;
  lastError: LastError | null;
};

/** An access token is not handed out in its last moments: it has to survive the way to the service. */
const SKEW_MS = 5_000;

/**
 * Until when the access token is handed out. A token of unknown life is until a 401 says otherwise. Of a very short life
 * a fixed margin would leave nothing, so it is a tenth there.
 */
export function usableUntil(expiresAt: number | null, issuedAt: number): number {
  if (expiresAt === null) return Number.POSITIVE_INFINITY;
  return expiresAt - Math.min(SKEW_MS, Math.max(0, expiresAt - issuedAt) * 0.1);
}

/**
 * When the token is renewed ahead of its end: `remaining < min(bufferTime, 20 % of life)`, spread by up to a tenth so
 * that tokens of one hour do not all fall due together.
 * @param jitter 0 to 1
 */
export function aheadOfTime(given: { from: number; expiresAt: number; bufferMs: number; jitter: number }): number {
  const life = Math.max(0, given.expiresAt - given.from);
  const margin = Math.min(given.bufferMs, life * 0.2);
  return Math.floor(given.expiresAt - margin - margin * 0.1 * given.jitter);
}

/** 1 s, 2 s, 4 s … 60 s, half of it random. @param random 0 to 1 */
export function backoffMs(failures: number, baseMs: number, random: number): number {
  const full = Math.min(60_000, baseMs * 2 ** Math.min(failures, 16));
  return Math.floor(full / 2 + (full / 2) * random);
}
