export type ConnectorTables = {
  connectors: {
    tenant: string;
    id: string;
    name: string;
    /** The connector document of docs/connectors.md as JSON, plain secrets replaced by references to `sealed`. */
    document: string;
    /** Write-only plain values of the document, sealed, as one JSON object by path; null when there are none. */
    sealed: string | null;
    /** `api` or `file`: a connector declared in valetkey.yaml is changed there. */
    source: string;
    revision: number;
    created_at: number;
    updated_at: number;
  };
  /** What an upstream listed last, for showing tools before anyone is connected. One row a (connector, audience). */
  tool_catalogue: {
    tenant: string;
    connector_id: string;
    /** `anonymous`, `tenant`, or the id of the user whose credential listed it: never shown to another user. */
    audience: string;
    tools: string;
    fetched_at: number;
  };
  /** What testing a connector found last. */
  connector_checks: {
    tenant: string;
    connector_id: string;
    /** Of the connector that was tested. */
    revision: number;
    checked_at: number;
    /** JSON {reachable, auth, error}. */
    result: string;
  };
};
