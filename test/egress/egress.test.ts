import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createAddressGuard } from '../../src/egress/address-guard.ts';
import { createEgress, type Egress } from '../../src/egress/egress.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

async function serve(listener: RequestListener): Promise<{ url: string; server: Server }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

function egress(allow: readonly string[] = ['loopback']): Egress {
  const door = createEgress({ allow });
  open.push(() => door.close());
  return door;
}

const code = (value: string) => expect.objectContaining({ code: value });

describe('the address guard', () => {
  const guard = createAddressGuard([]);
  it.each([
    '127.0.0.1',
    '127.1.2.3',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::127.0.0.1',
    'fe80::1',
    'fc00::1',
    'fd12::1',
    'ff02::1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '2002:7f00:1::',
    '2001:db8::1',
    '2001:0:1::',
  ])('refuses %s', (address) => {
    expect(() => guard.checkAddress(address, 'name.example')).toThrow(code('egress_blocked'));
  });

  it.each(['1.1.1.1', '8.8.8.8', '172.32.0.1', '2606:4700::1111', '100.128.0.1'])(
    'lets the public address %s pass',
    (address) => {
      expect(() => guard.checkAddress(address, 'name.example')).not.toThrow();
    },
  );

  it.each([
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://017700000001/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[fe80::1]/',
    'https://user:password@example.com/',
    'https://169.254.169.254/latest/meta-data',
  ])('refuses the URL %s before a look-up', (url) => {
    expect(() => guard.checkUrl(new URL(url))).toThrow(code('egress_blocked'));
  });

  it.each([
    'http://example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'http://10.0.0.1/',
    'javascript:alert(1)',
  ])('refuses %s, which is not https', (url) => {
    expect(() => guard.checkUrl(new URL(url))).toThrow(code('egress_insecure'));
  });

  it('opens just what the operator names', () => {
    const named = createAddressGuard(['10.1.0.0/16', 'intranet', '192.168.7.7', 'fd00:1::/32']);
    for (const address of ['10.1.2.3', '192.168.7.7', 'fd00:1::5'])
      expect(() => named.checkAddress(address, 'x')).not.toThrow();
    for (const address of ['10.2.0.1', '192.168.7.8', 'fd00:2::5', '127.0.0.1']) {
      expect(() => named.checkAddress(address, 'x')).toThrow(code('egress_blocked'));
    }
    expect(() => named.checkAddress('192.168.0.9', 'intranet')).not.toThrow();
    expect(() => named.checkUrl(new URL('http://intranet/'))).not.toThrow();
  });

  it('judges names at connect time, so that localhost under another name is no way in', async () => {
    const { url } = await serve((_, response) => response.end('inside'));
    const { port } = new URL(url);
    await expect(egress([]).request(`https://localhost:${port}/`)).rejects.toThrow(code('egress_blocked'));
    await expect(egress(['loopback']).request(`http://localhost:${port}/`)).resolves.toMatchObject({ status: 200 });
  });
});

describe('a request', () => {
  it('brings status, headers and body', async () => {
    const { url } = await serve((request, response) => {
      response.writeHead(201, { 'x-seen': `${request.method} ${request.headers['x-a']}` });
      request.pipe(response);
    });
    const answer = await egress().request(`${url}/x`, { method: 'POST', headers: { 'x-a': '1' }, body: 'hello' });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('x-seen')).toBe('POST 1');
    expect(answer.body.toString()).toBe('hello');
  });

  it.each([301, 302, 303, 307, 308])('never follows a %s, so no secret is sent again elsewhere', async (status) => {
    let second = 0;
    const target = await serve((_, response) => {
      second += 1;
      response.end();
    });
    const { url } = await serve((_, response) => response.writeHead(status, { location: target.url }).end());
    await expect(egress().request(url, { method: 'POST', body: 'secret' })).rejects.toThrow(code('egress_redirect'));
    expect(second).toBe(0);
  });

  it('stops at the limit of bytes', async () => {
    const { url } = await serve((_, response) => response.end('x'.repeat(5_000)));
    await expect(egress().request(url, { maxBytes: 4_999 })).rejects.toThrow(code('egress_too_large'));
    await expect(egress().request(url, { maxBytes: 5_000 })).resolves.toMatchObject({ status: 200 });
  });

  it('stops at the limit of bytes of what a compressed body unfolds to', async () => {
    const { gzipSync } = await import('node:zlib');
    const bomb = gzipSync(Buffer.alloc(5_000_000));
    const { url } = await serve((_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb));
    await expect(egress().request(url, { maxBytes: 100_000 })).rejects.toThrow(code('egress_too_large'));
  });

  it('stops at the time limit, in the head and in the body', async () => {
    const silent = await serve(() => undefined);
    await expect(egress().request(silent.url, { timeoutMs: 50 })).rejects.toThrow(code('egress_timeout'));
    const dripping = await serve((_, response) => response.writeHead(200).write('x'));
    await expect(egress().request(dripping.url, { timeoutMs: 100 })).rejects.toThrow(code('egress_timeout'));
  });

  it('says that nobody listens', async () => {
    const { url, server } = await serve(() => undefined);
    await new Promise((resolve) => server.close(resolve));
    await expect(egress().request(url)).rejects.toThrow(code('egress_failed'));
  });

  it('refuses what is no URL', async () => {
    await expect(egress().request('/relative')).rejects.toThrow(code('invalid_request'));
  });

  it('can have a connection of its own', async () => {
    const ports = new Set<number | undefined>();
    const { url } = await serve((request, response) => {
      ports.add(request.socket.remotePort);
      response.end();
    });
    const door = egress();
    for (let i = 0; i < 3; i++) await door.request(url, { freshConnection: true });
    expect(ports.size).toBe(3);
  });
});

describe('the fetch for libraries', () => {
  it('posts forms and reads JSON under the same rules', async () => {
    const { url } = await serve((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () =>
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ body, type: request.headers['content-type'] })),
      );
    });
    const response = await egress().fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ a: '1 2' }),
    });
    expect(response.url).toBe(`${url}/`);
    expect(await response.json()).toEqual({ body: 'a=1+2', type: 'application/x-www-form-urlencoded' });
    await expect(egress([]).fetch(url)).rejects.toThrow(code('egress_insecure'));
  });
});

describe('a pool', () => {
  it('is guarded like a request', async () => {
    const { url } = await serve((_, response) => response.end('ok'));
    const { port } = new URL(url);
    expect(() => egress([]).pool(url)).toThrow(code('egress_insecure'));
    const guarded = egress(['intranet.example']);
    const answer = egress().pool(url).request({ path: '/', method: 'GET' });
    expect((await answer).statusCode).toBe(200);
    await expect(guarded.pool(`https://localhost:${port}`).request({ path: '/', method: 'GET' })).rejects.toThrow(
      code('egress_blocked'),
    );
  });

  it('lets a call through however many slow ones are open', async () => {
    const { url } = await serve((request, response) => {
      if (request.url === '/quick') response.end('ok');
      else response.writeHead(200).write('x');
    });
    const pool = egress().pool(url);
    const slow = await Promise.all(
      Array.from({ length: 300 }, async () => await pool.request({ path: '/slow', method: 'GET' })),
    );
    const quick = await pool.request({ path: '/quick', method: 'GET', signal: AbortSignal.timeout(10_000) });
    expect(await quick.body.text()).toBe('ok');
    for (const { body } of slow) body.on('error', () => undefined).destroy();
  });
});
