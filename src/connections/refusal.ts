import type { ServiceRules } from '../connectors/provider-rules.ts';
import type { ErrorCode } from '../errors.ts';
import type { Judged, RawAnswer } from './token-answer.ts';

/**
 * What a failed refresh says about whom. Only `grant_dead` and `interaction` are about this connection; no count of
 * the others ever ends it.
 */
export type RefusalClass = 'grant_dead' | 'interaction' | 'client_config' | 'request_bug' | 'transient' | 'unknown_4xx';

export type Refusal = { class: RefusalClass; code: string };

const GRANT_DEAD =
  /^(invalid_grant|bad_refresh_token|invalid_refresh_token|refresh_token_expired|token_expired|token_revoked|account_inactive|authorization_not_found|inactive_user|aadsts(700082|50173|70000|70008)|190)$/;
const INTERACTION =
  /^(interaction_required|consent_required|login_required|account_selection_required|invalid_rapt|mfa_required|aadsts(65001|90094|90095|50076|50078|50079))$/;
const CLIENT_CONFIG =
  /^(invalid_client|incorrect_client_credentials|bad_client_.*|invalid_client_id|deleted_client|unauthorized_client|redirect_uri_mismatch|multiple_client_credentials|aadsts(7000215|7000222|700016))$/;
const REQUEST_BUG =
  /^(unsupported_grant_type|invalid_scope|invalid_target|invalid_request|unsupported_token_type|aadsts(9010010|650053|901002|90009))$/;
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
  if (ruled !== undefined) return { class: ruled.class, code };
  const entra = /\baadsts\d+/i.exec(judged.description)?.[0].toLowerCase() ?? '';
  const told = (pattern: RegExp) => pattern.test(code) || (entra !== '' && pattern.test(entra));
  const description = judged.description.toLowerCase();
  // Services that put a dead grant under another code say so in words only (Atlassian, X).
  const namesToken = /refresh.?token (is )?(invalid|expired|revoked|not found)|value passed for the token was invalid/;
  if (told(INTERACTION)) return { class: 'interaction', code: INTERACTION.test(entra) ? entra : code };
  if (entra !== '' && (CLIENT_CONFIG.test(entra) || REQUEST_BUG.test(entra))) {
    return { class: CLIENT_CONFIG.test(entra) ? 'client_config' : 'request_bug', code };
  }
  if (told(GRANT_DEAD)) return { class: 'grant_dead', code };
  if (/^(unauthorized_client|invalid_request)$/.test(code) && namesToken.test(description)) {
    return { class: 'grant_dead', code };
  }
  if (told(CLIENT_CONFIG) || /unrecognized client/.test(description)) return { class: 'client_config', code };
  if (TRANSIENT.test(code) || isTransientStatus(raw.status)) return { class: 'transient', code };
  if (told(REQUEST_BUG)) return { class: 'request_bug', code };
  return { class: raw.status >= 500 ? 'transient' : 'unknown_4xx', code };
}

function isTransientStatus(status: number): boolean {
  return status === 408 || status === 425 || status === 429;
}

/** Refusals that the administrator of the service has to lift, and not the person (Microsoft Entra, Google Workspace). */
const ADMIN_CONSENT = /^(consent_required|admin_consent_required|admin_policy_enforced|aadsts(65001|90094|90095))$/;

/** What people are told about a refusal. */
export function toldOf(refusal: Refusal): ErrorCode {
  return ADMIN_CONSENT.test(refusal.code) ? 'admin_consent_required' : ERROR_OF[refusal.class];
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
