import { createHmac, timingSafeEqual } from 'node:crypto';
import { newToken } from '../ids.ts';

/**
 * A refresh token carries the name of its chain and a proof that it was once issued in it: `random.grant.proof`. Spent
 * tokens can so be forgotten, and one that comes back after any time is still told from a made-up one. The key of the
 * chain makes nobody able to refresh: what is live is looked up by the hash of the whole token.
 */
export function mintRefreshToken(grant: string, chainKey: string): string {
  const random = newToken(32);
  return `${random}.${grant}.${proof(random, grant, chainKey)}`;
}

/** The chain that a refresh token claims; only `belongsTo` says whether that is true. */
export function claimedGrant(token: string): string | undefined {
  const parts = token.split('.');
  return parts.length === 3 && token.length <= 300 ? parts[1] : undefined;
}

export function belongsTo(token: string, grant: string, chainKey: string): boolean {
  const [random = '', claimed, presented = ''] = token.split('.');
  const expected = Buffer.from(proof(random, grant, chainKey));
  const actual = Buffer.from(presented);
  return claimed === grant && expected.length === actual.length && timingSafeEqual(expected, actual);
}

function proof(random: string, grant: string, chainKey: string): string {
  return createHmac('sha256', chainKey).update(`${random}\n${grant}`).digest().subarray(0, 16).toString('base64url');
}
