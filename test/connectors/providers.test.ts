import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { OAuth2Auth } from '../../src/connectors/connector.ts';
import { parseDocument } from '../../src/connectors/document.ts';
import { fillInUrl, injectionOf, loadProviders, resolveOAuth, type Providers } from '../../src/connectors/provider.ts';
import { compilePattern } from '../../src/connectors/provider-pattern.ts';
import { rowSchema } from '../../src/connectors/provider-row.ts';
import { fillUrl } from '../../src/connectors/provider-url.ts';

async function folder(files: Record<string, unknown>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'valetkey-providers-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    const text = typeof content === 'string' ? content : JSON.stringify(content, null, 2);
    await writeFile(join(path, name), text);
  }
  return path;
}

const row = {
  name: 'acme',
  title: 'Acme',
  kind: 'api',
  catalogueVersion: 1,
  verifiedOn: '2026-11-21',
  parameters: {
    tenantId: { source: 'operator', label: 'Tenant', pattern: '^[a-z]{3,10}$', example: 'mine', default: 'common' },
    site: { source: 'token_response', label: 'Site', pattern: '^[0-9]+$', example: '1', from: 'site.id' },
  },
  authorizationUrl: 'https://{tenantId}.acme.example/authorize',
  tokenUrl: 'https://{tenantId}.acme.example/token',
  clientAuth: 'client_secret_basic',
  pkce: 'off',
  scopes: { separator: ',', sets: { user: { parameter: 'user_scope', separator: ',' } } },
  authorize: { parameters: { audience: 'acme' } },
  inject: [
    { header: 'X-Acme-Token', value: '{access_token}' },
    { header: 'X-Acme-Client', value: '{clientId}/{tenantId}' },
  ],
  mcp: { url: 'https://{tenantId}.mcp.acme.example/mcp', registration: 'dcr' },
  guide: { steps: ['Enter {callbackUrl}.'] },
};

const authOf = (auth: Record<string, unknown>): OAuth2Auth =>
  parseDocument({ name: 'x', url: 'https://x.example', auth: { type: 'oauth2', ...auth } }, () => undefined).document
    .auth as OAuth2Auth;
const resolve = (providers: Providers, auth: Record<string, unknown>, url = 'https://own.example/mcp') =>
  resolveOAuth(authOf(auth), providers, () => undefined, url);

describe('the shipped catalogue', () => {
  const providers = loadProviders();
  const rows = [...providers.values()];

  it('has a file for each known service', () => {
    expect(rows.filter(({ kind }) => kind === 'api').length).toBeGreaterThanOrEqual(61);
    expect(rows.filter(({ kind }) => kind === 'mcp').length).toBeGreaterThanOrEqual(13);
  });

  const usable = rows.filter(({ unsupported }) => unsupported === undefined);
  it.each(usable.map((one) => [one.name, one] as const))(
    '%s can be set up with the examples of its parameters',
    (_, one) => {
      expect(one.guide.steps.join(' ')).toContain('{callbackUrl}');
      const parameters = Object.fromEntries(
        Object.entries(one.parameters).flatMap(([name, { source, example }]) =>
          source === 'operator' || source === 'user' ? [[name, example]] : [],
        ),
      );
      const given = {
        provider: one.name,
        parameters,
        clientId: 'c',
        ...(one.authorizationUrl === undefined && one.kind === 'api' ? { authorizationUrl: 'https://a.example' } : {}),
      };
      const oauth = resolve(providers, given);
      expect(oauth.tokenUrl ?? 'https://discovered').toMatch(/^https:\/\/[^{}]+$/);
      for (const { value } of injectionOf(oauth, providers, 'https://own.example/mcp'))
        expect(value).not.toContain('{clientId}');
      if (one.mcp === undefined) return;
      const filled = fillInUrl({ name: 'x', auth: { type: 'oauth2', ...given } }, providers) as { url: string };
      expect(filled.url).toMatch(/^https:\/\/[^{}]+$/);
      expect(resolve(providers, given, filled.url).rules.catalogueVersion).toBe(one.catalogueVersion);
    },
  );
});

it('is explained field by field', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/providers.md'), 'utf8');
  const unexplained = Object.keys(rowSchema.shape).filter((field) => !page.includes(`\`${field}`));
  expect(unexplained).toEqual([]);
});

