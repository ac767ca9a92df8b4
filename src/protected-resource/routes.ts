import type { IncomingMessage, ServerResponse } from 'node:http';
import { API_HEADERS } from '../web/security-headers.ts';
import type { Web } from '../web/web.ts';
import type { ProtectedResource } from './protected-resource.ts';

const PUBLIC = Object.entries({
  ...API_HEADERS,
  // Public documents: a page of any origin may read them, as a client in a browser must.
  'access-control-allow-origin': '*',
  'access-control-allow-headers': 'MCP-Protocol-Version, Accept, Content-Type',
  'access-control-allow-methods': 'GET, HEAD, OPTIONS',
  'content-type': 'application/json',
}).flat();

/** Mounts the documents of RFC 9728 §3.1 under their path form. The root names no resource of ours: 404. */
export function mountMetadata(web: Pick<Web, 'mount'>, resource: ProtectedResource): void {
  web.mount('/.well-known/oauth-protected-resource', (request, response, path) => {
    const connector = resource.connectorAt(path);
    answerDocument(request, response, connector === undefined ? undefined : resource.metadata(connector));
  });
}

/** A public JSON document, or 404 where there is none. */
export function answerDocument(request: IncomingMessage, response: ServerResponse, document: unknown): void {
  const { method } = request;
  if (method === 'OPTIONS') {
    response.writeHead(204, PUBLIC).end();
    return;
  }
  if (method !== 'GET' && method !== 'HEAD') {
    response.writeHead(405, [...PUBLIC, 'allow', 'GET, HEAD, OPTIONS']).end();
    return;
  }
  const body = JSON.stringify(document ?? { error: 'not_found' });
  response.writeHead(document === undefined ? 404 : 200, [
    ...PUBLIC,
    'content-length',
    String(Buffer.byteLength(body)),
  ]);
  response.end(method === 'HEAD' ? undefined : body);
}
