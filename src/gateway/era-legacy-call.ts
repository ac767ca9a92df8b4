import type { Clock } from '../clock.ts';
import type { Credential } from '../connectors/credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import { asValetkeyError, type ValetkeyError } from '../errors.ts';
import { errorIn, hear, isAboutMessage, isObject, Reply, type Json, type Refusal } from './era-messages.ts';
import { isLegacySession, type LegacySession, type LegacySessions } from './era-legacy-session.ts';
import type { Questions } from './era-questions.ts';
import {
  askable,
  ASKING,
  legacyParams,
  META,
  metaOf,
  modernError,
  modernResult,
  offered,
  rank,
  REMOVED,
} from './era-translate.ts';
import { MODERN_VERSION } from './envelope.ts';
import { RPC } from './rpc.ts';

export type LegacyDoors = { kind: Kind; clock: Clock; sessions: LegacySessions; questions: Questions };

const SHOW_AFTER_MS = 5_000;
const NOT_FOUND = { code: RPC.methodNotFound, message: 'Method not found' };
/** What the service is told when nobody can be asked. */
const UNASKED = { code: RPC.methodNotFound, message: 'The client cannot be asked this here.' };
/** What the client's method for a question is called among its capabilities. */
const CAPABILITY: ReadonlyMap<string, string> = new Map([
  ['elicitation/create', 'elicitation'],
  ['sampling/createMessage', 'sampling'],
  ['roots/list', 'roots'],
]);

/** A request of a 2026-07-28 client, put to a service that has sessions. */
export class LegacyCall implements Exchange {
  readonly #doors: LegacyDoors;
  readonly #request: UpstreamRequest;
  readonly #credential: Credential | null;
  readonly #method: string;
  readonly #params: Json;
  #id: unknown;
  #reply: Reply;
  #session: LegacySession | undefined;
  #upstream: Exchange | undefined;
  /** The id of the request at the service; its progress token as well. */
  #sent = 0;
  #over = false;
  #begunAgain = false;
  /** What came while the client was away, thinking about a question. */
  #kept: Json[] = [];
  #asking = false;
  #stopShowing: (() => void) | undefined;

  constructor(
    doors: LegacyDoors,
    request: UpstreamRequest,
    credential: Credential | null,
    message: Json,
    sink: ReplySink,
  ) {
    this.#doors = doors;
    this.#request = request;
    this.#credential = credential;
    this.#method = String(message['method']);
    this.#params = isObject(message['params']) ? message['params'] : {};
    this.#id = message['id'];
    this.#reply = new Reply(sink, this);
  }

