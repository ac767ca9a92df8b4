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
  instance_not_adopted: entry(
    503,
    'This database is a copy or an older state of another one, and renews nothing until an owner says that it is the one.',
    'When no other gateway runs on the original, run valetkey adopt; otherwise stop this one.',
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
  // identity
  sign_in_required: entry(401, 'This needs a signed-in person.', 'Sign in and try again.'),
  sign_in_failed: entry(401, 'The e-mail address or the password is wrong.', 'Check both and try again.'),
  sign_in_throttled: entry(429, 'Too many attempts.', 'Wait for the time in Retry-After, then try again.'),
  form_expired: entry(
    403,
    'This form was not opened in this browser, or has expired.',
    'Open the page again; cookies have to be allowed.',
  ),
  link_invalid: entry(
    404,
    'This link is not valid: it was used, has expired, or a newer one replaced it.',
    'Ask for a new one.',
  ),
  password_unfit: entry(400, 'This password cannot be used.', 'Choose a longer one, for instance four random words.'),
  email_taken: entry(409, 'There is an account with this e-mail address already.', 'Use another address.'),
  email_invalid: entry(400, 'This is not an e-mail address.', 'Enter it as name@example.com.'),
  last_owner: entry(409, 'A tenant needs an owner who can sign in.', 'Make somebody else an owner first.'),
  // authorization-server
  authorization_expired: entry(
    400,
    'This sign-in has ended or expired.',
    'Go back to your client and connect again; if a sign-in is open in another tab, finish it there.',
  ),
  authorization_refused: entry(
    400,
    'The client asked for something that cannot be given.',
    'Go back to your client and connect again; if it stays, report it to the makers of the client.',
    'invalid_request',
  ),
  client_unknown: entry(
    400,
    'This client is not known here.',
    'Remove the stored sign-in of this server from your client and connect again: it will register anew.',
    'invalid_client',
  ),
  redirect_unregistered: entry(
    400,
    'The client wants its answer sent to an address that it has not registered.',
    'Remove the stored sign-in of this server from your client and connect again: it will register anew.',
    'invalid_request',
  ),
  resource_foreign: entry(
    403,
    'The connector belongs to another tenant than your account.',
    'Sign in with an account of that tenant.',
    'access_denied',
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
  // connections
  discovery_failed: entry(
    502,
    'The authorization server of this service was not found.',
    'Check the address of the connector; type the endpoints in if the service documents them.',
  ),
  issuer_mismatch: entry(
    502,
    'The metadata of the authorization server belongs to another issuer.',
    'Ask the operator of the service; for a known mistake there, type the endpoints in.',
  ),
  resource_mismatch: entry(
    502,
    'The service describes itself as another resource.',
    'Use the address that the service names, or set auth.resource.',
  ),
  pkce_unsupported: entry(
    502,
    'The authorization server does not announce PKCE with S256.',
    'Type the endpoints in if the service supports it without saying so.',
  ),
  issuer_changed: entry(
    409,
    'The service names another authorization server than the one that the client was entered for.',
    'If the move is genuine, set auth.issuer to the new one, with the client id and secret that it gave.',
  ),
  registration_needed: entry(
    409,
    'The gateway is not registered at this service yet.',
    'Register an application there and enter its client id at the connector.',
  ),
  registration_failed: entry(
    502,
    'The service refused to register the gateway.',
    'Register an application there by hand and enter its client id at the connector.',
  ),
  ticket_invalid: entry(
    400,
    'This link has been used, has expired, or is for another connector.',
    'Start again from the application, or connect from the connections page.',
  ),
  connect_wrong_user: entry(
    403,
    'This link belongs to another person.',
    'Sign in as the person it was made for, or start a connection of your own.',
  ),
  connect_wrong_browser: entry(
    403,
    'This sign-in began in another browser.',
    'Start again here, from the connections page.',
  ),
  connect_owner_required: entry(
    403,
    'This connection is shared by everyone, so an owner has to make it.',
    'Ask an owner of this gateway to connect it.',
  ),
  connect_not_applicable: entry(
    400,
    'This connector needs no connection of yours.',
    'It works without one, or with a credential that its owner has set.',
  ),
  connect_state_unknown: entry(
    400,
    'This sign-in is not known here.',
    'It may be from an earlier attempt. Start again from the connections page.',
  ),
  connect_expired: entry(400, 'This sign-in took too long.', 'Start again; nothing was connected.'),
  connect_denied: entry(
    403,
    'Access was not given.',
    'Nothing was connected. Start again to give it; some services need an administrator to allow it first.',
  ),
  connect_issuer_mismatch: entry(
    400,
    'The answer came from another authorization server than the one that was asked.',
    'Nothing was connected. If it happens again, tell the operator of the gateway.',
  ),
  redirect_uri_mismatch: entry(
    400,
    'The service does not allow our callback.',
    'Add the callback to the application at the service, exactly as it stands here.',
  ),
  client_refused: entry(
    502,
    'The service does not accept the client id or secret of this connector.',
    'An owner of the gateway has to correct them.',
  ),
  client_vanished: entry(
    502,
    'The service has forgotten the registration of the gateway.',
    'Connect again: a new registration is made by itself.',
  ),
  client_changed: entry(
    409,
    'The client id of the connector was changed.',
    'Connect again: what the old client was given cannot be renewed by the new one.',
  ),
  authorization_failed: entry(
    502,
    'The service ended the sign-in with an error.',
    'Start again; nothing was connected.',
  ),
  exchange_failed: entry(502, 'The service did not hand out a token.', 'Start again; nothing was connected.'),
  token_type_unsupported: entry(
    502,
    'The service handed out a kind of token that is not supported.',
    'Only bearer tokens are supported.',
  ),
  connection_required: entry(403, 'The account at this service is not connected.', 'Open the connect link.'),
  grant_dead: entry(
    403,
    'The service has ended this authorization.',
    'Connect again. It was revoked, expired, or replaced at the service.',
  ),
  sign_in_again: entry(403, 'The service asks its user to sign in again.', 'Connect again.'),
  entered_invalid: entry(400, 'That cannot be it.', 'Copy it again, whole and without line breaks.'),
  entered_refused: entry(
    403,
    'The service does not accept what was entered.',
    'Enter it again; make a new one at the service if the old one was ended there.',
  ),
  entered_elsewhere: entry(
    403,
    'The credential was made for another address or another way of signing in than the connector has now.',
    'Connect again if you trust the new one.',
  ),
  token_rejected: entry(
    403,
    'The service refuses the token although it has just been issued.',
    'Connect again; if it stays, check scopes and audience of the connector.',
  ),
  not_renewable: entry(
    403,
    'The token has run out and the service gave none to renew it with.',
    'Connect again; ask the service for offline access if it has it.',
  ),
  refresh_postponed: entry(
    503,
    'The service could not renew the token just now.',
    'It is tried again by itself; nothing is lost.',
  ),
  refresh_unreadable: entry(
    502,
    'The service answered the renewal in a form that the gateway cannot read. The answer is kept, and nothing is sent.',
    'An owner of the gateway has to correct the connector or update the gateway; connecting again helps as well.',
  ),
  refresh_answer_lost: entry(
    403,
    'The answer to the renewal was lost twice, and the service does not take a third try.',
    'Connect again.',
  ),
  no_refresh_token: entry(
    403,
    'The service gave nothing to renew the token with, although it was asked to: the connection ends with the token.',
    'Connect again and allow offline access; an owner of the gateway can check scopes and parameters of the connector.',
  ),
  refresh_refused: entry(
    502,
    'The service refuses the way in which the token is renewed.',
    'An owner of the gateway has to check scopes, resource and parameters of the connector.',
  ),
  insufficient_scope: entry(
    403,
    'The service wants a permission that this connection has not asked for.',
    'Connect again and allow it; all else goes on working.',
  ),
  scope_not_given: entry(
    403,
    'The service wants a permission that was asked for and not given.',
    'Connect again with an account that has it, or ask the administrator of the service to allow it for the application.',
  ),
  admin_consent_required: entry(
    403,
    'The service wants its administrator to allow this application first.',
    'Ask the administrator of the service to consent for the organisation, then connect again.',
  ),
  // gateway
  connector_inactive: entry(503, 'The connector is switched off.', 'Ask its owner to switch it on.'),
  access_denied: entry(403, 'You may not use this connector.', 'Ask its owner to let you in.'),
  session_unknown: entry(404, 'The session is not known.', 'Begin a new one with initialize.'),
  upstream_failed: entry(502, 'The service behind the connector failed.', 'Try again; check the service if it stays.'),
  upstream_invalid: entry(
    502,
    'The service behind the connector did not answer as an MCP server does.',
    'Check the address and the transport of the connector.',
  ),
  upstream_redirect: entry(
    502,
    'The service behind the connector answered with a redirect, which is never followed.',
    'Set the final address as url of the connector.',
  ),
  upstream_unauthorized: entry(
    502,
    'The service behind the connector wants a credential, or another one.',
    'Connect an account, or set the credential of the connector.',
  ),
  upstream_forbidden: entry(
    502,
    'The service behind the connector does not allow this with the connected account.',
    'Use an account that may do it, or ask the administrator of the service.',
  ),
  upstream_busy: entry(502, 'The service behind the connector takes no more calls for now.', 'Wait, then try again.'),
  // admin
  unauthenticated: entry(
    401,
    'The request carries no valid token or session.',
    'Send Authorization: Bearer with an API token, or run valetkey login.',
    'invalid_token',
  ),
  forbidden: entry(403, 'This needs another role.', 'Ask an owner of the tenant.', 'access_denied'),
  cross_site_request: entry(
    403,
    'A change with the session cookie has to come from a page of this gateway.',
    'Send Origin and X-Valetkey-Csrf: 1 from the same origin, or use a bearer token.',
  ),
  person_required: entry(
    400,
    'This needs a person, and the admin token belongs to none.',
    'Use the API token of a user.',
  ),
  token_not_taken: entry(
    422,
    'The service does not take the refresh token.',
    'Nothing was connected. Is it of the client that the connector has, and has nobody used it since?',
  ),
  tokens_kept: entry(403, 'This connector keeps its tokens.', 'Call the service through the gateway.', 'access_denied'),
  needs_reconnect: entry(403, 'The connection has to be made again.', 'Open the connect page.'),
  missing_scopes: entry(403, 'The connection does not have all the scopes.', 'Connect again and allow them.'),
  temporarily_unavailable: entry(503, 'The token cannot be renewed just now.', 'Try again in a moment.'),
  secret_unproved: entry(409, 'The new secret could not be tried; the old one stays.', 'Try again, or say --unproved.'),
  secret_in_use: entry(409, 'Connectors refer to the secret.', 'Change the connectors first.'),
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
