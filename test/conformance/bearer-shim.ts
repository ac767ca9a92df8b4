import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';

export interface BearerShim {
  url: string;
  close(): Promise<void>;
}

/**
 * Stands before an endpoint that demands authorization and adds the bearer token, since the suite can send none.
 * Everything else passes as it came. Where a Host or Origin names the shim, it is made to name the target;
 * a foreign one goes through, because refusing it is the target's task.
 */
export async function startBearerShim(targetUrl: string, token: string): Promise<BearerShim> {
  const target = new URL(targetUrl);
  const server = createServer((incoming, response) => {
    const headers: Record<string, string | string[] | undefined> = { ...incoming.headers };
    headers['authorization'] = `Bearer ${token}`;
    for (const name of ['host', 'origin']) {
      const value = headers[name];
      if (typeof value === 'string') {
        headers[name] = value.replace(/^(https?:\/\/)?(?:localhost|127\.0\.0\.1)(?::\d+)?$/, `$1${target.host}`);
      }
    }
    const outgoing = httpRequest(target, { method: incoming.method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      // The suite waits for headers of streams that may stay silent for long.
      response.flushHeaders();
      pipeline(answer, response, () => undefined);
    });
    outgoing.on('error', () => response.destroy());
    response.on('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${target.pathname}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
