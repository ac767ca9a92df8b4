import { rfc3339, type Clock } from '../clock.ts';
import type { Database, Query } from '../database/database.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError } from '../errors.ts';
import { newId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Secret } from '../secret.ts';
import { keyOf, signedHeaders } from './signature.ts';
import { createWebhookStore, type OutgoingEvent } from './store.ts';

export type WebhookEvent = {
  tenant: TenantId;
  /** `connection.needs_reconnect` and its like. */
  type: string;
  /** JSON; leaves the gateway, so nothing secret. */
  data: Record<string, unknown>;
};

export type Webhooks = {
  /** Puts an event into the outbox with the commit of `at`. Does nothing when no receiver is set. */
  enqueue(at: Query, event: WebhookEvent): Promise<void>;
  /** Delivers what is due, every five seconds. */
  start(): void;
  /** One round; what fails is tried again later. */
  run(): Promise<void>;
  stop(): Promise<void>;
};

const EVERY_MS = 5_000;
const KEPT_MS = 86_400_000;
const SEND_MS = 10_000;
/** Longer than a try: while it lasts no other process sends the same event. */
const CLAIM_MS = 30_000;
const LONGEST_WAIT_MS = 4 * 3_600_000;

/** @param options.receiver where the events go, signed; undefined: none are made */
export function createWebhooks(options: {
  database: Database;
  egress: Pick<Egress, 'request'>;
  clock: Clock;
  log: Log;
  receiver: { url: string; secret: Secret } | undefined;
}): Webhooks {
  const { database, egress, clock, log, receiver } = options;
  const store = createWebhookStore(database);
  const key = receiver === undefined ? undefined : keyOf(receiver.secret);
  let running: Promise<void> | undefined;
  let end: (() => void) | undefined;

  async function deliver(event: OutgoingEvent, url: string, signingKey: Buffer): Promise<void> {
    const now = clock.now();
    if (!(await store.claim(event, now + CLAIM_MS))) return;
    let why: string;
    try {
      const answer = await egress.request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...signedHeaders(signingKey, event, now) },
        body: event.body,
        timeoutMs: SEND_MS,
        maxBytes: 64 * 1024,
      });
      if (answer.status >= 200 && answer.status < 300) return await store.remove(event);
      why = `status ${answer.status}`;
    } catch (thrown) {
      why = asValetkeyError(thrown).code;
    }
    const about = { event: event.id, type: event.type, why, attempts: event.attempts + 1 };
    const again = clock.now() + waitAfter(event.attempts);
    if (again >= event.expiresAt) {
      log.error(about, 'the webhook receiver has not taken an event for a day; it is given up');
      return await store.remove(event);
    }
    log.warn(about, 'the webhook receiver did not take an event; it is sent again');
    await store.postpone(event, again);
  }

  async function run(): Promise<void> {
    if (receiver === undefined || key === undefined) return;
    for (const event of await store.due(clock.now(), 50)) await deliver(event, receiver.url, key);
  }

  function tick(): void {
    running ??= run()
      .catch((error: unknown) => log.error({ err: error }, 'webhooks could not be delivered'))
      .finally(() => {
        running = undefined;
      });
  }

  return {
    async enqueue(at, { tenant, type, data }) {
      if (receiver === undefined) return;
      const now = clock.now();
      const id = newId<string>('evt');
      const body = JSON.stringify({ type, timestamp: rfc3339(now), data });
      const times = { nextAttemptAt: now, createdAt: now, expiresAt: now + KEPT_MS };
      await store.add(at, { tenant, id, type, body, attempts: 0, ...times });
    },
    run,
    start() {
      if (receiver !== undefined) end = clock.every(EVERY_MS, tick);
    },
    async stop() {
      end?.();
      await running;
    },
  };
}

/** 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, then 4 h. */
function waitAfter(attempts: number): number {
  return Math.min(LONGEST_WAIT_MS, 5_000 * 4 ** Math.min(attempts, 10));
}
