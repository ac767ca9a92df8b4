import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Output } from '../../src/gateway/output.ts';

const exchange = { pause: () => undefined, resume: () => undefined, abort: () => undefined };
let server: Server;
let url: string;
let act: (output: Output, response: ServerResponse) => void;

beforeEach(async () => {
  server = createServer((_request, response) => act(new Output(response, ['x-base', 'b']), response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => {
    server.close(resolve);
  });
});

describe('a stream', () => {
  it('is kept alive by comments, between lines only', async () => {
    act = (output) => {
      output.beginStream(200, ['content-type', 'text/event-stream'], exchange);
      output.keepAlive();
      output.write(Buffer.from('data: ha'));
      output.keepAlive();
      output.event('{}');
      output.write(Buffer.from('lf\n'));
      output.keepAlive();
      output.write(Buffer.from('\n'));
      output.end();
      output.keepAlive();
    };
    const response = await fetch(url);
    expect(await response.text()).toBe(': keep-alive\n\ndata: half\n: keep-alive\n\n\n');
    expect(response.headers.get('x-base')).toBe('b');
  });

  it('is cut off when its client falls far behind an upstream that nobody can hold back', async () => {
    const mebibyte = Buffer.alloc(1024 * 1024, 0x0a);
    const read = async (size: number) => {
      act = (output) => {
        output.beginStream(200, ['content-type', 'text/event-stream'], exchange);
        for (let at = 0; at < size; at++) output.write(mebibyte);
        output.end();
      };
      return (await (await fetch(url)).arrayBuffer()).byteLength;
    };
    expect(await read(40)).toBe(40 * 1024 * 1024);
    await expect(read(80)).rejects.toThrow();
  });
});

describe('a reply', () => {
  it('that ends before its announced length is cut off', async () => {
    act = (output) => {
      output.begin(200, [], 10, exchange);
      output.write(Buffer.from('12345'));
      output.end();
    };
    await expect(fetch(url).then((response) => response.text())).rejects.toThrow();
  });

  it('keeps every byte, in one piece or several', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at));
    for (const parts of [[bytes], [bytes.subarray(0, 100), bytes.subarray(100)]]) {
      act = (output) => {
        output.begin(200, [], 256, exchange);
        for (const part of parts) output.write(part);
      };
      expect(Buffer.from(await (await fetch(url)).arrayBuffer())).toEqual(bytes);
    }
  });
});
