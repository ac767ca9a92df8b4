import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPlainBrowser } from '../test/browser/plain-browser.ts';
import { walk } from '../test/browser/walk.ts';
import { connectSdkClient } from '../test/clients/sdk-client.ts';
import { answering, end, freePort } from './child.ts';
import type { Target } from './target.ts';
import { residentBytes } from './usage.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');

export type Valetkey = Target & {
  /** Milliseconds from the start of the process to its first answer, on an empty data folder. */
  startMs: number;
  /** Resident memory before the first call, in bytes. */
  idleBytes: number;
};

/**
 * The gateway as its command line starts it, with a person who has signed in with a real client, consented, and
 * connected their account at the upstream. Nothing is switched off, only the rate limit is out of reach.
 * @param nodeOptions of its process, for a profile
 */
export async function startValetkey(
  upstream: string,
  folder: string,
  nodeOptions: readonly string[] = [],
): Promise<Valetkey> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const adminToken = randomBytes(24).toString('base64url');
  const logFile = join(folder, 'valetkey.log');
  const log = openSync(logFile, 'w');
  const started = performance.now();
  const child = spawn(process.execPath, [...nodeOptions, MAIN, 'serve'], {
    cwd: folder,
    env: {
      PATH: process.env['PATH'],
      VALETKEY_PORT: String(port),
      VALETKEY_PUBLIC_URL: origin,
      VALETKEY_DATA_DIR: join(folder, 'data'),
      VALETKEY_ADMIN_TOKEN: adminToken,
      VALETKEY_ACCESS_TOKEN_TTL: '900',
    },
    stdio: ['ignore', log, log],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error('the gateway did not start');
  try {
    await answering(`${origin}/healthz`, child);
    const startMs = performance.now() - started;
    const idleBytes = residentBytes([pid]);
    const api = async (path: string, body: unknown): Promise<Record<string, unknown>> => {
      const response = await fetch(`${origin}/api/v1${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${text}`);
      return JSON.parse(text) as Record<string, unknown>;
    };
    await api('/tenants/default/connectors', {
      name: 'bench',
      url: `${upstream}/mcp`,
      transport: 'streamable-http',
      auth: { type: 'oauth2' },
      limits: { callsPerMinute: 1_000_000 },
    });
    const password = randomBytes(18).toString('base64url');
    const email = 'person@bench.test';
    const { invitationUrl } = await api('/users', { email, name: 'A person', role: 'member' });
    const browser = createPlainBrowser();
    await browser.open(String(invitationUrl));
    const form = (await browser.view()).forms.find(({ fields }) => fields.includes('password'));
    if (form === undefined) throw new Error(`the invitation shows no form: ${browser.status()}`);
    await browser.submit(form, { name: 'A person', password }, form.buttons[0] ?? '');
    const session = await connectSdkClient({
      url: `${origin}/mcp/default/bench`,
      era: 'modern',
      async authorize(url) {
        await browser.open(url);
        const callback = new URL(url).searchParams.get('redirect_uri') ?? '';
        await walk(browser, { email, password }, { until: (view) => view.url.startsWith(callback) });
      },
    });
    const token = session.tokens().access_token;
    await session.close();
    return {
      name: 'valetkey',
      url: `${origin}/mcp/default/bench`,
      token,
      pids: [pid],
      startMs,
      idleBytes,
      close: () => end(child),
    };
  } catch (cause) {
    await end(child);
    const said = readFileSync(logFile, 'utf8').slice(-2_000);
    throw new Error(`${(cause as Error).message}; the gateway said last:\n${said}`, { cause });
  }
}
