import type { IncomingHttpHeaders } from 'node:http';

/**
 * Which web pages may call. MCP clients outside a browser send no Origin. Without this check a page could reach a
 * gateway in the reader's own network (MCP 2025-11-25 "Security Warning", DNS rebinding).
 */
export type OriginPolicy = {
  allows(origin: string): boolean;
  /** CORS headers of every answer to an allowed origin; flat. */
  headers(origin: string): string[];
  /** The answer to a preflight from an allowed origin; flat. */
  preflight(origin: string, headers: IncomingHttpHeaders): string[];
};

const METHODS = 'GET, POST, DELETE, OPTIONS';
const EXPOSED = 'WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version, Retry-After';
const ALLOWED =
  /^(accept|authorization|content-type|last-event-id|mcp-protocol-version|mcp-session-id|mcp-method|mcp-name|mcp-param-[a-z0-9!#$%&'*+.^_`|~-]{1,100}|traceparent|tracestate|baggage)$/;
const ALWAYS =
  'Accept, Authorization, Content-Type, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name';

const LOOPBACK = /^https?:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/;

export function createOriginPolicy(publicUrl: string, allowed: readonly string[]): OriginPolicy {
  const named = new Set([publicUrl, ...allowed]);
  const loopback = LOOPBACK.test(publicUrl);

  function base(origin: string): string[] {
    return ['access-control-allow-origin', origin, 'access-control-expose-headers', EXPOSED, 'vary', 'Origin'];
  }

  return {
    allows: (origin) => named.has(origin) || (loopback && LOOPBACK.test(origin)),
    headers: base,
    preflight(origin, headers) {
      const asked = (headers['access-control-request-headers'] ?? '')
        .split(',', 64)
        .map((name) => name.trim().toLowerCase())
        .filter((name) => ALLOWED.test(name));
      return [
        ...base(origin),
        'access-control-allow-methods',
        METHODS,
        'access-control-allow-headers',
        asked.length === 0 ? ALWAYS : asked.join(', '),
        'access-control-max-age',
        '600',
      ];
    },
  };
}
