export type ConnectionTables = {
  /** Our client identity at an issuer, per connector (never shared between tenants or connectors). */
  registrations: {
    tenant: string;
    id: string;
    connector_id: string;
    issuer: string;
    /** Unique per connector while the registration is in use: `static`, or kind and issuer; the id once retired. */
    slot: string;
    /** `static`, `metadata_document` or `dynamic`. */
    kind: string;
    client_id: string;
    redirect_uri: string;
    token_endpoint_auth_method: string;
    /** Client secret and registration access token, sealed JSON; null for a public client. */
    sealed: string | null;
    secret_expires_at: number | null;
    created_at: number;
    retired_at: number | null;
  };
  /** A single-use permission to start a connect for one user; carries no authority of its own. */
  tickets: {
    tenant: string;
    hash: string;
    user_id: string;
    connector_id: string;
    scopes: string;
    flow: string;
    /** Where the browser goes afterwards: a path of ours, or null for the result page. */
    return_to: string | null;
    created_at: number;
    expires_at: number;
    used_at: number | null;
  };
  /** An authorization request under way, by the hash of its `state`. */
  pending_authorizations: {
    tenant: string;
    state_hash: string;
    user_id: string;
    connector_id: string;
    registration_id: string;
    browser_hash: string;
    /** PKCE verifier and everything that the callback must compare, sealed JSON. */
    sealed: string;
    flow: string;
    created_at: number;
    expires_at: number;
    consumed_at: number | null;
    /** What the first callback led to, shown again to a repeated one; JSON. */
    outcome: string | null;
  };
  connections: {
    tenant: string;
    id: string;
    connector_id: string;
    /** `user` or `tenant`. */
    owner_type: string;
    /** User id, or the tenant's id for a shared connection. */
    owner_id: string;
    registration_id: string | null;
    status: string;
    /** Counts the credentials that this row has held; every write of a credential is fenced by it. */
    generation: number;
    /** The credential: tokens and declared extra fields, sealed JSON. */
    sealed: string | null;
    /** A raw token answer that could not be judged yet, sealed. */
    staged: string | null;
    /** Fence of the refresh under way: only its holder writes what the refresh brought. */
    attempt: string | null;
    /** The refresh under way: JSON {generation, started, deadline, notBefore, asked, lost, replays, process, epoch}. */
    intent: string | null;
    /** Hash of a refresh token that got a definite refusal: never presented again. */
    tombstone: string | null;
    /** When the request left that brought the credential. */
    issued_at: number;
    expires_at: number | null;
    grant_expires_at: number | null;
    /** What has to be replayed at refresh: JSON {issuer, tokenEndpoint, revocationEndpoint, resource, audience, …}. */
    terms: string;
    scopes_requested: string;
    scopes_granted: string;
    account_subject: string | null;
    account_label: string | null;
    created_at: number;
    updated_at: number;
    last_refresh_at: number | null;
    next_refresh_at: number | null;
    last_used_at: number | null;
    /** JSON {code, message, hint} or null. */
    last_error: string | null;
  };
  /** What the owners of connections have been told; a row is made with the first notice. */
  connection_notices: {
    tenant: string;
    connection_id: string;
    /** Generation of the credential that needed its owner; -1 when there was none. */
    told_generation: number;
    /** The end of the grant that was warned of. */
    warned_end: number | null;
    /** The last warning about that end: 14, 3 or 1 days before. */
    warned_days: number | null;
  };
  /** Tokens still to be revoked upstream after a disconnect; kept at most a day. */
  revocations: {
    tenant: string;
    id: string;
    connection_id: string;
    sealed: string;
    attempts: number;
    next_attempt_at: number;
    expires_at: number;
  };
};
