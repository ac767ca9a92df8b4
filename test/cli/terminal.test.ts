import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { table } from '../../src/cli/terminal.ts';
import { createTokenFile } from '../../src/cli/token-file.ts';

test('what came from elsewhere cannot drive the terminal', () => {
  const text = table(
    ['NAME', 'TITLE'],
    [
      ['a', '\u001b[2Jgone\u202e\nnext'],
      ['long-name', null],
    ],
  );
  expect(text).toBe('NAME       TITLE\na           [2Jgone next\nlong-name  -');
});

test('a damaged token file says what to do and is not overwritten', async () => {
  const home = await mkdtemp(join(tmpdir(), 'valetkey-token-'));
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  await mkdir(join(home, 'valetkey'));
  await writeFile(join(home, 'valetkey', 'credentials.json'), '{"current": 1}', { mode: 0o600 });
  const file = createTokenFile({ env: { XDG_CONFIG_HOME: home }, err: () => undefined });
  expect(() => file.read('http://localhost:8787')).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('login') }),
  );
  expect(() => file.remove('http://localhost:8787')).toThrow(/damaged/);
});
