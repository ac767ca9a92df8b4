import { describe, expect, test } from 'vitest';
import { createAddressGuard } from '../../src/egress/address-guard.ts';
import { ValetkeyError } from '../../src/errors.ts';
import { parseDocument } from '../../src/connectors/document.ts';

const guard = createAddressGuard(['loopback']);
const checkUrl = (url: string): void => guard.checkUrl(new URL(url));
const parse = (extra: Record<string, unknown> = {}) =>
  parseDocument({ name: 'files', url: 'https://files.example/mcp', ...extra }, checkUrl);

function refusal(extra: Record<string, unknown>): ValetkeyError {
  try {
    parse(extra);
  } catch (error) {
    if (error instanceof ValetkeyError) return error;
    throw error;
  }
  throw new Error('the document was taken');
}

test('a name and an address are enough, the rest has defaults', () => {
  expect(parse().document).toEqual({
    name: 'files',
    title: 'files',
    description: '',
    instructions: '',
    category: '',
    icon: '',
    active: true,
    kind: 'mcp',
    url: 'https://files.example/mcp',
    transport: 'auto',
    access: { mode: 'oauth', allow: { roles: [], users: [] } },
    auth: { type: 'none' },
    inject: [],
    tools: { new: 'enable', enabled: [], disabled: [], rename: {} },
    limits: { callsPerMinute: 600, timeoutSeconds: 60, maxResultBytes: 10_485_760 },
  });
});

test('scopes are taken as a list or as a text, without duplicates', () => {
  for (const scopes of [['repo', 'read:user', 'repo'], ' repo  read:user repo ']) {
    expect(parse({ auth: { type: 'oauth2', scopes } }).document.auth).toMatchObject({ scopes: ['repo', 'read:user'] });
  }
});

test('a blank client id means: register', () => {
  expect(parse({ auth: { type: 'oauth2', clientId: ' ' } }).document.auth).not.toHaveProperty('clientId', ' ');
});

test('plain secrets leave the document before it is validated', () => {
  const { document, plain } = parse({ auth: { type: 'headers', headers: { 'X-Key': 'canary', 'X-Pin': 4711 } } });
  expect(JSON.stringify(document)).not.toContain('canary');
  expect(plain.get('auth.headers.X-Key')?.unwrap()).toBe('canary');
  expect(plain.get('auth.headers.X-Pin')?.unwrap()).toBe('4711');
});

test('a refusal never shows the secret beside the faulty field', () => {
  const error = refusal({ auth: { type: 'oauth2', clientSecret: 'canary-secret', clientId: 7 } });
  expect(JSON.stringify([error.message, error.hint, error.detail, String(error.cause)])).not.toContain('canary-secret');
});

describe('an unknown field is refused with its path and the nearest known name', () => {
  test.each([
    [{ tilte: 'x' }, 'tilte', 'title'],
    [{ auth: { type: 'oauth2', clientID: 'x' } }, 'auth.clientID', 'clientId'],
    [{ limits: { callsPerMin: 1 } }, 'limits.callsPerMin', 'callsPerMinute'],
    [{ tools: { renames: {} } }, 'tools.renames', 'rename'],
    [{ auth: { type: 'oauth2', refreshToken: { buffer: 1 } } }, 'auth.refreshToken.buffer', 'bufferTime'],
  ])('%j', (extra, path, near) => {
    const error = refusal(extra);
    expect(error.code).toBe('connector_invalid');
    expect(error.message).toContain(path);
    expect(error.hint).toBe(`Did you mean ${near}?`);
  });
});

describe('what later versions bring is named, not misread', () => {
  test.each([
    [{ kind: 'stdio' }, 'kind: stdio'],
    [{ kind: 'openapi' }, 'kind: openapi'],
    [{ access: { mode: 'unlisted' } }, 'access.mode: unlisted'],
    [{ access: { mode: 'api-key' } }, 'access.mode: api-key'],
    [{ access: { issuer: 'https://idp.example' } }, 'access.issuer'],
    [{ access: { allow: { groups: ['a'] } } }, 'access.allow.groups'],
    [{ auth: { type: 'oauth2', flow: 'device_code' } }, 'auth.flow: device_code'],
    [{ auth: { type: 'oauth2', clientAuth: 'private_key_jwt' } }, 'auth.clientAuth: private_key_jwt'],
    [{ inject: [{ env: 'TOKEN', value: '{token}' }] }, 'inject[0].env'],
    [{ run: { npx: 'x' } }, 'run'],
  ])('%j', (extra, named) => {
    const error = refusal(extra);
    expect(error.code).toBe('connector_unsupported');
    expect(error.message).toBe(`${named} is not available in this version.`);
  });
});

