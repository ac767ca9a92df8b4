import type { IncomingHttpHeaders } from 'node:http';
import { headerText, type Exchange } from '../connectors/kinds/kind.ts';
import { fail, type ValetkeyError } from '../errors.ts';
import type { Output } from './output.ts';
import { rewriteEvents, rewriteJson, type Change, type Rewriter } from './rewrite.ts';

/** More than this is never held in memory, whatever a connector allows to pass. */
const MAX_HELD = 16 * 1024 * 1024;

const STREAM_HEADERS = [
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
  readonly #discard: boolean;
  #start: ((length: number) => void) | undefined;
  #size = 0;

  private constructor(
    output: Output,
    rewriter: Rewriter | undefined,
    limit: number,
    discard: boolean,
    start?: (length: number) => void,
  ) {
    this.#output = output;
    this.#rewriter = rewriter;
    this.#limit = limit;
    this.#discard = discard;
    this.#start = start;
  }

  /** For messages whose answer nobody waits for. */
  static discarding(output: Output): Relay {
    return new Relay(output, undefined, MAX_HELD, true);
  }

  /** Only these headers of the upstream's reply cross: its media type, its encoding; never cookies or challenges. */
  static begin(
    output: Output,
    status: number,
    headers: IncomingHttpHeaders,
    exchange: Exchange,
    sessionId: string | undefined,
    change: Change | undefined,
    limits: { total: number },
  ): Relay | ValetkeyError {
    const type = headerText(headers, 'content-type');
    const encoding = headers['content-encoding'];
    const own = sessionId === undefined ? [] : ['mcp-session-id', sessionId];
    const held = Math.min(limits.total, MAX_HELD);
    if (/^text\/event-stream\s*(;|$)/i.test(type) && encoding === undefined) {
      output.beginStream(status, [...STREAM_HEADERS, ...own], exchange);
      return new Relay(output, change === undefined ? undefined : rewriteEvents(change, held), limits.total, false);
    }
    if (!/^application\/json\s*(;|$)/i.test(type) || (encoding !== undefined && change !== undefined)) {
      return fail('upstream_invalid', { detail: { contentType: type.slice(0, 100), encoding } });
    }
    const length = Number(headers['content-length'] ?? -1);
    if (length > limits.total) return tooLarge(limits.total);
    const flat = ['content-type', 'application/json', 'cache-control', 'no-store', ...own];
    if (typeof encoding === 'string') flat.push('content-encoding', encoding);
    if (change === undefined) {
      output.begin(status, flat, length, exchange);
      return new Relay(output, undefined, limits.total, false);
    }
    // What is read as a whole may yet turn out to be unusable: nothing is sent before that is known.
    return new Relay(output, rewriteJson(change, held), limits.total, false, (size) =>
      output.begin(status, flat, size, exchange),
    );
  }

  data(chunk: Buffer): ValetkeyError | undefined {
    this.#size += chunk.length;
    if (this.#size > this.#limit) return tooLarge(this.#limit);
    if (this.#discard) return undefined;
    if (this.#rewriter === undefined) {
      this.#output.write(chunk);
      return undefined;
    }
    return this.#rewrite(() => this.#rewriter?.push(chunk));
  }

  end(): ValetkeyError | undefined {
    if (this.#discard) return undefined;
    const error = this.#rewriter === undefined ? undefined : this.#rewrite(() => this.#rewriter?.end());
    if (error === undefined) this.#output.end();
    return error;
  }

  #rewrite(step: () => Buffer | undefined): ValetkeyError | undefined {
    try {
      const bytes = step();
      if (bytes === undefined) return undefined;
      this.#start?.(bytes.length);
      this.#start = undefined;
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