it('says of a service that cannot be connected why', () => {
  const providers = loadProviders();
  const closed = [...providers.values()].filter(({ unsupported }) => unsupported !== undefined);
  expect(closed.map(({ name }) => name)).toContain('trello');
  for (const { name, unsupported } of closed) expect(() => resolve(providers, { provider: name })).toThrow(unsupported);
});

describe('a file that does not fit', () => {
  const { guide: _, ...guideless } = row;
  const at = (change: Record<string, unknown>): unknown => ({ ...row, ...change });
  const parameter = (change: Record<string, unknown>): unknown =>
    at({ parameters: { ...row.parameters, tenantId: { ...row.parameters.tenantId, ...change } } });

  it.each<[string, unknown, RegExp]>([
    ['is no JSON', '{\n  "name": "acme",\n  oops\n}', /acme\.json:3: the file: is not JSON/],
    ['is empty', '', /acme\.json:1: the file: is not JSON/],
    [
      'says a thing twice',
      '{\n"name": "acme",\n"title": "a",\n"title": "b"}',
      /acme\.json:4: title: stands there twice/,
    ],
    ['is nested without end', '['.repeat(10_000) + ']'.repeat(10_000), /acme\.json:1: /],
    ['is larger than any row', `{"name": "${'a'.repeat(70_000)}"}`, /larger than/],
    [
      'has an unknown field',
      at({ tokenURL: 'x' }),
      /acme\.json:\d+: tokenURL: unknown field\. Did you mean tokenUrl\?/,
    ],
    ['lacks a field', guideless, /guide: /],
    [
      'has a prototype for a field',
      JSON.stringify(row).replace('"name"', '"__proto__": {"kind": "mcp"}, "name"'),
      /__proto__/,
    ],
    ['has another name than its file', at({ name: 'other' }), /acme\.json:2: name: is not the name/],
    ['was verified at no day', at({ verifiedOn: 'last week' }), /acme\.json:6: verifiedOn: /],
    [
      'has a pattern without an end',
      parameter({ pattern: '^[a-z]+' }),
      /parameters\.tenantId\.pattern: must be anchored/,
    ],
    ['has an anchor in one alternative only', parameter({ pattern: '^[a-z]+$|^.+$' }), /parameters\.tenantId\.pattern/],
    ['escapes its own end', parameter({ pattern: String.raw`^[a-z]+\$` }), /must be anchored/],
    ['has a pattern that takes for ever', parameter({ pattern: '^([a-z]+)+$' }), /repeats a group/],
    ['hides that in groups', parameter({ pattern: '^(?:(?:[a-z]+)){2,}$' }), /repeats a group/],
    ['has a pattern of many repetitions', parameter({ pattern: '^[a-z]*[a-z]*[a-z]*x$' }), /more than two repetitions/],
    ['has a pattern that looks ahead', parameter({ pattern: '^(?=a)[a-z]+$' }), /may group with/],
    ['has a pattern that looks back', parameter({ pattern: String.raw`^([a-z])\1$` }), /escape that is not allowed/],
    ['has a pattern for anything', parameter({ pattern: '^.+$' }), /means nothing here/],
    ['has a pattern for all but something', parameter({ pattern: '^[^/]+$' }), /may say what fits/],
    ['has an example that does not fit', parameter({ example: 'NO' }), /tenantId\.example: does not fit/],
    ['has a default that does not fit', parameter({ default: 'no.host' }), /tenantId\.default: does not fit/],
    ['takes a parameter from nowhere', parameter({ source: 'callback' }), /tenantId\.from: is missing/],
    ['has a URL that is not https', at({ tokenUrl: 'http://acme.example/token' }), /tokenUrl: must be an https URL/],
    ['has a script for a URL', at({ authorizationUrl: 'javascript:alert(1)' }), /must be an https URL/],
    ['has a user name in a URL', at({ tokenUrl: 'https://acme.example@evil.example/' }), /user name/],
    ['has an encoded host', at({ tokenUrl: 'https://evil%2eexample/t' }), /may hold no/],
    [
      'has an unknown parameter in a URL',
      at({ tokenUrl: 'https://{nobody}.acme.example/' }),
      /\{nobody\} is not a parameter/,
    ],
    ['sends the secret where an answer says', at({ tokenUrl: 'https://acme.example/{site}' }), /is not known yet/],
    [
      'lets a person choose the domain',
      at({
        parameters: { tenantId: { source: 'user', label: 'Host', pattern: '^[a-z.]+$', example: 'a.b' } },
        authorizationUrl: 'https://{tenantId}/a',
        tokenUrl: 'https://{tenantId}/t',
        inject: [],
        mcp: undefined,
      }),
      /authorizationUrl: \{tenantId\} decides the domain/,
    ],
    [
      'lets an answer choose the domain of a refresh',
      at({
        parameters: {
          ...row.parameters,
          host: {
            source: 'token_response',
            label: 'Host',
            pattern: String.raw`^[a-z.]+\.example$`,
            example: 'a.example',
            from: 'host',
          },
        },
        refresh: { url: 'https://{host}/t' },
      }),
      /refresh\.url: \{host\} decides the domain/,
    ],
    [
      'redirects the consent',
      at({ authorize: { parameters: { redirect_uri: 'https://evil.example' } } }),
      /redirect_uri/,
    ],
    ['weakens PKCE', at({ authorize: { parameters: { Code_Challenge_Method: 'plain' } } }), /set by the protocol/],
    [
      'injects a header of the transport',
      at({ inject: [{ header: 'Host', value: '{access_token}' }] }),
      /inject\.0\.header: .*Host/,
    ],
    ['breaks out of a header', at({ inject: [{ header: 'X-A', value: 'a\r\nHost: b' }] }), /inject\.0\.value/],
    [
      'injects what is not there',
      at({ inject: [{ header: 'X-A', value: '{secret}' }] }),
      /\{secret\} is not available/,
    ],
    ['takes every 403 for the end of a token', at({ expirySignals: [{ status: 403 }] }), /expirySignals\.0\.path/],
    ['guides with an unknown word', at({ guide: { steps: ['Enter {callback}.'] } }), /guide\.steps\.0: \{callback\}/],
    ['changes on no day', at({ changes: [{ validFrom: 'soon', what: 'x' }] }), /changes\.0\.validFrom/],
  ])('is refused with file, line and field when it %s', async (_what, content, message) => {
    const path = await folder({ 'acme.json': content });
    expect(() => loadProviders(path)).toThrow(/^providers\/acme\.json:\d+: /);
    expect(() => loadProviders(path)).toThrow(message);
  });
});

