import type { Connector } from '../../src/connectors/connector.ts';
import type { Credential } from '../../src/connectors/credential.ts';
import type { ConnectionSource, CredentialAnswer } from '../../src/gateway/credentials.ts';
import type { Principal } from '../../src/identity/principal.ts';
import { Secret } from '../../src/secret.ts';

/** Access tokens that a test gives to users and takes from them, behind the interface that the gateway declares. */
export type Wallet = ConnectionSource & {
  give(user: string, token: string, generation?: number): Credential;
  take(user: string): void;
  /** What `rejected` answers next. */
  onRejected: (connector: Connector, principal: Principal, status: number) => CredentialAnswer;
  rejections: { user: string | null; status: number; wwwAuthenticate: string | null; generation: number }[];
  urls: { user: string | null; scopes: readonly string[] }[];
};

export function openWallet(): Wallet {
  const held = new Map<string, Credential>();
  const listeners = new Set<(key: string | null) => void>();
  const wallet: Wallet = {
    rejections: [],
    urls: [],
    onRejected: () => ({ refusal: 'needs_reconnect' }),
    give(user, token, generation = 1) {
      const credential: Credential = {
        key: `cnx_${user}`,
        generation,
        fields: { access_token: new Secret(token), token: new Secret(token) },
        expiresAt: null,
      };
      held.set(user, credential);
      for (const listener of listeners) listener(null);
      return credential;
    },
    take: (user) => void held.delete(user),
    credential: (_connector, principal) => held.get(principal.user ?? '') ?? { refusal: 'connection_required' },
    rejected(connector, principal, credential, { status, wwwAuthenticate, again }) {
      wallet.rejections.push({ user: principal.user, status, wwwAuthenticate, generation: credential.generation });
      return Promise.resolve(again ? { refusal: 'needs_reconnect' } : wallet.onRejected(connector, principal, status));
    },
    onChanged(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    connectUrl(connector, principal, { scopes = [] }) {
      wallet.urls.push({ user: principal.user, scopes });
      return Promise.resolve({ url: `https://gateway.example/connect/${connector.name}?ticket=t1`, expiresAt: 1e12 });
    },
  };
  return wallet;
}

export const oauth = {
  type: 'oauth2',
  clientId: 'app',
  authorizationUrl: 'https://idp.example/authorize',
  tokenUrl: 'https://idp.example/token',
};
