import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface Scratch {
  home: string;
  /** The whole environment of a client: nothing of the session that runs the tests leaks in. */
  environment(extra?: Record<string, string>): Record<string, string>;
  remove(): Promise<void>;
}

export async function createScratch(): Promise<Scratch> {
  const home = await mkdtemp(join(tmpdir(), 'valetkey-client-'));
  return {
    home,
    environment: (extra = {}) => ({
      HOME: home,
      PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
      TMPDIR: home,
      XDG_CONFIG_HOME: join(home, '.config'),
      ...extra,
    }),
    remove: () => rm(home, { recursive: true, force: true, maxRetries: 3 }),
  };
}
