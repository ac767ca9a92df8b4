import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../src/connectors/kinds/kind.ts';
import { Output } from '../../src/gateway/output.ts';

const exchange: Exchange = { pause() {}, resume() {}, abort() {} };

describe('an answer that is passed on', () => {
  it.each([
    ['in one short piece', [256]],
    ['in one long piece', [70_000]],
    ['in pieces', [100, 156]],
  ])('keeps every byte when it comes %s', async (_, pieces) => {
    const length = pieces.reduce((sum, piece) => sum + piece, 0);
    const whole = Buffer.from(Array.from({ length }, (_byte, index) => index % 256));
    const server = createServer((_request, response) => {
      const output = new Output(response, ['x-content-type-options', 'nosniff']);
      output.begin(200, ['content-type', 'application/json'], length, exchange);
      let at = 0;
      for (const piece of pieces) output.write(whole.subarray(at, (at += piece)));
      output.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    expect(Buffer.from(await response.arrayBuffer()).equals(whole)).toBe(true);
    expect(response.headers.get('content-length')).toBe(String(length));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('holds the upstream while the client takes nothing, with little in memory, and lets it go on afterwards', async () => {
    const MOST = 256 * 1024 + 64 * 1024 + 4 * 1024;
    const chunk = Buffer.alloc(64 * 1024);
    let queued = 0;
    let sent = 0;
    let resumed = 0;
    const paused = Promise.withResolvers<void>();
    const done = Promise.withResolvers<void>();
    const server = createServer((_request, response) => {
      let waiting = false;
      const output = new Output(response, []);
      const pour = (): void => {
        if (waiting) return;
        if (resumed > 0) {
          output.end();
          return done.resolve();
        }
        output.write(chunk);
        sent += chunk.length;
        queued = Math.max(queued, response.writableLength);
        if (sent < 64 * 1024 * 1024) setImmediate(pour);
        else paused.reject(new Error('nothing held the upstream'));
      };
      const upstream: Exchange = {
        pause() {
          waiting = true;
          paused.resolve();
        },
        resume() {
          waiting = false;
          resumed += 1;
          pour();
        },
        abort() {},
      };
      output.begin(200, ['content-type', 'application/json'], -1, upstream);
      pour();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
    client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await paused.promise;
    expect(queued).toBeLessThan(MOST);
    expect(resumed).toBe(0);
    client.resume();
    await done.promise;
    expect(resumed).toBe(1);
    client.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
});
