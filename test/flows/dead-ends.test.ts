import { afterAll, beforeAll, expect, it } from 'vitest';
import { createPlainBrowser, type PlainBrowser } from '../browser/plain-browser.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';

let gateway: TestGateway;
let browser: PlainBrowser;
const adminToken = 'owner-token-of-a-test-gateway';

beforeAll(async () => {
  gateway = await startGateway({ adminToken });
  await gateway.apply({ name: 'plain', url: 'http://127.0.0.1:9/mcp', auth: { type: 'none' } });
  await gateway.apply({ name: 'off', active: false, url: 'http://127.0.0.1:9/mcp', auth: { type: 'oauth2' } });
  await gateway.apply({
    name: 'app',
    url: 'http://127.0.0.1:9/mcp',
    auth: {
      type: 'oauth2',
      clientId: 'app',
      authorizationUrl: 'http://127.0.0.1:9/authorize',
      tokenUrl: 'http://127.0.0.1:9/token',
    },
  });
  const person = await gateway.invite('Ada');
  browser = createPlainBrowser();
  await browser.open(`${gateway.publicUrl}/sign-in`);
  const [form] = (await browser.view()).forms;
  await browser.submit(form!, { email: person.email, password: person.password }, form!.buttons[0]!);
});
afterAll(() => gateway.close());

it.each([
  ['/nowhere', 404, 'There is nothing here', 'href="/"'],
  ['/setup/used-already', 404, 'This link is not valid', 'href="/"'],
  ['/invitation/used-already', 404, 'This link is not valid', 'href="/"'],
  ['/oauth/authorize?client_id=unknown&response_type=code', 400, 'This client is not known', 'href="/"'],
  ['/connect/default/nothing', 404, 'There is nothing here', 'href="/connections"'],
  ['/connect/default/off', 503, 'The connector is switched off', 'href="/connections"'],
  ['/connect/default/plain', 400, 'needs no connection of yours', 'href="/connections"'],
  ['/connect/default/app?ticket=spent', 400, 'This link has been used', 'href="/connect/default/app"'],
])('says at %s what is wrong and leads on', async (path, status, says, leadsTo) => {
  await browser.open(`${gateway.publicUrl}${path}`);
  expect(browser.status()).toBe(status);
  expect((await browser.view()).text).toContain(says);
  expect(/<main.*<\/main>/s.exec(browser.html())?.[0]).toContain(leadsTo);
});

it('leads from every page of a person to the other ones', async () => {
  const pages = ['/connections', '/clients', '/account'];
  for (const page of pages) {
    await browser.open(`${gateway.publicUrl}${page}`);
    for (const other of pages.filter((path) => path !== page)) {
      expect(/<body.*<\/body>/s.exec(browser.html())?.[0], `${page} to ${other}`).toContain(`href="${other}"`);
    }
  }
});

it('takes a request for a connect link that has no body', async () => {
  const headers = { authorization: `Bearer ${adminToken}` };
  const url = `${gateway.publicUrl}/api/v1/tenants/default/connectors`;
  const link = await fetch(`${url}/app/connect`, { method: 'POST', headers });
  // The operator's token is nobody's: it is told so, and not that something is wrong with its media type.
  expect(await link.json()).toMatchObject({ code: 'person_required' });
  expect((await fetch(`${gateway.publicUrl}/api/v1/users`, { method: 'POST', headers })).status).toBe(415);
});
