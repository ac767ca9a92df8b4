import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import type { Browser, Page } from 'playwright-core';
import { viewOf } from './page.ts';
import { walk } from './walk.ts';
import type { Form, Person, Surface, View, WalkOptions } from './walk.ts';

const executablePath = process.env['TEST_CHROMIUM'] ?? '/usr/bin/chromium';

/**
 * Whether tests with a browser run. Where CI is set they always do, and fail without one:
 * a proof that is skipped silently proves nothing.
 */
export const browserHere = existsSync(executablePath) || Boolean(process.env['CI']);

/** Starts headless Chromium. Each `browser.newContext()` is a person's own profile. */
export async function launchBrowser(): Promise<Browser> {
  if (!existsSync(executablePath)) {
    throw new Error(`No Chromium at ${executablePath}. Run scripts/test-deps, or set TEST_CHROMIUM.`);
  }
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Saves a picture of the page for whoever looks into a failure; returns its path. */
export async function screenshot(page: Page, name: string): Promise<string> {
  const folder = process.env['TEST_SCREENSHOTS'] ?? join(tmpdir(), 'valetkey-screenshots');
  await mkdir(folder, { recursive: true });
  const path = join(folder, `${name.replaceAll(/[^a-z0-9-]+/gi, '-')}.png`);
  await page.screenshot({ path, fullPage: true });
  return path;
}

/** Opens `url` and does what the pages ask until `until` holds: sign-in, consent, the provider's own pages. */
export async function signInAndConsent(page: Page, url: string, person: Person, options: WalkOptions): Promise<View[]> {
  await page.goto(url, { waitUntil: 'load' });
  return walk(surfaceOf(page), person, options);
}

export function surfaceOf(page: Page): Surface {
  return {
    view: () => settledView(page),
    async submit(form: Form, values, button) {
      const locator = page.locator('form').nth(form.index);
      for (const [name, value] of Object.entries(values)) await locator.locator(`[name="${name}"]`).fill(value);
      await moved(page, () => locator.getByRole('button', { name: button, exact: true }).first().click());
    },
    async awaitRefresh(from) {
      await page.waitForURL((url) => url.href !== from, { timeout: 10_000 });
    },
    evidence: async () => `Screenshot: ${await screenshot(page, `stuck-${new URL(page.url()).pathname}`)}`,
  };
}

/** Chromium gives no content while a page that goes on by itself is going. */
async function settledView(page: Page): Promise<View> {
  for (let attempt = 0; ; attempt += 1) {
    const url = page.url();
    try {
      await page.waitForLoadState('load');
      const html = await page.content();
      if (page.url() === url) return viewOf(url, html);
    } catch (error) {
      if (attempt > 20) throw error;
      // The next document is on its way; the failure itself comes at once, so that attempts alone would be spent by then.
      await page.waitForEvent('domcontentloaded', { timeout: 1_000 }).catch(() => undefined);
    }
  }
}

async function moved(page: Page, act: () => Promise<void>): Promise<void> {
  const navigated = page.waitForEvent('framenavigated', {
    predicate: (frame) => frame === page.mainFrame(),
    timeout: 15_000,
  });
  await Promise.all([navigated, act()]);
  await page.waitForLoadState('load');
}
