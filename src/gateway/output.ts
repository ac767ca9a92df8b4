import type { ServerResponse } from 'node:http';
import type { Exchange } from '../connectors/kinds/kind.ts';

const KEEP_ALIVE = Buffer.from(': keep-alive\n\n');
const NEWLINE = 0x0a;
const ONE_STRING = 4 * 1024;
/** Bytes that wait for one client before its upstream is paused: each pause and resume costs as much as passing them. */
const MAX_QUEUED = 256 * 1024;
/** Where the upstream cannot be paused, a client that is so far behind is let go: room for one largest event and more. */
const MAX_BEHIND = 64 * 1024 * 1024;

/** What a client gets: headers of ours, bytes passed on at the pace at which the client takes them. */
export class Output {
  readonly #response: ServerResponse;
  /** On every answer; flat. */
  readonly #base: readonly string[];
  #expected = -1;
  #open = true;
  #waiting = false;
  #exchange: Exchange | undefined;
  #lastByte = NEWLINE;
  bytes = 0;
  status = 0;
  /** Whether the answer is an event stream. */
  stream = false;
  /** Seconds since the client last took something: counted up by the watch. */
  stalled = 0;
  /** Seconds since something was last written. */
  silent = 0;

  constructor(response: ServerResponse, base: readonly string[]) {
    this.#response = response;
    this.#base = base;
  }

  get started(): boolean {
    return this.status !== 0;
  }

  get waiting(): boolean {
    return this.#waiting;
  }

  /** A whole answer of our own. */
  answer(status: number, body: string, headers: readonly string[] = []): void {
    if (this.started) return;
    this.status = status;
    this.#open = false;
    const bytes = Buffer.from(body);
    this.bytes = bytes.length;
    const flat = [...this.#base, ...headers];
    if (bytes.length > 0) flat.push('content-type', 'application/json');
    // RFC 9110 §8.6: no Content-Length in a 204.
    if (status !== 204) flat.push('content-length', String(bytes.length));
    this.#response.writeHead(status, flat).end(bytes);
  }

  /** Begins passing a reply on. `length`: what the upstream announced, or -1. */
  begin(status: number, headers: readonly string[], length: number, exchange: Exchange): void {
    this.status = status;
    this.#exchange = exchange;
    this.#expected = length;
    const flat = [...this.#base, ...headers];
    if (length >= 0) flat.push('content-length', String(length));
    this.#response.writeHead(status, flat);
  }

  /** Sends the headers of a stream that may have nothing to say for a while. */
  beginStream(status: number, headers: readonly string[], exchange: Exchange): void {
    this.stream = true;
    this.begin(status, headers, -1, exchange);
    this.#response.flushHeaders();
  }

  write(chunk: Buffer): void {
    if (!this.#open || chunk.length === 0) return;
    this.bytes += chunk.length;
    this.silent = 0;
    this.#lastByte = chunk[chunk.length - 1] as number;
    if (this.bytes === this.#expected) {
      this.#open = false;
      // Headers and a short body leave as one string, which costs less than a gathered write; latin1 keeps every byte.
      if (chunk.length === this.bytes && chunk.length <= ONE_STRING) {
        this.#response.end(chunk.toString('latin1'), 'latin1');
      } else this.#response.end(chunk);
      return;
    }
    if (this.#response.write(chunk)) return;
    if (this.#response.writableLength > MAX_BEHIND) return this.cut();
    if (this.#waiting || this.#response.writableLength < MAX_QUEUED) return;
    this.#waiting = true;
    this.#exchange?.pause();
    this.#response.once('drain', () => {
      this.#waiting = false;
      this.stalled = 0;
      this.#exchange?.resume();
    });
  }

  /** A comment, where one can stand: between two lines. */
  keepAlive(): void {
    if (this.#open && !this.#waiting && this.#lastByte === NEWLINE) {
      this.silent = 0;
      this.#response.write(KEEP_ALIVE);
    }
  }

  /** One event of our own, where it can stand. */
  event(data: string): void {
    if (this.#lastByte === NEWLINE) this.write(Buffer.from(`\ndata: ${data}\n\n`));
  }

  end(): void {
    if (!this.#open) return;
    this.#open = false;
    // Less than was announced must not look whole.
    if (this.#expected >= 0 && this.bytes !== this.#expected) this.#response.destroy();
    else this.#response.end();
  }

  /** Ends an answer that cannot be completed so that the client notices. */
  cut(): void {
    this.#open = false;
    this.#response.destroy();
  }
}
