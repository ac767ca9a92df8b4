import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, test } from 'vitest';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { startGateway, type TestGateway } from '../fixtures/gateway.ts';
import { run } from './command.ts';
import { fill, parseScript, pattern } from './script.ts';

const ADMIN_TOKEN = 'owner-token-of-a-test-gateway';
const folder = fileURLToPath(new URL('scripts/', import.meta.url));

let gateway: TestGateway;
let service: TestServer;
beforeAll(async () => {
  gateway = await startGateway({ adminToken: ADMIN_TOKEN });
  service = await createTestServer({ mode: 'bearer', port: 0 });
});
afterAll(async () => {
  await service.close();
  await gateway.close();
});

const scripts = readdirSync(folder)
  .filter((name) => name.endsWith('.txt'))
  .map((file) => ({ file, ...parseScript(readFileSync(join(folder, file), 'utf8')) }));

// Each step is a process of its own, and there may be little machine for them.
test.concurrent.for(scripts)('$title', { timeout: 120_000 }, async (script, { expect }) => {
  const cwd = await mkdtemp(join(tmpdir(), 'valetkey-cli-'));
  try {
    const values = {
      url: gateway.publicUrl,
      loopback: gateway.publicUrl.replace('localhost', '127.0.0.1'),
      token: ADMIN_TOKEN,
      service: service.mcpUrl,
      secret: service.credentials.tokens['alice'] ?? '',
    };
    for (const [name, text] of script.files) await writeFile(join(cwd, name), fill(text, values));
    for (const step of script.steps) {
      const args = step.args.map((word) => fill(word, values));
      // `env NAME=value …` before the command, as a shell would take it.
      const settings: Record<string, string> = { VALETKEY_URL: values.url, VALETKEY_TOKEN: ADMIN_TOKEN };
      while (/^[A-Z_]+=/.test(args[0] ?? '')) {
        const [name = '', ...value] = (args.shift() ?? '').split('=');
        if (value.join('=') === '') delete settings[name];
        else settings[name] = value.join('=');
      }
      const ended = await run(args, { cwd, env: settings, stdin: fill(step.stdin, values) });
      const shown = `${script.file}:${step.line}\n${ended.stdout}\n${ended.stderr}`;
      expect({ code: ended.code, shown }).toEqual({ code: step.code, shown });
      for (const line of step.out) expect(ended.stdout).toMatch(pattern(line, values));
      for (const line of step.err) expect(ended.stderr).toMatch(pattern(line, values));
      for (const text of step.without) expect(`${ended.stdout}${ended.stderr}`).not.toContain(fill(text, values));
    }
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
});