describe('a value that cannot be right is refused at its path', () => {
  test.each([
    [{ name: 'Files' }, 'name: '],
    [{ name: 'a'.repeat(64) }, 'name: '],
    [{ url: 'files.example' }, 'url: must be an absolute URL'],
    [{ url: 'ftp://files.example/' }, 'url: must be an https URL'],
    [{ url: 'http://files.example/' }, 'url: '],
    [{ url: 'https://10.1.2.3/mcp' }, 'url: '],
    [{ url: 'https://user:pw@files.example/' }, 'url: must not carry'],
    [{ url: 'https://files.example/#x' }, 'url: must not have a fragment'],
    [{ limits: { timeoutSeconds: 0 } }, 'limits.timeoutSeconds: '],
    [{ auth: { type: 'oauth3' } }, 'auth.type: '],
    [{ auth: { type: 'oauth2', scopes: ['a b'] } }, 'auth.scopes[0]: '],
    [{ auth: { type: 'oauth2', additionalParams: { state: 'x' } } }, 'auth.additionalParams.state: '],
    [{ auth: { type: 'oauth2', additionalParams: { code_challenge: 'x' } } }, 'auth.additionalParams.code_challenge: '],
    [{ auth: { type: 'oauth2', additionalParams: { redirect_uri: 'x' } } }, 'auth.additionalParams.redirect_uri: '],
    [{ auth: { type: 'oauth2', additionalParams: { scope: 'x' } } }, 'auth.additionalParams.scope: belongs in'],
    [{ auth: { type: 'oauth2', clientSecret: 'x' } }, 'auth.clientSecret: needs a clientId'],
    [{ auth: { type: 'oauth2', registration: 'dynamic', clientId: 'x' } }, 'auth.clientId: '],
    [{ auth: { type: 'oauth2', authorizationUrl: 'https://idp.example/a' } }, 'auth.tokenUrl: '],
    [
      { auth: { type: 'oauth2', tokenUrl: 'http://idp.example/t', authorizationUrl: 'https://idp.example/a' } },
      'auth.tokenUrl: ',
    ],
    [{ auth: { type: 'oauth2', resource: 'files' } }, 'auth.resource: '],
    [{ auth: { type: 'api-key', header: 'X', query: 'x', value: 'v' } }, 'auth: takes one of'],
    [{ auth: { type: 'basic', username: 'a:b', password: 'c' } }, 'auth.username: '],
    [{ inject: [{ header: 'Host', value: 'x' }] }, 'inject[0].header: '],
    [{ inject: [{ header: 'Mcp-Session-Id', value: 'x' }] }, 'inject[0].header: '],
    [{ inject: [{ header: 'content-length', value: '1' }] }, 'inject[0].header: '],
    [{ inject: [{ header: 'X-A b', value: 'x' }] }, 'inject[0].header: '],
    [{ inject: [{ header: 'X-A', value: 'a\r\nX-B: c' }] }, 'inject[0].value: '],
    [{ inject: [{ header: 'X-A', value: '{access_token}' }] }, 'inject[0].value: {access_token} is not available'],
    [{ tools: { rename: { a: 'x', b: 'x' } } }, 'tools.rename: gives x to both a and b'],
    [{ tools: { rename: { a: 'x y' } } }, 'tools.rename.a: '],
    [{ title: 'a\u0000b' }, 'title: must not hold control characters'],
  ])('%j', (extra, begin) => {
    const error = refusal(extra);
    expect(error.code).toBe('connector_invalid');
    expect(error.message.slice(0, begin.length)).toBe(begin);
  });
});

test('an address on this machine is taken where the operator allows it', () => {
  expect(parse({ url: 'http://127.0.0.1:3456/mcp' }).document.url).toBe('http://127.0.0.1:3456/mcp');
});

test('a missing address is named', () => {
  expect(() => parseDocument({ name: 'files' }, checkUrl)).toThrow(/^url: is missing/);
  expect(() => parseDocument([], checkUrl)).toThrow(/mapping/);
});
