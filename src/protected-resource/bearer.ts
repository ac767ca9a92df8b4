import { hash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { TenantId, UserId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';

/** A live access token of ours, as its issuer states it. */
export type VerifiedToken = {
  tenant: TenantId;
  user: UserId;
  email: string;
  role: Principal['role'];
  client: string;
  scopes: readonly string[];
  /** Audience: the resource that it was issued for. */
  resource: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
};

export type VerifyToken = (token: string) => Promise<VerifiedToken | undefined>;

/** A revocation that no notice told of is seen after this long. */
const VERIFIED_FOR_MS = 10_000;
const MAX_TOKENS = 50_000;

type Known = { token: VerifiedToken; principal: Principal; verifiedAt: number };

export type Verified = { token: VerifiedToken; principal: Principal };

export type Bearers = {
  /** Synchronous for a token that was verified a moment ago. */
  verify(token: string): Verified | undefined | Promise<Verified | undefined>;
  forget(): void;
};

/** Tokens by SHA-256: memory never holds one that could be used. */
export function createBearers(options: { verify: VerifyToken; clock: Clock }): Bearers {
  const { clock } = options;
  const known = new Map<string, Known>();
  const asking = new Map<string, Promise<Verified | undefined>>();
  let epoch = 0;

  async function ask(token: string, key: string): Promise<Verified | undefined> {
    for (;;) {
      const asked = epoch;
      const verified = await options.verify(token);
      // What was revoked while we asked may be in the answer: it must not be kept, nor used.
      if (asked !== epoch) continue;
      if (verified === undefined || verified.expiresAt <= clock.now()) {
        known.delete(key);
        return undefined;
      }
      const { tenant, user, email, role, client, scopes, expiresAt } = verified;
      const entry: Known = {
        token: verified,
        principal: { tenant, user, email, role, client, scopes, expiresAt },
        verifiedAt: clock.now(),
      };
      known.delete(key);
      known.set(key, entry);
      if (known.size > MAX_TOKENS) known.delete(known.keys().next().value as string);
      return entry;
    }
  }

  return {
    verify(token) {
      const key = hash('sha256', token, 'base64');
      const entry = known.get(key);
      if (entry !== undefined) {
        const now = clock.now();
        if (now - entry.verifiedAt < VERIFIED_FOR_MS && now < entry.token.expiresAt) return entry;
      }
      let answer = asking.get(key);
      if (answer === undefined) {
        answer = ask(token, key).finally(() => asking.delete(key));
        asking.set(key, answer);
      }
      return answer;
    },
    forget() {
      epoch++;
      known.clear();
    },
  };
}
