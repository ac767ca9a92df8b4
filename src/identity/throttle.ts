import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import type { IdentityStore } from './store.ts';

/**
 * Slows guessing down, per account and per network address, in every process alike (the counts are in the database).
 * After the free failures each further one doubles the wait. An account's wait stays short, so that nobody can lock its
 * owner out for long; an address may be shared by many people, so it has more free failures.
 */
const RULES = {
  account: { free: 5, firstWaitMs: 1_000, maxWaitMs: 60_000 },
  address: { free: 30, firstWaitMs: 1_000, maxWaitMs: 15 * 60_000 },
} as const;
/** Failures are forgotten when none has come for this long. */
const MEMORY_MS = 60 * 60_000;

export type Throttle = {
  /**
   * Counts an attempt as failed before it is made, so that many at once do not slip through together.
   * @throws ValetkeyError sign_in_throttled with `retryAfterMs` in its detail
   */
  attempt(tenant: TenantId, email: string, address: string): Promise<void>;
  /** Forgets the failures of the account; of the address just this attempt, or one good account would shield guessing. */
  succeeded(tenant: TenantId, email: string, address: string): Promise<void>;
};

export function createThrottle(options: { store: IdentityStore; clock: Clock }): Throttle {
  const { store, clock } = options;
  // Hashed: people type passwords into the e-mail field, too.
  const keyOf = (kind: keyof typeof RULES, value: string): string =>
    `${kind}:${createHash('sha256').update(value).digest('base64url')}`;

  async function count(tenant: TenantId, kind: keyof typeof RULES, value: string): Promise<void> {
    const { free, firstWaitMs, maxWaitMs } = RULES[kind];
    const now = clock.now();
    const until = await store.countAttempt(tenant, keyOf(kind, value), now, now - MEMORY_MS, (failures) =>
      failures < free ? 0 : Math.min(maxWaitMs, firstWaitMs * 2 ** Math.min(failures - free, 30)),
    );
    if (until === undefined) return;
    const seconds = Math.ceil((until - now) / 1_000);
    throw fail('sign_in_throttled', {
      message: `Too many attempts. Try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}.`,
      detail: { retryAfterMs: until - now },
    });
  }

  return {
    async attempt(tenant, email, address) {
      await count(tenant, 'address', address);
      await count(tenant, 'account', email);
    },
    async succeeded(tenant, email, address) {
      await store.forgetFailures(tenant, keyOf('account', email), clock.now() - MEMORY_MS);
      await store.uncountAttempt(tenant, keyOf('address', address));
    },
  };
}
