import type { IncomingHttpHeaders } from 'node:http';
import { mayUse } from '../connectors/connector.ts';
import { headerText, type Exchange, type ReplySink } from '../connectors/kinds/kind.ts';
import { fail, type ValetkeyError } from '../errors.ts';
import { newId, type FlowId } from '../ids.ts';
import { isCredentialRefusal, type CredentialAnswer } from './credentials.ts';
import { Inbound, NO_EXCHANGE } from './inbound.ts';
import { Relay, STREAM_HEADERS } from './relay.ts';
import { RPC, rpcError, rpcFailure } from './rpc.ts';
import { needsRenewal } from './session.ts';
import { sessionHeaders } from './upstream-headers.ts';

const LIST_CHANGED = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });

/**
 * GET and DELETE of a 2025-era client: the stream of messages that belong to no call, and the end of a session.
 * What a client may do without, it is told with 405; 401 would make some drop their whole login.
 */
export class SessionRequest extends Inbound implements ReplySink {
  #relay: Relay | undefined;
  #held = false;

  protected admitted(): void {
    const { method, headers } = this.request;
    // 2026-07-28 has neither.
    const known = method === 'GET' || method === 'DELETE';
    if (!known || headers['mcp-protocol-version'] === '2026-07-28') return this.#notAllowed();
    if (!mayUse(this.connector, this.principal)) return this.fail(fail('access_denied'));
    const id = headers['mcp-session-id'];
    if (typeof id === 'string') return this.findSession(id);
    // A 2025-era upstream without sessions may still offer the stream.
    if (method === 'GET') this.findCredential();
    else this.#notAllowed();
  }

  protected credentialed(answer: CredentialAnswer): void {
    const { session } = this;
    const unconnected =
      isCredentialRefusal(answer) || (answer === null && this.connector.document.auth.type !== 'none');
    if (unconnected && session?.upstream === null && this.request.method === 'GET') return this.#hold();
    if (isCredentialRefusal(answer)) return this.#notAllowed();
    const send = (upstream: string | null): void => {
      this.exchange = this.doors.kind.exchange(
        {
          connector: this.connector,
          method: this.request.method as 'GET' | 'DELETE',
          headers: sessionHeaders(this.request.headers, upstream),
          body: null,
          opening: false,
          stream: this.request.method === 'GET',
        },
        answer,
        this,
      );
    };
    if (session === undefined) return send(null);
    if (!needsRenewal(session, answer)) return session.upstream === null ? this.#notAllowed() : send(session.upstream);
    if (answer === null || session.handshake === null) return this.fail(fail('session_unknown'));
    if (this.request.method === 'DELETE') return this.#end(204);
    this.later(this.doors.renewal.renew(this.connector, answer, session), send);
  }

  /** Nothing to say until there is a connection: then the tools are others, and the client is told to look again. */
  #hold(): void {
    this.#held = true;
    this.output.beginStream(200, STREAM_HEADERS, NO_EXCHANGE);
  }

  override connectionChanged(): void {
    if (!this.#held || this.over) return;
    const answer = this.doors.credentials.get(this.connector, this.principal);
    this.later(Promise.resolve(answer), (credential) => {
      if (credential === null || isCredentialRefusal(credential)) return;
      this.output.event(LIST_CHANGED);
      // The client opens the stream again, and then it is the upstream's.
      this.output.end();
      this.finished();
    });
  }

  replyStart(status: number, headers: IncomingHttpHeaders, exchange: Exchange): void {
    this.exchange = exchange;
    this.quiet = 0;
    if (status < 300 && this.request.method === 'GET') {
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
    else if (status === 404) this.fail(fail('session_unknown'));
    else if (status >= 500 && status !== 501) this.fail(fail('upstream_failed', { detail: { status } }));
    else if (status === 400) this.#end(400);
    else this.#notAllowed();
  }

  replyData(chunk: Buffer): void {
    this.quiet = 0;
    this.#relay?.data(chunk);
  }

  replyEnd(): void {
    if (this.over) return;
    this.#relay?.end();
    this.finished();
  }

  replyFailed(error: ValetkeyError): void {
    if (this.over) return;
    this.exchange?.abort();
    if (!this.output.started) return this.fail(error);
    // The client resumes, or opens the stream anew.
    this.output.end();
    this.finished();
  }

  #notAllowed(): void {
    const error = { id: null, code: RPC.gateway, message: 'Method not allowed.' };
    this.output.answer(405, rpcError(error), ['allow', 'POST']);
    this.finished();
  }

  #end(status: number): void {
    this.output.answer(status, '');
    this.finished();
  }

  protected fail(error: ValetkeyError): void {
    if (this.over) return;
    error.flow ??= newId<FlowId>('flw');
    this.output.answer(error.status, rpcError(rpcFailure(error, null, error.status)));
    this.finished();
  }

  protected timedOut(error: ValetkeyError): void {
    this.replyFailed(error);
  }

  protected get patient(): boolean {
    return this.output.started;
  }

  /** Streams and ends of sessions are no calls: nothing is recorded. */
  protected finished(): void {
    this.over = true;
  }
}
