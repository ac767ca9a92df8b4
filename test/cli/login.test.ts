import { mkdtemp, readFile, rm, stat, writeFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { walk, type Person } from '../browser/walk.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';
import { run, start } from './command.ts';

let gateway: TestGateway;
let person: Person;
let home: string;
beforeAll(async () => {
  gateway = await startGateway();
  person = await gateway.invite('dora');
  home = await mkdtemp(join(tmpdir(), 'valetkey-login-'));
});
afterAll(async () => {
  await gateway.close();
  await rm(home, { recursive: true, force: true });
});

const settings = () => ({ cwd: home, env: { VALETKEY_URL: gateway.publicUrl, XDG_CONFIG_HOME: join(home, 'config') } });
const file = () => join(home, 'config', 'valetkey', 'credentials.json');

type Stored = { gateways: Record<string, { accessToken: string; refreshToken: string; expiresAt: number }> };
const stored = async () => {
  const { gateways } = JSON.parse(await readFile(file(), 'utf8')) as Stored;
  const tokens = gateways[gateway.publicUrl];
  if (tokens === undefined) throw new Error('nothing is stored for the gateway');
  return tokens;
};

test('a person signs the command line in with the browser, and out again', { timeout: 120_000 }, async () => {
  const login = start(['login', '--no-open'], settings());
  const [, address = ''] = await login.says(/^ {2}(http\S+)$/m);
  const asked = new URL(address).searchParams;
  expect(asked.get('code_challenge_method')).toBe('S256');
  expect(asked.get('resource')).toBe(`${gateway.publicUrl}/api/v1`);

  // Whoever finds the port cannot end the sign-in, let alone with an answer of their own.
  const callback = asked.get('redirect_uri') ?? '';
  expect((await fetch(new URL('/elsewhere', callback))).status).toBe(404);

  const browser = createPlainBrowser();
  await browser.open(address);
  await walk(browser, person, { until: ({ url }) => url.startsWith(callback) });
  const ended = await login.ended;
  expect(ended.stderr).toBe('');
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stdout).toContain(`Signed in to ${gateway.publicUrl} as ${person.email}`);

  expect((await stat(file())).mode & 0o777).toBe(0o600);
  const first = await stored();
  expect(`${ended.stdout}${ended.stderr}`).not.toContain(first.accessToken);
  expect((await run(['whoami'], settings())).stdout).toContain(`${person.email} (member of default)`);

  // An access token at its end is renewed, and the successor is kept.
  const content = JSON.parse(await readFile(file(), 'utf8')) as Stored;
  content.gateways[gateway.publicUrl] = { ...first, expiresAt: Date.now() };
  await writeFile(file(), JSON.stringify(content));
  await chmod(file(), 0o644);
  const renewed = await run(['whoami'], settings());
  expect(renewed).toMatchObject({ code: 0 });
  expect(renewed.stderr).toContain('was readable by others');
  expect((await stored()).accessToken).not.toBe(first.accessToken);
  expect((await stat(file())).mode & 0o777).toBe(0o600);

  const second = await stored();
  expect((await run(['logout'], settings())).stdout).toContain('Signed out');
  const refused = await fetch(`${gateway.publicUrl}/api/v1/whoami`, {
    headers: { authorization: `Bearer ${second.accessToken}` },
  });
  expect(refused.status).toBe(401);
  expect(await run(['whoami'], settings())).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('Not signed in'),
  });
});

test.each(['state', 'iss'])(
  'an answer with a foreign %s is not taken for the sign-in',
  { timeout: 60_000 },
  async (name) => {
    const login = start(['login', '--no-open'], settings());
    const [, address = ''] = await login.says(/^ {2}(http\S+)$/m);
    const asked = new URL(address).searchParams;
    const callback = new URL(asked.get('redirect_uri') ?? '');
    const answer = {
      code: 'x',
      state: asked.get('state') ?? '',
      iss: gateway.publicUrl,
      [name]: 'https://foreign.example',
    };
    callback.search = new URLSearchParams(answer).toString();
    await fetch(callback);
    expect(await login.ended).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('an answer that was not asked for'),
    });
  },
);

test('a denied sign-in ends with what to do', { timeout: 60_000 }, async () => {
  const login = start(['login', '--no-open'], settings());
  const [, address = ''] = await login.says(/^ {2}(http\S+)$/m);
  const asked = new URL(address).searchParams;
  const callback = new URL(asked.get('redirect_uri') ?? '');
  const answer = { error: 'access_denied', state: asked.get('state') ?? '', iss: gateway.publicUrl };
  callback.search = new URLSearchParams(answer).toString();
  await fetch(callback);
  expect(await login.ended).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^error: .*not allowed[^]*^hint: /m),
  });
});
