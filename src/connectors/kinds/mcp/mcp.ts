import type { IncomingHttpHeaders } from 'node:http';
import type { Clock } from '../../../clock.ts';
import type { Egress } from '../../../egress/egress.ts';
import type { ValetkeyError } from '../../../errors.ts';
import type { ConnectorId } from '../../../ids.ts';
import type { Credential } from '../../credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../kind.ts';
import { createHttp, type Http } from './http.ts';
import { createSseBridge, isBridged, type SseBridge } from './sse.ts';

/** A remote MCP server, over Streamable HTTP or the HTTP+SSE transport that was before it. */
export function createMcpKind(options: { egress: Egress; clock: Clock }): Kind & { close(): void } {
  const http = createHttp(options);
  const bridge = createSseBridge({ http, clock: options.clock });
  // Connectors that turned out to speak HTTP+SSE, by revision: the next session need not find out again.
  const old = new Map<ConnectorId, number>();

  return {
    exchange(request, credential, sink) {
      const { document, id, revision } = request.connector;
      if (isBridged(sessionOf(request))) return bridge.exchange(request, credential, sink);
      if (document.transport === 'sse') return bridge.exchange(request, credential, sink);
      if (document.transport === 'streamable-http' || !request.opening) return http.exchange(request, credential, sink);
      if (old.get(id) === revision) return bridge.exchange(request, credential, sink);
      return new Detection(http, bridge, request, credential, sink, () => old.set(id, revision));
    },
    close: () => bridge.close(),
  };
}

function sessionOf(request: UpstreamRequest): string {
  const at = request.headers.indexOf('mcp-session-id');
  return at === -1 ? '' : (request.headers[at + 1] as string);
}

const MAX_REFUSAL = 64 * 1024;

/**
 * MCP 2025-11-25 "Backwards Compatibility": when `initialize` is refused with 400, 404 or 405, a GET tells whether the
 * server speaks HTTP+SSE. When it does not, its refusal is what the sink gets.
 */
class Detection implements Exchange, ReplySink {
  readonly #bridge: SseBridge;
  readonly #request: UpstreamRequest;
  readonly #credential: Credential | null;
  readonly #sink: ReplySink;
  readonly #found: () => void;
  #exchange: Exchange;
  #refusal: { status: number; headers: IncomingHttpHeaders; chunks: Buffer[]; size: number } | undefined;

  constructor(
    http: Http,
    bridge: SseBridge,
    request: UpstreamRequest,
    credential: Credential | null,
    sink: ReplySink,
    found: () => void,
  ) {
    this.#bridge = bridge;
    this.#request = request;
    this.#credential = credential;
    this.#sink = sink;
    this.#found = found;
    this.#exchange = http.exchange(request, credential, this);
  }

  pause(): void {
    this.#exchange.pause();
  }

  resume(): void {
    this.#exchange.resume();
  }

  abort(): void {
    this.#exchange.abort();
  }

  replyStart(status: number, headers: IncomingHttpHeaders): void {
    if (status === 400 || status === 404 || status === 405) this.#refusal = { status, headers, chunks: [], size: 0 };
    else this.#sink.replyStart(status, headers, this);
  }

  replyData(chunk: Buffer): void {
    const refusal = this.#refusal;
    if (refusal === undefined) return this.#sink.replyData(chunk);
    refusal.size += chunk.length;
    if (refusal.size <= MAX_REFUSAL) return void refusal.chunks.push(chunk);
    this.#exchange.abort();
    this.replyEnd();
  }

  replyEnd(): void {
    const refusal = this.#refusal;
    if (refusal === undefined) return this.#sink.replyEnd();
    this.#exchange = this.#bridge.exchange(this.#request, this.#credential, {
      replyStart: (status, headers, exchange) => {
        if (status === 200) {
          this.#found();
          this.#refusal = undefined;
          this.#sink.replyStart(status, headers, exchange);
        } else {
          exchange.abort();
          this.#refuse(refusal);
        }
      },
      replyData: (chunk) => this.#sink.replyData(chunk),
      replyEnd: () => this.#sink.replyEnd(),
      replyFailed: (error) => {
        if (this.#refusal === undefined) this.#sink.replyFailed(error);
        else this.#refuse(refusal);
      },
    });
  }

  replyFailed(error: ValetkeyError): void {
    this.#sink.replyFailed(error);
  }

  #refuse({ status, headers, chunks }: { status: number; headers: IncomingHttpHeaders; chunks: Buffer[] }): void {
    this.#sink.replyStart(status, headers, this);
    for (const chunk of chunks) this.#sink.replyData(chunk);
    this.#sink.replyEnd();
  }
}
