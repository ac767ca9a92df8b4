import type { Clock } from '../clock.ts';
import { hashToken, newToken } from '../ids.ts';
import { toRecord } from './adapter.ts';
import { readMetadata, RedirectFault, type AuthMethod, type ClientMetadata } from './client-metadata.ts';
import { createRate, type Rate } from './rate.ts';
import type { Store } from './store.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** A client that nobody has allowed anything goes after this time. */
const UNUSED_CLIENT_MS = 7 * DAY;
/** One that somebody has allowed something outlives every token of its grants (180 days). */
export const USED_CLIENT_MS = 400 * DAY;

export type RegistrationAnswer = { status: number; body: Record<string, unknown>; headers?: Record<string, string> };

/** Registrations from one address, and registered clients in all. */
export type RegistrationLimits = Rate & { total: number };

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
  const waitFor = createRate(clock, limits);

  return async (document: unknown, address: string): Promise<RegistrationAnswer> => {
    const wait = waitFor(address);
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
      // A flood of registrations pushes out what floods leave behind: clients that nobody has used for an hour.
      await store.removeUnusedClients(clock.now() + UNUSED_CLIENT_MS - HOUR);
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
