import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { Exchange, Kind } from '../connectors/kinds/kind.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import { isChallenge, type Challenge, type ProtectedResource } from '../protected-resource/protected-resource.ts';
import type { Prompts } from './connect-prompt.ts';
import type { ConnectionSource, CredentialAnswer, Credentials } from './credentials.ts';
import type { ListSeen } from './lists.ts';
import type { Output } from './output.ts';
import type { Rate } from './rate.ts';
import type { Renewal } from './renewal.ts';
import type { Session, Sessions } from './session.ts';
import type { Traffic } from './traffic.ts';

/** What every request needs; one object for all of them. */
export type Doors = {
  protectedResource: ProtectedResource;
  connectors: Pick<Connectors, 'catalogue'>;
  connections: ConnectionSource;
  credentials: Credentials;
  kind: Kind;
  sessions: Sessions;
  renewal: Renewal;
  listSeen: ListSeen;
  prompts: Prompts;
  rate: Rate;
  traffic: Traffic;
  clock: Clock;
  log: Log;
  /** Its connection to the client is done with. */
  closed(inbound: Inbound): void;
};

/** A client that has not read for so many seconds is let go. */
const MAX_STALL = 30;
const KEEP_ALIVE_AFTER = 15;

/** Behind a stream that the gateway fills itself. */
export const NO_EXCHANGE: Exchange = { pause: () => undefined, resume: () => undefined, abort: () => undefined };

/** One request of a client: who it is from, which session it belongs to, and how long it may take. */
export abstract class Inbound {
  protected readonly doors: Doors;
  protected readonly request: IncomingMessage;
  protected readonly connector: Connector;
  protected readonly output: Output;
  protected principal!: Principal;
  protected session: Session | undefined;
  protected exchange: Exchange | undefined;
  protected over = false;
  /** Seconds since the upstream was last heard of. */
  protected quiet = 0;

  constructor(doors: Doors, request: IncomingMessage, response: ServerResponse, connector: Connector, output: Output) {
    this.doors = doors;
    this.request = request;
    this.connector = connector;
    this.output = output;
    response.on('close', () => {
      doors.closed(this);
      if (this.over) return;
      // MCP 2026-07-28: closing the response cancels the request.
      this.exchange?.abort();
      this.finished('cancelled');
    });
  }

  /** The principal is known. */
  protected abstract admitted(): void;
  /** Session and credential are known, in so far as there are any. */
  protected abstract credentialed(answer: CredentialAnswer): void;
  protected abstract fail(error: ValetkeyError, status?: number): void;
  /** The upstream was silent for longer than the connector allows. */
  protected abstract timedOut(error: ValetkeyError): void;
  /** Nothing follows. */
  protected abstract finished(
    status: 'ok' | 'error' | 'refused' | 'cancelled',
    errorCode?: string | null,
    flow?: string,
  ): void;
  /** Whether the upstream may be silent for as long as it likes. */
  protected abstract get patient(): boolean;

  /** A connection at this connector has come, gone or changed. */
  connectionChanged(): void {
    // Only who waits for one cares.
  }

  /** Whether it is about this connector. */
  concerns(key: string | null): boolean {
    return key === null || key.startsWith(`${this.connector.tenant}/${this.connector.id}/`);
  }

  begin(): void {
    const answer = this.doors.protectedResource.authenticate(this.request, this.connector);
    if (answer instanceof Promise) this.later(answer, (settled) => this.#authenticated(settled));
    else this.#authenticated(answer);
  }

  #authenticated(answer: Principal | Challenge): void {
    if (!isChallenge(answer)) {
      this.principal = answer;
      return this.connector.document.active ? this.admitted() : this.fail(fail('connector_inactive'));
    }
    const body = { error: answer.error ?? 'unauthorized', error_description: answer.message };
    this.output.answer(answer.status, JSON.stringify(body), ['www-authenticate', answer.header]);
    // Not recorded: whoever sends this, it is nobody of the tenant.
    this.over = true;
  }

  protected findSession(id: string): void {
    const session = this.doors.sessions.open(this.principal, this.connector, id);
    if (session instanceof Promise) this.later(session, (opened) => this.#inSession(opened));
    else this.#inSession(session);
  }

  #inSession(session: Session | undefined): void {
    // MCP 2025-11-25 "Session Management": 404 makes the client begin anew.
    if (session === undefined) return this.fail(fail('session_unknown'));
    this.session = session;
    this.findCredential();
  }

  protected findCredential(): void {
    const answer = this.doors.credentials.get(this.connector, this.principal);
    if (answer instanceof Promise) this.later(answer, (settled) => this.credentialed(settled));
    else this.credentialed(answer);
  }

  protected later<T>(promise: Promise<T>, then: (value: T) => void): void {
    promise
      .then((value) => {
        if (!this.over) then(value);
      })
      .catch((thrown: unknown) => this.fail(asValetkeyError(thrown)));
  }

  /** Once a second while the request lasts. */
  tick(): void {
    const { output } = this;
    // Answered, and yet not read to the end.
    if (this.over) return void (++output.stalled > MAX_STALL && output.cut());
    this.quiet++;
    output.silent++;
    if (output.waiting && ++output.stalled > MAX_STALL) {
      this.exchange?.abort();
      output.cut();
      return this.finished('error', 'client_too_slow');
    }
    const { timeoutSeconds } = this.connector.document.limits;
    if (this.exchange !== undefined && !output.waiting && !this.patient && this.quiet > timeoutSeconds) {
      const message = `The service was silent for ${timeoutSeconds} seconds.`;
      return this.timedOut(fail('egress_timeout', { message }));
    }
    if (output.stream && output.silent >= KEEP_ALIVE_AFTER) output.keepAlive();
  }

  /** Ends a stream that would otherwise outlive the process. */
  stop(): void {
    if (this.over || !this.output.stream) return;
    this.exchange?.abort();
    this.output.end();
    this.finished('ok');
  }
}
