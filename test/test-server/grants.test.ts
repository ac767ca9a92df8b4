import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { newToken } from '../../src/ids.ts';
import { createGrants } from '../../src/test-server/grants.ts';
import { policySchema, ROTATIONS } from '../../src/test-server/options.ts';

/** Presents any refresh token seen so far (by index from the newest), after waiting some seconds. */
const step = fc.record({ back: fc.nat({ max: 3 }), wait: fc.constantFrom(0, 0, 5, 40) });

describe('a grant, whatever order its refresh tokens come in', () => {
  it.each(ROTATIONS.filter((rotation) => rotation !== 'until_used'))(
    'keeps its promises with rotation %s',
    (rotation) => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
          const clock = movableClock();
          const grants = createGrants({ clock, mint: () => newToken() });
          const policy = policySchema.parse({ rotation, graceSeconds: 30, accessTokenTtl: 100_000 });
          const { grant, answer } = grants.open(
            { clientId: 'c', subject: 'alice', scopes: ['profile'], resource: null },
            policy,
          );
          const refreshTokens = [answer.refresh_token!];
          const accessTokens = [answer.access_token];
          let revoked = false;
          const successors = new Map<string, string>();
          for (const { back, wait } of steps) {
            clock.move(wait * 1_000);
            const token = refreshTokens.at(-1 - back) ?? refreshTokens[0]!;
            const wasLive = grants.refreshToken(token)!.live;
            const { outcome, answer: next } = grants.refresh(
              { token, clientId: 'c', scopes: null, resource: null },
              policy,
            );
            // The unused token of a living grant is never refused.
            expect({ outcome, refused: wasLive && next === null }).toEqual({ outcome, refused: false });
            const successor = next?.refresh_token ?? token;
            const earlier = successors.get(token);
            // Asked again, it answers with the successor it gave before, or not at all.
            expect(next === null || earlier === undefined || earlier === successor).toBe(true);
            if (successor !== token) successors.set(token, successor);
            if (!refreshTokens.includes(successor)) refreshTokens.push(successor);
            if (next !== null) accessTokens.push(next.access_token);
            expect(refreshTokens.filter((one) => grants.refreshToken(one)!.live)).toHaveLength(grant.revoked ? 0 : 1);
            revoked ||= outcome === 'reused_family_revoked';
            expect(grant.revoked).toBe(revoked);
          }
          const working = accessTokens.filter((token) => grants.accessToken(token) !== undefined);
          expect(working).toHaveLength(grant.revoked ? 0 : accessTokens.length);
          expect(revoked && (rotation === 'none' || rotation === 'soft')).toBe(false);
        }),
        { numRuns: 150 },
      );
    },
  );
});
