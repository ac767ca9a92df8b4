import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { CliFailure, type Terminal } from './terminal.ts';

const signedIn = z.object({
  accessToken: z.string(),
  refreshToken: z.string().nullable(),
  /** Milliseconds since 1970. */
  expiresAt: z.number(),
  tokenEndpoint: z.url(),
  revocationEndpoint: z.url().nullable(),
});

const fileSchema = z.object({
  /** The gateway that was signed in to last. */
  current: z.string().nullable(),
  gateways: z.record(z.string(), signedIn),
});

export type SignedIn = z.output<typeof signedIn>;

/** `valetkey/credentials.json` under XDG_CONFIG_HOME (else ~/.config), mode 0600. */
export type TokenFile = {
  readonly path: string;
  current(): string | null;
  read(url: string): SignedIn | undefined;
  write(url: string, tokens: SignedIn): void;
  remove(url: string): void;
};

export function createTokenFile(terminal: Pick<Terminal, 'env' | 'err'>): TokenFile {
  const path = join(terminal.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'valetkey', 'credentials.json');

  function load(): z.output<typeof fileSchema> {
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { current: null, gateways: {} };
      throw new CliFailure(`${path} cannot be read.`, 'Check its owner and mode.', { cause });
    }
    if ((statSync(path).mode & 0o077) !== 0) {
      terminal.err(`warning: ${path} was readable by others; its mode is 0600 now.`);
      chmodSync(path, 0o600);
    }
    try {
      return fileSchema.parse(JSON.parse(text));
    } catch (cause) {
      throw new CliFailure(`${path} is damaged.`, 'Remove it and run valetkey login.', { cause });
    }
  }

  function save(content: z.output<typeof fileSchema>): void {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const fresh = `${path}.${process.pid}`;
    try {
      writeFileSync(fresh, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
      renameSync(fresh, path);
    } catch (cause) {
      rmSync(fresh, { force: true });
      throw new CliFailure(`${path} cannot be written.`, 'Check the folder, or set VALETKEY_TOKEN instead.', { cause });
    }
  }

  return {
    path,
    current: () => load().current,
    read: (url) => load().gateways[url],
    write(url, tokens) {
      const content = load();
      save({ current: url, gateways: { ...content.gateways, [url]: tokens } });
    },
    remove(url) {
      const content = load();
      const { [url]: _, ...rest } = content.gateways;
      save({ current: content.current === url ? null : content.current, gateways: rest });
    },
  };
}
