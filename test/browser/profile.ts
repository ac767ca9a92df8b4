import type { Browser } from 'playwright-core';
import { signInAndConsent } from './browser.ts';
import { createPlainBrowser } from './plain-browser.ts';
import { walk } from './walk.ts';
import type { Person, View, WalkOptions } from './walk.ts';

/** One person's browser, with cookies of its own. */
export interface Profile {
  person: Person;
  /** Opens what a client wants opened and walks it to the client's callback. Returns the pages passed. */
  authorize(authorizationUrl: string): Promise<View[]>;
  /** Opens a page of ours and walks until `until` holds. */
  visit(url: string, options: WalkOptions): Promise<View[]>;
  /** What the browser complained about on pages of the site it began at: refused by a policy, failed to load. */
  complaints: string[];
  close(): Promise<void>;
}

/** RFC 6749 §4.1.1: where the authorization server sends the browser in the end. */
function callbackOf(authorizationUrl: string): WalkOptions['until'] {
  const callback = new URL(authorizationUrl).searchParams.get('redirect_uri');
  if (callback === null) throw new Error('The authorization URL names no redirect_uri');
  return (view) => view.url.startsWith(callback);
}

/** A profile in Chromium. */
export async function openProfile(browser: Browser, person: Person): Promise<Profile> {
  const context = await browser.newContext();
  context.setDefaultTimeout(15_000);
  const complaints: string[] = [];
  async function visit(url: string, options: WalkOptions) {
    const { origin } = new URL(url);
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() !== 'error' || !page.url().startsWith(origin)) return;
      complaints.push(`${page.url()}: ${message.text()}`);
    });
    try {
      return await signInAndConsent(page, url, person, options);
    } finally {
      await page.close();
    }
  }
  return {
    person,
    visit,
    complaints,
    authorize: (url) => visit(url, { until: callbackOf(url) }),
    close: () => context.close(),
  };
}

/** The same without a screen, for the many sign-ins that a suite needs. */
export function plainProfile(person: Person): Profile {
  const browser = createPlainBrowser();
  async function visit(url: string, options: WalkOptions) {
    await browser.open(url);
    return walk(browser, person, options);
  }
  return {
    person,
    visit,
    complaints: [],
    authorize: (url) => visit(url, { until: callbackOf(url) }),
    close: async () => undefined,
  };
}
