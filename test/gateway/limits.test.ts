import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect as connectSocket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { legacy, modern, post, send } from './client.ts';
import { openHouse, type House } from './house.ts';
import { echo, json, startUpstream, type Upstream } from './practice-upstream.ts';

let house: House;
let upstream: Upstream;

beforeEach(async () => {
  upstream = await startUpstream(echo);
  house = await openHouse();
});
afterEach(async () => {
  await house.close();
  await upstream.close();
});

const put = async (limits: Record<string, number> = {}): Promise<string> =>
  await house.put({ name: 'files', url: upstream.url, limits: { callsPerMinute: 100_000, ...limits } });

const code = (text: string): unknown => /"code":"([a-z_]+)"/.exec(text)?.[1];

describe('a client', () => {
  it('may not send a body that is too large, announced or not, nor another media type', async () => {
    const url = await put();
    expect((await post(url, 'x'.repeat(4 * 1024 * 1024 + 1))).status).toBe(413);
    const chunked = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } });
    const answered = once(chunked, 'response');
    chunked.on('error', () => undefined);
    for (let at = 0; at < 5; at++) chunked.write(Buffer.alloc(1024 * 1024, 0x20));
    const [response] = (await answered) as [import('node:http').IncomingMessage];
    expect(response.statusCode).toBe(413);
    chunked.destroy();
    expect((await post(url, '{}', { headers: { 'content-type': 'text/plain' } })).status).toBe(415);
    expect(upstream.seen).toHaveLength(0);
  });

  it('that goes away takes its call to the upstream with it', async () => {
    const url = await put();
    let closed: (() => void) | undefined;
    const gone = new Promise<void>((resolve) => (closed = resolve));
    const asked = new Promise<void>((resolve) => {
      upstream.answer = (_, response) => {
        response.on('close', () => closed?.());
        resolve();
      };
    });
    const abort = new AbortController();
    const call = legacy(url, 'tools/call', { name: 'slow' }, { signal: abort.signal });
    call.catch(() => undefined);
    await asked;
    abort.abort();
    await gone;
    await expect(call).rejects.toThrow();
    await house.gateway.flush();
    const rows = await house.database.query.selectFrom('calls').select('status').execute();
    expect(rows).toEqual([{ status: 'cancelled' }]);
  });

  it('that reads slowly holds the upstream back instead of filling memory', async () => {
    const url = await put({ maxResultBytes: 500_000_000 });
    const total = 200 * 1024 * 1024;
    let written = 0;
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(total) });
      const chunk = Buffer.alloc(256 * 1024, 0x61);
      const more = (): void => {
        while (written < total) {
          written += chunk.length;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
      };
      more();
    };
    const { port } = new URL(url);
    const socket = connectSocket(Number(port), '127.0.0.1');
    const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}';
    socket.write(
      `POST /mcp/default/files HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await once(socket, 'readable');
    let last = -1;
    await expect
      .poll(
        () => {
          const settled = written === last;
          last = written;
          return settled;
        },
        { interval: 200, timeout: 10_000 },
      )
      .toBe(true);
    expect(written).toBeLessThan(total / 2);
    socket.destroy();
  });

  it('that never reads its answer is let go in the end', async () => {
    const url = await put();
    upstream.answer = (_, response) => json(response, { jsonrpc: '2.0', id: 1, result: 'x'.repeat(8_000_000) });
    const { port } = new URL(url);
    const socket = connectSocket({ port: Number(port), host: '127.0.0.1' });
    const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}';
    socket.write(
      `POST /mcp/default/files HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await once(socket, 'readable');
    // The watch goes by seconds that it counts itself.
    for (let second = 0; second < 70; second++) house.gateway.tick();
    const sent = await new Promise<number>((resolve) => {
      let size = 0;
      socket.on('data', (chunk: Buffer) => (size += chunk.length));
      socket.on('error', () => resolve(size));
      socket.on('close', () => resolve(size));
    });
    expect(sent).toBeLessThan(8_000_000);
  });
});

