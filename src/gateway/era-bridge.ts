import type { Clock } from '../clock.ts';
import type { Credential } from '../connectors/credential.ts';
import type { Exchange, Kind, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import { ask } from '../connectors/kinds/mcp/ask.ts';
import { MODERN_VERSION } from './envelope.ts';
import { carriedIn, carry, createPresences } from './era-carried.ts';
import { Detection, type Turn } from './era-detection.ts';
import { LegacyCall } from './era-legacy-call.ts';
import { LegacyListen } from './era-legacy-listen.ts';
import { createLegacySessions, isLegacySession } from './era-legacy-session.ts';
import { isAboutMessage, isObject, type Json, type Refusal } from './era-messages.ts';
import { modernHeaders } from './era-modern-call.ts';
import { inSession, soon } from './era-modern-session.ts';
import { createParamHeaders } from './era-param-headers.ts';
import { createQuestions } from './era-questions.ts';
import { META, metaOf, modernParams, offered } from './era-translate.ts';
import { createVerdicts } from './era-verdicts.ts';
import { RPC } from './rpc.ts';

/** A refusal that neither era explains is not looked into again for so long. */
const UNEXPLAINED_MS = 60_000;
const SERVER = { name: 'unknown', version: '0' };

/**
 * Makes every service look as if it spoke the era of the client. What speaks it anyway is not touched: a request goes
 * out as it came, and only a service that refuses it is asked whether it knows the other era.
 */
export function createEraBridge({ kind, clock }: { kind: Kind; clock: Clock }): Kind & { close(): void } {
  const sessions = createLegacySessions({ kind, clock });
  const questions = createQuestions({ clock });
  const presences = createPresences();
  const paramHeaders = createParamHeaders();
  const forLegacy = { kind, clock, sessions, questions };
  const forModern = { kind, presences, paramHeaders };
  /** `passes`: it answers requests of 2026-07-28, though nobody asked yet whether it means them. */
  const ofModern = createVerdicts<'modern' | 'passes' | 'legacy' | 'unexplained'>({ clock });
  /** Every other session is begun with the client's own `initialize`, so that there is nothing to remember. */
  const ofLegacy = createVerdicts<'unexplained'>({ clock });

  function atLegacy(request: UpstreamRequest, credential: Credential | null, sink: ReplySink): Exchange {
    const message = messageOf(request);
    const method = String(message['method']);
    const params = isObject(message['params']) ? message['params'] : {};
    if (params['requestState'] !== undefined) {
      const waiting = questions.take(request, method, params);
      if (waiting !== undefined) return waiting.resume(message, sink);
      const error = { code: RPC.invalidParams, message: 'This question is no longer open. Make the call again.' };
      return soon(sink, (reply) => reply.error(message['id'], error, 400));
    }
    const call =
      method === 'subscriptions/listen'
        ? new LegacyListen(forLegacy, request, credential, message, sink)
        : new LegacyCall(forLegacy, request, credential, message, sink);
    queueMicrotask(() => call.begin());
    return call;
  }

  /** What the service says of itself to the client of `params`; a refusal when it does not know the question. */
  async function discover(
    request: UpstreamRequest,
    credential: Credential | null,
    params: Json,
  ): Promise<Json | Refusal> {
    const { connector } = request;
    const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
    const headers = modernHeaders('server/discover', {}).slice(4);
    const message = { id: 0, method: 'server/discover', params };
    const answer = await ask(kind, connector, credential, message, headers, signal);
    const result = answer.message?.['result'];
    if (answer.status < 300 && isObject(result) && speaksModern(result)) return result;
    const status = answer.status < 300 ? 400 : answer.status;
    return { status, headers: answer.headers, body: Buffer.alloc(0) };
  }

  async function legacyTurn(request: UpstreamRequest, credential: Credential | null, asked: boolean): Promise<Turn> {
    const params = messageOf(request)['params'];
    const { connector } = request;
    if (!asked) {
      const said = await discover(request, credential, { _meta: metaOf(params) });
      if (!isRefusal(said)) {
        ofModern.note(connector, credential, 'modern');
        return null;
      }
      // Who may not come in, or a service that is down, has said nothing of eras.
      if (!isAboutMessage(said)) return null;
    }
    const session = await sessions.take(request, credential, isObject(params) ? params : {});
    if (isLegacySession(session)) {
      sessions.release(session);
      ofModern.note(connector, credential, 'legacy');
      return (sink) => atLegacy(request, credential, sink);
    }
    if (isAboutMessage(session)) ofModern.note(connector, credential, 'unexplained', UNEXPLAINED_MS);
    return null;
  }

  /** Services learn: what was true an hour ago is asked again, while calls go on as before. */
  function lookAgain(request: UpstreamRequest, credential: Credential | null): void {
    const { connector } = request;
    ofModern.note(connector, credential, 'legacy');
    discover(request, credential, { _meta: metaOf(messageOf(request)['params']) }).then(
      (said) => {
        if (!isRefusal(said)) ofModern.note(connector, credential, 'modern');
      },
      // It is down: then this was no time to ask.
      () => ofModern.note(connector, credential, 'legacy', UNEXPLAINED_MS),
    );
  }

  function fromModern(request: UpstreamRequest, credential: Credential | null, sink: ReplySink): Exchange {
    const { connector } = request;
    const known = ofModern.of(connector, credential);
    if (known?.verdict === 'legacy') {
      if (known.stale) lookAgain(request, credential);
      return atLegacy(request, credential, sink);
    }
    const fresh = known !== undefined && !known.stale;
    const handshake = request.headers.includes('server/discover');
    if (fresh && (known.verdict !== 'passes' || !handshake)) return kind.exchange(request, credential, sink);
    return new Detection(kind, request, credential, sink, {
      handshake,
      passed(result) {
        if (result === undefined) ofModern.note(connector, credential, 'passes');
        else if (speaksModern(result)) ofModern.note(connector, credential, 'modern');
      },
      async refused(_refusal, error) {
        // These codes are of 2026-07-28 and no other revision.
        const code = Number(error?.['code']);
        if (code <= -32020 && code >= -32099) {
          ofModern.note(connector, credential, 'modern');
          return null;
        }
        return await legacyTurn(request, credential, handshake);
      },
    });
  }

  async function modernTurn(request: UpstreamRequest, credential: Credential | null): Promise<Turn> {
    const { id, params } = messageOf(request);
    const { id: session, carried } = carry(isObject(params) ? params : {});
    const { connector } = request;
    const said = await discover(request, credential, modernParams({}, carried));
    if (isRefusal(said)) {
      if (isAboutMessage(said)) ofLegacy.note(connector, credential, 'unexplained', UNEXPLAINED_MS);
      return null;
    }
    const serverInfo = metaOf(said)[META.server];
    const result = {
      protocolVersion: carried.version,
      capabilities: offered(said['capabilities']),
      serverInfo: isObject(serverInfo) ? serverInfo : SERVER,
      ...(typeof said['instructions'] === 'string' ? { instructions: said['instructions'] } : {}),
    };
    return (sink) => soon(sink, (reply) => reply.result(id, result, { 'mcp-session-id': session }));
  }

  function fromLegacy(request: UpstreamRequest, credential: Credential | null, sink: ReplySink): Exchange {
    const at = request.headers.indexOf('mcp-session-id');
    if (at !== -1) {
      const id = request.headers[at + 1] as string;
      const carried = carriedIn(id);
      if (carried === undefined) return kind.exchange(request, credential, sink);
      return inSession(forModern, request, credential, { id, carried }, sink);
    }
    const known = request.opening ? ofLegacy.of(request.connector, credential) : undefined;
    if (!request.opening || known?.stale === false) {
      return kind.exchange(request, credential, sink);
    }
    return new Detection(kind, request, credential, sink, {
      handshake: true,
      passed: () => undefined,
      refused: async () => await modernTurn(request, credential),
    });
  }

  return {
    exchange(request, credential, sink) {
      return request.modern === true ? fromModern(request, credential, sink) : fromLegacy(request, credential, sink);
    },
    close() {
      questions.close();
      sessions.close();
    },
  };
}

function messageOf(request: UpstreamRequest): Json {
  return JSON.parse(String(request.body)) as Json;
}

function isRefusal(said: Json | Refusal): said is Refusal {
  return Buffer.isBuffer(said['body']);
}

function speaksModern(result: Json): boolean {
  const { supportedVersions } = result;
  return Array.isArray(supportedVersions) && supportedVersions.includes(MODERN_VERSION);
}
