import type { Secret } from '../secret.ts';

/**
 * What is put on an upstream request. Where it came from, a connection or a static secret, is not known here.
 * `fields`: `access_token` (and `token`, the same) of a connection; `token`, `value`, `username`, `password`, `basic`
 * or header names of a static one; extra fields that the connector declares.
 */
export type Credential = {
  /** Stable id of the connection, or `static:<connector id>`. */
  key: string;
  /** Grows whenever the secret material changes. */
  generation: number;
  fields: Readonly<Record<string, Secret>>;
  /** Milliseconds since 1970; null when it does not run out, or nobody knows. */
  expiresAt: number | null;
};
