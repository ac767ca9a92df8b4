import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
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
});
