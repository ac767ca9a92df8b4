import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { browserHere, launchBrowser, signInAndConsent } from '../browser/browser.ts';
import { openHouse, type House, type Person } from './house.ts';

describe.skipIf(!browserHere)('the page where a credential is entered', { timeout: 60_000 }, () => {
  let service: TestServer;
  let house: House;
  let browser: Browser;
  let alice: Person;

  beforeAll(async () => {
    service = await createTestServer({ mode: 'apikey', port: 0 });
    house = await openHouse();
    browser = await launchBrowser();
    alice = await house.person('alice');
    await house.put({
      name: 'keys',
      title: 'Practice keys',
      url: service.mcpUrl,
      auth: {
        type: 'api-key',
        header: 'X-API-Key',
        owner: 'user',
        labels: { value: 'API key from your settings' },
        guide: 'Open Settings, then API keys, and make one that may read items.',
      },
    });
  });
  afterAll(async () => {
    await browser?.close();
    await house?.close();
    await service?.close();
  });

  it.each([
    ['light', 1_100, 'light'],
    ['dark', 1_100, 'dark'],
    ['phone', 360, 'light'],
  ] as const)('reads well on a screen that is %s', async (name, width, colorScheme) => {
    const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 } });
    context.setDefaultTimeout(15_000);
    const complaints: string[] = [];
    const page = await context.newPage();
    page.on('console', (message) => {
      // The answer to what was refused has a status of its own.
      if (message.type() === 'error' && !message.text().includes('403')) complaints.push(message.text());
    });
    const url = `${house.publicUrl}/connect/default/keys`;
    await signInAndConsent(page, url, alice.walker, { until: (view) => /^(Connect|Reconnect) /.test(view.title) });
    const field = page.getByLabel('API key from your settings');
    expect(await field.getAttribute('type')).toBe('password');
    expect(await field.getAttribute('autocomplete')).toBe('off');
    await shot(`entry-${name}`);
    await field.fill('not a key');
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByRole('alert').waitFor();
    expect(await page.getByRole('alert').innerText()).toContain('does not accept what was entered');
    expect(await page.getByLabel('API key from your settings').inputValue()).toBe('');
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(overflow).toBe(0);
    await shot(`entry-refused-${name}`);
    await page.getByLabel('API key from your settings').fill(service.credentials.apiKeys['alice'] ?? '');
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByRole('heading', { name: 'Practice keys is connected' }).waitFor();
    expect(await page.content()).not.toContain(service.credentials.apiKeys['alice']);
    expect(complaints).toEqual([]);
    await context.close();

    async function shot(file: string): Promise<void> {
      const folder = process.env['VALETKEY_SHOTS'];
      if (folder === undefined) return;
      await mkdir(folder, { recursive: true });
      await page.screenshot({ path: join(folder, `${file}.png`), fullPage: true });
    }
  });
});
