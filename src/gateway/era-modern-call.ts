import type { Credential } from '../connectors/credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import { ask } from '../connectors/kinds/mcp/ask.ts';
import { asValetkeyError } from '../errors.ts';
import { newToken } from '../ids.ts';
import { encodeHeader, MODERN_VERSION } from './envelope.ts';
import type { Carried, Presence } from './era-carried.ts';
import { errorIn, hear, isAboutMessage, isObject, Reply, type Json, type Refusal } from './era-messages.ts';
import type { ParamHeaders } from './era-param-headers.ts';
import { ASKING, legacyError, legacyNotification, legacyResult, modernParams } from './era-translate.ts';
import { RPC } from './rpc.ts';

const MAX_ROUNDS = 20;
const CAPABILITY: ReadonlyMap<unknown, string> = new Map([
  ['elicitation/create', 'elicitation'],
  ['sampling/createMessage', 'sampling'],
  ['roots/list', 'roots'],
]);

/** Flat; what 2026-07-28 wants in headers beside the body. */
export function modernHeaders(method: string, params: Json): string[] {
  const flat = ['content-type', 'application/json', 'accept', 'application/json, text/event-stream'];
  flat.push('mcp-protocol-version', MODERN_VERSION, 'mcp-method', method);
  const name = method === 'resources/read' ? params['uri'] : ASKING.has(method) ? params['name'] : undefined;
  if (typeof name === 'string') flat.push('mcp-name', encodeHeader(name));
  return flat;
}

/** A request of a 2025-era client, put to a service that knows no sessions. */
export class ModernCall implements Exchange {
  readonly #doors: { kind: Kind; paramHeaders: ParamHeaders };
  readonly #request: UpstreamRequest;
  readonly #credential: Credential | null;
  readonly #carried: Carried;
  readonly #presence: Presence;
  readonly #id: unknown;
  readonly #method: string;
  readonly #params: Json;
  readonly #reply: Reply;
  #upstream: Exchange | undefined;
  #sent = 0;
  #rounds = 0;
  #learnt = false;
  #over = false;
  #asked: string[] = [];

  constructor(
    doors: { kind: Kind; paramHeaders: ParamHeaders },
    request: UpstreamRequest,
    credential: Credential | null,
    client: { carried: Carried; presence: Presence },
    message: Json,
    sink: ReplySink,
  ) {
    this.#doors = doors;
    this.#request = request;
    this.#credential = credential;
    this.#carried = client.carried;
    this.#presence = client.presence;
    this.#id = message['id'];
    this.#method = String(message['method']);
    this.#params = isObject(message['params']) ? message['params'] : {};
    this.#reply = new Reply(sink, this);
  }

  begin(): void {
    this.#presence.calls.set(this.#id, this);
    this.#send(this.#params);
  }

