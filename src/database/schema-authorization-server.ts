export type AuthorizationServerTables = {
  /** Artefacts of the OAuth engine: grants, codes, tokens, interactions, clients. Keys are hashes of bearer values. */
  oauth_records: {
    model: string;
    id_hash: string;
    payload: string;
    grant_id: string | null;
    uid_hash: string | null;
    user_code_hash: string | null;
    expires_at: number | null;
    consumed_at: number | null;
  };
  /** What a user allowed a client, per redirect and resource; the grant itself is an oauth record. */
  consents: {
    tenant: string;
    user_id: string;
    client_id: string;
    redirect_uri: string;
    resource: string;
    scopes: string;
    client_fingerprint: string;
    grant_id: string;
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
