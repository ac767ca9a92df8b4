export type AuthorizationServerTables = {
  /**
   * Artefacts of the OAuth engine: grants, codes, tokens, interactions, clients. Keys are hashes of bearer values, and
   * no payload holds a bearer value: what must hold one is sealed by that value itself.
   */
  oauth_records: {
    model: string;
    id_hash: string;
    payload: string;
    grant_id: string | null;
    /** `tenant/user` of the person behind the artefact. */
    account: string | null;
    client_id: string | null;
    expires_at: number | null;
    consumed_at: number | null;
    /** The answer that consumed a refresh token, sealed by that token, for parallel uses of it. */
    successor: string | null;
  };
  /** What a user allowed a client, per redirect and resource; the grants themselves are oauth records. */
  consents: {
    tenant: string;
    user_id: string;
    client_id: string;
    /** Without the port where the host is loopback. */
    redirect_uri: string;
    resource: string;
    scopes: string;
    client_fingerprint: string;
    client_name: string;
    created_at: number;
    last_used_at: number;
  };
  /** Client-id metadata documents as last fetched. */
  client_documents: {
    client_id: string;
    document: string;
    fetched_at: number;
    fresh_until: number;
  };
};
