import type { Credential } from '../connectors/credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import type { Carried, Presence, Presences } from './era-carried.ts';
import { hear, isObject, Reply, type Json } from './era-messages.ts';
import { ModernCall, modernHeaders } from './era-modern-call.ts';
import type { ParamHeaders } from './era-param-headers.ts';
import { legacyNotification, modernParams, rank } from './era-translate.ts';
import { RPC } from './rpc.ts';

type Doors = { kind: Kind; presences: Presences; paramHeaders: ParamHeaders };

/** Everything that a 2025-era client does in a session, at a service that knows none. */
export function inSession(
  doors: Doors,
  request: UpstreamRequest,
  credential: Credential | null,
  session: { id: string; carried: Carried },
  sink: ReplySink,
): Exchange {
  const { carried } = session;
  const presence = doors.presences.of(session.id);
  if (request.method === 'GET') {
    const stream = new ModernListen(doors.kind, request, credential, carried, presence, sink);
    queueMicrotask(() => stream.begin());
    return stream;
  }
  if (request.method === 'DELETE') {
    doors.presences.forget(session.id);
    return soon(sink, (reply) => reply.empty(204));
  }
  const message: unknown = JSON.parse(String(request.body));
  if (!isObject(message)) {
    const error = { code: RPC.invalidRequest, message: 'Batches are not part of this protocol version.' };
    return soon(sink, (reply) => reply.error(null, error, 400));
  }
  const { id, method } = message;
  const params = isObject(message['params']) ? message['params'] : {};
  if (typeof method !== 'string' || id === undefined) {
    if (typeof method !== 'string') presence.questions.get(String(id))?.(message);
    else if (method === 'notifications/cancelled') {
      const call = presence.calls.get(params['requestId']);
      if (call instanceof ModernCall) call.cancel();
    }
    return soon(sink, (reply) => reply.empty(202));
  }
  const own = ownAnswer(presence, method, params);
  if (own !== undefined) {
    return soon(sink, (reply) => (own === null ? reply.error(id, INVALID) : reply.result(id, own)));
  }
  const call = new ModernCall(doors, request, credential, { carried, presence }, message, sink);
  queueMicrotask(() => call.begin());
  return call;
}

const INVALID = { code: RPC.invalidParams, message: 'Invalid params' };

/** What 2026-07-28 no longer has is answered here; null for what makes no sense. */
function ownAnswer(presence: Presence, method: string, params: Json): Json | null | undefined {
  switch (method) {
    case 'ping':
      return {};
    case 'logging/setLevel':
      if (rank(params['level']) === undefined) return null;
      presence.level = String(params['level']);
      return {};
    case 'resources/subscribe':
    case 'resources/unsubscribe': {
      const { uri } = params;
      if (typeof uri !== 'string') return null;
      if (method === 'resources/subscribe') presence.subscriptions.add(uri);
      else presence.subscriptions.delete(uri);
      presence.listener?.();
      return {};
    }
    default:
      return undefined;
  }
}

export function soon(sink: ReplySink, answer: (reply: Reply) => void): Exchange {
  let aborted = false;
  const exchange: Exchange = { pause: () => undefined, resume: () => undefined, abort: () => (aborted = true) };
  queueMicrotask(() => {
    if (!aborted) answer(new Reply(sink, exchange));
  });
  return exchange;
}

const ALL = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true };

/** The GET stream of a session: what the service tells a subscription, made anew when the wishes are others. */
class ModernListen implements Exchange {
  readonly #kind: Kind;
  readonly #request: UpstreamRequest;
  readonly #credential: Credential | null;
  readonly #carried: Carried;
  readonly #presence: Presence;
  readonly #reply: Reply;
  #upstream: Exchange | undefined;
  /** More than one while wishes change. */
  readonly #open = new Set<Exchange>();
  #over = false;
  readonly #changed = (): void => this.#subscribe();

  constructor(
    kind: Kind,
    request: UpstreamRequest,
    credential: Credential | null,
    carried: Carried,
    presence: Presence,
    sink: ReplySink,
  ) {
    this.#kind = kind;
    this.#request = request;
    this.#credential = credential;
    this.#carried = carried;
    this.#presence = presence;
    this.#reply = new Reply(sink, this);
  }

  begin(): void {
    if (this.#over) return;
    this.#presence.listener = this.#changed;
    this.#subscribe();
  }

  #subscribe(): void {
    if (this.#over) return;
    const { connector } = this.#request;
    const method = 'subscriptions/listen';
    const uris = [...this.#presence.subscriptions];
    const notifications = uris.length === 0 ? ALL : { ...ALL, resourceSubscriptions: uris };
    const params = modernParams({ notifications }, this.#carried);
    const before = [...this.#open];
    const upstream = this.#kind.exchange(
      {
        connector,
        method: 'POST',
        headers: modernHeaders(method, {}),
        body: Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })),
        opening: false,
        stream: true,
        modern: true,
      },
      this.#credential,
      hear({
        refused: (refusal) => {
          // 405 is what a 2025-era client hears of a service that has nothing to tell.
          this.#finish(() => this.#reply.refuse(refusal.status < 500 ? { ...refusal, status: 405 } : refusal));
        },
        began: () => this.#reply.open(),
        message: (message) => {
          const { method: said } = message;
          if (typeof said !== 'string') return;
          // The new subscription holds: until now the old one did.
          if (said === 'notifications/subscriptions/acknowledged') {
            for (const old of before) this.#drop(old);
          } else if (!this.#over) this.#reply.note(legacyNotification(message));
        },
        ended: () => {
          if (this.#upstream === upstream) this.#finish(() => this.#reply.end());
        },
        failed: (error) => {
          if (this.#upstream === upstream) this.#finish(() => this.#reply.fail(error));
        },
      }),
    );
    this.#upstream = upstream;
    this.#open.add(upstream);
  }

  #drop(exchange: Exchange): void {
    this.#open.delete(exchange);
    exchange.abort();
  }

  #finish(last: () => void): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#presence.listener === this.#changed) this.#presence.listener = undefined;
    for (const exchange of this.#open) this.#drop(exchange);
    last();
  }

  pause(): void {
    this.#upstream?.pause();
  }

  resume(): void {
    this.#upstream?.resume();
  }

  abort(): void {
    this.#finish(() => (this.#reply.over = true));
  }
}
