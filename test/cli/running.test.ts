import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createPlainBrowser } from '../browser/plain-browser.ts';
import { run, start, type Started } from './command.ts';

let cwd: string;
const started: Started[] = [];
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'valetkey-run-'));
});
afterEach(async () => {
  for (const one of started.splice(0)) {
    one.signal('SIGKILL');
    await one.ended;
  }
  await rm(cwd, { recursive: true, force: true });
});
const begin = (args: string[], env: Record<string, string>): Started => {
  const one = start(args, { cwd, env });
  started.push(one);
  return one;
};

test('serve prints the address and the set-up link, answers, and stops when asked', { timeout: 60_000 }, async () => {
  await mkdir(join(cwd, 'data'), { mode: 0o700 });
  const serve = begin(['serve'], { VALETKEY_PORT: '0' });
  const [, url = ''] = await serve.says(/^Valetkey is at (\S+)$/m);
  const [, link = ''] = await serve.says(/^ {2}(http\S+\/setup\/\S+)$/m);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  const browser = createPlainBrowser();
  await browser.open(link);
  expect(browser.status()).toBe(200);
  serve.signal('SIGTERM');
  expect(await serve.ended).toMatchObject({ code: 0 });
  // What was compiled is there for the next start.
  expect(await readdir(join(cwd, 'data', 'compiled'))).toHaveLength(1);
});

test('serve refuses a wrong declared connector before anybody can reach it', { timeout: 60_000 }, async () => {
  await writeFile(join(cwd, 'valetkey.yaml'), 'connectors: [{name: files, url: "https://files.example", auht: {}}]\n');
  const ended = await run(['serve'], { cwd, env: { VALETKEY_PORT: '0' } });
  expect(ended).toMatchObject({ code: 1, stdout: '' });
  expect(ended.stderr).toMatch(
    /^error: connectors\[0\]: auht is not a field of a connector document\. \(connector_invalid\)$/m,
  );
  expect(ended.stderr).toMatch(/^hint: Did you mean auth\?$/m);
});

test('demo brings up a gateway with a connector to the practice service', { timeout: 60_000 }, async () => {
  const demo = begin(['demo'], {});
  const [, gateway = '', practice = ''] = await demo.says(/^Valetkey is at (\S+), the practice service at (\S+)$/m);
  await demo.says(/^Ctrl-C/m);
  expect(demo.stdout()).toContain(`claude mcp add --transport http practice ${gateway}/mcp/default/practice`);
  expect(demo.stdout()).toContain('alice / practice');
  expect((await fetch(`${practice}/openapi.json`)).status).toBe(200);
  const challenge = await fetch(`${gateway}/mcp/default/practice`, { method: 'POST', body: '{}' });
  expect(challenge.status).toBe(401);
  // A second one finds ports of its own.
  const second = begin(['demo'], { VALETKEY_DATA_DIR: join(cwd, 'second') });
  const [, other = ''] = await second.says(/^Valetkey is at (\S+),/m);
  expect(other).not.toBe(gateway);
  for (const one of [demo, second]) {
    one.signal('SIGINT');
    expect(await one.ended).toMatchObject({ code: 0 });
  }
});

test('test-server prints what one needs to get in', { timeout: 60_000 }, async () => {
  const server = begin(['test-server', '--mode', 'bearer', '--port', '0', '--json'], {});
  const [line] = await server.says(/^\{.*\}$/m);
  const { mcpUrl, credentials } = JSON.parse(line) as {
    mcpUrl: string;
    credentials: { tokens: Record<string, string> };
  };
  expect((await fetch(mcpUrl, { method: 'POST', body: '{}' })).status).toBe(401);
  expect(Object.keys(credentials.tokens)).toContain('alice');
  const taken = new URL(mcpUrl).port;
  const ended = await run(['test-server', '--mode', 'none', '--port', taken], { cwd });
  expect(ended).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(new RegExp(`^error: Port ${taken} .* is taken`)),
  });
  server.signal('SIGTERM');
  expect(await server.ended).toMatchObject({ code: 0 });
});
