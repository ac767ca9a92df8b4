import type { Clock } from '../clock.ts';
import { isOtherConnector } from '../connectors/auth-flows.ts';
import { boundOf } from '../connectors/connection-settings.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { createMcpKind } from '../connectors/kinds/mcp/mcp.ts';
import { listTools } from '../connectors/kinds/mcp/probe.ts';
import type { Credential } from '../connectors/credential.ts';
import type { Egress } from '../egress/egress.ts';
import { asValetkeyError } from '../errors.ts';
import type { FlowId, TenantId, ConnectorId, UserId } from '../ids.ts';
import type { Identity } from '../identity/identity.ts';
import type { Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import type { Connection, Owner, Tokens } from './connection.ts';
import type { CredentialSource } from './credential-source.ts';
import type { Discovery } from './discovery.ts';
import { createEntered, type Entered, type Tried } from './entered.ts';
import { ownerFor } from './live.ts';
import { createLogin } from './login.ts';
import { createMint, type Mint } from './mint.ts';
import { createMintRequests, type SubjectOf } from './mint-request.ts';
import type { Refresh } from './refresh.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import type { TokenEndpoint } from './token-request.ts';

export type WithoutConsent = {
  mint: Mint;
  entered: Entered;
  /** Renews each connection in the way that it came about. */
  renewal: Refresh;
  /** Whether what is sealed still serves the connector as it is now. */
  standing(connector: Connector, tokens: Tokens): 'good' | 'mint' | 'reconnect';
  /** The connector whose connection a token exchange of this person still lacks. */
  lacking(connector: Connector, principal: Pick<Principal, 'tenant' | 'user'>): Promise<Connector | undefined>;
};

const TRY_MS = 15_000;

/** Credentials that come about without a person's consent at the service: tokens asked for by the gateway, and entered ones. */
export function createWithoutConsent(options: {
  store: ConnectionStore;
  sealing: Sealing;
  tokens: TokenEndpoint;
  egress: Egress;
  discovery: Discovery;
  refresh: Refresh;
  connectors: Pick<Connectors, 'find' | 'clientSecrets' | 'secretAt'>;
  users: Pick<Identity['users'], 'find'>;
  clock: Clock;
  log: Log;
  exclusive: boolean;
  instance?: string | undefined;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  /** The live credential of another connector, for a token exchange. */
  credential: CredentialSource['credential'];
  onChanged: (row: Connection) => Promise<void>;
  onConnected: (row: Connection, user: UserId | null, flow: FlowId | null) => Promise<void>;
  onDead: (row: Connection, code: string) => Promise<void>;
}): WithoutConsent {
  const { store, sealing, egress, refresh, connectors, clock, log, connectorById } = options;
  const kind = createMcpKind({ egress, clock });
  const login = createLogin({ egress, clock });

  function subjectConnector(connector: Connector): Connector | undefined {
    const { auth } = connector.document;
    if (auth.type !== 'oauth2' || !isOtherConnector(auth.subjectToken)) return undefined;
    return connectors.find(connector.tenant, auth.subjectToken.connector);
  }

  const subjectOf: SubjectOf = async (connector, owner) => {
    const other = subjectConnector(connector);
    if (other?.connection == null) return { problem: 'auth.subjectToken names no connector with connections.' };
    // A circle would have no end.
    if (subjectConnector(other) !== undefined) {
      return { problem: 'auth.subjectToken names a connector that exchanges a token itself.' };
    }
    const answer = await options.credential(other, principalOf(connector.tenant, owner));
    if (answer === null) return { lacks: 'connection' };
    if (!('refusal' in answer)) {
      const token = answer.fields['access_token'];
      return token === undefined ? { lacks: 'connection' } : { token };
    }
    if (answer.refusal === 'connection_required') return { lacks: 'connection' };
    if (answer.refusal !== 'temporarily_unavailable') return { lacks: 'reconnect' };
    return { lacks: 'time', retryAfterMs: answer.retryAfterMs ?? 1_000 };
  };

  async function tryCall(connector: Connector, credential: Credential): Promise<Tried> {
    try {
      await listTools({ kind, connector, credential, signal: AbortSignal.timeout(TRY_MS) });
      return 'accepted';
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      if (error.code === 'upstream_unauthorized') return 'refused';
      // It may be right all the same: a service that is down keeps nobody from entering it.
      log.info({ connector: connector.id, code: error.code }, 'an entered credential could not be tried');
      return 'unknown';
    }
  }

  const { onChanged, onDead } = options;
  const mint = createMint({
    store,
    requests: createMintRequests({ ...options, login, subjectOf }),
    sealing,
    clock,
    log,
    exclusive: options.exclusive,
    instance: options.instance,
    connectorById,
    onChanged,
    onConnected: async (row) => await options.onConnected(row, null, null),
    onDead,
  });
  const entered = createEntered({
    store,
    sealing,
    login,
    tryCall,
    clock,
    log,
    onChanged,
    onConnected: options.onConnected,
    onDead,
  });
  const ways = { consent: refresh, minted: mint, entered: { ...entered, ripe: () => true } };
  const wayOf = ({ tenant, connector }: Connection) =>
    ways[connectorById(tenant, connector)?.connection?.how ?? 'consent'];

  return {
    mint,
    entered,
    renewal: {
      // Both note it: which of them it is for, the row itself does not say.
      ripe: (row) => [refresh.ripe(row), mint.ripe(row)].every(Boolean),
      renew: async (row, reason) => await wayOf(row).renew(row, reason),
      wake() {
        refresh.wake();
        mint.wake();
      },
      async stop() {
        await Promise.all([refresh.stop(), mint.stop()]);
      },
    },
    standing(connector, tokens) {
      if (tokens.bound !== boundOf(connector)) return 'reconnect';
      const minted = connector.connection?.how === 'minted';
      if ((tokens.revision !== undefined) !== minted) return minted ? 'mint' : 'reconnect';
      return minted && tokens.revision !== connector.revision ? 'mint' : 'good';
    },
    async lacking(connector, principal) {
      const other = subjectConnector(connector);
      const owner = other === undefined ? undefined : ownerFor(other, principal);
      if (other === undefined || owner === undefined || other.connection === null) return undefined;
      const row = await store.findOwned(other.tenant, other.id, owner);
      return row?.status === 'connected' || row?.status === 'suspect' ? undefined : other;
    },
  };
}

function principalOf(tenant: TenantId, owner: Owner): Principal {
  const user = owner.type === 'user' ? (owner.id as UserId) : null;
  return { tenant, user, email: null, role: 'member', client: null, scopes: [], expiresAt: null };
}
