import type { Clock } from '../clock.ts';
import { hashToken, newId, newToken, type TenantId, type UserId } from '../ids.ts';
import { Secret } from '../secret.ts';
import { DEFAULT_TENANT, type Principal } from './principal.ts';
import type { ApiTokenRow, IdentityStore } from './store.ts';
import { toUser } from './users.ts';

/** So that a leaked one is recognised by secret scanners. */
const API_TOKEN_PREFIX = 'vkt_';
const USED_EVERY_MS = 60_000;

export type ApiToken = {
  id: string;
  user: UserId;
  label: string;
  createdAt: number;
  expiresAt: number | null;
  lastUsedAt: number | null;
  revokedAt: number | null;
};

export type ApiTokens = {
  /** The token itself is returned here and never again. */
  create(input: {
    tenant: TenantId;
    user: UserId;
    label: string;
    expiresAt?: number | null;
  }): Promise<{ token: Secret; apiToken: ApiToken }>;
  /** Of one user, or of everybody in the tenant. */
  list(tenant: TenantId, user?: UserId): Promise<ApiToken[]>;
  /** With `user`, only a token of theirs. False when there is none to revoke. */
  revoke(tenant: TenantId, id: string, user?: UserId): Promise<boolean>;
  /** The principal of an `Authorization` header that carries an API token or the admin token. */
  principal(authorization: string | undefined | null): Promise<Principal | undefined>;
};

export function createApiTokens(options: {
  store: IdentityStore;
  clock: Clock;
  adminToken?: Secret | undefined;
}): ApiTokens {
  const { store, clock } = options;
  const adminHash = options.adminToken === undefined ? undefined : new Secret(hashToken(options.adminToken.unwrap()));
  return {
    async create({ tenant, user, label, expiresAt = null }) {
      const token = `${API_TOKEN_PREFIX}${newToken()}`;
      const row: ApiTokenRow = {
        tenant,
        id: newId<string>('tok'),
        hash: hashToken(token),
        user_id: user,
        label: label.slice(0, 100),
        created_at: clock.now(),
        expires_at: expiresAt,
        last_used_at: null,
        revoked_at: null,
      };
      await store.addApiToken(row);
      return { token: new Secret(token), apiToken: toApiToken(row) };
    },
    list: async (tenant, user) => (await store.apiTokens(tenant, user)).map(toApiToken),
    revoke: (tenant, id, user) => store.revokeApiToken(tenant, id, clock.now(), user),
    async principal(authorization) {
      const bearer = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(authorization ?? '')?.[1];
      if (bearer === undefined) return undefined;
      const hash = hashToken(bearer);
      if (adminHash?.equals(new Secret(hash)) === true) {
        return {
          tenant: DEFAULT_TENANT,
          user: null,
          email: null,
          role: 'owner',
          client: null,
          scopes: [],
          expiresAt: null,
        };
      }
      if (!bearer.startsWith(API_TOKEN_PREFIX)) return undefined;
      const now = clock.now();
      const found = await store.apiToken(hash, now);
      if (found === undefined) return undefined;
      const { token } = found;
      if ((token.last_used_at ?? 0) <= now - USED_EVERY_MS) await store.usedApiToken(token.tenant, token.id, now);
      const user = toUser(found.user);
      return {
        tenant: user.tenant,
        user: user.id,
        email: user.email,
        role: user.role,
        client: null,
        scopes: [],
        expiresAt: token.expires_at,
      };
    },
  };
}

function toApiToken(row: ApiTokenRow): ApiToken {
  return {
    id: row.id,
    user: row.user_id as UserId,
    label: row.label,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    revokedAt: row.revoked_at,
  };
}
