import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { ValetkeyError } from '../src/errors.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'valetkey-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function refusal(env: Record<string, string>): ValetkeyError {
  try {
    loadConfig(env, folder);
  } catch (error) {
    if (error instanceof ValetkeyError) return error;
    throw error;
  }
  throw new Error('the settings were accepted');
}

function file(text: string): void {
  writeFileSync(join(folder, 'valetkey.yaml'), text);
}

describe('settings', () => {
  it('have defaults that need neither file nor environment', () => {
    expect(loadConfig({}, folder)).toMatchObject({
      port: 8787,
      host: '127.0.0.1',
      publicUrl: 'http://localhost:8787',
      keySource: 'file',
      accessTokenTtlSeconds: 600,
      allowPrivateNetwork: ['loopback'],
      logLevel: 'info',
      connectors: [],
    });
  });

  it('come from the environment before the file before the default, and say so', () => {
    file('port: 9000\nlogLevel: warn\n');
    const config = loadConfig({ VALETKEY_PORT: '9100' }, folder);
    expect(config).toMatchObject({ port: 9100, logLevel: 'warn', publicUrl: 'http://localhost:9100' });
    expect(config.sources).toMatchObject({ port: 'environment', logLevel: 'file', host: 'default' });
  });

  it('reach no private network once the public URL is not loopback', () => {
    expect(loadConfig({ VALETKEY_PUBLIC_URL: 'https://keys.example' }, folder).allowPrivateNetwork).toEqual([]);
    expect(loadConfig({ VALETKEY_ALLOW_PRIVATE_NETWORK: '10.1.0.0/16, intranet' }, folder).allowPrivateNetwork).toEqual(
      ['10.1.0.0/16', 'intranet'],
    );
    expect(loadConfig({ VALETKEY_ALLOW_PRIVATE_NETWORK: 'none' }, folder).allowPrivateNetwork).toEqual([]);
  });

  it.each([
    ['an unknown variable', { VALETKEY_PROT: '1' }, 'setting_unknown', 'VALETKEY_PORT'],
    ['a port that is none', { VALETKEY_PORT: 'http' }, 'setting_invalid', 'VALETKEY_PORT'],
    [
      'a public URL with a path',
      { VALETKEY_PUBLIC_URL: 'https://a.example/x' },
      'setting_invalid',
      'VALETKEY_PUBLIC_URL',
    ],
    ['a public URL without TLS', { VALETKEY_PUBLIC_URL: 'http://a.example' }, 'setting_invalid', 'https'],
    ['a public URL that is none', { VALETKEY_PUBLIC_URL: 'a.example' }, 'setting_invalid', 'VALETKEY_PUBLIC_URL'],
    [
      'a database that is not Postgres',
      { VALETKEY_DATABASE_URL: 'mysql://x' },
      'setting_invalid',
      'VALETKEY_DATABASE_URL',
    ],
    ['a short admin token', { VALETKEY_ADMIN_TOKEN: 'short' }, 'setting_invalid', 'VALETKEY_ADMIN_TOKEN'],
    ['a key source that is not there', { VALETKEY_KEY_SOURCE: 'floppy' }, 'setting_invalid', 'VALETKEY_KEY_SOURCE'],
    [
      'a token life out of range',
      { VALETKEY_ACCESS_TOKEN_TTL: '86400' },
      'setting_invalid',
      'VALETKEY_ACCESS_TOKEN_TTL',
    ],
    ['a named file that is not there', { VALETKEY_CONFIG: 'nowhere.yaml' }, 'setting_invalid', 'nowhere.yaml'],
  ])('refuse %s and name it', (_, env, code, named) => {
    const error = refusal(env as Record<string, string>);
    expect(error.code).toBe(code);
    expect(`${error.message} ${error.hint}`).toContain(named);
  });

  it('never repeat a refused secret', () => {
    expect(refusal({ VALETKEY_ADMIN_TOKEN: 'canary-short' }).message).not.toContain('canary');
    expect(refusal({ VALETKEY_DATABASE_URL: 'mysql://u:canary@h' }).message).not.toContain('canary');
  });
});

describe('valetkey.yaml', () => {
  it('resolves variables and files, and only there', () => {
    writeFileSync(join(folder, 'secret.txt'), 'from-file\n');
    file(`connectors:\n  - name: a\n    url: \${URL_OF_A}/mcp\n    token: \${file:${join(folder, 'secret.txt')}}\n`);
    const config = loadConfig({ URL_OF_A: 'https://a.example' }, folder);
    expect(config.connectors).toEqual([{ name: 'a', url: 'https://a.example/mcp', token: 'from-file' }]);
  });

  it.each([
    ['an unknown key', 'prot: 1\n', 'setting_unknown', 'port'],
    ['a variable that is not set', 'host: ${NOT_SET}\n', 'reference_unresolved', 'NOT_SET'],
    [
      'a deep reference, by its path',
      'connectors: [{auth: {token: "${NOT_SET}"}}]\n',
      'reference_unresolved',
      'connectors[0].auth.token',
    ],
    ['text that is not YAML', 'port: [1\n', 'setting_invalid', 'valetkey.yaml'],
    ['a list', '- 1\n', 'setting_invalid', 'mapping'],
    ['connectors that are no list', 'connectors: {}\n', 'setting_invalid', 'connectors'],
    [
      'a bomb of aliases',
      `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nport: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`,
      'setting_invalid',
      'alias',
    ],
  ])('with %s is refused', (_, text, code, named) => {
    file(text);
    const error = refusal({});
    expect(error.code).toBe(code);
    expect(`${error.message} ${error.hint}`).toContain(named);
  });

  it('may be empty', () => {
    file('');
    expect(loadConfig({}, folder).port).toBe(8787);
  });
});
