import { MODERN_VERSION } from './envelope.ts';
import { isObject, type Json } from './era-messages.ts';
import { CACHEABLE } from './lists.ts';
import { RPC } from './rpc.ts';

const PREFIX = 'io.modelcontextprotocol/';
export const META = {
  version: `${PREFIX}protocolVersion`,
  capabilities: `${PREFIX}clientCapabilities`,
  client: `${PREFIX}clientInfo`,
  level: `${PREFIX}logLevel`,
  server: `${PREFIX}serverInfo`,
  subscription: `${PREFIX}subscriptionId`,
} as const;

/** Requests that 2026-07-28 lets a server answer with questions. */
export const ASKING = new Set(['tools/call', 'prompts/get', 'resources/read']);

/** RPCs that 2026-07-28 no longer has. */
export const REMOVED = new Set([
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
]);

/** Least urgent first (RFC 5424 §6.2.1). */
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

/** Position of a log level, the more urgent the higher; undefined for what is none. */
export function rank(level: unknown): number | undefined {
  const at = LEVELS.indexOf(String(level));
  return at === -1 ? undefined : at;
}

/** What both eras know of what a client can be asked. */
export function askable(capabilities: unknown): Json {
  if (!isObject(capabilities)) return {};
  const kept: Json = {};
  for (const name of ['elicitation', 'sampling', 'roots']) {
    if (isObject(capabilities[name])) kept[name] = capabilities[name];
  }
  return kept;
}

const SERVER_SIDE = ['tools', 'prompts', 'resources', 'completions', 'logging'];

/** What both eras know of what a server offers; tasks and extensions belong to one of them. */
export function offered(capabilities: unknown): Json {
  if (!isObject(capabilities)) return {};
  return Object.fromEntries(
    SERVER_SIDE.filter((name) => isObject(capabilities[name])).map((n) => [n, capabilities[n]]),
  );
}

export function metaOf(params: unknown): Json {
  const meta = isObject(params) ? params['_meta'] : undefined;
  return isObject(meta) ? meta : {};
}

/** The parameters of a request without what only 2026-07-28 knows; its own progress token in place of the client's. */
export function legacyParams(params: Json, progressToken: number): Json {
  const { _meta, inputResponses: _responses, requestState: _state, ...rest } = params;
  const meta = Object.fromEntries(Object.entries(metaOf({ _meta })).filter(([key]) => !key.startsWith(PREFIX)));
  if (meta['progressToken'] !== undefined) meta['progressToken'] = progressToken;
  return Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta };
}

/** A result of a 2025-era server as 2026-07-28 has it: it may not be kept, since nothing says for how long. */
export function modernResult(method: string, result: Json): Json {
  const changed: Json = { ...result, resultType: 'complete' };
  return CACHEABLE.has(method) ? { ...changed, ttlMs: 0, cacheScope: 'private' } : changed;
}

/** -32002 and -32042 do not exist in 2026-07-28, and a method that does not exist has a status of its own. */
export function modernError(error: Json): { error: Json; status: number } {
  const { code } = error;
  if (code === -32002) return { error: { ...error, code: RPC.invalidParams }, status: 200 };
  if (code === -32042) return { error: { ...error, code: RPC.gateway }, status: 200 };
  if (code === RPC.methodNotFound) return { error, status: 404 };
  return { error, status: Number(code) <= -32020 && Number(code) >= -32099 ? 400 : 200 };
}

/** The parameters of a request with what 2026-07-28 wants said each time. */
export function modernParams(params: unknown, client: { info: unknown; capabilities: Json }, level?: string): Json {
  return {
    ...(isObject(params) ? params : {}),
    _meta: {
      ...metaOf(params),
      [META.version]: MODERN_VERSION,
      [META.client]: client.info,
      [META.capabilities]: client.capabilities,
      ...(level === undefined ? {} : { [META.level]: level }),
    },
  };
}

/** A result without what only 2026-07-28 knows. */
export function legacyResult(result: Json): Json {
  const { resultType: _type, ttlMs: _ttl, cacheScope: _scope, ...rest } = result;
  return withoutModernMeta(rest);
}

/** A notification without the mark of the subscription that it belongs to. */
export function legacyNotification(message: Json): Json {
  const { params } = message;
  return isObject(params) ? { ...message, params: withoutModernMeta(params) } : message;
}

function withoutModernMeta(holder: Json): Json {
  const { _meta, ...rest } = holder;
  if (!isObject(_meta)) return holder;
  const meta = Object.fromEntries(Object.entries(_meta).filter(([key]) => !key.startsWith(PREFIX)));
  return Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta };
}

/** Errors of 2026-07-28 speak of headers and members that a 2025-era client has not sent. */
export function legacyError(error: Json): Json {
  const code = Number(error['code']);
  return code <= -32020 && code >= -32099 ? { ...error, code: RPC.invalidRequest } : error;
}
