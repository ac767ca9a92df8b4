import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import { headerText, type Kind, type UpstreamRequest } from '../connectors/kinds/kind.ts';
import { ask } from '../connectors/kinds/mcp/ask.ts';
import { isBridged } from '../connectors/kinds/mcp/sse.ts';
import { fail } from '../errors.ts';
import { LEGACY_VERSIONS } from './envelope.ts';
import { isObject, type Json, type Refusal } from './era-messages.ts';
import { askable, META, metaOf, rank } from './era-translate.ts';

/** A session that the gateway holds at a 2025-era service, for clients that have none of their own. */
export type LegacySession = {
  connector: Connector;
  credential: Credential | null;
  /** Flat: what every message in it carries. */
  headers: string[];
  /** What the service said of itself. */
  introduction: { capabilities: Json; serverInfo: unknown; instructions: unknown };
  /** One call at a time: over HTTP+SSE nothing tells which call a message belongs to. */
  alone: boolean;
  users: number;
  usedAt: number;
  nextId: number;
  /** Rank of the most talkative log level asked for so far. */
  level: number | undefined;
};

export type LegacySessions = {
  /**
   * A session of this person and credential, with what the client of `params` can be asked; given back by `release`.
   * @throws ValetkeyError egress_*, upstream_invalid
   */
  take(request: UpstreamRequest, credential: Credential | null, params: Json): Promise<LegacySession | Refusal>;
  /** One that nobody else uses; `release` ends it. */
  takeOwn(request: UpstreamRequest, credential: Credential | null, params: Json): Promise<LegacySession | Refusal>;
  release(session: LegacySession): void;
  /** The service no longer knows it. */
  drop(session: LegacySession): void;
  /** Makes the service as talkative as this level, unless it is already. */
  listenTo(session: LegacySession, level: string): Promise<void>;
  /** Sends what wants no answer. */
  tell(session: LegacySession, message: Json): void;
  close(): void;
};

const IDLE_MS = 5 * 60_000;
const MAX_SESSIONS = 10_000;
const CLIENT = { name: 'valetkey', version: '0.1.0' };

export function isLegacySession(answer: LegacySession | Refusal): answer is LegacySession {
  return 'introduction' in answer;
}

