import type { Credential } from '../../credential.ts';
import type { Connector } from '../../connector.ts';
import { fail, type ValetkeyError } from '../../../errors.ts';
import { headerText, type Exchange, type ReplySink } from '../kind.ts';
import { createEventCutter } from './event-stream.ts';
import type { Http } from './http.ts';

/** Takes the messages that a server sends of its own accord. */
export type Listener = (message: string) => void;

export type Channel = {
  /** Sends a message to the endpoint that the server named. */
  post(body: Buffer, credential: Credential | null, sink: ReplySink): Exchange;
  /** The answer to a request of this id, once; returns the way out. */
  await(id: string, answered: (message: string) => void, broken: (error: ValetkeyError) => void): () => void;
  /** What came while nobody listened is delivered first. Returns the way out. */
  listen(listener: Listener): () => void;
  /** Where it is, for telling idle ones. */
  readonly busy: boolean;
  readonly listening: boolean;
  usedAt: number;
  close(): void;
};

const MAX_EVENT = 16 * 1024 * 1024;
const MAX_KEPT = 100;
/** In characters. */
const MAX_KEPT_SIZE = 1024 * 1024;
const ACCEPT = ['accept', 'text/event-stream'];

export type Opening = {
  opened(channel: Channel): void;
  /** The server answered otherwise: `status` is 200 when what it sent is no such stream. */
  refused(status: number, headers: Record<string, string | string[] | undefined>): void;
  failed(error: ValetkeyError): void;
  /** After it was opened. */
  closed(): void;
};

/** Opens the stream of the HTTP+SSE transport (MCP 2024-11-05) and waits for the endpoint it names. */
export function openChannel(
  http: Http,
  connector: Connector,
  credential: Credential | null,
  opening: Opening,
): Exchange {
  const waiting = new Map<string, { answered: (message: string) => void; broken: (error: ValetkeyError) => void }>();
  const listeners = new Set<Listener>();
  const cutter = createEventCutter(MAX_EVENT);
  const kept: string[] = [];
  let keptSize = 0;
  let endpoint: URL | undefined;
  let over = false;

  function end(error: ValetkeyError): void {
    if (over) return;
    over = true;
    stream.abort();
    if (endpoint === undefined) return opening.failed(error);
    opening.closed();
    for (const { broken } of waiting.values()) broken(error);
    waiting.clear();
  }

  const channel: Channel = {
    usedAt: 0,
    get busy() {
      return waiting.size > 0 || listeners.size > 0;
    },
    get listening() {
      return listeners.size > 0;
    },
    post: (body, current, sink) =>
      http.exchange(
        {
          connector,
          method: 'POST',
          headers: ['content-type', 'application/json'],
          body,
          opening: false,
          stream: false,
        },
        current,
        sink,
        endpoint,
      ),
    await(id, answered, broken) {
      waiting.set(id, { answered, broken });
      return () => waiting.delete(id);
    },
    listen(listener) {
      listeners.add(listener);
      keptSize = 0;
      for (const message of kept.splice(0)) listener(message);
      return () => listeners.delete(listener);
    },
    close: () => end(fail('egress_failed')),
  };

  function receive(message: string): void {
    const parsed = JSON.parse(message) as { id?: unknown; method?: unknown } | null;
    if (parsed !== null && parsed.method === undefined) {
      const key = JSON.stringify(parsed.id);
      const one = waiting.get(key);
      waiting.delete(key);
      return one?.answered(message);
    }
    // To the newest listener alone: a request must not be answered twice.
    const listener = [...listeners].at(-1);
    if (listener !== undefined) listener(message);
    else if (kept.length < MAX_KEPT && keptSize + message.length <= MAX_KEPT_SIZE) {
      kept.push(message);
      keptSize += message.length;
    }
  }

  const sink: ReplySink = {
    replyStart(status, headers) {
      if (status === 200 && /^text\/event-stream\s*(;|$)/i.test(headerText(headers, 'content-type'))) return;
      over = true;
      stream.abort();
      opening.refused(status, headers);
    },
    replyData(chunk) {
      try {
        for (const { event, data } of cutter.push(chunk)) {
          if (over || data === undefined) continue;
          if (endpoint !== undefined) {
            if (event === 'message') receive(data);
          } else if (event === 'endpoint') {
            endpoint = sameOrigin(data, connector);
            opening.opened(channel);
          }
        }
      } catch (cause) {
        end(cause instanceof RangeError ? fail('egress_too_large') : fail('upstream_invalid', { cause }));
      }
    },
    replyEnd: () => end(fail('egress_failed', { message: 'The service ended the stream.' })),
    replyFailed: end,
  };
  const stream: Exchange = http.exchange(
    { connector, method: 'GET', headers: [...ACCEPT], body: null, opening: false, stream: true },
    credential,
    sink,
  );
  return { pause: () => stream.pause(), resume: () => stream.resume(), abort: () => end(fail('egress_failed')) };
}

/** The credential goes to that address: it may not lie elsewhere. */
function sameOrigin(data: string, connector: Connector): URL {
  const base = new URL(connector.document.url);
  const url = new URL(data, base);
  if (url.origin !== base.origin) {
    throw fail('upstream_invalid', { detail: { reason: 'the endpoint is of another origin', origin: url.origin } });
  }
  return url;
}
