import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { html, pageResponse } from '../../src/web/page.ts';
import { browserHere, launchBrowser } from '../browser/browser.ts';
import { PASSWORD, startIdentity } from './gateway.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

describe.skipIf(!browserHere)('the pages of identity in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser.close();
  });

  async function start(colorScheme: 'light' | 'dark' = 'light') {
    const gateway = await startIdentity(undefined, (web) => {
      const plain = async () => await pageResponse({ title: 'Arrived', body: html`<h1>Arrived</h1>` });
      web.app.get('/connections', plain);
      web.app.get('/elsewhere', plain);
    });
    closing.push(gateway.close);
    const context = await browser.newContext({ viewport: { width: 375, height: 700 }, colorScheme });
    closing.push(() => context.close());
    const page = await context.newPage();
    const refused: string[] = [];
    page.on('console', (message) => {
      if (/content security policy|refused to/i.test(message.text())) refused.push(message.text());
    });
    return { ...gateway, page, refused };
  }

  it('take a person from the set-up link to the account, by labels and keyboard alone', async () => {
    const { page, identity, url, refused } = await start();
    await page.goto(url + ((await identity.setUpLink()) ?? ''));
    expect(await focused(page)).toBe('email');
    await page.keyboard.type('ada@example.com');
    await page.keyboard.press('Tab');
    await page.keyboard.type('Ada Lovelace');
    await page.keyboard.press('Tab');
    await page.keyboard.type('password');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').waitFor();
    expect(await page.title()).toMatch(/^Error: /);
    expect(await focused(page)).toBe('password');
    expect(await page.getByLabel('Your name').inputValue()).toBe('Ada Lovelace');
    await page.getByRole('alert').getByRole('link').focus();
    await page.keyboard.press('Enter');
    expect(await focused(page)).toBe('password');
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForURL(`${url}/connections`);
    await page.goto(`${url}/account`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('status').waitFor();
    expect(await page.getByRole('status').textContent()).toBe('You are signed out.');
    expect(refused).toEqual([]);
  });

  it('go on by themselves to where the person wanted to go', async () => {
    const { page, owner, url, refused } = await start();
    await owner();
    await page.goto(`${url}/sign-in?return_to=/elsewhere`);
    await page.getByLabel('E-mail address').fill('ada@example.com');
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.waitForURL(`${url}/elsewhere`);
    expect(refused).toEqual([]);
  });

  it.each(['light', 'dark'] as const)('can be read in the %s scheme and on a narrow screen', async (scheme) => {
    const { page, owner, identity, url } = await start(scheme);
    const look = async (): Promise<void> => {
      expect(await faintest(page)).toBeGreaterThanOrEqual(4.5);
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    };
    await page.goto(url);
    await look();
    await page.goto(url + ((await identity.setUpLink()) ?? ''));
    await look();
    await owner();
    await page.goto(`${url}/sign-in?signed_out=1`);
    await look();
    await page.getByLabel('E-mail address').fill('ada@example.com');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').waitFor();
    await look();
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.waitForURL(`${url}/connections`);
    await page.goto(`${url}/account`);
    await look();
  });
});

const focused = (page: Page): Promise<unknown> => page.evaluate('document.activeElement?.id');

/** The least contrast of any text on the page with what lies behind it (WCAG 1.4.3). */
async function faintest(page: Page): Promise<number> {
  return Number(
    await page.evaluate(`(() => {
      const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
      const light = (color) => {
        const [r, g, b] = color.map((part) => part / 255).map((part) =>
          part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (element) => {
        for (let at = element; at !== null; at = at.parentElement) {
          const color = rgb(getComputedStyle(at).backgroundColor);
          if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
        }
        return [255, 255, 255];
      };
      let least = 21;
      for (const element of document.body.querySelectorAll('*')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
        if (!own && element.tagName !== 'INPUT') continue;
        const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
        least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
      }
      return least;
    })()`),
  );
}
