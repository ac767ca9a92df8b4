export type IdentityTables = {
  tenants: { id: string; title: string; created_at: number; suspended_at: number | null };
  users: {
    tenant: string;
    id: string;
    /** Lower case; unique in its tenant. */
    email: string;
    name: string;
    /** `owner` or `member`. */
    role: string;
    /** PHC string of argon2id; null until the invitation was used. */
    password_hash: string | null;
    created_at: number;
    disabled_at: number | null;
  };
  /** Set-up, invitation and password links: the link's token is stored hashed. */
  invitations: {
    tenant: string;
    hash: string;
    /** `setup` or `invitation`. */
    kind: string;
    /** Null for a set-up link: the owner does not exist yet. */
    user_id: string | null;
    created_at: number;
    expires_at: number;
    used_at: number | null;
  };
  sessions: {
    tenant: string;
    id: string;
    hash: string;
    user_id: string;
    created_at: number;
    expires_at: number;
    last_seen_at: number;
    user_agent: string;
  };
  /** Failed sign-ins in a row by account and by network address, both hashed. */
  sign_in_failures: { tenant: string; key: string; failures: number; last_at: number; blocked_until: number };
  api_tokens: {
    tenant: string;
    id: string;
    hash: string;
    user_id: string;
    label: string;
    created_at: number;
    expires_at: number | null;
    last_used_at: number | null;
    revoked_at: number | null;
  };
};
