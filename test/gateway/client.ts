const META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
};

export type Message = { id?: unknown; result: Record<string, unknown>; error?: Record<string, unknown> };
export type Sent = { status: number; headers: Headers; text: string; json: () => Message };

async function read(response: Response): Promise<Sent> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) as Message };
}

export type Extra = { token?: string; headers?: Record<string, string>; signal?: AbortSignal };

function headersOf({ token, headers = {} }: Extra, more: Record<string, string> = {}): Record<string, string> {
  return {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...more,
    ...headers,
  };
}

/** Sends exactly this text. */
export async function post(url: string, body: string, extra: Extra = {}): Promise<Sent> {
  const init = { method: 'POST', body, headers: headersOf(extra), ...(extra.signal && { signal: extra.signal }) };
  return await read(await fetch(url, init));
}

/** A request of 2025-06-18 and later. */
export async function legacy(url: string, method: string, params: unknown = {}, extra: Extra = {}): Promise<Sent> {
  return await post(url, JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }), extra);
}

/** A request of 2026-07-28, with the headers that mirror it; resolves when the headers of the answer are there. */
export async function openModern(
  url: string,
  method: string,
  params: Record<string, unknown> = {},
  extra: Extra = {},
): Promise<Response> {
  const name = params['name'] ?? params['uri'];
  const headers = headersOf(extra, {
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': method,
    ...(typeof name === 'string' ? { 'mcp-name': name } : {}),
  });
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { ...params, _meta: META } });
  return await fetch(url, { method: 'POST', body, headers, ...(extra.signal && { signal: extra.signal }) });
}

export async function modern(
  url: string,
  method: string,
  params: Record<string, unknown> = {},
  extra: Extra = {},
): Promise<Sent> {
  return await read(await openModern(url, method, params, extra));
}

export async function send(url: string, method: string, extra: Extra = {}): Promise<Sent> {
  return await read(await fetch(url, { method, headers: headersOf(extra) }));
}
