import { afterAll, beforeAll, expect, it } from 'vitest';
import { openHouse, type House } from './house.ts';

let house: House;
beforeAll(async () => {
  house = await openHouse();
});
afterAll(async () => await house.close());

it('An owner adopts a database that was restored, which is written down, and a member cannot.', async () => {
  const owner = await house.person('owner@example.com', 'owner');
  const member = await house.person('member@example.com', 'member');
  const { token } = owner;
  expect((await house.call('GET', '/instance', { token })).body).toEqual({ epoch: 1, doubt: null });
  expect((await house.call('POST', '/instance/adopt', { token })).body).toEqual({ epoch: 1, was: null });

  await house.database.query.updateTable('instance').set({ value: '0' }).where('name', '=', 'mark').execute();
  expect((await house.call('POST', '/instance/adopt', { token: member.token })).status).toBe(403);
  expect((await house.call('POST', '/instance/adopt', { token })).body).toEqual({ epoch: 2, was: 'restored' });
  expect((await house.call('GET', '/instance', { token })).body).toEqual({ epoch: 2, doubt: null });
  const records = await house.database.query.selectFrom('audit_events').selectAll().execute();
  expect(records.filter(({ action }) => action === 'instance.adopted').at(-1)?.detail).toContain('restored');
});
