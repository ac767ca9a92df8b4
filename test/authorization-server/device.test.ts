import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEVICE_GRANT } from '../../src/authorization-server/device-code.ts';
import {
  post,
  refresh,
  register,
  startGateway,
  TENANT,
  type Browser,
  type Gateway,
  type Json,
  type Visit,
} from './gateway.ts';

let gateway: Gateway;
let client: string;
beforeEach(async () => {
  gateway = await startGateway();
  const { body } = await register(gateway, { grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT] });
  client = String(body['client_id']);
});
afterEach(async () => await gateway.close());

async function begin(changes: Record<string, string> = {}): Promise<Json> {
  const resource = gateway.resource('alpha');
  const answer = await post(gateway, '/oauth/device', { client_id: client, scope: 'mcp other', resource, ...changes });
  return { ...answer.body, status: answer.status };
}

const poll = async (device: Json, who = client) =>
  await post(gateway, '/oauth/token', {
    grant_type: DEVICE_GRANT,
    client_id: who,
    device_code: String(device['device_code']),
  });

async function send(browser: Browser, page: Visit, form: Record<string, string>): Promise<Visit> {
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? '';
  return await browser.go(`${gateway.url}/device`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ csrf, ...form }).toString(),
  });
}

describe('a device without a browser', () => {
  it('waits until its person has typed the code and allowed it, and gets tokens once', async () => {
    const device = await begin();
    const user_code = String(device['user_code']);
    expect(device).toMatchObject({ status: 200, verification_uri: `${gateway.url}/device`, expires_in: 600 });
    expect(device['verification_uri_complete']).toBe(`${gateway.url}/device?user_code=${user_code}`);
    expect((await poll(device)).body['error']).toBe('authorization_pending');
    const user = await gateway.person('tv@example.com');
    const browser = await gateway.browser(user);
    const form = await browser.go(`${gateway.url}/device`);
    const consent = await send(browser, form, { user_code: user_code.toLowerCase().replace('-', ' ') });
    for (const text of ['Allow Test client to use The alpha?', user_code, 'Whoever sent you this code', 'registered']) {
      expect(consent.text).toContain(text === 'registered' ? client : text);
    }
    expect((await poll(device)).body['error']).toBe('authorization_pending');
    const done = await send(browser, consent, { user_code, decision: 'allow' });
    expect(done.text).toContain('Allowed. Go back to your device.');
    const { status, body } = await poll(device);
    expect({ status, scope: body['scope'] }).toEqual({ status: 200, scope: 'mcp' });
    expect(await gateway.as.verify(String(body['access_token']))).toMatchObject({
      user: user.id,
      client,
      resource: gateway.resource('alpha'),
    });
    expect((await refresh(gateway, client, String(body['refresh_token']))).status).toBe(200);
    expect(await gateway.as.clients.list(TENANT, user.id)).toMatchObject([{ client, redirect: '' }]);
    expect((await browser.go(`${gateway.url}/clients`)).text).toContain('the device that shows the code');
    expect((await poll(device)).body['error']).toBe('invalid_grant');
    expect(await gateway.as.verify(String(body['access_token']))).toBeUndefined();
  });

  it('hears of a no', async () => {
    const device = await begin();
    const user_code = String(device['user_code']);
    const browser = await gateway.browser(await gateway.person('refuses@example.com'));
    const consent = await send(browser, await browser.go(`${gateway.url}/device`), { user_code });
    expect((await send(browser, consent, { user_code, decision: 'deny' })).text).toContain('Denied.');
    expect((await poll(device)).body['error']).toBe('access_denied');
    const again = await send(browser, await browser.go(`${gateway.url}/device`), { user_code });
    expect(again.text).toContain('not known, was used or has expired');
  });

  it('is not answered for by a link alone, nor by the form of another page', async () => {
    const device = await begin();
    const user_code = String(device['user_code']);
    const browser = await gateway.browser(await gateway.person('lured@example.com'));
    const page = await browser.go(String(device['verification_uri_complete']));
    expect(page.text).toContain(`value="${user_code}"`);
    expect(page.text).not.toContain('value="allow"');
    expect((await send(browser, page, { user_code, decision: 'allow' })).status).toBe(400);
    expect((await send(browser, { ...page, text: '' }, { user_code })).status).toBe(400);
    expect((await poll(device)).body['error']).toBe('authorization_pending');
    const nobody = await gateway.browser();
    expect((await nobody.go(String(device['verification_uri_complete']))).url).toContain(
      '/sign-in?return_to=%2Fdevice',
    );
  });

  it('is told from others: its code is for its client, and for ten minutes', async () => {
    const device = await begin();
    const { body } = await register(gateway, { grant_types: ['authorization_code', DEVICE_GRANT] });
    expect((await poll(device, String(body['client_id']))).body['error']).toBe('invalid_grant');
    const { body: plain } = await register(gateway);
    expect((await begin({ client_id: String(plain['client_id']) }))['error']).toBe('invalid_request');
    expect((await begin({ resource: 'https://elsewhere.example' }))['error']).toBe('invalid_target');
    gateway.clock.move(601_000);
    expect((await poll(device)).body['error']).toBe('expired_token');
  });

  it('leaves no code in the store, and codes cannot be guessed at speed', async () => {
    const device = await begin();
    const rows = JSON.stringify(await gateway.database.query.selectFrom('oauth_records').selectAll().execute());
    const user_code = String(device['user_code']);
    for (const value of [user_code, user_code.replace('-', ''), String(device['device_code'])]) {
      expect(rows).not.toContain(value);
    }
    const browser = await gateway.browser(await gateway.person('guesser@example.com'));
    const page = await browser.go(`${gateway.url}/device`);
    for (let i = 0; i < 20; i++) await send(browser, page, { user_code: 'BBBB-BBBB' });
    expect((await send(browser, page, { user_code })).text).toContain('Too many codes.');
  });
});
