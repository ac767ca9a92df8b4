import type { IncomingHttpHeaders } from 'node:http';
import { encodeHeader, type Envelope } from './envelope.ts';

/** RFC 9110 §5.1: names are compared in lower case, as Node hands them over. */
function copy(from: IncomingHttpHeaders, name: string, to: string[]): void {
  const value = from[name];
  if (typeof value === 'string') to.push(name, value);
}

/** The headers of a message that cross: those of MCP itself. Everything else stays here. */
export function messageHeaders(
  headers: IncomingHttpHeaders,
  envelope: Envelope,
  rename: string | undefined,
  session: string | null,
): string[] {
  const flat = ['content-type', 'application/json', 'accept', headers.accept ?? 'application/json, text/event-stream'];
  copy(headers, 'mcp-protocol-version', flat);
  if (envelope.era === 'legacy') {
    if (session !== null) flat.push('mcp-session-id', session);
    return flat;
  }
  copy(headers, 'mcp-method', flat);
  if (rename === undefined) copy(headers, 'mcp-name', flat);
  else flat.push('mcp-name', encodeHeader(rename));
  for (const name in headers) if (name.startsWith('mcp-param-')) copy(headers, name, flat);
  return flat;
}

/** For GET and DELETE of a session. */
export function sessionHeaders(headers: IncomingHttpHeaders, session: string | null): string[] {
  const flat = ['accept', headers.accept ?? 'text/event-stream'];
  copy(headers, 'mcp-protocol-version', flat);
  copy(headers, 'last-event-id', flat);
  if (session !== null) flat.push('mcp-session-id', session);
  return flat;
}
