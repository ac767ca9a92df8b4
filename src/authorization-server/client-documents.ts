import type { Clock } from '../clock.ts';
import type { Egress, OutboundResponse } from '../egress/egress.ts';
import type { Log } from '../log.ts';
import { readMetadata, type ClientMetadata } from './client-metadata.ts';
import { PINNED_CLIENTS } from './pinned-clients.ts';
import { createRate } from './rate.ts';
import { isLoopbackRedirect } from './redirects.ts';
import type { Store } from './store.ts';

const MAX_BYTES = 5 * 1024;
const TIMEOUT_MS = 5_000;
const MIN_FRESH_MS = 60_000;
const DEFAULT_FRESH_MS = 3_600_000;
const MAX_FRESH_MS = 24 * 3_600_000;
/** A document that cannot be fetched any more is good for this long. */
export const STALE_MS = 30 * 24 * 3_600_000;
/** While a copy stands in for it, a document that could not be fetched is asked for this often. */
const RETRY_MS = 60_000;
/** Fetches from one origin, and from all: a budget, so that nobody uses the gateway to bother a third party. */
const ORIGIN_BUDGET = { burst: 10, refillMs: 6_000 };
const TOTAL_BUDGET = { burst: 60, refillMs: 500 };

/**
 * Whether a client id is the address of a metadata document: https, a path, nothing that two parsers could read
 * differently. Compared as it stands, never normalised.
 */
export function isDocumentAddress(clientId: string, allowLoopback: boolean): boolean {
  if (clientId.length > 2_000 || !/^[\u0021-\u005b\u005d-\u007e]+$/.test(clientId)) return false;
  const url = URL.parse(clientId);
  if (url === null || clientId.includes('#') || url.username !== '' || url.password !== '') return false;
  const [, authority = '', path = ''] = /^[a-z]+:\/\/([^/?#]*)([^?#]*)/i.exec(clientId) ?? [];
  if (authority === '' || authority.includes('@') || path.length < 2) return false;
  if (path.split('/').some((segment) => /^(?:\.|%2e){1,2}$/i.test(segment))) return false;
  return url.protocol === 'https:' || (allowLoopback && isLoopbackRedirect(clientId));
}

/** How long an answer may be taken as it is (RFC 9111 §5.2.2, §5.3), within our bounds. */
export function freshFor(headers: Headers, now: number): number {
  const control = headers.get('cache-control') ?? '';
  const maxAge = /(?:^|[,\s])max-age\s*=\s*"?(\d+)/i.exec(control)?.[1];
  const expires = Date.parse(headers.get('expires') ?? '');
  let fresh = DEFAULT_FRESH_MS;
  if (/no-store|no-cache/i.test(control)) fresh = 0;
  else if (maxAge !== undefined) fresh = Number(maxAge) * 1_000;
  else if (!Number.isNaN(expires)) fresh = expires - now;
  return Math.min(MAX_FRESH_MS, Math.max(MIN_FRESH_MS, fresh));
}

class Unacceptable extends Error {}

/** The client that a document describes. Shared secrets and private keys have no place in a public document. */
export function readDocument(clientId: string, document: unknown): ClientMetadata {
  if (document === null || typeof document !== 'object' || Array.isArray(document)) {
    throw new Unacceptable('it is not a JSON object');
  }
  const found = document as Record<string, unknown>;
  if (found['client_id'] !== clientId) throw new Unacceptable('its client_id is another one');
  if ('client_secret' in found || 'client_secret_expires_at' in found) throw new Unacceptable('it holds a secret');
  const method = found['token_endpoint_auth_method'] ?? 'none';
  const alternatives = found['token_endpoint_auth_methods_supported'];
  if (method !== 'none' && !(Array.isArray(alternatives) && alternatives.includes('none'))) {
    throw new Unacceptable('its token endpoint authentication is not available here');
  }
  const keys = (found['jwks'] as { keys?: unknown } | undefined)?.keys;
  for (const key of Array.isArray(keys) ? (keys as unknown[]) : []) {
    if (key !== null && typeof key === 'object' && ('d' in key || 'k' in key)) {
      throw new Unacceptable('it holds a private key');
    }
  }
  return readMetadata(found, { client_id: clientId, token_endpoint_auth_method: 'none' });
}

/** Clients that identify themselves by the address of a document (client-id metadata documents). */
export function createClientDocuments(options: {
  store: Store;
  clock: Clock;
  egress: Egress;
  log: Log;
  /** Takes `http://localhost/…` as well; for a gateway that is itself on loopback. */
  allowLoopback: boolean;
}) {
  const { store, clock, egress, log } = options;
  const fetching = new Map<string, Promise<ClientMetadata | undefined>>();
  const retryAt = new Map<string, number>();
  const originWait = createRate(clock, ORIGIN_BUDGET);
  const totalWait = createRate(clock, TOTAL_BUDGET);

  function parse(clientId: string, response: OutboundResponse): ClientMetadata {
    if (response.status !== 200) throw new Unacceptable(`it was answered with status ${response.status}`);
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
    if (!/^application\/(?:json|[a-z0-9.-]+\+json)$/.test(type)) throw new Unacceptable('it is not JSON');
    return readDocument(clientId, JSON.parse(response.body.toString('utf8')));
  }

  async function fetchDocument(clientId: string): Promise<ClientMetadata | undefined> {
    if (originWait(new URL(clientId).origin) > 0 || totalWait('') > 0) {
      log.warn({ client: clientId }, 'a client document was not fetched: too many fetches');
      return undefined;
    }
    try {
      const response = await egress.request(clientId, {
        headers: { accept: 'application/json' },
        maxBytes: MAX_BYTES,
        timeoutMs: TIMEOUT_MS,
      });
      const client = parse(clientId, response);
      const now = clock.now();
      await store.saveDocument({
        client_id: clientId,
        document: JSON.stringify(client),
        fetched_at: now,
        fresh_until: now + freshFor(response.headers, now),
      });
      return client;
    } catch (error) {
      log.warn({ client: clientId, err: error }, 'a client document could not be used');
      return undefined;
    }
  }

  return {
    async find(clientId: string): Promise<ClientMetadata | undefined> {
      if (!isDocumentAddress(clientId, options.allowLoopback)) return undefined;
      const stored = await store.findDocument(clientId);
      const now = clock.now();
      const known =
        stored !== undefined && stored.fetched_at > now - STALE_MS
          ? (JSON.parse(stored.document) as ClientMetadata)
          : pinnedClient(clientId);
      if (stored !== undefined && known !== undefined && stored.fresh_until > now) return known;
      // A host that is out of reach does not slow every refresh down.
      if (known !== undefined && (retryAt.get(clientId) ?? 0) > now) return known;
      let pending = fetching.get(clientId);
      if (pending === undefined) {
        pending = fetchDocument(clientId).finally(() => fetching.delete(clientId));
        fetching.set(clientId, pending);
      }
      const fetched = await pending;
      if (fetched !== undefined || known === undefined) return fetched;
      if (retryAt.size > 1_000) retryAt.clear();
      retryAt.set(clientId, now + RETRY_MS);
      return known;
    },
  };
}

function pinnedClient(clientId: string): ClientMetadata | undefined {
  const pinned = Object.hasOwn(PINNED_CLIENTS, clientId) ? PINNED_CLIENTS[clientId] : undefined;
  return pinned === undefined ? undefined : readDocument(clientId, { client_id: clientId, ...pinned });
}
