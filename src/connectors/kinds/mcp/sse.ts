import type { Clock } from '../../../clock.ts';
import { fail, type ValetkeyError } from '../../../errors.ts';
import { newToken } from '../../../ids.ts';
import type { Credential } from '../../credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../kind.ts';
import type { Http } from './http.ts';
import { openChannel, type Channel } from './sse-channel.ts';

/**
 * Makes a server of the HTTP+SSE transport look like one of Streamable HTTP with sessions. The stream of a session is
 * a connection that this process holds: another process does not know the session, and its client begins anew.
 */
export type SseBridge = Kind & { close(): void };

const PREFIX = 'sse-';
const MAX_CHANNELS = 5_000;
const IDLE_MS = 30 * 60_000;

/** Whether a session id of an upstream is one of ours. */
export function isBridged(session: string): boolean {
  return session.startsWith(PREFIX);
}

const JSON_HEADERS = { 'content-type': 'application/json' };
const STREAM_HEADERS = { 'content-type': 'text/event-stream' };

export function createSseBridge({ http, clock }: { http: Http; clock: Clock }): SseBridge {
  const channels = new Map<string, Channel>();
  const stopSweep = clock.every(60_000, () => {
    const before = clock.now() - IDLE_MS;
    for (const channel of channels.values()) if (!channel.busy && channel.usedAt < before) channel.close();
  });

  /** Answers without the upstream. */
  function refuse(sink: ReplySink, status: number, message: string): Exchange {
    const error = { jsonrpc: '2.0', id: null, error: { code: -32000, message } };
    return soon((exchange) => {
      sink.replyStart(status, JSON_HEADERS, exchange);
      sink.replyData(Buffer.from(JSON.stringify(error)));
      sink.replyEnd();
    });
  }

  function begin(request: UpstreamRequest, credential: Credential | null, sink: ReplySink): Exchange {
    if (channels.size >= MAX_CHANNELS) return soon(() => sink.replyFailed(fail('unavailable')));
    const session = `${PREFIX}${newToken(16)}`;
    let current: Exchange = openChannel(http, request.connector, credential, {
      opened(channel) {
        channels.set(session, channel);
        channel.usedAt = clock.now();
        current = converse(channel, request, credential, sink, { ...JSON_HEADERS, 'mcp-session-id': session });
      },
      refused(status, headers) {
        if (status === 200) return sink.replyFailed(fail('upstream_invalid'));
        sink.replyStart(status, headers, current);
        sink.replyEnd();
      },
      failed: (error) => sink.replyFailed(error),
      closed: () => channels.delete(session),
    });
    return {
      pause: () => current.pause(),
      resume: () => current.resume(),
      abort: () => current.abort(),
    };
  }

  return {
    exchange(request, credential, sink) {
      const at = request.headers.indexOf('mcp-session-id');
      const session = at === -1 ? '' : (request.headers[at + 1] as string);
      const channel = channels.get(session);
      if (channel === undefined) {
        if (isBridged(session)) return refuse(sink, 404, 'Session not found');
        if (request.opening) return begin(request, credential, sink);
        return refuse(sink, request.method === 'POST' ? 400 : 405, 'This service begins with initialize.');
      }
      channel.usedAt = clock.now();
      if (request.method === 'GET') return listen(channel, sink);
      if (request.method === 'POST') return converse(channel, request, credential, sink, JSON_HEADERS);
      channel.close();
      return soon((exchange) => {
        sink.replyStart(204, {}, exchange);
        sink.replyEnd();
      });
    },
    close() {
      stopSweep();
      for (const channel of channels.values()) channel.close();
    },
  };
}

function soon(act: (exchange: Exchange) => void): Exchange {
  let aborted = false;
  const exchange: Exchange = { pause: () => undefined, resume: () => undefined, abort: () => (aborted = true) };
  queueMicrotask(() => {
    if (!aborted) act(exchange);
  });
  return exchange;
}

function listen(channel: Channel, sink: ReplySink): Exchange {
  let stop: (() => void) | undefined;
  let aborted = false;
  const exchange: Exchange = {
    pause: () => undefined,
    resume: () => undefined,
    abort: () => {
      aborted = true;
      stop?.();
    },
  };
  queueMicrotask(() => {
    if (aborted) return;
    sink.replyStart(200, STREAM_HEADERS, exchange);
    stop = channel.listen((message) => sink.replyData(eventOf(message)));
  });
  return exchange;
}

/**
 * Posts a message; a request is answered by what the stream brings for its id. When the server speaks up in between
 * and the client holds no stream of its own, the answer becomes a stream.
 */
function converse(
  channel: Channel,
  request: UpstreamRequest,
  credential: Credential | null,
  sink: ReplySink,
  headers: Record<string, string>,
): Exchange {
  const body = request.body ?? Buffer.alloc(0);
  const message = JSON.parse(body.toString('utf8')) as { id?: unknown; method?: unknown };
  const wantsAnswer = message.id !== undefined && message.method !== undefined;
  let over = false;
  let streaming = false;
  const leave: (() => void)[] = [];
  const finish = (): boolean => {
    if (over) return false;
    over = true;
    for (const step of leave) step();
    return true;
  };
  const broken = (error: ValetkeyError): void => {
    if (finish()) sink.replyFailed(error);
  };
  const exchange: Exchange = {
    pause: () => undefined,
    resume: () => undefined,
    abort: () => {
      if (finish()) posted.abort();
    },
  };
  if (wantsAnswer) {
    leave.push(
      channel.await(
        JSON.stringify(message.id),
        (answer) => {
          if (!finish()) return;
          if (!streaming) sink.replyStart(200, headers, exchange);
          sink.replyData(streaming ? eventOf(answer) : Buffer.from(answer));
          sink.replyEnd();
        },
        broken,
      ),
    );
    if (!channel.listening) {
      leave.push(
        channel.listen((pushed) => {
          if (!streaming) sink.replyStart(200, { ...headers, ...STREAM_HEADERS }, exchange);
          streaming = true;
          sink.replyData(eventOf(pushed));
        }),
      );
    }
  }
  let refused = false;
  const posted = channel.post(body, credential, {
    replyStart(status, replyHeaders) {
      refused = status >= 300;
      if (refused && finish()) {
        over = false;
        sink.replyStart(status, replyHeaders, exchange);
      } else if (!wantsAnswer && finish()) {
        sink.replyStart(202, {}, exchange);
        sink.replyEnd();
      }
    },
    replyData(chunk) {
      if (refused && !over) sink.replyData(chunk);
    },
    replyEnd() {
      if (refused && !over) {
        over = true;
        sink.replyEnd();
      }
    },
    replyFailed: broken,
  });
  return exchange;
}

function eventOf(message: string): Buffer {
  return Buffer.from(`data: ${message.replaceAll('\n', '\ndata: ')}\n\n`);
}
