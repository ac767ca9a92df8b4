import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { Connector } from '../connectors/connector.ts';
import { headerText, type Exchange, type ReplySink } from '../connectors/kinds/kind.ts';
import { mayUse } from '../connectors/connector.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../errors.ts';
import { newId, type FlowId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import { isChallenge, type Challenge } from '../protected-resource/protected-resource.ts';
import type { CallDeps } from './call.ts';
import { isCredentialRefusal, type CredentialAnswer } from './credentials.ts';
import type { Output } from './output.ts';
import { Relay } from './relay.ts';
import { rpcError, rpcFailure } from './rpc.ts';
import { needsRenewal, type Session } from './session.ts';
import { sessionHeaders } from './upstream-headers.ts';

/**
 * GET and DELETE of a 2025-era client: the stream of messages that belong to no call, and the end of a session.
 * What a client may do without, it is told with 405; 401 would make some drop their whole login.
 */
export class SessionRequest implements ReplySink {
  readonly #deps: CallDeps;
  readonly #request: IncomingMessage;
  readonly #connector: Connector;
  readonly output: Output;
  #principal!: Principal;
  #session: Session | undefined;
  #exchange: Exchange | undefined;
  #relay: Relay | undefined;
  #over = false;
  #quiet = 0;

  constructor(
    deps: CallDeps,
    request: IncomingMessage,
    response: ServerResponse,
    connector: Connector,
    output: Output,
  ) {
    this.#deps = deps;
    this.#request = request;
    this.#connector = connector;
    this.output = output;
    response.on('close', () => {
      if (this.#over) return;
      this.#over = true;
      this.#exchange?.abort();
    });
  }

  begin(): void {
    const answer = this.#deps.protectedResource.authenticate(this.#request, this.#connector);
    if (answer instanceof Promise) this.#later(answer, (settled) => this.#authenticated(settled));
    else this.#authenticated(answer);
  }

  #authenticated(answer: Principal | Challenge): void {
    if (isChallenge(answer)) {
      const body = { error: answer.error ?? 'unauthorized', error_description: answer.message };
      this.output.answer(answer.status, JSON.stringify(body), ['www-authenticate', answer.header]);
      this.#over = true;
      return;
    }
    const { method } = this.#request;
    if (method !== 'GET' && method !== 'DELETE') return this.#notAllowed();
    if (!this.#connector.document.active) return this.#fail(fail('connector_inactive'));
    if (!mayUse(this.#connector, answer)) return this.#fail(fail('access_denied'));
    this.#principal = answer;
    const id = this.#request.headers['mcp-session-id'];
    // 2026-07-28 has neither; a 2025-era upstream without sessions may still offer the stream.
    if (this.#request.headers['mcp-protocol-version'] === '2026-07-28') return this.#notAllowed();
    if (typeof id !== 'string') return method === 'DELETE' ? this.#notAllowed() : this.#needCredential();
    const session = this.#deps.sessions.open(answer, this.#connector, id);
    if (session instanceof Promise) this.#later(session, (opened) => this.#inSession(opened));
    else this.#inSession(session);
  }

  #inSession(session: Session | undefined): void {
    if (session === undefined) return this.#fail(fail('session_unknown'));
    this.#session = session;
    this.#needCredential();
  }

  #needCredential(): void {
    const answer = this.#deps.credentials.get(this.#connector, this.#principal);
    if (answer instanceof Promise) this.#later(answer, (settled) => this.#credentialed(settled));
    else this.#credentialed(answer);
  }

  #credentialed(answer: CredentialAnswer): void {
    if (this.#over) return;
    const session = this.#session;
    if (isCredentialRefusal(answer)) return this.#notAllowed();
    const send = (upstream: string | null): void => {
      this.#exchange = this.#deps.kind.exchange(
        {
          connector: this.#connector,
          method: this.#request.method as 'GET' | 'DELETE',
          headers: sessionHeaders(this.#request.headers, upstream),
          body: null,
          opening: false,
          stream: this.#request.method === 'GET',
        },
        answer,
        this,
      );
    };
    if (session === undefined) return send(null);
    if (!needsRenewal(session, answer)) return session.upstream === null ? this.#notAllowed() : send(session.upstream);
    if (answer === null || session.handshake === null) return this.#fail(fail('session_unknown'));
    if (this.#request.method === 'DELETE') return this.#end(204);
    this.#later(this.#deps.renewal.renew(this.#connector, answer, session), send);
  }

  replyStart(status: number, headers: IncomingHttpHeaders, exchange: Exchange): void {
    this.#exchange = exchange;
    this.#quiet = 0;
    if (status < 300 && this.#request.method === 'GET') {
      const type = headerText(headers, 'content-type');
      const isStream = /^text\/event-stream\s*(;|$)/i.test(type);
      const relay = isStream
        ? Relay.begin(this.output, 200, headers, exchange, undefined, undefined, Infinity)
        : fail('upstream_invalid', { detail: { contentType: type.slice(0, 100) } });
      if (relay instanceof Relay) this.#relay = relay;
      else this.replyFailed(relay);
      return;
    }
    exchange.abort();
    if (status < 300) this.#end(status === 204 ? 204 : 200);
    else if (status === 404) this.#fail(fail('session_unknown'));
    else if (status >= 500 && status !== 501) this.#fail(fail('upstream_failed', { detail: { status } }));
    else if (status === 400) this.#end(400);
    else this.#notAllowed();
  }

  replyData(chunk: Buffer): void {
    this.#quiet = 0;
    this.#relay?.data(chunk);
  }

  replyEnd(): void {
    if (this.#over) return;
    this.#over = true;
    this.#relay?.end();
  }

  replyFailed(error: ValetkeyError): void {
    if (this.#over) return;
    this.#exchange?.abort();
    if (!this.output.started) return this.#fail(error);
    // The client resumes, or opens the stream anew.
    this.#over = true;
    this.output.end();
  }

  #notAllowed(): void {
    this.output.answer(405, rpcError({ id: null, code: -32000, message: 'Method not allowed.' }), ['allow', 'POST']);
    this.#over = true;
  }

  #end(status: number): void {
    this.output.answer(status, '');
    this.#over = true;
  }

  #fail(error: ValetkeyError): void {
    if (this.#over) return;
    error.flow ??= newId<FlowId>('flw');
    this.output.answer(error.status, rpcError(rpcFailure(error, null, error.status)));
    this.#over = true;
  }

  #later<T>(promise: Promise<T>, then: (value: T) => void): void {
    promise
      .then((value) => {
        if (!this.#over) then(value);
      })
      .catch((thrown: unknown) => this.#fail(asValetkeyError(thrown)));
  }

  tick(): void {
    if (this.#over) return;
    const { output } = this;
    output.silent++;
    if (output.waiting && ++output.stalled > 30) {
      this.#over = true;
      this.#exchange?.abort();
      return output.cut();
    }
    if (!output.started && ++this.#quiet > this.#connector.document.limits.timeoutSeconds) {
      return this.replyFailed(fail('egress_timeout'));
    }
    if (output.stream && output.silent >= 15) output.keepAlive();
  }

  stop(): void {
    if (this.#over || !this.output.stream) return;
    this.#over = true;
    this.#exchange?.abort();
    this.output.end();
  }
}
