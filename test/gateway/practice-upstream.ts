import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Seen = { method: string; url: string; headers: Record<string, string>; body: string };
export type Answering = (seen: Seen, response: ServerResponse, request: IncomingMessage) => void;

/** A service that answers as a test says, and remembers what it was asked. */
export type Upstream = {
  url: string;
  seen: Seen[];
  answer: Answering;
  close(): Promise<void>;
};

export async function startUpstream(answer: Answering): Promise<Upstream> {
  const seen: Seen[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
      const one = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers,
        body: String(Buffer.concat(chunks)),
      };
      seen.push(one);
      upstream.answer(one, response, request);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const upstream: Upstream = {
    url: `http://127.0.0.1:${port}/mcp`,
    seen,
    answer,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
  return upstream;
}

export function json(
  response: ServerResponse,
  body: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

/** Answers any request with its own method as the result. */
export const echo: Answering = (seen, response) => {
  const { id, method } = JSON.parse(seen.body) as { id?: unknown; method: string };
  if (id === undefined) response.writeHead(202).end();
  else json(response, { jsonrpc: '2.0', id, result: { echoed: method } });
};
