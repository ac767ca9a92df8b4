import type { Hono } from 'hono';

/** Where the gateway asks itself, through its public URL, whether a proxy lets its headers pass. */
export const PROBE_PATH = '/connect/header-check';

const NONCE = /^[\w-]{16}$/;

/** Headers that clients send and that a careless proxy takes away. */
export const echoedHeaders = (nonce: string): Record<string, string> => ({
  authorization: `Bearer ${nonce}`,
  'mcp-session-id': nonce,
  'mcp-protocol-version': nonce,
  'mcp-method': nonce,
  'last-event-id': nonce,
});

/** Says which of them arrived unchanged. Open to anyone: it tells the caller of the caller's own request only. */
export function mountHeaderCheck(app: Hono): void {
  app.get(PROBE_PATH, (context) => {
    const nonce =
      context.req.header('mcp-session-id') ?? context.req.header('authorization')?.slice('Bearer '.length) ?? '';
    const sent = NONCE.test(nonce) ? Object.entries(echoedHeaders(nonce)) : [];
    const arrived = sent.filter(([name, value]) => context.req.header(name) === value).map(([name]) => name);
    return new Response(JSON.stringify({ arrived }), {
      status: 401,
      headers: {
        'content-type': 'application/json',
        'cache-control': 'no-store',
        ...(sent.length === 0
          ? {}
          : {
              'www-authenticate': `Bearer realm="header-check", error_description="${nonce}"`,
              'mcp-session-id': nonce,
            }),
      },
    });
  });
}
