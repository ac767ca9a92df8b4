import type { ServiceRules } from '../connectors/provider-rules.ts';
import type { ErrorCode } from '../errors.ts';
import type { Judged, RawAnswer } from './token-answer.ts';

/**
 * What a failed refresh says about whom. Only `grant_dead` and `interaction` are about this connection; no count of
 * the others ever ends it.
 */
export type RefusalClass = 'grant_dead' | 'interaction' | 'client_config' | 'request_bug' | 'transient' | 'unknown_4xx';

export type Refusal = {
  class: RefusalClass;
  code: string;
  /** Only an administrator of the service can lift it. */
  admin?: boolean;
};

const GRANT_DEAD =
  /^(invalid_grant|bad_refresh_token|invalid_refresh_token|refresh_token_expired|token_expired|token_revoked|account_inactive|authorization_not_found|inactive_user)$/;
const INTERACTION =
  /^(interaction_required|consent_required|login_required|account_selection_required|invalid_rapt|mfa_required)$/;
const CLIENT_CONFIG =
  /^(invalid_client|incorrect_client_credentials|bad_client_.*|invalid_client_id|deleted_client|unauthorized_client|redirect_uri_mismatch|multiple_client_credentials)$/;
const REQUEST_BUG = /^(unsupported_grant_type|invalid_scope|invalid_target|invalid_request|unsupported_token_type)$/;
const TRANSIENT =
  /^(server_error|temporarily_unavailable|slow_down|ratelimited|rate_limited|rate_limit_exceeded|too_many_requests|internal_error|service_unavailable|timeout)$/;

/**
 * Body first, status second: misleading statuses are common, misleading error codes are not.
 * @param rules what the codes of this service mean, before what they mean elsewhere
 */
export function classify(
  raw: RawAnswer,
  judged: Exclude<Judged, { kind: 'tokens' }>,
  rules: ServiceRules['errors'] = [],
): Refusal {
  if (judged.kind === 'unreadable') {
    const html = raw.body.trimStart().startsWith('<');
    const transient = raw.status < 400 || raw.status >= 500 || isTransientStatus(raw.status) || html;
    return { class: transient ? 'transient' : 'unknown_4xx', code: `http_${raw.status}` };
  }
  const code = judged.code.toLowerCase();
  const words = judged.description.toLowerCase();
  const ruled = rules.find(
    (rule) =>
      (rule.code === undefined || rule.code.toLowerCase() === code) &&
      (rule.words === undefined || words.includes(rule.words.toLowerCase())) &&
      (rule.status === undefined || rule.status === raw.status),
  );
  if (ruled !== undefined) return { class: ruled.class, code, ...(ruled.admin ? { admin: true } : {}) };
  // A dead grant under another code is told in words only.
  const namesToken = /refresh.?token (is )?(invalid|expired|revoked|not found)/;
  if (INTERACTION.test(code)) return { class: 'interaction', code };
  if (GRANT_DEAD.test(code)) return { class: 'grant_dead', code };
  if (/^(unauthorized_client|invalid_request)$/.test(code) && namesToken.test(words)) {
    return { class: 'grant_dead', code };
  }
  if (CLIENT_CONFIG.test(code) || /unrecognized client/.test(words)) return { class: 'client_config', code };
  if (TRANSIENT.test(code) || isTransientStatus(raw.status)) return { class: 'transient', code };
  if (REQUEST_BUG.test(code)) return { class: 'request_bug', code };
  return { class: raw.status >= 500 ? 'transient' : 'unknown_4xx', code };
}

function isTransientStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429;
}

/** Refusals that the administrator of a service has to lift, and not the person. */
const ADMIN_CONSENT = /^(consent_required|admin_consent_required|admin_policy_enforced)$/;

/** What people are told about a refusal. */
export function toldOf(refusal: Refusal): ErrorCode {
  return refusal.admin === true || ADMIN_CONSENT.test(refusal.code)
    ? 'admin_consent_required'
    : ERROR_OF[refusal.class];
}

/** What the owner of the connection, or of the gateway, is told. */
export const ERROR_OF: Record<RefusalClass, ErrorCode> = {
  grant_dead: 'grant_dead',
  interaction: 'sign_in_again',
  client_config: 'client_refused',
  request_bug: 'refresh_refused',
  transient: 'refresh_postponed',
  unknown_4xx: 'refresh_postponed',
};