describe('an upstream', () => {
  const call = async (url: string) => await legacy(url, 'tools/call', { name: 'a' });

  it('is asked for plain bytes, and what comes encoded all the same is not passed on unseen', async () => {
    const url = await house.put({
      name: 'encoded',
      url: upstream.url,
      auth: { type: 'bearer', token: 'gateway-token-1' },
      limits: { callsPerMinute: 100_000, maxResultBytes: 10_000 },
    });
    upstream.answer = (seen, response) => {
      const result = `${seen.headers['authorization']} ${'x'.repeat(1_000_000)}`;
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
      response.writeHead(200, headers).end(gzipSync(JSON.stringify({ jsonrpc: '2.0', id: 1, result })));
    };
    const answer = await call(url);
    expect(upstream.seen[0]?.headers['accept-encoding']).toBe('identity');
    expect(code(answer.text)).toBe('upstream_invalid');
    expect(answer.text).not.toContain('gateway-token-1');
  });

  it('that announces more than is allowed is not passed on', async () => {
    const url = await put({ maxResultBytes: 2_000 });
    const result = { jsonrpc: '2.0', id: 1, result: 'x'.repeat(3_000) };
    const length = String(JSON.stringify(result).length);
    upstream.answer = (_, response) => json(response, result, 200, { 'content-length': length });
    const answer = await call(url);
    expect([answer.status, code(answer.text)]).toEqual([200, 'egress_too_large']);
  });

  it('that sends more than is allowed without saying so is cut off', async () => {
    const url = await put({ maxResultBytes: 2_000 });
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const flood = (): void => {
        while (!response.destroyed && response.write('x'.repeat(1_000)));
        if (!response.destroyed) response.once('drain', flood);
      };
      flood();
    };
    await expect(call(url)).rejects.toThrow();
  });

  it.each([
    ['a page', 'text/html', '<html>canary</html>'],
    ['nothing that it names', '', 'canary'],
    ['two media types', 'application/json, text/html', 'canary'],
  ])('that answers with %s is said to be no MCP server', async (_, type, body) => {
    const url = await put();
    upstream.answer = (_seen, response) => {
      if (type !== '') response.setHeader('content-type', type);
      response.end(body);
    };
    const answer = await call(url);
    expect([answer.status, code(answer.text)]).toEqual([200, 'upstream_invalid']);
    expect(answer.text).not.toContain('canary');
  });

  it('that is not there, or hangs up, is an error in band', async () => {
    const url = await put();
    upstream.answer = (_, response) => response.destroy();
    expect(code((await call(url)).text)).toBe('egress_failed');
    await upstream.close();
    expect(code((await call(url)).text)).toBe('egress_failed');
    expect((await send(url, 'GET')).status).toBe(502);
    upstream = await startUpstream(echo);
  });

  it('that hangs up in the middle of a result leaves no result that looks whole', async () => {
    const url = await put();
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"jsonrpc":"2.0","id":1,');
      setImmediate(() => response.destroy());
    };
    await expect(call(url)).rejects.toThrow();
  });

  it('that never answers is given up after the time of the connector', async () => {
    const url = await put({ timeoutSeconds: 1 });
    upstream.answer = () => undefined;
    const answer = await call(url);
    expect([answer.status, code(answer.text)]).toEqual([200, 'egress_timeout']);
  });

  it('that falls silent in a stream ends it with an error that the client can read', async () => {
    const url = await put({ timeoutSeconds: 1 });
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': hello\n\n');
    };
    const { text } = await call(url);
    expect(text).toMatch(/^: hello\n\n\ndata: {"jsonrpc":"2\.0","id":1,"error":/);
    expect(code(text)).toBe('egress_timeout');
  });

  it('that sends enormous headers is refused', async () => {
    const url = await put();
    upstream.answer = (_, response) => response.writeHead(200, { 'x-long': 'x'.repeat(100_000) }).end('{}');
    expect(['egress_too_large', 'egress_failed']).toContain(code((await call(url)).text));
  });

  it('that lists tools in broken JSON, or without end, lists none', async () => {
    const url = await put({ maxResultBytes: 5_000 });
    upstream.answer = (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{"tools":');
    expect(code((await legacy(url, 'tools/list')).text)).toBe('upstream_invalid');
    upstream.answer = (_, response) => json(response, { jsonrpc: '2.0', id: 1, result: 'x'.repeat(6_000) });
    expect(code((await legacy(url, 'tools/list')).text)).toBe('egress_too_large');
    upstream.answer = (_, response) =>
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${'x'.repeat(6_000)}\n\n`);
    expect(code((await legacy(url, 'tools/list')).text)).toBe('egress_too_large');
  });
});

describe('streams', () => {
  it('do not take the connections that calls need', async () => {
    const url = await put();
    const open: AbortController[] = [];
    upstream.answer = (seen, response, request) => {
      if (!seen.body.includes('subscriptions/listen')) return echo(seen, response, request);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
    };
    const streams: Promise<unknown>[] = [];
    for (let at = 0; at < 300; at++) {
      const abort = new AbortController();
      open.push(abort);
      streams.push(modern(url, 'subscriptions/listen', {}, { signal: abort.signal }).catch(() => undefined));
    }
    await expect.poll(() => upstream.seen.length, { timeout: 20_000 }).toBe(300);
    expect((await legacy(url, 'tools/call', { name: 'a' })).status).toBe(200);
    for (const abort of open) abort.abort();
    await Promise.all(streams);
  });

  it('that answer calls do not take the connections either', async () => {
    const url = await put();
    const open: AbortController[] = [];
    upstream.answer = (seen, response, request) => {
      if (!seen.body.includes('slow')) return echo(seen, response, request);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
    };
    const streams: Promise<unknown>[] = [];
    for (let round = 1; round <= 6; round++) {
      for (let at = 0; at < 50; at++) {
        const abort = new AbortController();
        open.push(abort);
        const call = legacy(url, 'tools/call', { name: 'slow' }, { signal: abort.signal });
        streams.push(call.catch(() => undefined));
      }
      await expect.poll(() => upstream.seen.length, { timeout: 20_000 }).toBe(round * 50);
    }
    expect((await legacy(url, 'tools/call', { name: 'a' })).status).toBe(200);
    for (const abort of open) abort.abort();
    await Promise.all(streams);
  });

  it('are ended when the gateway stops, while a call in flight finishes', async () => {
    const url = await put();
    let finish: (() => void) | undefined;
    upstream.answer = (seen, response, request) => {
      if (seen.method === 'GET') {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: {}\n\n');
      } else finish = () => echo(seen, response, request);
    };
    const stream = send(url, 'GET');
    const call = legacy(url, 'tools/call', { name: 'a' });
    await expect.poll(() => finish !== undefined && upstream.seen.length === 2).toBe(true);
    const stopped = house.gateway.stop();
    expect((await stream).text).toBe('data: {}\n\n');
    finish?.();
    expect((await call).json()).toMatchObject({ result: { echoed: 'tools/call' } });
    await stopped;
    const rows = await house.database.query.selectFrom('calls').select('method').execute();
    expect(rows).toEqual([{ method: 'tools/call' }]);
  });
});
