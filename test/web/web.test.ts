import { request as httpRequest } from 'node:http';
import { Writable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { fail } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { createCookieJar } from '../../src/web/cookies.ts';
import { csrfMatches, csrfToken } from '../../src/web/csrf.ts';
import { html, pageResponse } from '../../src/web/page.ts';
import { createWeb, type Web } from '../../src/web/web.ts';

const webs: Web[] = [];
afterEach(async () => {
  for (const web of webs.splice(0)) await web.close(100);
});

async function start(prepare: (web: Web) => void): Promise<{ url: string; web: Web; log: () => string }> {
  let text = '';
  const log = createLog({
    level: 'debug',
    destination: new Writable({
      write(chunk: Buffer, _encoding, done) {
        text += chunk.toString();
        done();
      },
    }),
  });
  const web = createWeb({ log, allowedHosts: (host) => host.startsWith('127.0.0.1') });
  prepare(web);
  webs.push(web);
  const { port } = await web.listen({ host: '127.0.0.1', port: 0 });
  return { url: `http://127.0.0.1:${port}`, web, log: () => text };
}

describe('the way in', () => {
  it('hands a mounted path to its raw handler, the longest first, and only at segment borders', async () => {
    const { url } = await start((web) => {
      web.mount('/mcp', (_, response, path, query) => response.end(`outer ${path} ${query}`));
      web.mount('/mcp/deep', (_, response) => response.end('inner'));
      web.app.get('/mcpx', (context) => context.text('page'));
    });
    const text = async (path: string) => await (await fetch(url + path)).text();
    expect(await text('/mcp/a%2Fb?x=1')).toBe('outer /mcp/a%2Fb x=1');
    expect(await text('/mcp')).toBe('outer /mcp ');
    expect(await text('/mcp/deep/er')).toBe('inner');
    expect(await text('/mcpx')).toBe('page');
  });

  it('answers no Host but its own, so that no page reaches it through a name that it bound', async () => {
    const { url } = await start((web) => web.app.get('/', (context) => context.text('inside')));
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest(url, { headers: { host: 'evil.example' } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on('error', reject).end();
    });
    expect(status).toBe(421);
  });

  it('gives an error as a page to a browser and as a problem document to everyone else', async () => {
    const { url, log } = await start((web) => {
      web.app.get('/known', () => {
        throw fail('conflict', { message: '<b>Bold</b> claim.' });
      });
      web.app.get('/unknown', () => {
        throw new Error('canary-inner');
      });
    });
    const page = await fetch(`${url}/known`, { headers: { accept: 'text/html' } });
    expect(page.status).toBe(409);
    const text = await page.text();
    expect(text).toContain('&lt;b&gt;Bold&lt;/b&gt; claim.');
    expect(text).not.toContain('<b>Bold');
    const document = await fetch(`${url}/known`);
    expect(document.headers.get('content-type')).toBe('application/problem+json');
    expect(await document.json()).toMatchObject({ code: 'conflict', status: 409 });
    const unknown = await fetch(`${url}/unknown`);
    expect(unknown.status).toBe(500);
    expect(await unknown.text()).not.toContain('canary-inner');
    expect(log()).toContain('canary-inner');
    expect((await fetch(`${url}/nowhere`)).status).toBe(404);
  });

  it('carries the security headers on every page, and no page has script or inline style', async () => {
    const { url } = await start((web) =>
      web.app.get(
        '/page',
        async () => await pageResponse({ title: 'T', body: html`<h1>${'<script>alert(1)</script>'}</h1>` }),
      ),
    );
    const response = await fetch(`${url}/page`);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
    for (const [name, value] of [
      ['cache-control', 'no-store'],
      ['referrer-policy', 'no-referrer'],
      ['x-content-type-options', 'nosniff'],
      ['cross-origin-opener-policy', 'same-origin'],
    ] as const) {
      expect(response.headers.get(name)).toBe(value);
    }
    const text = await response.text();
    expect(text).not.toMatch(/<script|style=|onclick/);
    const style = /href="(\/assets\/[^"]+)"/.exec(text)?.[1];
    const sheet = await fetch(url + style);
    expect(sheet.headers.get('cache-control')).toContain('immutable');
  });

  it('lets a request in flight finish when it closes', async () => {
    let release: () => void = () => undefined;
    let arrive: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    const { url, web } = await start((web) => {
      web.mount('/slow', (_, response) => {
        release = () => response.end('whole');
        arrive();
      });
    });
    const answer = fetch(`${url}/slow`).then(async (response) => await response.text());
    await arrived;
    const started = performance.now();
    const closed = web.close(20_000);
    await expect(fetch(`${url}/slow`)).rejects.toThrow();
    release();
    expect(await answer).toBe('whole');
    await closed;
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('says that a port is taken', async () => {
    const { url } = await start(() => undefined);
    const web = createWeb({ log: createLog({ level: 'silent' }), allowedHosts: () => true });
    await expect(web.listen({ host: '127.0.0.1', port: Number(new URL(url).port) })).rejects.toThrow(
      expect.objectContaining({ code: 'setting_invalid', message: expect.stringContaining('taken') as string }),
    );
  });
});

describe('cookies', () => {
  it('are host-bound, secure and out of reach of script over https', () => {
    const jar = createCookieJar('https://keys.example');
    const cookie = jar.write('session', 'abc', { maxAgeSeconds: 60 });
    expect(cookie).toBe('__Host-session=abc; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60');
    expect(jar.read('a=1; __Host-session=abc', 'session')).toBe('abc');
    expect(jar.read('session=planted', 'session')).toBeUndefined();
    expect(jar.clear('session')).toContain('Max-Age=0');
  });

  it('work without TLS on loopback', () => {
    const jar = createCookieJar('http://localhost:8787');
    expect(jar.write('session', 'abc')).toBe('session=abc; Path=/; HttpOnly; SameSite=Lax');
    expect(jar.read('session=abc', 'session')).toBe('abc');
  });
});

describe('a form token', () => {
  it('fits one browser and one transaction', () => {
    const token = csrfToken('browser-a', 'form-1');
    expect(csrfMatches(token, 'browser-a', 'form-1')).toBe(true);
    expect(csrfMatches(token, 'browser-b', 'form-1')).toBe(false);
    expect(csrfMatches(token, 'browser-a', 'form-2')).toBe(false);
    expect(csrfMatches(undefined, 'browser-a', 'form-1')).toBe(false);
    expect(csrfMatches('', 'browser-a', 'form-1')).toBe(false);
  });
});
