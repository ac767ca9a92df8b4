/**
 * Takes the pictures of docs/pictures that show pages: a gateway and the practice service, a person, a client
 * that asks. Needs Chromium, at /usr/bin/chromium or where TEST_CHROMIUM says, and the ports of the demo.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import { z } from 'zod';
import { systemClock } from '../src/clock.ts';
import { loadConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';
import { startServer } from '../src/server.ts';
import { createTestServer } from '../src/test-server/test-server.ts';
import { withPalette } from './palette-png.ts';

const PICTURES = join(import.meta.dirname, '../docs/pictures');
const PASSWORD = 'correct horse battery staple';
const CALLBACK = 'http://127.0.0.1:33418/callback';

const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-screenshots-'));
const practice = await createTestServer({ mode: 'oauth-dcr', port: 3456 });
const config = loadConfig({ VALETKEY_PORT: '8787', VALETKEY_DATA_DIR: dataDir }, dataDir);
const server = await startServer({
  config: {
    ...config,
    connectors: [
      {
        name: 'practice',
        title: 'Practice service',
        description: 'A service on this machine to try things out with.',
        url: practice.mcpUrl,
        auth: { type: 'oauth2' },
      },
    ],
  },
  log: createLog({ level: 'error' }),
  clock: systemClock,
});
const browser = await chromium.launch({
  executablePath: process.env['TEST_CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-lcd-text', '--disable-background-networking'],
});

try {
  if (server.setUpLink === null) throw new Error('The gateway of the pictures has an owner already');
  const page = await browser.newPage({ deviceScaleFactor: 2, viewport: { width: 620, height: 400 } });
  await page.goto(server.setUpLink);
  await fill(page, { email: 'ada@example.com', name: 'Ada', password: PASSWORD });
  await press(page, /Create/);

  await page.goto(await authorizationUrl());
  await take(page, 'consent');
  await press(page, /^Allow$/);
  await page.waitForURL(/\/connect\/default\/practice/);
  await take(page, 'connect');
  await press(page, /^Continue/);
  await page.waitForURL(/\/auth\/authorize/);
  await fill(page, { username: 'alice', password: 'practice' });
  await press(page, /^Sign in/);
  await press(page, /^Allow$/);
  await page.waitForURL(/\/connect\/callback\//);

  await page.goto(`${server.url}/connections`);
  await take(page, 'connections');
} finally {
  await browser.close();
  await server.close(0);
  await practice.close();
  await rm(dataDir, { recursive: true, force: true, maxRetries: 3 });
}

async function fill(page: Page, values: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(values)) await page.locator(`[name="${name}"]`).fill(value);
}

async function press(page: Page, name: RegExp): Promise<void> {
  await page.getByRole('button', { name }).first().click();
  await page.waitForLoadState('load');
}

/** What a client opens that has just registered (RFC 7591) and asks for the practice connector. */
async function authorizationUrl(): Promise<string> {
  const registered = await fetch(`${server.url}/oauth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'Example editor',
      redirect_uris: [CALLBACK],
      token_endpoint_auth_method: 'none',
    }),
  });
  const { client_id } = z.object({ client_id: z.string() }).parse(await registered.json());
  const query = new URLSearchParams({
    response_type: 'code',
    client_id,
    redirect_uri: CALLBACK,
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    code_challenge_method: 'S256',
    state: 'picture',
    scope: 'mcp',
    resource: `${server.url}/mcp/default/practice`,
  });
  return `${server.url}/oauth/authorize?${query.toString()}`;
}

/** Header and content with a margin, and nothing of the empty page around them. */
async function take(page: Page, name: string): Promise<void> {
  const end = await page.locator('main').evaluate((main) => main.getBoundingClientRect().bottom);
  const clip = { x: 0, y: 0, width: 620, height: Math.ceil(end) + 20 };
  await writeFile(join(PICTURES, `${name}.png`), withPalette(await page.screenshot({ fullPage: true, clip })));
}