  begin(): void {
    if (this.#id === undefined) return this.#end(() => this.#reply.empty(202));
    if (REMOVED.has(this.#method) || this.#method.startsWith('tasks/')) {
      return this.#end(() => this.#reply.error(this.#id, NOT_FOUND, 404));
    }
    this.#takeSession();
  }

  #takeSession(): void {
    this.#doors.sessions.take(this.#request, this.#credential, this.#params).then(
      (session) => {
        if (isLegacySession(session)) {
          if (this.#over) return this.#doors.sessions.release(session);
          this.#session = session;
          this.#send(session);
        } else this.#end(() => this.#reply.refuse(session));
      },
      (thrown: unknown) => this.#failed(asValetkeyError(thrown)),
    );
  }

  #send(session: LegacySession): void {
    if (this.#method === 'server/discover') return this.#introduce(session);
    const level = metaOf(this.#params)[META.level];
    const ready = typeof level === 'string' ? this.#doors.sessions.listenTo(session, level) : Promise.resolve();
    ready.then(
      () => {
        if (!this.#over) this.#post(session);
      },
      (thrown: unknown) => this.#failed(asValetkeyError(thrown)),
    );
  }

  #introduce({ introduction }: LegacySession): void {
    const { capabilities, serverInfo, instructions } = introduction;
    this.#end(() =>
      this.#reply.result(this.#id, {
        resultType: 'complete',
        supportedVersions: [MODERN_VERSION],
        capabilities: offered(capabilities),
        ...(typeof instructions === 'string' ? { instructions } : {}),
        ttlMs: 0,
        cacheScope: 'private',
        ...(isObject(serverInfo) ? { _meta: { [META.server]: serverInfo } } : {}),
      }),
    );
  }

  #post(session: LegacySession): void {
    this.#sent = session.nextId++;
    const message = { method: this.#method, params: legacyParams(this.#params, this.#sent) };
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: this.#sent, ...message }));
    this.#upstream = this.#doors.kind.exchange(
      {
        connector: this.#request.connector,
        method: 'POST',
        headers: [
          'content-type',
          'application/json',
          'accept',
          'application/json, text/event-stream',
          ...session.headers,
        ],
        body,
        opening: false,
        stream: false,
      },
      this.#credential,
      hear({
        refused: (refusal) => this.#refused(session, refusal),
        began: (stream) => {
          if (stream) this.#showLater();
        },
        message: (received) => {
          if (this.#asking) this.#kept.push(received);
          else this.#received(session, received);
        },
        ended: () => {
          if (!this.#asking) this.#lost();
        },
        failed: (error) => this.#failed(error),
      }),
    );
  }

  /** A long call shows that it is under way; a short one may still end with a status of its own. */
  #showLater(): void {
    this.#stopShowing = this.#doors.clock.every(SHOW_AFTER_MS, () => {
      this.#stopShowing?.();
      if (!this.#asking) this.#reply.open();
    });
  }

  #refused(session: LegacySession, refusal: Refusal): void {
    const error = errorIn(refusal);
    // 404 as the specification has it; many answer 400 to a session that they do not know.
    const gone = refusal.status === 404 || (refusal.status === 400 && /session/i.test(String(error?.['message'])));
    if (gone && !this.#begunAgain) {
      this.#begunAgain = true;
      this.#doors.sessions.drop(session);
      this.#doors.sessions.release(session);
      this.#session = undefined;
      return this.#takeSession();
    }
    if (error === undefined || !isAboutMessage(refusal)) return this.#end(() => this.#reply.refuse(refusal));
    this.#answerError(error);
  }

  #received(session: LegacySession, message: Json): void {
    if (this.#over) return;
    const { id, method } = message;
    if (typeof method !== 'string') {
      if (id === this.#sent) this.#answer(message);
      return;
    }
    if (id === undefined) return this.#noted(message, method);
    if (method === 'ping') return this.#doors.sessions.tell(session, { id, result: {} });
    const capability = CAPABILITY.get(method);
    const can = capability !== undefined && capability in askable(metaOf(this.#params)[META.capabilities]);
    if (!can || !ASKING.has(this.#method)) return this.#doors.sessions.tell(session, { id, error: UNASKED });
    this.#ask(session, id, method, message['params']);
  }

  #noted(message: Json, method: string): void {
    const params = isObject(message['params']) ? message['params'] : {};
    if (method === 'notifications/progress') {
      const progressToken = metaOf(this.#params)['progressToken'];
      if (progressToken === undefined || params['progressToken'] !== this.#sent) return;
      return this.#reply.note({ ...message, params: { ...params, progressToken } });
    }
    if (method !== 'notifications/message') return;
    const wanted = rank(metaOf(this.#params)[META.level]);
    if (wanted !== undefined && (rank(params['level']) ?? 0) >= wanted) this.#reply.note(message);
  }

  #answer(message: Json): void {
    const { result, error } = message;
    if (isObject(result)) {
      return this.#end(() => this.#reply.result(this.#id, modernResult(this.#method, result)));
    }
    this.#answerError(isObject(error) ? error : { code: RPC.internal, message: 'The service gave no result.' });
  }

  #answerError(error: Json): void {
    const changed = modernError(error);
    this.#end(() => this.#reply.error(this.#id, changed.error, changed.status));
  }

  /** MCP 2026-07-28 "Multi Round-Trip Requests": the call at the service waits, the client comes again. */
  #ask(session: LegacySession, id: unknown, method: string, params: unknown): void {
    this.#asking = true;
    const { elicitationId: _id, _meta, ...asked } = isObject(params) ? params : {};
    const key = 'question';
    const state = this.#doors.questions.hold(this.#request, this.#method, this.#params, {
      resume: (message, sink) => {
        this.#asking = false;
        this.#id = message['id'];
        this.#reply = new Reply(sink, this);
        const responses = (message['params'] as Json | undefined)?.['inputResponses'];
        const answer = isObject(responses) ? responses[key] : undefined;
        const response = isObject(answer) ? { id, result: answer } : { id, error: UNASKED };
        this.#doors.sessions.tell(session, response);
        this.#catchUp(session);
        return this;
      },
      expire: () => this.abort(),
    });
    this.#reply.result(this.#id, {
      resultType: 'input_required',
      inputRequests: { [key]: { method, params: asked } },
      requestState: state,
    });
  }

  #catchUp(session: LegacySession): void {
    while (!this.#asking && this.#kept.length > 0) this.#received(session, this.#kept.shift() as Json);
  }

  /** The service ended the reply without the result. */
  #lost(): void {
    if (this.#over) return;
    const error = { code: RPC.internal, message: 'The service ended the call without a result.' };
    this.#end(() => this.#reply.error(this.#id, error));
  }

  #failed(error: ValetkeyError): void {
    this.#end(() => this.#reply.fail(error));
  }

  #end(last: () => void): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopShowing?.();
    if (this.#session !== undefined) this.#doors.sessions.release(this.#session);
    last();
  }

  pause(): void {
    this.#upstream?.pause();
  }

  resume(): void {
    this.#upstream?.resume();
  }

  /** The client closed the response, which cancels; a service of the other era has to be told. */
  abort(): void {
    if (this.#over) return;
    const session = this.#session;
    this.#end(() => (this.#reply.over = true));
    this.#upstream?.abort();
    if (session === undefined || this.#upstream === undefined) return;
    const params = { requestId: this.#sent, reason: 'The client cancelled the request.' };
    this.#doors.sessions.tell(session, { method: 'notifications/cancelled', params });
  }
}
