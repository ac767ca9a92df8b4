import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';

/** What a 2025-era client said when it began, so that its session can be made again at the upstream. */
export type Handshake = { version: string; clientInfo: unknown; capabilities: unknown };

/**
 * An MCP session of a 2025-era client. All of it travels inside the session id, sealed: any process can take the next
 * request, and nothing is lost in a restart.
 */
export type Session = {
  /** The upstream's own session id; null when the upstream has none, or was not reached yet. */
  upstream: string | null;
  /** Whose credential the upstream saw when the session began: `Credential.key`, or null for none. */
  credential: string | null;
  /** Kept when it began without a credential: with one, the session is begun anew at the upstream. */
  handshake: Handshake | null;
  /** Distinguishes sessions that have nothing else of their own. */
  nonce: string;
};

/** What an `initialize` said; what it left out is filled in, since the upstream insists. */
export function handshakeOf(params: Readonly<Record<string, unknown>> | undefined): Handshake {
  const { protocolVersion, clientInfo, capabilities } = params ?? {};
  return {
    version: typeof protocolVersion === 'string' ? protocolVersion : '',
    clientInfo: clientInfo ?? { name: 'unknown', version: '0' },
    capabilities: capabilities ?? {},
  };
}

/** Whether the upstream began this session for someone else, or for nobody. */
export function needsRenewal(session: Session, credential: Credential | null): boolean {
  return session.credential !== (credential?.key ?? null);
}

export type Box = { seal(aad: string, bytes: Uint8Array): string; open(aad: string, text: string): Buffer | undefined };

export type Sessions = {
  /** To be waited for before `seal`; undefined when there is nothing to wait for. */
  prepare(tenant: TenantId): Promise<unknown> | undefined;
  /** Synchronous, since the reply that it is for does not wait. */
  seal(principal: Principal, connector: Connector, session: Session): string;
  /** Undefined for what is not ours, or belongs to another user, client or connector. */
  open(principal: Principal, connector: Connector, id: string): Session | undefined | Promise<Session | undefined>;
};

const MAX_ID = 8 * 1024;
const MAX_OPENED = 20_000;

export function createSessions(vault: { box(tenant: TenantId, purpose: string): Promise<Box> }): Sessions {
  const boxes = new Map<TenantId, Box>();
  // Opening costs more than the rest of a call does; what was opened once is remembered with whom it belongs to.
  const opened = new Map<string, { aad: string; session: Session }>();

  async function load(tenant: TenantId): Promise<Box> {
    const box = await vault.box(tenant, 'mcp-session');
    boxes.set(tenant, box);
    return box;
  }

  function unseal(box: Box, aad: string, id: string): Session | undefined {
    const bytes = box.open(aad, id);
    if (bytes === undefined) return undefined;
    const session = JSON.parse(bytes.toString('utf8')) as Session;
    opened.set(id, { aad, session });
    if (opened.size > MAX_OPENED) opened.delete(opened.keys().next().value as string);
    return session;
  }

  return {
    prepare: (tenant) => (boxes.has(tenant) ? undefined : load(tenant)),
    seal(principal, connector, session) {
      const box = boxes.get(connector.tenant);
      if (box === undefined) throw fail('internal', { detail: { reason: 'sealed before prepared' } });
      return box.seal(ownerOf(principal, connector), Buffer.from(JSON.stringify(session)));
    },
    open(principal, connector, id) {
      const aad = ownerOf(principal, connector);
      const known = opened.get(id);
      if (known !== undefined) return known.aad === aad ? known.session : undefined;
      if (id.length > MAX_ID) return undefined;
      const box = boxes.get(connector.tenant);
      return box === undefined
        ? load(connector.tenant).then((loaded) => unseal(loaded, aad, id))
        : unseal(box, aad, id);
    },
  };
}

function ownerOf(principal: Principal, connector: Connector): string {
  return `${connector.tenant}\n${connector.id}\n${principal.user ?? ''}\n${principal.client ?? ''}`;
}
