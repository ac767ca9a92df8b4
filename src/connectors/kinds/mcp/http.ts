import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { Egress } from '../../../egress/egress.ts';
import { fail, ValetkeyError } from '../../../errors.ts';
import type { Connector } from '../../connector.ts';
import type { Credential } from '../../credential.ts';
import { headerText, type Exchange, type ReplySink, type UpstreamRequest } from '../kind.ts';

/** Event streams that answer calls, on the shared connections of an origin. */
type Load = { streams: number };

/** What is worked out once per revision of a connector. */
type Target = { origin: string; path: string; load: Load };

/** From here on calls get connections of their own: streams may hold as many as the shared ones have. */
const MAX_SHARED_STREAMS = 64;

/** Sends a message to the connector's own address, or to `url`, which must be of the same origin. */
export type Http = {
  exchange(request: UpstreamRequest, credential: Credential | null, sink: ReplySink, url?: URL): Exchange;
};

/** The bytes of the message go out on a pooled connection, the reply comes back as it is. */
export function createHttp({ egress }: { egress: Egress }): Http {
  const targets = new WeakMap<Connector, Target>();
  const loads = new Map<string, Load>();
  // Per connector, since two connectors may place one credential differently.
  const injected = new WeakMap<Connector, WeakMap<Credential, string[]>>();

  function targetOf(connector: Connector): Target {
    let target = targets.get(connector);
    if (target === undefined) {
      const url = new URL(connector.document.url);
      const load = loads.get(url.origin) ?? { streams: 0 };
      loads.set(url.origin, load);
      target = { origin: url.origin, path: url.pathname + url.search, load };
      targets.set(connector, target);
    }
    return target;
  }

  function injectionOf(connector: Connector, credential: Credential | null): string[] {
    if (credential === null) return connector.injection.headers(null);
    let perCredential = injected.get(connector);
    if (perCredential === undefined) injected.set(connector, (perCredential = new WeakMap()));
    let headers = perCredential.get(credential);
    if (headers === undefined) perCredential.set(credential, (headers = connector.injection.headers(credential)));
    return headers;
  }

  return {
    exchange(request, credential, sink, url) {
      const { origin, path: own, load } = targetOf(request.connector);
      const apart = request.stream || load.streams >= MAX_SHARED_STREAMS;
      const exchange = new HttpExchange(sink, apart ? undefined : load);
      try {
        const path = url === undefined ? own : url.pathname + url.search;
        const query = credential === null ? '' : request.connector.injection.query(credential);
        const pool = apart ? egress.streamPool(origin) : egress.pool(origin);
        pool.dispatch(
          {
            path: query === '' ? path : `${path}${path.includes('?') ? '&' : '?'}${query}`,
            method: request.method,
            headers: headersOf(request, injectionOf(request.connector, credential)),
            body: request.body,
            // The gateway watches the time itself: these clocks start only when a connection is free.
            headersTimeout: 0,
            bodyTimeout: 0,
          },
          exchange,
        );
      } catch (thrown) {
        queueMicrotask(() => exchange.onResponseError(undefined, thrown as Error));
      }
      return exchange;
    },
  };
}

function headersOf(request: UpstreamRequest, injection: readonly string[]): string[] {
  const { names } = request.connector.injection;
  // RFC 9110 §12.5.3: without the latter any coding would do, and what is coded cannot be looked through.
  const headers = ['user-agent', 'valetkey', 'accept-encoding', 'identity'];
  for (let at = 0; at < request.headers.length; at += 2) {
    const name = request.headers[at] as string;
    if (!names.has(name)) headers.push(name, request.headers[at + 1] as string);
  }
  for (const item of injection) headers.push(item);
  return headers;
}

const ABORTED = new Error('the exchange was let go');

class HttpExchange implements Exchange, Dispatcher.DispatchHandler {
  readonly #sink: ReplySink;
  readonly #load: Load | undefined;
  #counted = false;
  #controller: Dispatcher.DispatchController | undefined;
  #over = false;

  constructor(sink: ReplySink, load: Load | undefined) {
    this.#sink = sink;
    this.#load = load;
  }

  #end(): void {
    this.#over = true;
    if (this.#counted && this.#load !== undefined) this.#load.streams--;
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  abort(): void {
    if (this.#over) return;
    this.#end();
    this.#controller?.abort(ABORTED);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#over) controller.abort(ABORTED);
    else this.#controller = controller;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (this.#over || status < 200) return;
    if (this.#load !== undefined && headerText(headers, 'content-type').startsWith('text/event-stream')) {
      this.#counted = true;
      this.#load.streams++;
    }
    this.#sink.replyStart(status, headers, this);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over) this.#sink.replyData(chunk);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#end();
    this.#sink.replyEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#over) return;
    this.#end();
    this.#sink.replyFailed(explain(error));
  }
}

function explain(error: Error): ValetkeyError {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ValetkeyError) return cause;
  }
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return fail('egress_timeout', { cause: error });
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return fail('egress_too_large', { cause: error });
  return fail('egress_failed', { cause: error });
}
