import type { FlowId, TenantId, UserId } from '../ids.ts';
import type { Identity } from '../identity/identity.ts';

/** What is needed of identity. */
export type People = Pick<Identity, 'session' | 'onUserChanged'> & { users: Pick<Identity['users'], 'find'> };

/** The connect page to visit before the client is answered, or null when the connector needs no connection now. */
export type ConnectStep = (input: {
  tenant: TenantId;
  user: UserId;
  resource: string;
  flow: FlowId;
  returnTo: string;
}) => Promise<string | null>;

/** How the engine names a person: `tenant/user`. */
export function accountOf(tenant: TenantId, user: UserId): string {
  return `${tenant}/${user}`;
}

export function personOf(account: string): { tenant: TenantId; user: UserId } {
  const at = account.indexOf('/');
  return { tenant: account.slice(0, at) as TenantId, user: account.slice(at + 1) as UserId };
}
