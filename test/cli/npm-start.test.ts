import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

const checkout = join(import.meta.dirname, '../..');

it('leaves nothing running when npm start is told to end', { timeout: 30_000 }, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'valetkey-npm-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 3 }));
  const child = spawn('npm', ['start'], {
    cwd: checkout,
    env: { PATH: process.env['PATH'] ?? '', HOME: dataDir, VALETKEY_PORT: '0', VALETKEY_DATA_DIR: dataDir },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  onTestFinished(() => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // The whole group is gone, as it should be.
    }
  });
  let said = '';
  // The pipes close when their last holder is gone, which a gateway left behind would be.
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        said += chunk;
        if (said.includes('/setup/')) resolve();
      });
    }
    child.once('error', reject);
    void closed.then(() => reject(new Error(`npm start ended: ${said}`)));
  });
  child.kill('SIGTERM');
  await closed;
  expect(said).toContain('Stopping');
});
