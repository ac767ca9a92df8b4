import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { Credential } from '../connectors/credential.ts';
import type { ConnectorId, FlowId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';

/** Why there is no credential. */
export type CredentialRefusal = {
  refusal: 'connection_required' | 'needs_reconnect' | 'missing_scopes' | 'temporarily_unavailable';
  scopes?: readonly string[] | undefined;
  /** The missing scopes were asked for before: asking again would lead nowhere. */
  exhausted?: boolean | undefined;
  retryAfterMs?: number | undefined;
  /** With temporarily_unavailable: what an owner of the gateway has to put right first. */
  told?: { code: string; message: string; hint: string } | undefined;
};

/** Null: this connector has none, or none yet. */
export type CredentialAnswer = Credential | CredentialRefusal | null;

/** What the gateway needs of the room that holds people's connections. */
export type ConnectionSource = {
  credential(connector: Connector, principal: Principal): CredentialAnswer | Promise<CredentialAnswer>;
  rejected(
    connector: Connector,
    principal: Principal,
    credential: Credential,
    answer: {
      status: number;
      wwwAuthenticate: string | null;
      /** The credential is what an earlier refusal of this very call has brought. */
      again?: boolean | undefined;
    },
  ): Promise<CredentialAnswer>;
  /** Tells `tenant/connector/…` of a connection that changed, or null when any may have. Returns the way out. */
  onChanged(listener: (key: string | null) => void): () => void;
  connectUrl(
    connector: Connector,
    principal: Principal,
    options: { flow: FlowId; scopes?: readonly string[] },
  ): Promise<{ url: string; expiresAt: number }>;
};

export type Credentials = {
  /** Synchronous when it is in memory. */
  get(connector: Connector, principal: Principal): CredentialAnswer | Promise<CredentialAnswer>;
};

export function isCredentialRefusal(answer: CredentialAnswer): answer is CredentialRefusal {
  return answer !== null && 'refusal' in answer;
}

export function createCredentials(
  connectors: Pick<Connectors, 'staticCredential' | 'onChanged'>,
  connections: ConnectionSource,
): Credentials {
  const statics = new Map<ConnectorId, { connector: Connector; credential: Credential | null }>();
  connectors.onChanged((id) => statics.delete(id));

  return {
    get(connector, principal) {
      const { type } = connector.document.auth;
      if (type === 'none') return null;
      if (connector.connection !== null) return connections.credential(connector, principal);
      const held = statics.get(connector.id);
      if (held !== undefined && held.connector === connector) return held.credential;
      return connectors.staticCredential(connector).then((credential) => {
        statics.set(connector.id, { connector, credential });
        return credential;
      });
    },
  };
}
