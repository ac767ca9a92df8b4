/**
 * The one error class and the catalogue of codes.
 *
 * A code is decided on, a message is read. Each edge maps a code once: HTTP (`status`), OAuth (`oauth`), MCP and the
 * terminal. An upstream's status never becomes ours: what an upstream did is described by a code of this catalogue.
 */

/** What a code means at every edge. `message` and `hint` are safe to show to anyone. */
export type ErrorEntry = {
  status: number;
  /** The `error` value of RFC 6749 §5.2 and its relatives, where the code can surface at an OAuth endpoint. */
  oauth?: string;
  message: string;
  hint: string;
};

const entry = (status: number, message: string, hint: string, oauth?: string): ErrorEntry =>
  oauth === undefined ? { status, message, hint } : { status, message, hint, oauth };

export const ERRORS = {
  // any room
  invalid_request: entry(
    400,
    'The request is malformed.',
    'Correct the named field and send it again.',
    'invalid_request',
  ),
  not_found: entry(404, 'There is nothing here.', 'Check the address.'),
  method_not_allowed: entry(
    405,
    'This address does not take that method.',
    'Use one of the methods in the Allow header.',
  ),
  payload_too_large: entry(
    413,
    'The body is larger than this address takes.',
    'Send less, or raise the limit of the connector.',
  ),
  unsupported_media_type: entry(
    415,
    'The body has a media type that this address does not take.',
    'Send the media type named in the documentation.',
  ),
  conflict: entry(409, 'The state has changed in the meantime.', 'Read it again and repeat the change.'),
  too_many_requests: entry(429, 'Too many requests.', 'Wait for the time in Retry-After, then try again.'),
  internal: entry(
    500,
    'Something failed inside the gateway.',
    'Try again; if it stays, look the flow id up in the log.',
    'server_error',
  ),
  unavailable: entry(503, 'The gateway is not ready.', 'Try again in a moment.', 'temporarily_unavailable'),
  // config
  setting_unknown: entry(400, 'A setting is not known.', 'Use the nearest known name, or remove it.'),
  setting_invalid: entry(400, 'A setting has a value that it cannot take.', 'See docs/settings.md for what it takes.'),
  reference_unresolved: entry(
    400,
    'A reference in the configuration file names nothing.',
    'Set the variable, or create the file it names.',
  ),
  // database
  database_unreachable: entry(
    503,
    'The database does not answer.',
    'Check VALETKEY_DATABASE_URL and that the server runs.',
  ),
  database_in_use: entry(
    503,
    'Another process has the embedded database open.',
    'Stop the other process, or move to Postgres for replicas.',
  ),
  database_newer: entry(
    500,
    'The database was written by a newer version.',
    'Start the newer version, or restore a backup of this one.',
  ),
  // egress
  egress_blocked: entry(
    400,
    'The address is not one that the gateway may reach.',
    'Use a public address, or allow it in VALETKEY_ALLOW_PRIVATE_NETWORK.',
  ),
  egress_insecure: entry(
    400,
    'The address does not use https.',
    'Use https; plain http is taken for allowed private addresses only.',
  ),
  egress_redirect: entry(
    502,
    'The address answered with a redirect, which is never followed here.',
    'Configure the final address.',
  ),
  egress_too_large: entry(502, 'The answer is larger than allowed.', 'Ask the operator of the service.'),
  egress_timeout: entry(504, 'The service did not answer in time.', 'Try again; check the service if it stays.'),
  egress_failed: entry(502, 'The service could not be reached.', 'Check the address and that the service runs.'),
  // vault
  key_missing: entry(
    500,
    'The master key that this database was written with is not there.',
    'Put the key back, or name its source in VALETKEY_KEY_SOURCE.',
  ),
  key_wrong: entry(
    500,
    'The master key does not open this database.',
    'Use the key that the database was written with.',
  ),
  key_weak: entry(500, 'The master key is too weak.', 'Use 32 random bytes, base64 or hex: openssl rand -base64 32.'),
  key_exposed: entry(
    500,
    'The master key can be read by other users of this machine.',
    'chmod 600 the file; when others may have read it, move to a new key.',
  ),
  secret_name_invalid: entry(
    400,
    'A secret needs a name of at most 64 letters, digits, dots, dashes and underscores that begins with a letter.',
    'Choose another name.',
  ),
  unsealing_failed: entry(
    500,
    'A sealed value does not open.',
    'It was changed or moved; reconnect or enter the secret again.',
  ),
  // connectors
  connector_invalid: entry(
    400,
    'The connector document is not valid.',
    'Correct the named field; nothing was changed.',
  ),
  connector_unsupported: entry(
    400,
    'The connector document asks for something that this version does not have.',
    'Leave the field out, or use one of the values that are available.',
  ),
  connector_exists: entry(409, 'A connector of that name exists already.', 'Choose another name, or change that one.'),
  connector_declared: entry(
    409,
    'The connector is declared in the configuration file.',
    'Change it in valetkey.yaml and restart.',
  ),
  secret_required: entry(
    400,
    'The address that a stored secret goes to would change.',
    'Send the secret again together with the new address.',
  ),
  injection_failed: entry(
    502,
    'The credential cannot be put on the request.',
    'Check the injection rules and the stored credential of the connector.',
  ),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export type Failure = {
  /** Replaces the catalogue's sentence; safe to show, names the field or value at fault. */
  message?: string;
  hint?: string;
  /** For the log only. Never a secret: it is printed. */
  detail?: Record<string, unknown>;
  cause?: unknown;
  /** The flow id that this failure belongs to, see docs/architecture.md. */
  flow?: string;
};

export class ValetkeyError extends Error {
  override readonly name = 'ValetkeyError';
  readonly code: ErrorCode;
  readonly hint: string;
  readonly detail: Record<string, unknown>;
  flow: string | undefined;

  constructor(code: ErrorCode, failure: Failure = {}) {
    const known: ErrorEntry = ERRORS[code];
    super(failure.message ?? known.message, failure.cause === undefined ? undefined : { cause: failure.cause });
    this.code = code;
    this.hint = failure.hint ?? known.hint;
    this.detail = failure.detail ?? {};
    this.flow = failure.flow;
  }

  get status(): number {
    return ERRORS[this.code].status;
  }

  /** The `error` member for an OAuth endpoint. */
  get oauth(): string {
    const known: ErrorEntry = ERRORS[this.code];
    return known.oauth ?? (known.status >= 500 ? 'server_error' : 'invalid_request');
  }
}

/** The error of a code, to be thrown. */
export function fail(code: ErrorCode, failure: Failure = {}): ValetkeyError {
  return new ValetkeyError(code, failure);
}

/** Anything thrown, as one of ours; what is unknown becomes `internal` with the original as cause. */
export function asValetkeyError(thrown: unknown): ValetkeyError {
  return thrown instanceof ValetkeyError ? thrown : new ValetkeyError('internal', { cause: thrown });
}

/** RFC 9457 problem document, what the admin API answers. */
export function problem(error: ValetkeyError): Record<string, unknown> {
  return {
    type: 'about:blank',
    status: error.status,
    code: error.code,
    title: ERRORS[error.code].message,
    detail: error.message,
    hint: error.hint,
    ...(error.flow === undefined ? {} : { flow: error.flow }),
  };
}
