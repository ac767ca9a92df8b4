import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freshFor, isDocumentAddress, readDocument } from '../../src/authorization-server/client-documents.ts';
import { PINNED_CLIENTS } from '../../src/authorization-server/pinned-clients.ts';
import { authorize, authorizeUrl, redeem, refresh, startGateway, type Gateway, type Json } from './gateway.ts';

describe('the address of a client document', () => {
  it.each([
    'https://claude.ai/oauth/claude-code-client-metadata',
    'https://client.example/a/b.json?v=1',
    'https://client.example:8443/x',
    'https://client.example/...',
  ])('may be %s', (id) => expect(isDocumentAddress(id, false)).toBe(true));

  it.each([
    'http://client.example/x',
    'http://localhost/x',
    'https://client.example',
    'https://client.example/',
    'https://client.example?x=/y',
    'https://client.example/a/../b',
    'https://client.example/a/%2e%2E/b',
    'https://client.example/./b',
    'https://user@client.example/x',
    'https://user:pass@client.example/x',
    'https://@client.example/x',
    'https://client.example/x#y',
    'https://client.example/x#',
    'https://client.example/a b',
    'https://client.example/a\\b',
    'https://client.example/ä',
    'javascript://client.example/x',
    'dyn_abc',
    '',
    `https://client.example/${'x'.repeat(2_000)}`,
  ])('may not be %s', (id) => expect(isDocumentAddress(id, false)).toBe(false));

  it('may be on loopback where the gateway is', () => {
    expect(isDocumentAddress('http://localhost:1/x', true)).toBe(true);
    expect(isDocumentAddress('http://client.example/x', true)).toBe(false);
  });
});

describe('the freshness of a client document', () => {
  const at = Date.parse('2026-11-21T10:00:00Z');
  it.each<[Record<string, string>, number]>([
    [{}, 3_600],
    [{ 'cache-control': 'public, max-age=600' }, 600],
    [{ 'cache-control': 'max-age=0' }, 60],
    [{ 'cache-control': 'no-store' }, 60],
    [{ 'cache-control': 'max-age=99999999' }, 86_400],
    [{ expires: 'Sat, 21 Nov 2026 10:10:00 GMT' }, 600],
    [{ expires: '0' }, 60],
    [{ 'cache-control': 'max-age=600', expires: 'Sat, 21 Nov 2026 12:00:00 GMT' }, 600],
  ])('by %j is %i seconds', (headers, seconds) => expect(freshFor(new Headers(headers), at)).toBe(seconds * 1_000));
});

describe('the pinned copies', () => {
  it.each(Object.entries(PINNED_CLIENTS))('of %s would pass as a fetched document', (id, document) => {
    expect(isDocumentAddress(id, false)).toBe(true);
    const client = readDocument(id, { client_id: id, ...document });
    expect(client.redirect_uris).toEqual(document['redirect_uris']);
    expect(client.token_endpoint_auth_method).toBe('none');
  });
});

