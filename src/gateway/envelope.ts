import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import { countKeys, measure } from './json-text.ts';
import { RPC, type RpcId, type RpcRefusal } from './rpc.ts';

/** The revision whose requests carry everything themselves; newer ones are not known to us. */
export const MODERN_VERSION = '2026-07-28';
/** Revisions that begin with `initialize`, newest first. */
export const LEGACY_VERSIONS: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

const MAX_DEPTH = 100;
const MAX_KEYS = 100_000;
const MAX_BATCH = 100;

export type Message = {
  kind: 'request' | 'notification' | 'response';
  id: RpcId;
  /** Empty for a response. */
  method: string;
  /** What the method names: the tool, the prompt, the resource, the task. */
  name: string | undefined;
  params: Readonly<Record<string, unknown>> | undefined;
};

export type Envelope = Message & {
  era: 'modern' | 'legacy';
  /** 2025-03-26 only: the messages of a batch; the members above are those of the first request in it. */
  batch: readonly Message[] | undefined;
  text: string;
};

/** The member of `params` that `Mcp-Name` mirrors (MCP 2026-07-28 "Standard Request Headers"). */
const NAME_MEMBER: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

const VERSION_KEY = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES_KEY = 'io.modelcontextprotocol/clientCapabilities';

export function isRefusal(answer: Envelope | RpcRefusal): answer is RpcRefusal {
  return 'status' in answer;
}

/** Reads a POST body, once. What policy decides on is taken from here and never from a header. */
export function readEnvelope(headers: IncomingHttpHeaders, body: Buffer): Envelope | RpcRefusal {
  if (!isUtf8(body)) return refuse(RPC.parse, 'The body is not UTF-8.');
  const text = body.toString('utf8');
  const { depth, keys } = measure(text);
  if (depth > MAX_DEPTH) return refuse(RPC.invalidRequest, `The body nests deeper than ${MAX_DEPTH} levels.`);
  if (keys > MAX_KEYS) return refuse(RPC.invalidRequest, `The body has more than ${MAX_KEYS} members.`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return refuse(RPC.parse, 'The body is not valid JSON.');
  }
  if (countKeys(json) !== keys) return refuse(RPC.invalidRequest, 'An object in the body names a key twice.');
  if (Array.isArray(json)) return readBatch(headers, json, text);

  const message = readMessage(json);
  if (typeof message === 'string') return refuse(RPC.invalidRequest, message, idOf(json));
  const version = headers['mcp-protocol-version'];
  const modern = claims(message.params) || (typeof version === 'string' && isModern(version));
  if (modern) {
    const refusal = checkModern(headers, message);
    if (refusal !== undefined) return refusal;
  }
  const envelope = message as Envelope;
  envelope.era = modern ? 'modern' : 'legacy';
  envelope.batch = undefined;
  envelope.text = text;
  return envelope;
}

function refuse(code: number, message: string, id: RpcId = null, data?: Record<string, unknown>): RpcRefusal {
  return data === undefined ? { status: 400, code, message, id } : { status: 400, code, message, id, data };
}

