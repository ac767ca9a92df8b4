import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadProviders, resolveOAuth, type Providers } from '../../src/connectors/provider.ts';
import { parseDocument } from '../../src/connectors/document.ts';
import type { OAuth2Auth } from '../../src/connectors/connector.ts';

async function folder(files: Record<string, unknown>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'valetkey-providers-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), JSON.stringify(content));
  return path;
}

const row = {
  name: 'acme',
  title: 'Acme',
  verifiedOn: '2026-11-21',
  authorizationUrl: 'https://{tenantId}.acme.example/authorize',
  tokenUrl: 'https://{tenantId}.acme.example/token',
  pkce: false,
  scopeSeparator: ',',
  additionalParams: { audience: 'acme' },
  parameters: { tenantId: { pattern: '^[a-z]{3,10}$', default: 'common' } },
};

const resolve = (providers: Providers, auth: Record<string, unknown>) => {
  const { document } = parseDocument({ name: 'x', url: 'https://x.example', auth }, () => undefined);
  return resolveOAuth(document.auth as OAuth2Auth, providers, () => undefined);
};

test('every shipped row fits the schema', () => {
  expect([...loadProviders().keys()]).toEqual(expect.arrayContaining(['github', 'google']));
});

test('a row with an unknown member, a loose pattern or another name than its file is refused with the file', async () => {
  for (const wrong of [
    { ...row, tokenURL: 'https://x.example' },
    { ...row, parameters: { tenantId: { pattern: '[a-z]+' } } },
    { ...row, name: 'other' },
    { ...row, verifiedOn: 'last week' },
  ]) {
    const path = await folder({ 'acme.json': wrong });
    expect(() => loadProviders(path)).toThrow(/^providers\/acme\.json: /);
  }
});

test('what the document leaves out comes from the row, URL parameters by its own pattern', async () => {
  const providers = loadProviders(await folder({ 'acme.json': row }));
  expect(resolve(providers, { type: 'oauth2', provider: 'acme' })).toMatchObject({
    tokenUrl: 'https://common.acme.example/token',
    pkce: false,
    scopeSeparator: ',',
    additionalParams: { audience: 'acme' },
  });
  const own = {
    type: 'oauth2',
    provider: 'acme',
    pkce: true,
    parameters: { tenantId: 'mine' },
    additionalParams: { a: 'b' },
  };
  expect(resolve(providers, own)).toMatchObject({
    authorizationUrl: 'https://mine.acme.example/authorize',
    pkce: true,
    additionalParams: { audience: 'acme', a: 'b' },
  });
  const unfit = { type: 'oauth2', provider: 'acme', parameters: { tenantId: 'evil.example' } };
  expect(() => resolve(providers, unfit)).toThrow(/auth\.parameters\.tenantId: does not fit/);
});
