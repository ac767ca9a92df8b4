import type { Auth, Connector, RefreshSettings } from './connector.ts';

/** One thing that a person enters on the connect page. */
export type AskedField = { name: 'token' | 'value' | 'username' | 'password'; label: string; secret: boolean };

/**
 * How a connector comes by the credential of a connection.
 * `consent`: its owner signs in at the service and allows it. `minted`: the gateway asks the service for a token by itself,
 * with what `asks` names where that is not in the document. `entered`: its owner enters what the service has given them.
 */
export type ConnectionSettings = {
  how: 'consent' | 'minted' | 'entered';
  owner: 'user' | 'tenant';
  asks: readonly AskedField[];
  /** Shown above the fields: where to find what is asked for. */
  guide: string;
  refreshToken: RefreshSettings;
};

const PLAIN_REFRESH: RefreshSettings = {
  enabled: true,
  keepAlive: true,
  bufferTime: 300,
  maxRetries: 3,
  retryDelay: 1_000,
  fallbackBehavior: 'queue',
};

const LABELS = {
  token: 'Token',
  value: 'API key',
  username: 'User name',
  password: 'Password',
} as const;

/** Null for a connector without connections: it has a credential of its own, or none. */
export function connectionSettings(auth: Auth): ConnectionSettings | null {
  if (auth.type === 'oauth2') {
    const how = auth.flow === 'authorization_code' ? 'consent' : 'minted';
    return { how, owner: auth.owner, asks: [], guide: '', refreshToken: auth.refreshToken };
  }
  if (auth.type === 'none' || auth.type === 'headers') return null;
  const owner = auth.owner ?? 'tenant';
  if (owner === 'tenant' && auth.type !== 'login') return null;
  const names = owner === 'tenant' ? [] : namesOf(auth.type);
  const asks = names.map((name) => ({
    name,
    label: auth.labels?.[name] ?? LABELS[name],
    secret: name !== 'username',
  }));
  return {
    how: auth.type === 'login' ? 'minted' : 'entered',
    owner,
    asks,
    guide: auth.guide ?? '',
    refreshToken: auth.type === 'login' ? auth.refreshToken : PLAIN_REFRESH,
  };
}

function namesOf(type: 'bearer' | 'api-key' | 'basic' | 'login'): AskedField['name'][] {
  if (type === 'bearer') return ['token'];
  return type === 'api-key' ? ['value'] : ['username', 'password'];
}

/**
 * Where what a person entered or consented to may go: it was given for these addresses, and an operator who changes one
 * of them does not get it sent there. Undefined where nobody was asked.
 */
export function boundOf(connector: Pick<Connector, 'document' | 'connection'>): string | undefined {
  const { connection, document } = connector;
  const { auth } = document;
  if (connection?.how === 'consent') return JSON.stringify([auth.type, new URL(document.url).origin]);
  if (connection === null || connection.asks.length === 0) return undefined;
  const login = auth.type === 'login' ? [auth.loginUrl, auth.refreshUrl ?? ''] : [];
  return JSON.stringify([auth.type, new URL(document.url).origin, ...login]);
}
