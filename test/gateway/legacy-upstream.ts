import { randomUUID } from 'node:crypto';
import { json, type Answering } from './practice-upstream.ts';

/** A 2025-era service with sessions that are bound to the credential that began them, and a list behind a sign-in. */
export function sessionful(options: {
  accepts: (authorization: string | undefined) => boolean;
  sessions?: Map<string, string>;
}): Answering {
  const sessions = options.sessions ?? new Map<string, string>();
  return (seen, response) => {
    const { authorization } = seen.headers;
    if (!options.accepts(authorization)) {
      response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
      return;
    }
    const owner = authorization ?? '';
    const id = seen.headers['mcp-session-id'];
    if (seen.method === 'POST') {
      const message = JSON.parse(seen.body) as { id?: number; method: string };
      if (message.method === 'initialize') {
        const fresh = randomUUID();
        sessions.set(fresh, owner);
        const result = {
          protocolVersion: '2025-06-18',
          capabilities: { tools: {} },
          serverInfo: { name: 's', version: '1' },
        };
        return json(response, { jsonrpc: '2.0', id: message.id, result }, 200, { 'mcp-session-id': fresh });
      }
      if (id === undefined)
        return json(response, { jsonrpc: '2.0', id: null, error: { code: -32000, message: 'no session' } }, 400);
      if (sessions.get(id) !== owner)
        return json(response, { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'gone' } }, 404);
      if (message.id === undefined) return void response.writeHead(202).end();
      if (message.method === 'tools/list') {
        return json(response, { jsonrpc: '2.0', id: message.id, result: { tools: [{ name: `tool-of-${owner}` }] } });
      }
      return json(response, { jsonrpc: '2.0', id: message.id, result: { owner } });
    }
    if (id === undefined || sessions.get(id) !== owner) return void response.writeHead(404).end();
    if (seen.method === 'DELETE') {
      sessions.delete(id);
      return void response.writeHead(200).end();
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`id: 1\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\n\n`);
    if (seen.headers['last-event-id'] === 'end') response.end();
  };
}
