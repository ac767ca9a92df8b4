import type { TenantId, UserId } from '../ids.ts';

/** Owners administer their tenant; members use it. */
export type Role = 'owner' | 'member';

/** Who makes this request, and with what: tenant, user, client and scopes. */
export type Principal = {
  tenant: TenantId;
  /** Null for `VALETKEY_ADMIN_TOKEN`, which belongs to the operator and to no account. */
  user: UserId | null;
  email: string | null;
  role: Role;
  /** The OAuth client that acts for the user; null for a browser session or an API token. */
  client: string | null;
  scopes: readonly string[];
  /** Milliseconds since 1970, or null when it does not end by itself. */
  expiresAt: number | null;
};

export type User = {
  tenant: TenantId;
  id: UserId;
  /** Lower case; unique in its tenant. */
  email: string;
  name: string;
  role: Role;
  createdAt: number;
  disabledAt: number | null;
  /** Invited, and the invitation was not used yet: such a user cannot sign in. */
  pending: boolean;
};

/** Where the first owner and everything without a tenant of its own lives. */
export const DEFAULT_TENANT = 'default' as TenantId;
