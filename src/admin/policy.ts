import type { Principal, Role } from '../identity/principal.ts';

/** Who may do what. Deny by default: an action that is not listed for a role is not there for it. */
const ALLOWED = {
  'whoami.read': ['owner', 'member'],
  /** Members see the connectors that they may use, without how these sign in. */
  'connector.read': ['owner', 'member'],
  'connector.write': ['owner'],
  'connector.test': ['owner'],
  'tools.read': ['owner', 'member'],
  'tools.write': ['owner'],
  /** Members: their own. */
  'connection.read': ['owner', 'member'],
  'connection.make': ['owner', 'member'],
  'connection.revoke': ['owner', 'member'],
  'connection.read_all': ['owner'],
  /** Members: for themselves. */
  'token.store': ['owner', 'member'],
  /** One's own, and only where the connector says so; an owner gets nobody else's. */
  'token.get': ['owner', 'member'],
  'user.read': ['owner'],
  'user.write': ['owner'],
  'secret.read': ['owner'],
  'secret.write': ['owner'],
  'instance.read': ['owner'],
  'instance.adopt': ['owner'],
  /** One's own tokens. */
  'api_token.read': ['owner', 'member'],
  'api_token.write': ['owner', 'member'],
} as const satisfies Record<string, readonly Role[]>;

export type Action = keyof typeof ALLOWED;

export function isAllowed(principal: Principal, action: Action): boolean {
  return (ALLOWED[action] as readonly Role[]).includes(principal.role);
}
