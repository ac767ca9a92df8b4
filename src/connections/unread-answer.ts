import type { ServiceRules } from '../connectors/provider-rules.ts';
import { parseBody, type RawAnswer } from './token-answer.ts';

/**
 * Whether an answer that cannot be read may all the same hold the pair that the refresh token was spent for. Then it is not
 * presented again where that could end the grant. HTML and what was cut off hold nothing that a later reading could find.
 */
export function mayHoldTokens(raw: RawAnswer, rules: Pick<ServiceRules, 'rotation'>): boolean {
  if (raw.status < 200 || raw.status >= 300) return false;
  if (rules.rotation.kind === 'none' || rules.rotation.reuse === 'tolerated') return false;
  const text = raw.body.trim();
  if (text.startsWith('{') ? parseBody(raw) === undefined : /^<(!doctype|html)\b/i.test(text)) return false;
  return /[\w.~+/=-]{16,}/.test(text);
}

const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** True when no connection was made, so that the service cannot have processed anything. */
export function neverSent(error: unknown): boolean {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth += 1) {
    if ('code' in cause && typeof cause.code === 'string' && NEVER_SENT.has(cause.code)) return true;
  }
  return false;
}