  #send(more: Json): void {
    const { connector } = this.#request;
    const params = modernParams(more, this.#carried, this.#presence.level);
    const headers = modernHeaders(this.#method, this.#params);
    if (this.#method === 'tools/call') {
      headers.push(...this.#doors.paramHeaders.of(connector, this.#credential, this.#params));
    }
    const sent = ++this.#sent;
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: sent, method: this.#method, params }));
    this.#upstream = this.#doors.kind.exchange(
      { connector, method: 'POST', headers, body, opening: false, stream: false, modern: true },
      this.#credential,
      hear({
        refused: (refusal) => this.#refused(refusal, more),
        began: (stream) => {
          if (stream && this.#method === 'tools/call') this.#reply.open();
        },
        message: (message) => {
          if (!this.#over && sent === this.#sent) this.#received(message);
        },
        ended: () => {
          const error = { code: RPC.internal, message: 'The service ended the call without a result.' };
          if (sent === this.#sent && this.#asked.length === 0) this.#end(() => this.#reply.error(this.#id, error));
        },
        failed: (error) => this.#end(() => this.#reply.fail(error)),
      }),
    );
  }

  #refused(refusal: Refusal, more: Json): void {
    const error = errorIn(refusal);
    if (error === undefined || !isAboutMessage(refusal)) return this.#end(() => this.#reply.refuse(refusal));
    if (error['code'] === RPC.headerMismatch && this.#method === 'tools/call' && !this.#learnt) {
      this.#learnt = true;
      return this.#learn(more);
    }
    // In a session 404 would tell the client that its session is gone.
    this.#answerError(error);
  }

  #answerError(error: Json): void {
    // It speaks of what the gateway declared for the client, in words that this client does not know.
    if (error['code'] === RPC.missingCapability) return this.#unanswerable();
    this.#end(() => this.#reply.error(this.#id, legacyError(error)));
  }

  /** The tool wants arguments in headers: which, its list says. */
  #learn(more: Json): void {
    const { connector } = this.#request;
    const { kind, paramHeaders } = this.#doors;
    const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
    const page = async (cursor: Json, left: number): Promise<void> => {
      const params = modernParams(cursor, this.#carried);
      const message = { id: 1, method: 'tools/list', params };
      const headers = ['mcp-protocol-version', MODERN_VERSION, 'mcp-method', 'tools/list'];
      const answer = await ask(kind, connector, this.#credential, message, headers, signal);
      const result = answer.message?.['result'];
      if (!isObject(result) || !Array.isArray(result['tools'])) return;
      paramHeaders.learn(connector, this.#credential, result['tools']);
      const { nextCursor } = result;
      if (typeof nextCursor === 'string' && left > 0) await page({ cursor: nextCursor }, left - 1);
    };
    page({}, 50).then(
      () => {
        if (!this.#over) this.#send(more);
      },
      (thrown: unknown) => this.#end(() => this.#reply.fail(asValetkeyError(thrown))),
    );
  }

  #received(message: Json): void {
    const { method, result, error } = message;
    if (typeof method === 'string') {
      if (message['id'] === undefined) this.#reply.note(legacyNotification(message));
      return;
    }
    if (!isObject(result)) {
      return this.#answerError(
        isObject(error) ? error : { code: RPC.internal, message: 'The service gave no result.' },
      );
    }
    if (result['resultType'] === 'input_required') return this.#ask(result);
    if (this.#method === 'tools/list' && Array.isArray(result['tools'])) {
      this.#doors.paramHeaders.learn(this.#request.connector, this.#credential, result['tools']);
    }
    this.#end(() => this.#reply.result(this.#id, legacyResult(result)));
  }

  /** What the service wants to know is asked on the stream of the call, and the call made again with the answers. */
  #ask({ inputRequests, requestState }: Json): void {
    const questions = Object.entries(isObject(inputRequests) ? inputRequests : {});
    const cannot = questions.some(([, question]) => !this.#canAnswer(question));
    if (cannot || ++this.#rounds > MAX_ROUNDS) return this.#unanswerable();
    const inputResponses: Json = {};
    const again = (): void => {
      if (this.#over || this.#asked.length > 0) return;
      const state = requestState === undefined ? {} : { requestState };
      this.#send({ ...this.#params, inputResponses, ...state });
    };
    for (const [key, question] of questions) {
      const id = `valetkey-${newToken(12)}`;
      this.#asked.push(id);
      this.#presence.questions.set(id, (answer) => {
        this.#presence.questions.delete(id);
        this.#asked = this.#asked.filter((other) => other !== id);
        // A client that cannot answer says so with an error; what is cancelled reads the same.
        const { result } = answer;
        if (isObject(result)) inputResponses[key] = result;
        else if ((question as Json)['method'] === 'elicitation/create') inputResponses[key] = { action: 'cancel' };
        else return this.#unanswerable();
        again();
      });
      const { method, params } = question as Json;
      const asked = params === undefined ? {} : { params };
      this.#reply.note({ jsonrpc: '2.0', id, method, ...asked });
    }
    // Nothing asked, and yet not done: the service wants to be called again.
    again();
  }

  #canAnswer(question: unknown): boolean {
    if (!isObject(question)) return false;
    const capability = this.#carried.capabilities[CAPABILITY.get(question['method']) ?? ''];
    if (!isObject(capability)) return false;
    const params = isObject(question['params']) ? question['params'] : {};
    // MCP 2025-11-25 "Elicitation": an empty object means form mode alone.
    return params['mode'] !== 'url' || isObject(capability['url']);
  }

  #unanswerable(): void {
    const text = 'The service asks for something that this client cannot be asked for.';
    this.#end(() => {
      if (this.#method === 'tools/call') {
        this.#reply.result(this.#id, { content: [{ type: 'text', text }], isError: true });
      } else this.#reply.error(this.#id, { code: RPC.invalidRequest, message: text });
    });
  }

  #end(last: () => void): void {
    if (this.#over) return;
    this.#over = true;
    for (const id of this.#asked) this.#presence.questions.delete(id);
    if (this.#presence.calls.get(this.#id) === this) this.#presence.calls.delete(this.#id);
    last();
  }

  pause(): void {
    this.#upstream?.pause();
  }

  resume(): void {
    this.#upstream?.resume();
  }

  /** MCP 2025-11-25 "Cancellation": the client said so in a message, and gets no answer to the request any more. */
  cancel(): void {
    this.#end(() => this.#reply.end());
    this.#upstream?.abort();
  }

  abort(): void {
    this.#end(() => (this.#reply.over = true));
    this.#upstream?.abort();
  }
}
