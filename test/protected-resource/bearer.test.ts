import { expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { TenantId, UserId } from '../../src/ids.ts';
import { createBearers, type VerifiedToken } from '../../src/protected-resource/bearer.ts';

const verified: VerifiedToken = {
  tenant: 'default' as TenantId,
  user: 'usr_1' as UserId,
  email: 'a@example.com',
  role: 'member',
  client: 'c',
  scopes: ['mcp'],
  resource: 'r',
  expiresAt: Date.now() + 60_000,
};

it('does not believe what was verified while something was revoked', async () => {
  const answers: ((token: VerifiedToken | undefined) => void)[] = [];
  const bearers = createBearers({ clock: systemClock, verify: () => new Promise((resolve) => answers.push(resolve)) });
  const asked = bearers.verify('token');
  bearers.forget();
  answers[0]?.(verified);
  await expect.poll(() => answers.length).toBe(2);
  answers[1]?.(undefined);
  expect(await asked).toBeUndefined();
});

it('asks once for callers that come at the same time', async () => {
  let asked = 0;
  const verify = (): Promise<VerifiedToken> => {
    asked++;
    return Promise.resolve(verified);
  };
  const bearers = createBearers({ clock: systemClock, verify });
  await Promise.all([bearers.verify('token'), bearers.verify('token'), bearers.verify('token')]);
  expect(asked).toBe(1);
  expect(bearers.verify('token')).not.toBeInstanceOf(Promise);
});

it('keeps no token that failed to be verified, nor an error', async () => {
  let asked = 0;
  const verify = (): Promise<VerifiedToken | undefined> => {
    asked++;
    return asked === 1 ? Promise.reject(new Error('the store is away')) : Promise.resolve(undefined);
  };
  const bearers = createBearers({ clock: systemClock, verify });
  await expect(bearers.verify('token')).rejects.toThrow('away');
  expect(await bearers.verify('token')).toBeUndefined();
  expect(await bearers.verify('token')).toBeUndefined();
  expect(asked).toBe(3);
});
