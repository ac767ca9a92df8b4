import { expect, it } from 'vitest';
import type { Connector } from '../../../src/connectors/connector.ts';
import type { ReplySink } from '../../../src/connectors/kinds/kind.ts';
import { openChannel, type Channel } from '../../../src/connectors/kinds/mcp/sse-channel.ts';

const EXCHANGE = { pause: () => undefined, resume: () => undefined, abort: () => undefined };

it('what a server says while nobody listens is kept up to a number of messages and up to a size', () => {
  const sinks: ReplySink[] = [];
  let channel: Channel | undefined;
  const http = { exchange: (_request: unknown, _credential: unknown, sink: ReplySink) => (sinks.push(sink), EXCHANGE) };
  const connector = { document: { url: 'https://service.example/sse' } } as unknown as Connector;
  openChannel(http, connector, null, {
    opened: (opened) => (channel = opened),
    refused: () => undefined,
    failed: () => undefined,
    closed: () => undefined,
  });
  const [stream] = sinks;
  stream?.replyStart(200, { 'content-type': 'text/event-stream' }, EXCHANGE);
  stream?.replyData(Buffer.from('event: endpoint\ndata: /messages\n\n'));
  const heardOf = (params: string, times: number): number => {
    const event = `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/x', params: { params } })}\n\n`;
    for (let time = 0; time < times; time++) stream?.replyData(Buffer.from(event));
    const heard: string[] = [];
    channel?.listen((message) => heard.push(message))();
    return heard.length;
  };
  expect(heardOf('', 200)).toBe(100);
  expect(heardOf('x'.repeat(300_000), 20)).toBe(3);
  expect(heardOf('x'.repeat(300_000), 2)).toBe(2);
});
