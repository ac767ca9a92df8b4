import { describe, expect, test } from 'vitest';
import { compileInjection } from '../../src/connectors/injection.ts';
import { parseDocument } from '../../src/connectors/document.ts';
import type { Credential } from '../../src/connectors/credential.ts';
import { Secret } from '../../src/secret.ts';

const compile = (auth: Record<string, unknown>, inject: unknown[] = []) =>
  compileInjection(parseDocument({ name: 'x', url: 'https://x.example/', auth, inject }, () => undefined).document);

const credential = (fields: Record<string, string>): Credential => ({
  key: 'k',
  generation: 1,
  expiresAt: null,
  fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, new Secret(value)])),
});

test('each type of auth has its place without a rule', () => {
  expect(compile({ type: 'oauth2' }).headers(credential({ access_token: 'a' }))).toEqual(['Authorization', 'Bearer a']);
  expect(compile({ type: 'bearer' }).headers(credential({ token: 'b' }))).toEqual(['Authorization', 'Bearer b']);
  expect(compile({ type: 'basic' }).headers(credential({ basic: 'dTpw' }))).toEqual(['Authorization', 'Basic dTpw']);
  expect(compile({ type: 'api-key', header: 'X-Key' }).headers(credential({ value: 'c' }))).toEqual(['X-Key', 'c']);
  expect(compile({ type: 'api-key' }).headers(credential({ value: 'c' }))).toEqual(['X-API-Key', 'c']);
  expect(compile({ type: 'api-key', cookie: 'sid' }).headers(credential({ value: 'c' }))).toEqual(['cookie', 'sid=c']);
  expect(
    compile({ type: 'headers', headers: { 'X-A': '1', 'X-B': '2' } }).headers(credential({ 'X-A': 'a', 'X-B': 'b' })),
  ).toEqual(['X-A', 'a', 'X-B', 'b']);
  expect(compile({ type: 'none' }).headers(null)).toEqual([]);
});

test('an API key in the query is encoded and stays out of the headers', () => {
  const injection = compile({ type: 'api-key', query: 'key' });
  expect(injection.query(credential({ value: 'a&b=c' }))).toBe('key=a%26b%3Dc');
  expect(injection.headers(credential({ value: 'a&b=c' }))).toEqual([]);
  expect(injection.query(null)).toBe('');
});

test('a rule that places the credential replaces the default, a rule beside it does not', () => {
  const own = [{ header: 'X-Shopify-Access-Token', value: '{access_token}' }];
  expect(compile({ type: 'oauth2' }, own).headers(credential({ access_token: 'a' }))).toEqual([
    'X-Shopify-Access-Token',
    'a',
  ]);
  const beside = [{ header: 'Notion-Version', value: '2022-06-28' }];
  expect(compile({ type: 'oauth2' }, beside).headers(credential({ access_token: 'a' }))).toEqual([
    'Authorization',
    'Bearer a',
    'Notion-Version',
    '2022-06-28',
  ]);
});

test('without a credential only the fixed headers go out', () => {
  const rules = [
    { header: 'X-T', value: 'Token {access_token}' },
    { header: 'X-Fixed', value: 'yes' },
  ];
  expect(compile({ type: 'oauth2' }, rules).headers(null)).toEqual(['X-Fixed', 'yes']);
});

test('a declared extra field of the token answer can be placed', () => {
  const injection = compile({ type: 'oauth2', fields: ['tenant_id'] }, [
    { header: 'Authorization', value: 'Bearer {access_token}' },
    { header: 'Xero-Tenant-Id', value: '{tenant_id}' },
  ]);
  expect(injection.headers(credential({ access_token: 'a', tenant_id: 't' }))).toEqual([
    'Authorization',
    'Bearer a',
    'Xero-Tenant-Id',
    't',
  ]);
  expect(() => injection.headers(credential({ access_token: 'a' }))).toThrow(/no field tenant_id/);
});

describe('a credential cannot write headers of its own', () => {
  test.each(['a\r\nX-Evil: 1', 'a\nb', 'a\u0000b', 'tökén', 'x'.repeat(20_000)])('%j', (token) => {
    for (const auth of [{ type: 'bearer' }, { type: 'oauth2' }]) {
      const injection = compile(auth);
      let thrown: unknown;
      try {
        injection.headers(credential({ token, access_token: token }));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ code: 'injection_failed' });
      expect(String(thrown)).not.toContain(token);
    }
    expect(() => compile({ type: 'api-key', cookie: 'sid' }).headers(credential({ value: token }))).toThrow();
  });
  test('a cookie key cannot add a second cookie', () => {
    expect(() => compile({ type: 'api-key', cookie: 'sid' }).headers(credential({ value: 'a; admin=1' }))).toThrow();
  });
});

test('the names that are ours are known in lower case', () => {
  expect([...compile({ type: 'oauth2' }, [{ header: 'X-Team', value: 'a' }]).names]).toEqual([
    'authorization',
    'x-team',
  ]);
  expect([...compile({ type: 'api-key', cookie: 'sid' }).names]).toEqual(['cookie']);
});