describe('a pattern', () => {
  it('is decided at once for the worst text', () => {
    const { test } = compilePattern(String.raw`^[a-z0-9.-]+\.[a-z0-9-]+\.(?:com|cn)$`);
    const started = performance.now();
    for (let round = 0; round < 100; round += 1) test('a.'.repeat(126));
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(test(`${'a'.repeat(300)}.b.com`)).toBe(false);
    expect(test('a.b.com\n')).toBe(false);
  });
});

describe('a value in a URL', () => {
  it.each(['evil.example/', 'evil.example?', 'a@evil', 'a:b', 'a#', 'a%2e', '', '..', 'a..b', '-a', 'a\\b', 'ａ'])(
    'cannot be %j in a host',
    (tenant) => expect(() => fillUrl('https://{tenant}/x', { tenant })).toThrow(),
  );
  it('stands encoded in a path and cannot climb out of it', () => {
    expect(fillUrl('https://a.example/{id}/x?y={id}', { id: 'a/b?c' })).toBe(
      'https://a.example/a%2Fb%3Fc/x?y=a%2Fb%3Fc',
    );
    expect(() => fillUrl('https://a.example/{id}/x', { id: '..' })).toThrow(/path/);
  });
});

describe('a connector with a provider', () => {
  it('takes what it leaves out from the row', async () => {
    const providers = loadProviders(await folder({ 'acme.json': row }));
    expect(resolve(providers, { provider: 'acme' })).toMatchObject({
      tokenUrl: 'https://common.acme.example/token',
      clientAuth: 'client_secret_basic',
      pkce: false,
      scopeSeparator: ',',
      additionalParams: { audience: 'acme' },
      resource: 'none',
      fields: ['site'],
    });
    const own = {
      provider: 'acme',
      pkce: true,
      parameters: { tenantId: 'mine' },
      additionalParams: { a: 'b' },
      resource: 'https://r.example',
    };
    expect(resolve(providers, { ...own, scopeSets: { user: ['a', 'b'] } })).toMatchObject({
      authorizationUrl: 'https://mine.acme.example/authorize',
      pkce: true,
      additionalParams: { audience: 'acme', a: 'b', user_scope: 'a,b' },
      resource: 'https://r.example',
    });
  });

  it('gets the address of the MCP server, and there the endpoints that it names itself', async () => {
    const providers = loadProviders(await folder({ 'acme.json': row }));
    const input = { name: 'x', auth: { type: 'oauth2', provider: 'acme' } };
    expect(fillInUrl(input, providers)).toMatchObject({
      url: 'https://common.mcp.acme.example/mcp',
      transport: 'auto',
    });
    expect(fillInUrl({ ...input, url: 'https://own.example' }, providers)).toMatchObject({
      url: 'https://own.example',
    });
    const there = resolve(providers, { provider: 'acme' }, 'https://common.mcp.acme.example/mcp');
    expect(there).toMatchObject({
      tokenUrl: null,
      pkce: true,
      scopeSeparator: ' ',
      resource: 'auto',
      additionalParams: {},
    });
    expect(injectionOf(there, providers, 'https://common.mcp.acme.example/mcp')).toEqual([]);
  });

  it('gets the injection of the row, with the client id and the parameters in their places', async () => {
    const providers = loadProviders(await folder({ 'acme.json': row }));
    const oauth = resolve(providers, { provider: 'acme', clientId: 'me' });
    expect(injectionOf(oauth, providers, 'https://own.example')).toEqual([
      { header: 'X-Acme-Token', value: '{access_token}' },
      { header: 'X-Acme-Client', value: 'me/common' },
    ]);
  });

  it('sends nothing of an instance of its own to the addresses of the row', async () => {
    const more = {
      revocation: { kind: 'rfc7009', url: 'https://acme.example/revoke' },
      refresh: { url: 'https://acme.example/refresh' },
      exchange: { url: 'https://acme.example/exchange' },
      lookups: [{ url: 'https://acme.example/me' }],
    };
    const providers = loadProviders(await folder({ 'acme.json': { ...row, ...more } }));
    const urlsOf = (auth: Record<string, unknown>): unknown[] => {
      const { revocationUrl, rules } = resolve(providers, { provider: 'acme', ...auth });
      return [revocationUrl, rules.refresh.url, rules.exchange.url, rules.lookups.length, rules.revocation?.kind];
    };
    const known = [
      'https://acme.example/revoke',
      'https://acme.example/refresh',
      'https://acme.example/exchange',
      1,
      'rfc7009',
    ];
    expect(urlsOf({})).toEqual(known);
    expect(urlsOf({ tokenUrl: 'https://common.acme.example/v2/token' })).toEqual(known);
    expect(urlsOf({ tokenUrl: 'https://acme.mine.example/token' })).toEqual([null, undefined, undefined, 0, undefined]);
  });

  it.each([
    [{ parameters: { tenantId: 'evil.example' } }, /auth\.parameters\.tenantId: does not fit/],
    [{ parameters: { site: '1' } }, /auth\.parameters\.site: acme tells this itself/],
    [{ parameters: { other: '1' } }, /auth\.parameters\.other: no URL/],
    [{ scopeSets: { bot: ['a'] } }, /auth\.scopeSets\.bot: acme has no such set/],
    [{ provider: 'acmee' }, /not in the provider catalogue/],
  ])('is refused with %j', async (auth, message) => {
    const providers = loadProviders(await folder({ 'acme.json': row }));
    expect(() => resolve(providers, { provider: 'acme', ...auth })).toThrow(message);
  });

  it('needs no page for consent where nobody is asked', async () => {
    const { authorizationUrl: _, ...bare } = row;
    const providers = loadProviders(await folder({ 'acme.json': bare }));
    const machine = { provider: 'acme', clientId: 'me', clientSecret: { secret: 'S' }, flow: 'client_credentials' };
    expect(resolve(providers, machine).tokenUrl).toBe('https://common.acme.example/token');
    expect(() => resolve(providers, { provider: 'acme', clientId: 'me' })).toThrow(/auth\.authorizationUrl is needed/);
  });

  it('follows a change of the service from its day on', async () => {
    const changes = [{ validFrom: '2027-01-01', what: 'Refresh tokens rotate.', rotation: { kind: 'each_use' } }];
    const path = await folder({ 'acme.json': { ...row, rotation: { kind: 'none' }, changes } });
    const kindOn = (day: string) =>
      resolve(loadProviders(path, Date.parse(day)), { provider: 'acme' }).rules.rotation.kind;
    expect([kindOn('2026-12-31'), kindOn('2027-01-01')]).toEqual(['none', 'each_use']);
  });
});
