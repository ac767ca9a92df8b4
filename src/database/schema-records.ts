export type RecordTables = {
  audit_events: {
    tenant: string;
    /** 1, 2, 3 … in its tenant. */
    sequence: number;
    id: string;
    at: number;
    flow: string | null;
    actor: string;
    client: string | null;
    address: string | null;
    action: string;
    object: string | null;
    outcome: string;
    detail: string;
    /** SHA-256 over the previous event's hash and this event. */
    hash: string;
  };
  calls: {
    tenant: string;
    id: string;
    at: number;
    connector: string;
    user_id: string | null;
    client_id: string | null;
    method: string;
    name: string | null;
    status: string;
    http_status: number;
    error_code: string | null;
    duration_ms: number;
    upstream_ms: number | null;
    request_bytes: number;
    response_bytes: number;
    address: string | null;
    flow: string | null;
  };
};
