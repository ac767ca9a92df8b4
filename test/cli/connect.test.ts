import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { walk, type Person } from '../browser/walk.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';
import { run, start } from './command.ts';

let gateway: TestGateway;
let service: TestServer;
let person: Person;
let cwd: string;
beforeAll(async () => {
  gateway = await startGateway();
  service = await createTestServer({ mode: 'oauth-dcr', port: 0 });
  person = await gateway.invite('dora', { username: 'alice', password: 'practice' });
  cwd = await mkdtemp(join(tmpdir(), 'valetkey-connect-'));
});
afterAll(async () => {
  await service.close();
  await gateway.close();
  await rm(cwd, { recursive: true, force: true });
});

test('a person connects an account from the command line, sees it, and revokes it', { timeout: 180_000 }, async () => {
  const env = { VALETKEY_URL: gateway.publicUrl, XDG_CONFIG_HOME: join(cwd, 'config') };
  const valetkey = (...args: string[]) => run(args, { cwd, env });
  await writeFile(join(cwd, 'practice.yaml'), `name: practice\nurl: ${service.mcpUrl}\nauth: {type: oauth2}\n`);
  const asOwner = { ...env, VALETKEY_TOKEN: 'owner-token-of-a-test-gateway' };
  const applied = await run(['connectors', 'apply', '-f', 'practice.yaml'], { cwd, env: asOwner });
  expect(applied).toMatchObject({ code: 0, stdout: expect.stringContaining('practice created') });

  const browser = createPlainBrowser();
  const login = start(['login', '--no-open'], { cwd, env });
  const [, address = ''] = await login.says(/^ {2}(http\S+)$/m);
  await browser.open(address);
  await walk(browser, person, { until: ({ url }) => new URL(url).pathname === '/callback' });
  expect(await login.ended).toMatchObject({ code: 0 });

  // A member may not administer, and is told so.
  const forbidden = await valetkey('users', 'list');
  expect(forbidden).toMatchObject({ code: 1, stderr: expect.stringContaining('(forbidden)') });

  const link = await valetkey('connect', 'practice', '--no-open');
  const [, connect = ''] = /^ {2}(http\S+)$/m.exec(link.stdout) ?? [];
  expect(new URL(connect).pathname).toBe('/connect/default/practice');
  await browser.open(connect);
  await walk(browser, person, { until: ({ text }) => /\bis connected\b|\bconnected\b.*\balice\b/i.test(text) });

  const listed = await valetkey('connections', 'list');
  expect(listed.stdout).toMatch(/^cnx_\w+ +practice +\S+@\S+ +.*connected +healthy +\d{4}-/m);
  const tools = await valetkey('connectors', 'tools', 'practice');
  expect(tools.stdout).toMatch(/^whoami +whoami +on/m);

  const [id = ''] = /^cnx_\w+/m.exec(listed.stdout) ?? [];
  const revoked = await valetkey('connections', 'revoke', id);
  expect(revoked.stdout).toBe(`${id} revoked. The service has ended it as well.\n`);
  const after = await valetkey('connections', 'list', '--json');
  const left = JSON.parse(after.stdout) as { status: string }[];
  expect(left.filter(({ status }) => status === 'connected')).toEqual([]);
  expect(service.grants().map(({ revoked: ended }) => ended)).toEqual([true]);
});
