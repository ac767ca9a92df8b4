import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Callback {
  /** A redirect URI on loopback, with a port of its own (RFC 8252 §7.3). */
  url: string;
  /** The parameters of the newest authorization response. */
  params(): URLSearchParams;
  close(): Promise<void>;
}

/** Listens where the browser comes back to. */
export async function startCallback(): Promise<Callback> {
  let newest: URLSearchParams | undefined;
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    if (url.pathname === '/callback') newest = url.searchParams;
    response.setHeader('content-type', 'text/html');
    response.end('<title>Back at the client</title><p>You can close this window.</p>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/callback`,
    params() {
      if (!newest) throw new Error('Nobody came back to the callback');
      return newest;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
