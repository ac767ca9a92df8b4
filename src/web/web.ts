import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asValetkeyError, fail, problem } from '../errors.ts';
import type { Log } from '../log.ts';
import { errorPage } from './page.ts';
import { API_HEADERS } from './security-headers.ts';
import { ICON, ICON_PATH, STYLE, STYLE_PATH } from './style.ts';

/** Takes the raw request; `path` is the request target without its query, undecoded. */
export type RawHandler = (request: IncomingMessage, response: ServerResponse, path: string, query: string) => void;

export type Web = {
  /** Pages and JSON, everything that no raw handler claims. Rooms mount their routes here. */
  readonly app: Hono;
  /** Gives a path, and what lies below it, to a raw handler: the data plane and the OAuth engine. Longest path wins. */
  mount(path: string, handler: RawHandler): void;
  /**
   * Listens; until `open` is called every request gets 503, so that an address is known before the rooms that need it
   * are built.
   * @throws ValetkeyError setting_invalid when the address is taken or not ours
   */
  listen(address: { host: string; port: number }): Promise<{ host: string; port: number }>;
  /** Lets requests in. Tests that mount everything before they listen need not call it: see `closed`. */
  open(): void;
  /** Refuses new connections, lets requests in flight finish for at most `graceMs`, then cuts what is left. */
  close(graceMs: number): Promise<void>;
};

/**
 * @param allowedHosts values of the Host header that are answered; others get 421, so that no page can reach a
 *   loopback gateway through a name of its own (DNS rebinding)
 */
export function createWeb(options: { log: Log; allowedHosts: (host: string) => boolean; closed?: boolean }): Web {
  let open = options.closed !== true;
  const { log } = options;
  const app = new Hono();
  const raw: { path: string; handler: RawHandler }[] = [];

  for (const [path, type, content] of [
    [STYLE_PATH, 'text/css; charset=utf-8', STYLE],
    [ICON_PATH, 'image/svg+xml', ICON],
  ] as const) {
    app.get(path, (context) =>
      context.body(content, 200, {
        'content-type': type,
        'cache-control': 'public, max-age=31536000, immutable',
        'x-content-type-options': 'nosniff',
      }),
    );
  }
  app.notFound(async (context) => await respond(fail('not_found'), context.req.header('accept')));
  app.onError(async (thrown, context) => {
    const error = asValetkeyError(thrown);
    if (error.status >= 500) log.error({ err: error, path: context.req.path }, 'a request failed');
    return await respond(error, context.req.header('accept'));
  });

  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server: Server = createServer(
    {
      headersTimeout: 15_000,
      requestTimeout: 60_000,
      keepAliveTimeout: 75_000,
      maxHeaderSize: 32 * 1024,
      noDelay: true,
    },
    (request, response) => {
      const target = request.url ?? '/';
      const mark = target.indexOf('?');
      const path = mark === -1 ? target : target.slice(0, mark);
      if (!options.allowedHosts(request.headers.host ?? '')) {
        response.writeHead(421, { 'content-type': 'text/plain; charset=utf-8' });
        response.end(
          'The Host header names another server. Set VALETKEY_PUBLIC_URL to the address that clients use.\n',
        );
        return;
      }
      if (!open) {
        response.writeHead(503, { 'retry-after': '1', 'content-type': 'text/plain; charset=utf-8' });
        response.end('Starting.\n');
        return;
      }
      for (const route of raw) {
        if (path.startsWith(route.path) && (path.length === route.path.length || path[route.path.length] === '/')) {
          return route.handler(request, response, path, mark === -1 ? '' : target.slice(mark + 1));
        }
      }
      void listener(request, response);
    },
  );
  server.maxHeadersCount = 100;

  return {
    app,
    mount(path, handler) {
      raw.push({ path, handler });
      raw.sort((a, b) => b.path.length - a.path.length);
    },
    listen: async ({ host, port }) =>
      await new Promise((resolve, reject) => {
        server.once('error', (cause: NodeJS.ErrnoException) => {
          const message =
            cause.code === 'EADDRINUSE'
              ? `Port ${port} on ${host} is taken.`
              : `Cannot listen on ${host}:${port} (${cause.code}).`;
          reject(
            fail('setting_invalid', {
              message,
              hint: 'Set VALETKEY_PORT or VALETKEY_HOST, or stop what listens there.',
              cause,
            }),
          );
        });
        server.listen(port, host, () => resolve({ host, port: (server.address() as AddressInfo).port }));
      }),
    open() {
      open = true;
    },
    close: async (graceMs) =>
      await new Promise((resolve) => {
        const cut = setTimeout(() => server.closeAllConnections(), graceMs);
        // A connection whose last answer is out would be kept alive and hold the close up.
        const idle = setInterval(() => server.closeIdleConnections(), 25);
        server.close(() => {
          clearTimeout(cut);
          clearInterval(idle);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

/** An error as a page for a browser, as a problem document for everyone else. */
async function respond(error: ReturnType<typeof fail>, accept: string | undefined): Promise<Response> {
  if (accept?.includes('text/html') === true) return await errorPage(error);
  return Response.json(problem(error), {
    status: error.status,
    headers: { ...API_HEADERS, 'content-type': 'application/problem+json' },
  });
}
