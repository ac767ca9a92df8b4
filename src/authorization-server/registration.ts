import type { Clock } from '../clock.ts';
import { hashToken, newToken } from '../ids.ts';
import { toRecord } from './adapter.ts';
import { readMetadata, RedirectFault, type AuthMethod, type ClientMetadata } from './client-metadata.ts';
import type { Store } from './store.ts';

const DAY = 24 * 3_600_000;
/** A client that nobody has allowed anything goes after this time. */
export const UNUSED_CLIENT_MS = 7 * DAY;
/** One that somebody has allowed something outlives every token of its grants (180 days). */
export const USED_CLIENT_MS = 400 * DAY;

export type RegistrationAnswer = { status: number; body: Record<string, unknown>; headers?: Record<string, string> };

export type RegistrationLimits = {
  /** Registrations at once from one address, and how long one takes to be forgotten. */
  burst: number;
  refillMs: number;
  /** Registered clients in all. */
  total: number;
};

const METHODS: readonly AuthMethod[] = ['none', 'client_secret_basic', 'client_secret_post'];

function refuse(error: string, description: string, status = 400): RegistrationAnswer {
  return { status, body: { error, error_description: description } };
}

/** Dynamic client registration (RFC 7591): open to everyone, and fenced for that reason. */
export function createRegistration(options: {
  store: Store;
  clock: Clock;
  limits: RegistrationLimits;
  registered(client: ClientMetadata, address: string): Promise<void>;
}) {
  const { store, clock, limits } = options;
  const admit = createAddressLimit(clock, limits);

  return async (document: unknown, address: string): Promise<RegistrationAnswer> => {
    const wait = admit(address);
    if (wait > 0) {
      return {
        ...refuse('too_many_requests', 'Too many registrations from this address.', 429),
        headers: { 'retry-after': String(Math.ceil(wait / 1_000)) },
      };
    }
    if (document === null || typeof document !== 'object' || Array.isArray(document)) {
      return refuse('invalid_client_metadata', 'The body has to be a JSON object.');
    }
    const wish = document as Record<string, unknown>;
    const asked = wish['token_endpoint_auth_method'];
    const method = METHODS.find((known) => known === asked) ?? 'client_secret_basic';
    const secret = method === 'none' ? undefined : newToken(32);
    let client: ClientMetadata;
    try {
      client = readMetadata(wish, { client_id: `dyn_${newToken(18)}`, token_endpoint_auth_method: method });
    } catch (error) {
      if (error instanceof RedirectFault) return refuse('invalid_redirect_uri', error.message);
      throw error;
    }
    if ((await store.countClients()) >= limits.total) {
      return refuse('temporarily_unavailable', 'No more clients can be registered for now.', 503);
    }
    client.client_id_issued_at = Math.floor(clock.now() / 1_000);
    if (secret !== undefined) {
      client.client_secret = hashToken(secret);
      client.client_secret_expires_at = 0;
    }
    await store.upsert(toRecord('Client', client.client_id, { ...client }, clock.now() + UNUSED_CLIENT_MS));
    await options.registered(client, address);
    return { status: 201, body: { ...client, ...(secret === undefined ? {} : { client_secret: secret }) } };
  };
}

/** Milliseconds to wait, 0 when admitted: a bucket an address, held by this process (GCRA). */
function createAddressLimit(clock: Clock, limits: RegistrationLimits): (address: string) => number {
  const arrivals = new Map<string, number>();
  return (address) => {
    const now = clock.now();
    if (arrivals.size > 10_000) for (const [key, at] of arrivals) if (at <= now) arrivals.delete(key);
    const due = Math.max(arrivals.get(address) ?? 0, now);
    const wait = due - now - (limits.burst - 1) * limits.refillMs;
    if (wait > 0) return wait;
    arrivals.set(address, due + limits.refillMs);
    return 0;
  };
}
