import type { IncomingHttpHeaders } from 'node:http';
import type { Credential } from '../connectors/credential.ts';
import { headerText, type Exchange, type ReplySink, type UpstreamRequest } from '../connectors/kinds/kind.ts';
import { fail, type ValetkeyError } from '../errors.ts';
import { newId, type FlowId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import { readBody } from './body.ts';
import { promptAnswer } from './connect-prompt.ts';
import { isCredentialRefusal, type CredentialAnswer, type CredentialRefusal } from './credentials.ts';
import { isRefusal, readEnvelope, type Envelope } from './envelope.ts';
import { Inbound, NO_EXCHANGE } from './inbound.ts';
import { withText } from './json-text.ts';
import { changeOf } from './lists.ts';
import { decide } from './policy.ts';
import { Relay, STREAM_HEADERS } from './relay.ts';
import { rpcError, rpcFailure, type RpcRefusal } from './rpc.ts';
import { scrub } from './scrub.ts';
import { handshakeOf, needsRenewal, type Session } from './session.ts';
import { answerUnconnected, isAnswerable, listening } from './unconnected.ts';
import { meaningOf } from './upstream-answer.ts';
import { messageHeaders } from './upstream-headers.ts';

const MAX_REFUSAL = 64 * 1024;
const HANDSHAKE = /^(initialize|server\/discover)$/;

/** One POST of a client: the path of a tool call, in the order of its nine steps. */
export class Call extends Inbound implements ReplySink {
  #envelope!: Envelope;
  #body!: Buffer;
  #rename: string | undefined;
  #upstreamSession: string | null = null;
  #credential: Credential | null = null;
  #missing: CredentialRefusal | null = null;
  #relay: Relay | undefined;
  #refusal: { status: number; headers: IncomingHttpHeaders; chunks: Buffer[]; size: number } | undefined;
  #dropped = 0;
  /** A stream that waits for its user to connect. */
  #held = false;
  #retried = false;
  #begunAgain = false;
  readonly #startedAt = this.doors.clock.monotonic();
  #sentAt = 0;
  #upstreamMs: number | null = null;

  // 1. Who calls is known: the inbound token ended in `Inbound.begin`.
  protected admitted(): void {
    readBody(
      this.request,
      (body) => this.#received(body),
      (refusal) => this.#refuse(refusal),
    );
  }

  // 2. What is asked: read once, from the body. 3. Which tool that is. 4. Whether this principal may.
  #received(body: Buffer): void {
    if (this.over) return;
    const envelope = readEnvelope(this.request.headers, body);
    if (isRefusal(envelope)) return this.#refuse(envelope);
    this.#envelope = envelope;
    this.#body = body;
    const decision = decide(this.principal, this.connector, envelope);
    if ('status' in decision) return this.#refuse(decision);
    this.#rename = decision.rename;
    if (envelope.kind === 'request' && !HANDSHAKE.test(envelope.method)) {
      const wait = this.#takeTurn();
      if (wait > 0) return this.#tooMany(wait);
    }
    const id = envelope.era === 'legacy' ? this.request.headers['mcp-session-id'] : undefined;
    if (envelope.method === 'initialize' && envelope.era === 'legacy') {
      const preparing = this.doors.sessions.prepare(this.connector.tenant);
      return preparing === undefined ? this.findCredential() : this.later(preparing, () => this.findCredential());
    }
    if (typeof id === 'string') this.findSession(id);
    else this.findCredential();
  }

  #takeTurn(): number {
    const { user, client } = this.principal;
    const caller = user ?? client ?? this.request.socket.remoteAddress ?? '';
    const { callsPerMinute } = this.connector.document.limits;
    const { batch } = this.#envelope;
    const calls = batch === undefined ? 1 : batch.filter(({ kind }) => kind === 'request').length;
    return this.doors.rate.take(this.connector.id, caller, callsPerMinute, this.doors.clock.now(), calls);
  }

  // 5. A live credential, or why there is none.
  protected credentialed(answer: CredentialAnswer): void {
    if (this.over) return;
    if (isCredentialRefusal(answer)) return this.#withoutCredential(answer);
    if (answer === null && this.connector.document.auth.type !== 'none') return this.#withoutCredential(null);
    this.#credential = answer;
    if (this.session === undefined || !needsRenewal(this.session, answer))
      return this.#send(this.session?.upstream ?? null);
    if (answer === null || this.session.handshake === null) return this.fail(fail('session_unknown'), 404);
    this.#renew(answer, this.session);
  }

  #renew(credential: Credential, session: Session): void {
    this.later(this.doors.renewal.renew(this.connector, credential, session), (id) => this.#send(id));
  }

  /** Deploy first, OAuth later: what the upstream says to anyone is said to everyone. */
  #withoutCredential(refusal: CredentialRefusal | null): void {
    this.#missing = refusal;
    const { kind, method } = this.#envelope;
    if (kind !== 'request') return this.#accept();
    if (this.#endless) return this.#hold();
    const began = this.session === undefined || this.session.upstream !== null;
    if (began && isAnswerable(this.#envelope) && method !== 'ping') return this.#send(this.session?.upstream ?? null);
    this.#prompt(refusal);
  }

  #hold(): void {
    const { wanted, known, over } = listening(this.#envelope);
    this.output.beginStream(200, STREAM_HEADERS, NO_EXCHANGE);
    this.output.event(known);
    this.#held = wanted;
    if (wanted) return;
    this.output.event(over);
    this.output.end();
    this.finished('ok');
  }

  override connectionChanged(): void {
    if (!this.#held || this.over) return;
    this.later(Promise.resolve(this.doors.credentials.get(this.connector, this.principal)), (credential) => {
      if (credential === null || isCredentialRefusal(credential)) return;
      const { changed, over } = listening(this.#envelope);
      this.output.event(changed);
      this.output.event(over);
      this.output.end();
      this.finished('ok');
    });
  }

  // 6. The original bytes go out with the credential that is the gateway's to add.
  #send(session: string | null): void {
    if (this.over) return;
    this.#upstreamSession = session;
    const { headers } = this.request;
    const request: UpstreamRequest = {
      connector: this.connector,
      method: 'POST',
      headers: messageHeaders(headers, this.#envelope, this.#rename, session),
      body: this.#rename === undefined ? this.#body : withText(this.#envelope.text, ['params', 'name'], this.#rename),
      opening: this.#envelope.method === 'initialize' && this.#envelope.era === 'legacy',
      stream: this.#endless,
      modern: this.#envelope.era === 'modern',
      principal: this.principal,
    };
    this.#sentAt = this.doors.clock.monotonic();
    this.quiet = 0;
    this.exchange = this.doors.kind.exchange(request, this.#credential, this);
  }

  replyStart(status: number, headers: IncomingHttpHeaders, exchange: Exchange): void {
    this.exchange = exchange;
    this.quiet = 0;
    this.#upstreamMs ??= this.doors.clock.monotonic() - this.#sentAt;
    if (status >= 300) {
      this.#refusal = { status, headers, chunks: [], size: 0 };
      return;
    }
    // Nobody waits for an answer to what is no request: what comes is dropped.
    if (this.#envelope.kind !== 'request') return;
    const minted = headers['mcp-session-id'];
    if (this.#envelope.method === 'initialize' && this.#envelope.era === 'legacy' && typeof minted === 'string') {
      return this.#pass(status, headers, exchange, this.#mint(minted));
    }
    this.#pass(status, headers, exchange, undefined);
  }

  #pass(status: number, headers: IncomingHttpHeaders, exchange: Exchange, sessionId: string | undefined): void {
    const personal = this.#credential !== null;
    const change = changeOf(this.connector, this.#envelope, personal, (tools) =>
      this.doors.listSeen(this.connector, this.principal, this.#credential, tools),
    );
    const { maxResultBytes } = this.connector.document.limits;
    const limit = this.#endless ? Infinity : maxResultBytes;
    const relay = Relay.begin(this.output, status, headers, exchange, sessionId, change, limit);
    if (relay instanceof Relay) this.#relay = relay;
    else this.#broken(relay);
  }

  replyData(chunk: Buffer): void {
    this.quiet = 0;
    if (this.#envelope.kind !== 'request' && this.#refusal === undefined) {
      this.#dropped += chunk.length;
      if (this.#dropped <= MAX_REFUSAL) return;
      this.exchange?.abort();
      return this.#accept();
    }
    const refusal = this.#refusal;
    if (refusal !== undefined) {
      refusal.size += chunk.length;
      if (refusal.size <= MAX_REFUSAL) return void refusal.chunks.push(chunk);
      this.exchange?.abort();
      return this.replyEnd();
    }
    const error = this.#relay?.data(scrub(chunk, this.#credential));
    if (error !== undefined) this.#broken(error);
  }

  replyEnd(): void {
    if (this.over) return;
    const refusal = this.#refusal;
    if (refusal !== undefined) {
      const body = scrub(Buffer.concat(refusal.chunks), this.#credential);
      return this.#refused(refusal.status, refusal.headers, body);
    }
    if (this.#envelope.kind !== 'request') return this.#accept();
    const error = this.#relay?.end();
    if (error !== undefined) return this.#broken(error);
    this.finished('ok');
  }

  replyFailed(error: ValetkeyError): void {
    if (!this.over) this.#broken(error);
  }

  // 7. A refusal of the upstream: one refresh, one more try; or what the person has to do.
  #refused(status: number, headers: IncomingHttpHeaders, body: Buffer): void {
    this.#refusal = undefined;
    if (this.#credential === null && this.connector.document.auth.type !== 'none')
      return this.#refusedAnonymous(status);
    const session = this.session;
    if (status === 404 && this.#credential !== null && session !== undefined && session.handshake !== null) {
      // The client knows nothing of the session that is gone: it was begun for it here, and is begun here again.
      if (!this.#begunAgain) {
        this.#begunAgain = true;
        this.doors.renewal.forget(this.#credential, session, this.#upstreamSession);
        return this.#renew(this.#credential, session);
      }
    }
    const meaning = meaningOf(status, headers, body, this.connector.oauth?.rules.expirySignals);
    if (this.#envelope.kind !== 'request' && meaning.kind !== 'relay') return this.#accept();
    switch (meaning.kind) {
      case 'relay':
        this.output.answer(meaning.status, meaning.body);
        return this.finished('error');
      case 'unauthorized':
        return this.#rejected(401, headers);
      case 'scopes':
        return this.#rejected(403, headers);
      case 'failed':
        return this.fail(meaning.error, meaning.error.status, meaning.retryAfterMs);
    }
  }

  #rejected(status: 401 | 403, headers: IncomingHttpHeaders): void {
    const credential = this.#credential;
    if (credential === null || this.connector.connection === null) return this.#prompt(null);
    const again = this.#retried;
    this.#retried = true;
    const challenge = headerText(headers, 'www-authenticate');
    const answer = this.doors.connections.rejected(this.connector, this.principal, credential, {
      status,
      wwwAuthenticate: challenge === '' ? null : challenge,
      again,
    });
    this.later(answer, (settled) => {
      if (settled === null || isCredentialRefusal(settled)) return this.#prompt(settled);
      if (again) return this.#prompt({ refusal: 'temporarily_unavailable' });
      this.#credential = settled;
      this.#send(this.#upstreamSession);
    });
  }

  #refusedAnonymous(status: number): void {
    // 5xx says nothing about credentials: the upstream may be down, and a client must not take that for its tools.
    if (status >= 500) return this.fail(fail('upstream_failed', { detail: { status } }), 502);
    this.#prompt(this.#missing);
  }

  // 9. What the client gets instead of a result.
  #prompt(refusal: CredentialRefusal | null): void {
    const envelope = this.#envelope;
    if (envelope.kind !== 'request') return this.#accept();
    if (isAnswerable(envelope) && refusal?.refusal !== 'temporarily_unavailable') return this.#introduce();
    this.later(this.doors.prompts.make(this.connector, this.principal, refusal), (prompt) => {
      this.output.answer(200, promptAnswer(envelope, prompt));
      this.finished('refused', prompt.code, prompt.flow);
    });
  }

  #introduce(): void {
    const envelope = this.#envelope;
    const { catalogue } = this.doors.connectors;
    this.later(answerUnconnected(this.connector, this.principal, envelope, catalogue), (body) => {
      const headers = envelope.method === 'initialize' ? ['mcp-session-id', this.#mint(null)] : [];
      this.output.answer(200, body, headers);
      this.finished('ok');
    });
  }

  #mint(upstream: string | null): string {
    const credential = this.#credential?.key ?? null;
    const anonymous = credential === null && (upstream === null || this.connector.document.auth.type !== 'none');
    const session: Session = {
      upstream,
      credential,
      handshake: anonymous ? handshakeOf(this.#envelope.params) : null,
      nonce: newId('ses'),
    };
    return this.doors.sessions.seal(this.principal, this.connector, session);
  }

  /** A message that wants no answer. */
  #accept(): void {
    this.output.answer(202, '');
    this.finished('ok');
  }

  #refuse(refusal: RpcRefusal, headers: readonly string[] = []): void {
    this.output.answer(refusal.status, rpcError(refusal), headers);
    const code = refusal.data?.['code'];
    this.finished('refused', typeof code === 'string' ? code : `rpc${refusal.code}`);
  }

  #tooMany(waitMs: number): void {
    const error = fail('too_many_requests', { message: 'Too many calls to this connector within a minute.' });
    this.#refuse(rpcFailure(error, this.#envelope.id, 429), ['retry-after', String(Math.ceil(waitMs / 1000))]);
  }

  /** A reply that cannot be completed. */
  #broken(error: ValetkeyError): void {
    this.exchange?.abort();
    if (!this.output.started) return this.fail(error, error.status);
    if (this.output.stream) {
      error.flow ??= newId<FlowId>('flw');
      this.output.event(rpcError(rpcFailure(error, this.#envelope.id, 200)));
      this.output.end();
    } else this.output.cut();
    this.finished('error', error.code, error.flow);
  }

  /**
   * Requests are answered in band, where clients and models read errors. The handshake is not: a client that probes
   * would take an answer in band for the word of a server of the other era.
   */
  protected fail(error: ValetkeyError, status = error.status, retryAfterMs?: number): void {
    if (this.over) return;
    error.flow ??= newId<FlowId>('flw');
    if (error.status >= 500) {
      this.doors.log.warn({ err: error, connector: this.connector.id, flow: error.flow }, 'a call failed');
    }
    const envelope = this.#envelope as Envelope | undefined;
    const inBand = envelope !== undefined && !HANDSHAKE.test(envelope.method) && error.code !== 'session_unknown';
    const more = retryAfterMs === undefined ? {} : { retryAfterMs };
    const refusal = rpcFailure(error, envelope?.id ?? null, inBand ? 200 : status, more);
    this.output.answer(refusal.status, rpcError(refusal));
    this.finished('error', error.code, error.flow);
  }

  protected timedOut(error: ValetkeyError): void {
    this.#broken(error);
  }

  get #endless(): boolean {
    return this.#envelope.method === 'subscriptions/listen';
  }

  protected get patient(): boolean {
    return this.output.stream && this.#endless;
  }

  // 8. What happened, off the path.
  protected finished(
    status: 'ok' | 'error' | 'refused' | 'cancelled',
    errorCode: string | null = null,
    flow?: string,
  ): void {
    if (this.over) return;
    this.over = true;
    const { clock, traffic } = this.doors;
    const principal = this.principal as Principal | undefined;
    const envelope = this.#envelope as Envelope | undefined;
    traffic.record({
      tenant: this.connector.tenant,
      at: clock.now(),
      connector: this.connector.id,
      user_id: principal?.user ?? null,
      client_id: principal?.client ?? null,
      method: envelope?.method ?? '',
      name: envelope?.name?.slice(0, 256) ?? null,
      status,
      http_status: this.output.status,
      error_code: errorCode,
      duration_ms: Math.round(clock.monotonic() - this.#startedAt),
      upstream_ms: this.#upstreamMs === null ? null : Math.round(this.#upstreamMs),
      request_bytes: (this.#body as Buffer | undefined)?.length ?? 0,
      response_bytes: this.output.bytes,
      address: this.request.socket.remoteAddress ?? null,
      flow: flow ?? null,
    });
  }
}
