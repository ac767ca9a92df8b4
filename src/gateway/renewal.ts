import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import type { Kind } from '../connectors/kinds/kind.ts';
import { ask } from '../connectors/kinds/mcp/ask.ts';
import { fail } from '../errors.ts';
import type { Session } from './session.ts';
import { negotiate } from './unconnected.ts';

/** Begins a session again at the upstream; answers its upstream id, null when it has none. */
export type Renewal = {
  renew(connector: Connector, credential: Credential, session: Session): Promise<string | null>;
  /** The upstream no longer knows `gone`: the next `renew` begins another, unless one was begun since. */
  forget(credential: Credential, session: Session, gone: string | null): void;
};

const MAX_HELD = 20_000;

/**
 * A client that began without a credential keeps its session when it gets one: with what it said then, the gateway
 * begins a session of its own upstream. What is remembered here is only which: another process begins another.
 */
export function createRenewal({ kind }: { kind: Kind }): Renewal {
  const renewed = new Map<string, { upstream: Promise<string | null>; id: string | null | undefined }>();
  const keyOf = (credential: Credential, session: Session): string => `${credential.key}\n${session.nonce}`;

  async function begin(connector: Connector, credential: Credential, session: Session): Promise<string | null> {
    const { handshake } = session;
    if (handshake === null) throw fail('session_unknown');
    const signal = AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000);
    const params = {
      protocolVersion: negotiate(handshake.version),
      clientInfo: handshake.clientInfo,
      capabilities: handshake.capabilities,
    };
    const answer = await ask(kind, connector, credential, { id: 1, method: 'initialize', params }, [], signal);
    const result = answer.message?.['result'] as { protocolVersion?: unknown } | undefined;
    if (answer.status >= 300 || typeof result?.protocolVersion !== 'string') {
      throw fail('upstream_failed', { detail: { status: answer.status, step: 'initialize' } });
    }
    const id = answer.headers['mcp-session-id'];
    const upstream = typeof id === 'string' ? id : null;
    const headers = ['mcp-protocol-version', result.protocolVersion];
    if (upstream !== null) headers.push('mcp-session-id', upstream);
    await ask(kind, connector, credential, { method: 'notifications/initialized' }, headers, signal);
    return upstream;
  }

  return {
    renew(connector, credential, session) {
      const key = keyOf(credential, session);
      const known = renewed.get(key);
      if (known !== undefined) return known.upstream;
      const upstream = begin(connector, credential, session);
      const entry: { upstream: Promise<string | null>; id: string | null | undefined } = { upstream, id: undefined };
      renewed.set(key, entry);
      if (renewed.size > MAX_HELD) renewed.delete(renewed.keys().next().value as string);
      upstream.then(
        (id) => (entry.id = id),
        () => renewed.delete(key),
      );
      return upstream;
    },
    forget(credential, session, gone) {
      const key = keyOf(credential, session);
      if (renewed.get(key)?.id === gone) renewed.delete(key);
    },
  };
}
