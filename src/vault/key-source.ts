import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fail } from '../errors.ts';
import { newToken } from '../ids.ts';
import type { Secret } from '../secret.ts';
import { deriveKey, openCompact, sealCompact } from './envelope.ts';
import { KEY_BYTES, parseMasterKey } from './master-key.ts';

/** What holds the master key. It wraps data keys and never hands itself out, so that a KMS or an HSM fits as well. */
export type KeySource = {
  readonly name: string;
  /**
   * Makes the key ready, once, before anything is wrapped.
   * @param mayCreate true while nothing was ever written with a key: only then may a new one come into being
   * @throws ValetkeyError key_missing, key_weak, key_exposed
   */
  prepare(mayCreate: boolean): Promise<void>;
  /** @param context bound to the wrapped value: it unwraps under the same context only */
  wrap(bytes: Buffer, context: string): Promise<string>;
  /** Undefined when another key wrapped it, or it was changed. */
  unwrap(wrapped: string, context: string): Promise<Buffer | undefined>;
};

function localKeySource(name: string, load: (mayCreate: boolean) => Promise<Buffer>): KeySource {
  let wrapping: Buffer | undefined;
  const key = (): Buffer => {
    if (wrapping === undefined) throw fail('internal', { detail: { reason: 'the key source was not prepared' } });
    return wrapping;
  };
  return {
    name,
    async prepare(mayCreate) {
      wrapping = deriveKey(await load(mayCreate), 'wrap');
    },
    wrap: async (bytes, context) => sealCompact(key(), context, bytes),
    unwrap: async (wrapped, context) => openCompact(key(), context, wrapped),
  };
}

/** The key in `VALETKEY_MASTER_KEY`. */
export function envKeySource(masterKey: Secret | undefined): KeySource {
  return localKeySource('env', async () => {
    if (masterKey === undefined) {
      throw fail('key_missing', {
        message: 'VALETKEY_KEY_SOURCE is env, and VALETKEY_MASTER_KEY is not set.',
        hint: 'Set it to 32 random bytes: openssl rand -base64 32.',
      });
    }
    return parseMasterKey(masterKey.unwrap(), 'VALETKEY_MASTER_KEY');
  });
}

/** The key in `master.key` of the data folder: one line of base64, mode 0600, made when the database is new. */
export function fileKeySource(options: { dataDir: string }): KeySource {
  const path = join(options.dataDir, 'master.key');
  return localKeySource('file', async (mayCreate) => {
    const text = await read(path);
    if (text !== undefined) return parseMasterKey(text, path);
    if (!mayCreate) {
      throw fail('key_missing', {
        message: `${path} is not there, and the database was written with a key.`,
        hint: 'Put the file back from your backup, or name the source of the key in VALETKEY_KEY_SOURCE.',
      });
    }
    await mkdir(options.dataDir, { recursive: true, mode: 0o700 });
    await create(path);
    return parseMasterKey((await read(path)) ?? '', path);
  });
}

async function read(path: string): Promise<string | undefined> {
  let mode: number;
  try {
    ({ mode } = await stat(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fail('key_missing', { message: `${path} cannot be read.`, cause: error });
  }
  // Tightening the mode would hide that others may have read the key already. Windows has no such modes.
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw fail('key_exposed', {
      message: `${path} can be read by other users of this machine (mode ${(mode & 0o777).toString(8)}).`,
      hint: `chmod 600 ${path}; when others may have read it, move to a new key.`,
    });
  }
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw fail('key_missing', { message: `${path} cannot be read.`, cause });
  }
}

/** Whole or not at all, and never over a key that another process has made in the meantime. */
async function create(path: string): Promise<void> {
  const draft = `${path}.${newToken(6)}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(`${randomBytes(KEY_BYTES).toString('base64')}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await unlink(draft);
  }
  const folder = await open(join(path, '..'), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
