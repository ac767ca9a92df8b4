import type { IncomingHttpHeaders } from 'node:http';
import type { Credential } from '../connectors/credential.ts';
import {
  headerText,
  type Exchange,
  type Kind,
  type ReplySink,
  type UpstreamRequest,
} from '../connectors/kinds/kind.ts';
import { createEventCutter, type EventCutter } from '../connectors/kinds/mcp/event-stream.ts';
import type { ValetkeyError } from '../errors.ts';
import { errorIn, isAboutMessage, isObject, type Json, type Refusal } from './era-messages.ts';

/** How the request goes on in the other era; null: what the service said stands. */
export type Turn = ((sink: ReplySink) => Exchange) | null;

export type Suspicion = {
  /** Whether a JSON-RPC error under 2xx tells something too: it does in answer to a handshake. */
  handshake: boolean;
  /** The service said something else than no. */
  passed(result: Json | undefined): void;
  /** It said no, in a way that a service of the other era would. */
  refused(refusal: Refusal, error: Json | undefined): Promise<Turn>;
};

const MAX_HELD = 1024 * 1024;

/** The client's own message is the probe: it goes out as it came, and only a refusal makes the gateway look closer. */
export class Detection implements Exchange, ReplySink {
  readonly #sink: ReplySink;
  readonly #suspicion: Suspicion;
  #exchange: Exchange;
  #held: { status: number; headers: IncomingHttpHeaders; chunks: Buffer[]; size: number } | undefined;
  #cutter: EventCutter | undefined;
  #decided = false;
  #ended = false;
  #over = false;

  constructor(
    kind: Kind,
    request: UpstreamRequest,
    credential: Credential | null,
    sink: ReplySink,
    suspicion: Suspicion,
  ) {
    this.#sink = sink;
    this.#suspicion = suspicion;
    this.#exchange = kind.exchange(request, credential, this);
  }

  replyStart(status: number, headers: IncomingHttpHeaders): void {
    const refused = isAboutMessage({ status, headers, body: Buffer.alloc(0) });
    const read = status < 300 && this.#suspicion.handshake && headers['content-encoding'] === undefined;
    if (refused || read) {
      this.#held = { status, headers, chunks: [], size: 0 };
      const stream = /^text\/event-stream/i.test(headerText(headers, 'content-type'));
      if (read && stream) this.#cutter = createEventCutter(MAX_HELD);
      return;
    }
    if (status < 300) this.#suspicion.passed(undefined);
    this.#sink.replyStart(status, headers, this);
  }

  replyData(chunk: Buffer): void {
    const held = this.#held;
    if (held === undefined) return this.#sink.replyData(chunk);
    held.chunks.push(chunk);
    held.size += chunk.length;
    if (this.#decided) return;
    if (held.size > MAX_HELD) return this.#stand();
    try {
      // A stream may stay open after the answer.
      for (const { data } of this.#cutter?.push(chunk) ?? []) if (data) this.#look(data);
    } catch {
      this.#stand();
    }
  }

  replyEnd(): void {
    this.#ended = true;
    const held = this.#held;
    if (held === undefined) return this.#sink.replyEnd();
    if (this.#decided) return;
    if (held.status >= 300) return this.#doubt(errorIn(this.#refusal()));
    if (this.#cutter === undefined) this.#look(Buffer.concat(held.chunks).toString('utf8'));
    if (!this.#decided) this.#stand();
  }

  replyFailed(error: ValetkeyError): void {
    if (this.#over || (this.#decided && this.#held !== undefined)) return;
    this.#over = true;
    this.#sink.replyFailed(error);
  }

  #look(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (!isObject(message) || message['method'] !== undefined || this.#decided) return;
    const { error, result } = message;
    if (isObject(error)) return this.#doubt(error);
    if (isObject(result)) this.#suspicion.passed(result);
    this.#stand();
  }

  #doubt(fault: Json | undefined): void {
    this.#decided = true;
    // When nothing was learnt, what the service said stands.
    const turn = this.#suspicion.refused(this.#refusal(), fault).catch(() => null);
    void turn.then((found) => this.#goOn(found));
  }

  #goOn(turn: Turn): void {
    if (this.#over) return;
    if (turn === null) return this.#stand();
    if (!this.#ended) this.#exchange.abort();
    this.#exchange = turn(this.#sink);
  }

  #refusal(): Refusal {
    const { status, headers, chunks } = this.#held as {
      status: number;
      headers: IncomingHttpHeaders;
      chunks: Buffer[];
    };
    return { status, headers, body: Buffer.concat(chunks) };
  }

  /** Lets through what was held back, and all that follows. */
  #stand(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#sink.replyStart(held.status, held.headers, this);
    for (const chunk of held.chunks) this.#sink.replyData(chunk);
    if (this.#ended) this.#sink.replyEnd();
  }

  pause(): void {
    this.#exchange.pause();
  }

  resume(): void {
    this.#exchange.resume();
  }

  abort(): void {
    this.#over = true;
    this.#exchange.abort();
  }
}
