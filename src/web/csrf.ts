import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * A form's token, bound to the browser's secret (session or pre-session cookie) and to the one transaction the form
 * belongs to. Derived, not stored, so that any number of tabs work side by side.
 */
export function csrfToken(browserSecret: string, transaction: string): string {
  return createHmac('sha256', browserSecret).update(`csrf\n${transaction}`).digest('base64url');
}

export function csrfMatches(presented: unknown, browserSecret: string, transaction: string): boolean {
  if (typeof presented !== 'string') return false;
  const expected = Buffer.from(csrfToken(browserSecret, transaction));
  const actual = Buffer.from(presented);
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}
