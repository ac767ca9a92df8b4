import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { browserHere, launchBrowser, screenshot } from '../browser/browser.ts';
import { openProfile } from '../browser/profile.ts';
import { startCallback } from '../clients/callback.ts';
import { authorizationScenarios, runAuthorizationRole } from '../conformance/authorization-role.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';
import { CHALLENGE, type Json } from './gateway.ts';

describe.runIf(browserHere)('in Chromium', () => {
  let browser: Browser;
  let gateway: TestGateway;
  beforeAll(async () => {
    browser = await launchBrowser();
    gateway = await startGateway();
    await gateway.apply({ name: 'notes', title: 'Notes', kind: 'mcp', url: 'http://127.0.0.1:9/mcp' });
  });
  afterAll(async () => {
    await browser.close();
    await gateway.close();
  });

  async function requestOf(redirect: string): Promise<string> {
    const registration = await fetch(`${gateway.publicUrl}/oauth/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ client_name: 'Editor', redirect_uris: [redirect], token_endpoint_auth_method: 'none' }),
    });
    const { client_id } = (await registration.json()) as Json;
    const query = new URLSearchParams({
      response_type: 'code',
      client_id: String(client_id),
      redirect_uri: redirect,
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      state: 'chromium',
      resource: gateway.mcpUrl('notes'),
    });
    return `${gateway.publicUrl}/oauth/authorize?${query.toString()}`;
  }

  it('a yes leads from our form to a client on another origin', async () => {
    const callback = await startCallback();
    const profile = await openProfile(browser, await gateway.invite('Grace Hopper'));
    try {
      const passed = await profile.authorize(await requestOf(callback.url));
      expect(passed.map(({ title }) => title).join()).toContain('Allow Editor?');
      expect(callback.params().get('code')).toEqual(expect.any(String));
      expect(Object.fromEntries(callback.params())).toMatchObject({ state: 'chromium', iss: gateway.publicUrl });
    } finally {
      await profile.close();
      await callback.close();
    }
  });

  it('a no does as well, and the page breaks no rule of its own', async () => {
    const callback = await startCallback();
    const person = await gateway.invite('Barbara Liskov');
    const context = await browser.newContext();
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    try {
      await page.goto(await requestOf(callback.url));
      await page.locator('[name=email]').fill(person.email);
      await page.locator('[name=password]').fill(person.password);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.getByRole('button', { name: 'Deny' }).waitFor();
      if (process.env['TEST_SCREENSHOTS'] !== undefined) await screenshot(page, 'consent');
      await page.getByRole('button', { name: 'Deny' }).click();
      await page.waitForURL((url) => url.href.startsWith(callback.url));
      expect(callback.params().get('error')).toBe('access_denied');
      expect(complaints).toEqual([]);
    } finally {
      await context.close();
      await callback.close();
    }
  });

  it('the official conformance suite finds nothing wrong with the authorization server', async () => {
    const profile = await openProfile(browser, await gateway.invite('Adele Goldberg'));
    try {
      const run = await runAuthorizationRole(gateway.publicUrl, gateway.mcpUrl('notes'), profile);
      for (const scenario of authorizationScenarios) {
        expect({ scenario, ...run.scenarios.get(scenario) }).toMatchObject({ scenario, failed: 0, warnings: 0 });
      }
      expect(run.exitCode).toBe(0);
    } finally {
      await profile.close();
    }
  });
});
