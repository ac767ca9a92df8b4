import type { IncomingHttpHeaders } from 'node:http';
import { headerText, type Exchange } from '../connectors/kinds/kind.ts';
import { fail, type ValetkeyError } from '../errors.ts';
import type { Output } from './output.ts';
import { rewriteEvents, rewriteJson, type Change, type Rewriter } from './rewrite.ts';

/** More than this is never held in memory, whatever a connector allows to pass. */
const MAX_HELD = 16 * 1024 * 1024;

/** Of every event stream; flat. */
export const STREAM_HEADERS = [
  'content-type',
  'text/event-stream',
  'cache-control',
  'no-store, no-transform',
  'x-accel-buffering',
  'no',
];

/** Passes a good reply on: bytes as they come, unless something in them has to change. */
export class Relay {
  readonly #output: Output;
  readonly #rewriter: Rewriter | undefined;
  readonly #limit: number;
  /** Headers wait for the first bytes: until then the reply may still turn out to be unusable. */
  #head: { status: number; headers: string[]; length: number; exchange: Exchange } | undefined;
  #size = 0;

  private constructor(output: Output, rewriter: Rewriter | undefined, limit: number) {
    this.#output = output;
    this.#rewriter = rewriter;
    this.#limit = limit;
  }

  /** Only these headers of the upstream's reply cross: its media type; never cookies or challenges. */
  static begin(
    output: Output,
    status: number,
    headers: IncomingHttpHeaders,
    exchange: Exchange,
    sessionId: string | undefined,
    change: Change | undefined,
    limit: number,
  ): Relay | ValetkeyError {
    const type = headerText(headers, 'content-type');
    const encoding = headerText(headers, 'content-encoding');
    const held = Math.min(limit, MAX_HELD);
    // Nothing encoded was asked for, and in it neither a credential that comes back nor the true size can be seen.
    if (!/^(identity)?$/i.test(encoding)) {
      return fail('upstream_invalid', { detail: { encoding: encoding.slice(0, 100) } });
    }
    if (/^text\/event-stream\s*(;|$)/i.test(type)) {
      const own = sessionId === undefined ? STREAM_HEADERS : [...STREAM_HEADERS, 'mcp-session-id', sessionId];
      output.beginStream(status, own, exchange);
      return new Relay(output, change === undefined ? undefined : rewriteEvents(change, held), limit);
    }
    if (!/^application\/json\s*(;|$)/i.test(type)) {
      return fail('upstream_invalid', { detail: { contentType: type.slice(0, 100) } });
    }
    const length = Number(headers['content-length'] ?? -1);
    if (length > limit) return tooLarge(limit);
    const flat = ['content-type', 'application/json', 'cache-control', 'no-store'];
    if (sessionId !== undefined) flat.push('mcp-session-id', sessionId);
    const relay = new Relay(output, change === undefined ? undefined : rewriteJson(change, held), limit);
    relay.#head = { status, headers: flat, length, exchange };
    return relay;
  }

  data(chunk: Buffer): ValetkeyError | undefined {
    this.#size += chunk.length;
    if (this.#size > this.#limit) return tooLarge(this.#limit);
    if (this.#rewriter !== undefined) return this.#rewrite(() => this.#rewriter?.push(chunk));
    this.#open(undefined);
    this.#output.write(chunk);
    return undefined;
  }

  end(): ValetkeyError | undefined {
    const error = this.#rewriter === undefined ? undefined : this.#rewrite(() => this.#rewriter?.end());
    if (error !== undefined) return error;
    this.#open(undefined);
    this.#output.end();
    return undefined;
  }

  /** @param length of a body that was changed; as announced by the upstream otherwise */
  #open(length: number | undefined): void {
    const head = this.#head;
    if (head === undefined) return;
    this.#head = undefined;
    this.#output.begin(head.status, head.headers, length ?? head.length, head.exchange);
  }

  #rewrite(step: () => Buffer | undefined): ValetkeyError | undefined {
    try {
      const bytes = step();
      if (bytes === undefined) return undefined;
      this.#open(bytes.length);
      this.#output.write(bytes);
      return undefined;
    } catch (cause) {
      return cause instanceof RangeError ? tooLarge(this.#limit) : fail('upstream_invalid', { cause });
    }
  }
}

function tooLarge(limit: number): ValetkeyError {
  return fail('egress_too_large', { message: `The result exceeds the ${limit} bytes that the connector allows.` });
}