function idOf(json: unknown): RpcId {
  const id = isObject(json) ? json['id'] : null;
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** A message, or what is wrong with it. Keys are exact: a peer that ignores case would read `Method` as the method. */
function readMessage(json: unknown): Message | string {
  if (!isObject(json)) return 'A message must be a JSON object.';
  for (const key in json) {
    if (
      key !== 'jsonrpc' &&
      key !== 'id' &&
      key !== 'method' &&
      key !== 'params' &&
      key !== 'result' &&
      key !== 'error'
    ) {
      return `${JSON.stringify(key.slice(0, 40))} is not a member of a JSON-RPC message.`;
    }
  }
  if (json['jsonrpc'] !== '2.0') return 'jsonrpc must be "2.0".';
  const { id, method, params } = json;
  const hasId = Object.hasOwn(json, 'id');
  if (hasId && typeof id !== 'string' && !Number.isInteger(id)) return 'id must be a string or an integer.';
  if (method === undefined) {
    if (!hasId || Object.hasOwn(json, 'result') === Object.hasOwn(json, 'error')) {
      return 'A message has a method, or an id with either a result or an error.';
    }
    return { kind: 'response', id: id as RpcId, method: '', name: undefined, params: undefined };
  }
  if (typeof method !== 'string' || method === '' || method.length > 256) return 'method must be a short string.';
  if (Object.hasOwn(json, 'result') || Object.hasOwn(json, 'error')) return 'A request has neither result nor error.';
  if (params !== undefined && !isObject(params)) return 'params must be an object.';
  if (params !== undefined) {
    for (const key in params) {
      if (key.length <= 6 && /^(name|uri|_meta|taskid)$/i.test(key) && !/^(name|uri|_meta|taskId)$/.test(key)) {
        return `params has ${key} in the wrong case.`;
      }
    }
  }
  const member = NAME_MEMBER.get(method);
  const name = member === undefined ? undefined : params?.[member];
  return {
    kind: hasId ? 'request' : 'notification',
    id: hasId ? (id as RpcId) : null,
    method,
    name: typeof name === 'string' ? name : undefined,
    params,
  };
}

/** JSON-RPC batches exist in 2025-03-26 alone, which sends no version header yet. */
function readBatch(headers: IncomingHttpHeaders, json: unknown[], text: string): Envelope | RpcRefusal {
  const version = headers['mcp-protocol-version'];
  if (version !== undefined && version !== '2025-03-26') {
    return refuse(RPC.invalidRequest, 'Batches are not part of this protocol version.');
  }
  if (json.length === 0 || json.length > MAX_BATCH) {
    return refuse(RPC.invalidRequest, `A batch has 1 to ${MAX_BATCH} messages.`);
  }
  const batch: Message[] = [];
  for (const item of json) {
    const message = readMessage(item);
    if (typeof message === 'string') return refuse(RPC.invalidRequest, message);
    if (message.method === 'initialize' || claims(message.params)) {
      return refuse(RPC.invalidRequest, 'This message cannot be part of a batch.');
    }
    batch.push(message);
  }
  const first = batch.find((message) => message.kind === 'request') ?? batch[0];
  return { ...(first as Message), era: 'legacy', batch, text };
}

function metaOf(params: Message['params']): Record<string, unknown> | undefined {
  const meta = params?.['_meta'];
  return isObject(meta) ? meta : undefined;
}

function claims(params: Message['params']): boolean {
  const meta = metaOf(params);
  return meta !== undefined && Object.hasOwn(meta, VERSION_KEY);
}

/** Revisions are dates; what stands after the last one with a handshake is of the new kind. */
function isModern(version: string): boolean {
  return version.trim() >= MODERN_VERSION && /^\d{4}-\d{2}-\d{2}$/.test(version.trim());
}

/** MCP 2026-07-28: `_meta` of requests, and headers that must say what the body says ("Server Validation"). */
function checkModern(headers: IncomingHttpHeaders, message: Message): RpcRefusal | undefined {
  const { id, method } = message;
  if (message.kind === 'response') return refuse(RPC.invalidRequest, 'Responses are not posted in this version.', id);
  const meta = metaOf(message.params);
  const claimed = meta?.[VERSION_KEY];
  const header = single(headers['mcp-protocol-version']);
  if (message.kind === 'request') {
    const missing = [VERSION_KEY, CAPABILITIES_KEY].filter((key) => meta === undefined || !Object.hasOwn(meta, key));
    // `initialize` under the new header is a contradiction between header and body, not a forgotten member.
    if (missing.length > 0 && method === 'initialize' && header !== undefined && claimed === undefined) {
      return mismatch(id, 'MCP-Protocol-Version names a version that has no initialize.');
    }
    if (missing.length > 0) {
      return refuse(RPC.invalidParams, `params._meta lacks ${missing.join(', ')}.`, id, { missing });
    }
    if (typeof claimed !== 'string') return refuse(RPC.invalidParams, `${VERSION_KEY} must be a string.`, id);
    if (!isObject(meta?.[CAPABILITIES_KEY])) {
      return refuse(RPC.invalidParams, `${CAPABILITIES_KEY} must be an object.`, id);
    }
  }
  if (header !== undefined && claimed !== undefined && header !== claimed) {
    return mismatch(id, 'MCP-Protocol-Version differs from the version in _meta.');
  }
  const methodHeader = single(headers['mcp-method']);
  if (methodHeader !== undefined && methodHeader !== method) return mismatch(id, 'Mcp-Method differs from the method.');
  if (message.kind === 'request') {
    if (header === undefined) return mismatch(id, 'MCP-Protocol-Version is missing.');
    if (methodHeader === undefined) return mismatch(id, 'Mcp-Method is missing.');
    const refusal = checkName(headers, message);
    if (refusal !== undefined) return refusal;
  }
  const version = claimed ?? header;
  if (version !== MODERN_VERSION) {
    return refuse(RPC.unsupportedVersion, 'The protocol version is not supported.', id, {
      supported: [MODERN_VERSION],
      requested: version,
    });
  }
  return undefined;
}

function checkName(headers: IncomingHttpHeaders, message: Message): RpcRefusal | undefined {
  if (!NAME_MEMBER.has(message.method)) return undefined;
  const header = single(headers['mcp-name']);
  if (header === undefined)
    return message.name === undefined ? undefined : mismatch(message.id, 'Mcp-Name is missing.');
  const decoded = decodeHeader(header);
  if (decoded === undefined) return mismatch(message.id, 'Mcp-Name is not valid Base64.');
  return message.name !== undefined && decoded === message.name
    ? undefined
    : mismatch(message.id, 'Mcp-Name differs from what the body names.');
}

function mismatch(id: RpcId, message: string): RpcRefusal {
  return refuse(RPC.headerMismatch, message, id);
}

/** Node joins a header that came twice with a comma, which then equals nothing. */
function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value.trim() : value?.join(', ');
}

const SENTINEL = '=?base64?';

/** Undoes the encoding of values that cannot stand in a header; undefined when it is broken. */
export function decodeHeader(value: string): string | undefined {
  if (!value.startsWith(SENTINEL) || !value.endsWith('?=')) return value;
  const encoded = value.slice(SENTINEL.length, -2);
  const bytes = Buffer.from(encoded, 'base64');
  return bytes.toString('base64') === encoded && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}

export function encodeHeader(value: string): string {
  const plain = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !value.startsWith(SENTINEL);
  return plain ? value : `${SENTINEL}${Buffer.from(value, 'utf8').toString('base64')}?=`;
}
