import type { Hono } from 'hono';
import { authorizationServerMetadata, openidConfiguration } from './metadata.ts';

const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, OPTIONS',
  'access-control-allow-headers': '*, Authorization, MCP-Protocol-Version',
  'access-control-max-age': '3600',
};

/**
 * The metadata documents, at the root and with the path of an endpoint behind it: clients append it to the well-known
 * name (RFC 8414 §3.1) when they take the endpoint's address for the issuer. A path that nobody serves stays 404.
 */
export function mountWellKnown(app: Hono, publicUrl: string, isResource: (uri: string) => boolean): void {
  const documents = {
    'oauth-authorization-server': JSON.stringify(authorizationServerMetadata(publicUrl)),
    'openid-configuration': JSON.stringify(openidConfiguration(publicUrl)),
  };
  for (const [name, document] of Object.entries(documents)) {
    const root = `/.well-known/${name}`;
    const headers = { ...CORS, 'content-type': 'application/json', 'cache-control': 'public, max-age=300' };
    const serves = (path: string): boolean => {
      const suffix = path.slice(root.length).replace(/\/$/, '');
      return suffix === '' || suffix === '/mcp' || isResource(`${publicUrl}${suffix}`);
    };
    for (const path of [root, `${root}/*`]) {
      app.get(path, (context) =>
        serves(context.req.path) ? context.body(document, 200, headers) : context.notFound(),
      );
      app.options(path, (context) => context.body(null, 204, CORS));
    }
  }
}
