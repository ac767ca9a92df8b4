import { afterAll, beforeAll, expect, it } from 'vitest';
import { openHouse, type House, type Reply } from './house.ts';

let house: House;
let owner: Awaited<ReturnType<House['person']>>;
const call = (path: string): Promise<Reply> => house.call('GET', path, { token: owner.token });

beforeAll(async () => {
  house = await openHouse();
  owner = await house.person('owner@example.com', 'owner');
});
afterAll(async () => await house.close());

it('lists what auth.provider can name, what each needs and how it is set up, page by page', async () => {
  const all = (await call('/providers?limit=500')).body as { items: { name: string }[]; next: string | null };
  expect(all.items.length).toBeGreaterThanOrEqual(74);
  expect(all.next).toBeNull();
  const find = (name: string): unknown => all.items.find((item) => item.name === name);
  expect(find('zendesk')).toMatchObject({
    title: 'Zendesk',
    kind: 'api',
    unsupported: null,
    parameters: [{ name: 'subdomain', example: 'acme', default: null }],
    mcpUrl: null,
    mcpRegistration: null,
    guide: { steps: expect.arrayContaining([expect.stringContaining('{callbackUrl}')]) },
  });
  expect(find('neon')).toMatchObject({ kind: 'mcp', mcpRegistration: 'dcr', mcpUrl: 'https://mcp.neon.tech/mcp' });
  expect(find('trello')).toMatchObject({ unsupported: expect.stringContaining('OAuth 1.0a') });
  expect(find('quickbooks')).toMatchObject({ parameters: [] });
  const first = (await call('/providers?limit=2')).body as typeof all;
  const second = (await call(`/providers?limit=2&cursor=${first.next}`)).body as typeof all;
  expect([...first.items, ...second.items]).toEqual(all.items.slice(0, 4));
});
