export type VaultTables = {
  /** A tenant's data keys, wrapped by the key source. The newest unretired one seals. */
  data_keys: {
    tenant: string;
    id: string;
    wrapped: string;
    key_source: string;
    created_at: number;
    retired_at: number | null;
  };
  /** Named secrets that connector documents refer to by `{secret: NAME}`. */
  secrets: {
    tenant: string;
    name: string;
    sealed: string;
    version: number;
    created_at: number;
    updated_at: number;
  };
};
