import type { IncomingHttpHeaders } from 'node:http';
import { createEventCutter } from '../connectors/kinds/mcp/event-stream.ts';
import { headerText, type Exchange, type ReplySink } from '../connectors/kinds/kind.ts';
import { fail, type ValetkeyError } from '../errors.ts';

/** A JSON-RPC message, read; what it holds is for the era bridge to look at. */
export type Json = Record<string, unknown>;

/** What was not a success, as the service said it: its status keeps its meaning for credentials and faults. */
export type Refusal = { status: number; headers: IncomingHttpHeaders; body: Buffer };

export type Heard = {
  /** Outside of 2xx. Nothing follows. */
  refused(refusal: Refusal): void;
  /** 2xx; `stream`: messages arrive one by one. */
  began?(stream: boolean, headers: IncomingHttpHeaders): void;
  message(message: Json): void;
  ended(): void;
  failed(error: ValetkeyError): void;
};

const MAX_HELD = 16 * 1024 * 1024;
const MAX_REFUSAL = 64 * 1024;

export function isObject(value: unknown): value is Json {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** Reads a reply into its messages, whether it is JSON or an event stream. */
export function hear(heard: Heard): ReplySink {
  const chunks: Buffer[] = [];
  const cutter = createEventCutter(MAX_HELD);
  let size = 0;
  let stream = false;
  let over = false;
  let exchange: Exchange | undefined;
  let refusal: { status: number; headers: IncomingHttpHeaders } | undefined;

  const failed = (error: ValetkeyError): void => {
    if (over) return;
    over = true;
    heard.failed(error);
  };
  const broken = (cause: unknown): void => {
    exchange?.abort();
    failed(cause instanceof RangeError ? fail('egress_too_large') : fail('upstream_invalid', { cause }));
  };
  const read = (text: string): void => {
    const parsed: unknown = JSON.parse(text);
    for (const message of Array.isArray(parsed) ? parsed : [parsed]) if (isObject(message)) heard.message(message);
  };
  const refused = (): void => {
    over = true;
    if (refusal !== undefined) heard.refused({ ...refusal, body: Buffer.concat(chunks) });
  };

  return {
    replyStart(status, headers, started) {
      exchange = started;
      if (status >= 300) {
        refusal = { status, headers };
        return;
      }
      stream = /^text\/event-stream\s*(;|$)/i.test(headerText(headers, 'content-type'));
      heard.began?.(stream, headers);
    },
    replyData(chunk) {
      if (over) return;
      try {
        if (stream) {
          for (const { data } of cutter.push(chunk)) if (data !== undefined && data !== '') read(data);
          return;
        }
        size += chunk.length;
        if (refusal !== undefined && size > MAX_REFUSAL) {
          exchange?.abort();
          return refused();
        }
        if (size > MAX_HELD) throw new RangeError('the reply exceeds the limit');
        chunks.push(chunk);
      } catch (cause) {
        broken(cause);
      }
    },
    replyEnd() {
      if (over) return;
      if (refusal !== undefined) return refused();
      try {
        if (!stream && size > 0) read(Buffer.concat(chunks).toString('utf8'));
      } catch (cause) {
        return broken(cause);
      }
      over = true;
      heard.ended();
    },
    replyFailed: failed,
  };
}

/** The JSON-RPC error of a refusal, when it is one. */
export function errorIn(refusal: Refusal): Json | undefined {
  try {
    const message: unknown = JSON.parse(refusal.body.toString('utf8'));
    const error = isObject(message) ? message['error'] : undefined;
    return isObject(error) && Number.isInteger(error['code']) ? error : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a refusal says something about what was asked, rather than about who asks or how the service fares. */
export function isAboutMessage({ status }: Refusal): boolean {
  return status >= 400 && status < 500 && ![401, 403, 407, 408, 429].includes(status);
}

const JSON_HEADERS = { 'content-type': 'application/json' };
const STREAM_HEADERS = { 'content-type': 'text/event-stream' };

/** An answer in the client's era: one JSON body, or a stream from the first message that precedes the result. */
export class Reply {
  readonly #sink: ReplySink;
  readonly #exchange: Exchange;
  #streaming = false;
  over = false;

  constructor(sink: ReplySink, exchange: Exchange) {
    this.#sink = sink;
    this.#exchange = exchange;
  }

  open(): void {
    if (this.over || this.#streaming) return;
    this.#streaming = true;
    this.#sink.replyStart(200, STREAM_HEADERS, this.#exchange);
  }

  note(message: Json): void {
    if (this.over) return;
    this.open();
    this.#sink.replyData(eventOf(message));
  }

  result(id: unknown, result: Json, headers: Record<string, string> = {}): void {
    this.#last({ jsonrpc: '2.0', id, result }, 200, headers);
  }

  error(id: unknown, error: Json, status = 200): void {
    this.#last({ jsonrpc: '2.0', id, error }, status, {});
  }

  #last(message: Json, status: number, headers: Record<string, string>): void {
    if (this.over) return;
    this.over = true;
    if (this.#streaming) this.#sink.replyData(eventOf(message));
    else {
      this.#sink.replyStart(status, { ...JSON_HEADERS, ...headers }, this.#exchange);
      this.#sink.replyData(Buffer.from(JSON.stringify(message)));
    }
    this.#sink.replyEnd();
  }

  /** Without a body, for what is no request. */
  empty(status: number): void {
    if (this.over) return;
    this.over = true;
    this.#sink.replyStart(status, {}, this.#exchange);
    this.#sink.replyEnd();
  }

  /** What the service said about the credential, or of itself, is for the call to judge. */
  refuse(refusal: Refusal): void {
    if (this.over) return;
    if (this.#streaming) return this.fail(fail('upstream_failed', { detail: { status: refusal.status } }));
    this.over = true;
    this.#sink.replyStart(refusal.status, refusal.headers, this.#exchange);
    if (refusal.body.length > 0) this.#sink.replyData(refusal.body);
    this.#sink.replyEnd();
  }

  fail(error: ValetkeyError): void {
    if (this.over) return;
    this.over = true;
    this.#sink.replyFailed(error);
  }

  end(): void {
    if (this.over) return;
    this.over = true;
    this.#sink.replyEnd();
  }
}

function eventOf(message: Json): Buffer {
  return Buffer.from(`data: ${JSON.stringify(message)}\n\n`);
}