describe('a client that is known by its document', () => {
  let gateway: Gateway;
  let host: { url: string; close(): Promise<void> };
  let requests = 0;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  let document: Json;

  const serve = (type = 'application/json', status = 200, headers: Record<string, string> = {}): void => {
    answer = (_request, response) => {
      response.writeHead(status, { 'content-type': type, ...headers });
      response.end(JSON.stringify(document));
    };
  };

  beforeAll(async () => {
    const server = createServer((request, response) => {
      requests++;
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    host = {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      close: async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  });
  afterAll(async () => await host.close());
  beforeEach(async () => {
    gateway = await startGateway();
    requests = 0;
    document = {
      client_id: `${host.url}/client.json`,
      client_name: 'Document client',
      redirect_uris: ['http://127.0.0.1/callback', 'https://app.example/cb'],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    };
    serve();
  });
  afterEach(async () => await gateway.close());

  const id = (): string => String(document['client_id']);

  it('signs in, redeems and refreshes on one fetch', async () => {
    const browser = await gateway.browser(await gateway.person('doc@example.com'));
    const page = await browser.go(authorizeUrl(gateway, id()));
    expect(page.text).toContain('Document client');
    expect(page.text).toContain('Published by');
    expect(page.text).toContain(new URL(host.url).host);
    expect(page.text).not.toContain('registered itself');
    const params = await authorize(gateway, browser, id());
    const { body } = await redeem(gateway, id(), params.get('code') ?? '');
    expect((await refresh(gateway, id(), String(body['refresh_token']))).status).toBe(200);
    expect(requests).toBe(1);
  });

  it('is fetched once for many requests at the same time', async () => {
    const browser = await gateway.browser();
    await Promise.all(Array.from({ length: 10 }, () => browser.fetch(authorizeUrl(gateway, id()))));
    expect(requests).toBe(1);
  });

  it.each<[string, () => void]>([
    ['names another client', () => (document = { ...document, client_id: 'https://other.example/x' })],
    ['differs in case', () => (document = { ...document, client_id: id().toUpperCase() })],
    ['wants a shared secret', () => (document = { ...document, token_endpoint_auth_method: 'client_secret_basic' })],
    ['holds a secret', () => (document = { ...document, client_secret: 'x' })],
    ['holds a private key', () => (document = { ...document, jwks: { keys: [{ kty: 'RSA', d: 'x' }] } })],
    ['holds a symmetric key', () => (document = { ...document, jwks: { keys: [{ kty: 'oct', k: 'x' }] } })],
    ['has no redirect that may be', () => (document = { ...document, redirect_uris: ['http://evil.example/'] })],
    ['is a list', () => (answer = (_, response) => response.setHeader('content-type', 'application/json').end('[]'))],
    ['is no JSON', () => (answer = (_, response) => response.setHeader('content-type', 'application/json').end('{'))],
    ['is a page', () => serve('text/html')],
    ['is not found', () => serve('application/json', 404)],
    ['is a redirect', () => serve('application/json', 302, { location: '/elsewhere' })],
    ['is larger than 5 KB', () => (document = { ...document, filler: 'x'.repeat(5_200) })],
  ])('is refused when the document %s, and looked at again next time', async (_, spoil) => {
    const address = id();
    spoil();
    const browser = await gateway.browser(await gateway.person('bad@example.com'));
    const page = await browser.go(authorizeUrl(gateway, address));
    expect(page.status).toBe(400);
    expect(page.text).toContain('client_unknown');
    expect(requests).toBe(1);
    serve();
    document = {
      ...document,
      client_id: address,
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
    };
    for (const name of ['client_secret', 'jwks', 'filler']) delete document[name];
    expect((await browser.go(authorizeUrl(gateway, address))).status).toBe(200);
  });

  it('is fetched again when stale, kept when that fails, and asked about when it changed', async () => {
    const user = await gateway.person('stale@example.com');
    const browser = await gateway.browser(user);
    const web = { redirect_uri: 'https://app.example/cb' };
    await authorize(gateway, browser, id(), web);
    gateway.clock.move(2 * 3_600_000);
    serve('application/json', 500);
    const repeated = await browser.go(authorizeUrl(gateway, id(), web));
    expect(new URL(repeated.out ?? '').searchParams.get('code')).toEqual(expect.any(String));
    // The copy stands in for a minute before the document is asked for again.
    expect(requests).toBe(2);
    gateway.clock.move(60_000);
    serve();
    document = { ...document, client_name: 'Renamed client' };
    const asked = await browser.go(authorizeUrl(gateway, id(), web));
    expect(asked.text).toContain('Renamed client');
    expect(asked.text).toContain('has changed');
    document = { ...document, redirect_uris: ['http://127.0.0.1/callback'] };
    gateway.clock.move(2 * 3_600_000);
    expect((await browser.go(authorizeUrl(gateway, id(), web))).text).toContain('redirect_unregistered');
  });

  it('is not fetched without end: an origin has a budget', async () => {
    serve('application/json', 404);
    const browser = await gateway.browser();
    for (let i = 0; i < 15; i++) await browser.fetch(authorizeUrl(gateway, `${host.url}/c${i}.json`));
    expect(requests).toBe(10);
    gateway.clock.move(60_000);
    await browser.fetch(authorizeUrl(gateway, `${host.url}/later.json`));
    expect(requests).toBe(11);
  });

  it('signs in by its pinned copy when its document is out of reach', async () => {
    const browser = await gateway.browser(await gateway.person('pinned@example.com'));
    await gateway.cutOff();
    const page = await browser.go(
      authorizeUrl(gateway, 'https://claude.ai/oauth/claude-code-client-metadata', {
        redirect_uri: 'http://localhost:53111/callback',
      }),
    );
    expect(page.text).toContain('Claude Code');
    expect(page.text).toContain('claude.ai');
    const unknown = await browser.go(authorizeUrl(gateway, 'https://claude.ai/oauth/claude-code-client-metadata/'));
    expect(unknown.text).toContain('client_unknown');
  });
});
