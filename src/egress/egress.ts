import { Agent, Pool, fetch as undiciFetch } from 'undici';
import { asValetkeyError, fail, ValetkeyError } from '../errors.ts';
import { createAddressGuard } from './address-guard.ts';

export type OutboundRequest = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Whole exchange, default 10 s. */
  timeoutMs?: number;
  /** Default 1 MiB. */
  maxBytes?: number;
  signal?: AbortSignal;
  /** A connection of its own, so that a pooled one that the peer is closing cannot lose the request. */
  freshConnection?: boolean;
};

export type OutboundResponse = {
  status: number;
  headers: Headers;
  /** The whole body, within `maxBytes`. */
  body: Buffer;
  url: string;
};

/** The bodies that OAuth libraries send: text and forms. */
function bodyText(body: unknown): string | Uint8Array {
  if (typeof body === 'string' || body instanceof Uint8Array) return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw fail('internal', { detail: { reason: 'an outbound body that is neither text, bytes nor a form' } });
}

/** The only way out for HTTP. Addresses are judged at connect time and redirects are never followed. */
export type Egress = {
  /**
   * One bounded request, for OAuth, discovery and documents.
   * @throws ValetkeyError egress_blocked, egress_insecure, egress_redirect, egress_too_large, egress_timeout, egress_failed
   */
  request(url: string | URL, request?: OutboundRequest): Promise<OutboundResponse>;
  /** The same as a `fetch`, for libraries that take one (`customFetch` of oauth4webapi and its like). */
  fetch: typeof globalThis.fetch;
  /** The pool of an origin for the data plane, shared by everyone who calls it; guarded as well. */
  pool(origin: string): Pool;
  /** A connection of its own for a stream that stays open, so that streams cannot exhaust the pool. */
  streamPool(origin: string): Pool;
  /** Throws what `request` would throw for this URL before it is sent. */
  check(url: string | URL): void;
  close(): Promise<void>;
};

export function createEgress(options: {
  /** See `createAddressGuard`. */
  allow: readonly string[];
  userAgent?: string;
  connectTimeoutMs?: number;
}): Egress {
  const guard = createAddressGuard(options.allow);
  const connect = { lookup: guard.lookup, timeout: options.connectTimeoutMs ?? 5_000 };
  const agent = new Agent({ connect, maxResponseSize: 64 * 1024 * 1024, maxHeaderSize: 32 * 1024 });
  const pools = new Map<string, Pool>();
  const streamPools = new Map<string, Pool>();
  const userAgent = options.userAgent ?? 'valetkey';

  function parse(url: string | URL): URL {
    if (!URL.canParse(String(url))) throw fail('invalid_request', { message: 'The address is not an absolute URL.' });
    const parsed = new URL(url);
    guard.checkUrl(parsed);
    return parsed;
  }

  async function exchange(url: URL, request: OutboundRequest): Promise<OutboundResponse> {
    const maxBytes = request.maxBytes ?? 1024 * 1024;
    const timeout = AbortSignal.timeout(request.timeoutMs ?? 10_000);
    const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
    const own = request.freshConnection === true ? new Agent({ connect, pipelining: 0 }) : undefined;
    try {
      const response = await undiciFetch(url, {
        method: request.method ?? 'GET',
        headers: { 'user-agent': userAgent, ...request.headers },
        body: request.body ?? null,
        redirect: 'manual',
        signal,
        dispatcher: own ?? agent,
      });
      if (response.status >= 300 && response.status < 400 && response.status !== 304) {
        await response.body?.cancel();
        throw fail('egress_redirect', {
          message: `${url.origin} answered with a redirect, which is never followed here.`,
          detail: { status: response.status },
        });
      }
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of response.body ?? []) {
        size += chunk.byteLength;
        if (size > maxBytes)
          throw fail('egress_too_large', { message: `The answer of ${url.origin} exceeds ${maxBytes} bytes.` });
        chunks.push(chunk);
      }
      return {
        status: response.status,
        headers: response.headers as unknown as Headers,
        body: Buffer.concat(chunks),
        url: url.href,
      };
    } catch (error) {
      throw explain(error, url, timeout);
    } finally {
      // Awaiting would hold the answer up until the peer lets go.
      void own?.close().catch(() => undefined);
    }
  }

  function explain(error: unknown, url: URL, timeout: AbortSignal): ValetkeyError {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof ValetkeyError) return cause;
    }
    if (timeout.aborted)
      return fail('egress_timeout', { message: `${url.origin} did not answer in time.`, cause: error });
    return fail('egress_failed', { message: `${url.origin} could not be reached.`, cause: error });
  }

  function poolOf(map: Map<string, Pool>, origin: string, settings: Pool.Options): Pool {
    let pool = map.get(origin);
    if (pool === undefined) {
      parse(origin);
      pool = new Pool(origin, { connect, maxHeaderSize: 32 * 1024, ...settings });
      map.set(origin, pool);
    }
    return pool;
  }

  return {
    request: async (url, request = {}) => await exchange(parse(url), request),
    fetch: async (input, init) => {
      const url = parse(input instanceof Request ? input.url : input);
      const headers: Record<string, string> = {};
      new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined)).forEach((value, name) => {
        headers[name] = value;
      });
      const body = init?.body ?? undefined;
      const answer = await exchange(url, {
        method: init?.method ?? 'GET',
        headers,
        ...(body === undefined ? {} : { body: bodyText(body) }),
        ...(init?.signal ? { signal: init.signal } : {}),
      });
      const empty = answer.status === 204 || answer.status === 304;
      const response = new Response(empty ? null : new Uint8Array(answer.body), {
        status: answer.status,
        headers: answer.headers,
      });
      Object.defineProperty(response, 'url', { value: url.href });
      return response;
    },
    pool: (origin) =>
      poolOf(pools, origin, {
        // A call may be answered by a stream that takes its time: with a bound, slow calls would keep out all others.
        connections: null,
        pipelining: 1,
        keepAliveTimeout: 30_000,
        bodyTimeout: 0,
      }),
    streamPool: (origin) =>
      poolOf(streamPools, origin, { connections: null, pipelining: 1, bodyTimeout: 0, headersTimeout: 30_000 }),
    check: (url) => {
      parse(url);
    },
    async close() {
      const open = [agent, ...pools.values(), ...streamPools.values()];
      await Promise.all(open.map((dispatcher) => dispatcher.destroy().catch(asValetkeyError)));
    },
  };
}