export function createLegacySessions({ kind, clock }: { kind: Kind; clock: Clock }): LegacySessions {
  /** A connector that changes is another object: what was held for the old one is found by nobody and goes idle. */
  const byConnector = new WeakMap<Connector, Map<string, Set<LegacySession>>>();
  const beginning = new WeakMap<Connector, Map<string, Promise<LegacySession | Refusal>>>();
  const held = new Map<LegacySession, Set<LegacySession> | null>();
  const stopSweep = clock.every(60_000, () => {
    const before = clock.now() - IDLE_MS;
    for (const session of held.keys()) if (session.users === 0 && session.usedAt < before) end(session);
  });

  function forget(session: LegacySession): void {
    held.get(session)?.delete(session);
    held.delete(session);
  }

  /** Best effort: a service that keeps sessions is told that this one is over. */
  function end(session: LegacySession): void {
    if (!held.has(session)) return;
    forget(session);
    const { connector, credential, headers } = session;
    if (headers.includes('mcp-session-id')) send({ connector, method: 'DELETE', headers, body: null }, credential);
  }

  function send(
    request: Pick<UpstreamRequest, 'connector' | 'method' | 'headers' | 'body'>,
    credential: Credential | null,
  ): void {
    const ignore = (): void => undefined;
    kind.exchange({ ...request, opening: false, stream: false }, credential, {
      replyStart: (_status, _headers, exchange) => exchange.abort(),
      replyData: ignore,
      replyEnd: ignore,
      replyFailed: ignore,
    });
  }

  async function begin(
    connector: Connector,
    credential: Credential | null,
    params: Json,
    group: Set<LegacySession> | null,
  ): Promise<LegacySession | Refusal> {
    if (held.size >= MAX_SESSIONS) throw fail('unavailable');
    const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
    const meta = metaOf(params);
    const message = {
      id: 0,
      method: 'initialize',
      params: {
        protocolVersion: LEGACY_VERSIONS[0],
        capabilities: askable(meta[META.capabilities]),
        clientInfo: isObject(meta[META.client]) ? meta[META.client] : CLIENT,
      },
    };
    const answer = await ask(kind, connector, credential, message, [], signal);
    const result = answer.message?.['result'];
    if (answer.status >= 300 || !isObject(result)) {
      const { status, headers } = answer;
      // An error under 200 is a refusal of the handshake all the same.
      const body = Buffer.from(answer.message === null ? '' : JSON.stringify(answer.message));
      return { status: status >= 300 ? status : 400, headers, body };
    }
    const { protocolVersion, capabilities, serverInfo, instructions } = result;
    if (!LEGACY_VERSIONS.includes(String(protocolVersion))) {
      throw fail('upstream_invalid', { detail: { step: 'initialize' } });
    }
    const headers = ['mcp-protocol-version', String(protocolVersion)];
    const id = headerText(answer.headers, 'mcp-session-id');
    if (id !== '') headers.push('mcp-session-id', id);
    await ask(kind, connector, credential, { method: 'notifications/initialized' }, headers, signal);
    const session: LegacySession = {
      connector,
      credential,
      headers,
      introduction: { capabilities: isObject(capabilities) ? capabilities : {}, serverInfo, instructions },
      alone: isBridged(id),
      users: 0,
      usedAt: clock.now(),
      nextId: 1,
      level: undefined,
    };
    held.set(session, group);
    group?.add(session);
    return session;
  }

  function use(session: LegacySession): LegacySession {
    session.users++;
    session.usedAt = clock.now();
    return session;
  }

  function within<T>(map: WeakMap<Connector, Map<string, T>>, connector: Connector): Map<string, T> {
    let inner = map.get(connector);
    if (inner === undefined) map.set(connector, (inner = new Map<string, T>()));
    return inner;
  }

  return {
    async take(request, credential, params) {
      const { connector } = request;
      const key = keyOf(request, credential, params);
      const groups = within(byConnector, connector);
      let group = groups.get(key);
      if (group === undefined) groups.set(key, (group = new Set()));
      const free = [...group].find((session) => !session.alone || session.users === 0);
      if (free !== undefined) return use(free);
      const pending = within(beginning, connector);
      const other = pending.get(key);
      if (other !== undefined) {
        const begun = await other;
        if (!isLegacySession(begun) || !begun.alone) return isLegacySession(begun) ? use(begun) : begun;
      }
      const begun = begin(connector, credential, params, group);
      pending.set(key, begun);
      try {
        const session = await begun;
        return isLegacySession(session) ? use(session) : session;
      } finally {
        if (pending.get(key) === begun) pending.delete(key);
        if (group.size === 0) groups.delete(key);
      }
    },
    async takeOwn(request, credential, params) {
      const session = await begin(request.connector, credential, params, null);
      return isLegacySession(session) ? use(session) : session;
    },
    release(session) {
      session.users--;
      session.usedAt = clock.now();
      if (held.get(session) === null) end(session);
    },
    drop: forget,
    async listenTo(session, level) {
      const wanted = rank(level);
      if (wanted === undefined || !isObject(session.introduction.capabilities['logging'])) return;
      if (session.level !== undefined && session.level <= wanted) return;
      session.level = wanted;
      const { connector, credential, headers } = session;
      const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
      const message = { id: session.nextId++, method: 'logging/setLevel', params: { level } };
      await ask(kind, connector, credential, message, headers, signal);
    },
    tell(session, message) {
      const { connector, credential, headers } = session;
      const flat = ['content-type', 'application/json', 'accept', 'application/json, text/event-stream', ...headers];
      const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
      send({ connector, method: 'POST', headers: flat, body }, credential);
    },
    close() {
      stopSweep();
      for (const session of held.keys()) end(session);
    },
  };
}

/** Sessions are no more shared than credentials are, and never between two people. */
function keyOf({ principal }: UpstreamRequest, credential: Credential | null, params: Json): string {
  const capabilities = askable(metaOf(params)[META.capabilities]);
  return JSON.stringify([credential?.key, credential?.generation, principal?.user, principal?.client, capabilities]);
}
