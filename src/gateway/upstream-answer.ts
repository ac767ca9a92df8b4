import type { IncomingHttpHeaders } from 'node:http';
import { headerText } from '../connectors/kinds/kind.ts';
import type { ServiceRules } from '../connectors/provider-rules.ts';
import { fail, type ValetkeyError } from '../errors.ts';

/** What an answer outside of 2xx means to us. An upstream's status never becomes ours by itself. */
export type Meaning =
  /** Its JSON-RPC error is meant for the client, with a status that carries protocol meaning (400, 404, 405). */
  | { kind: 'relay'; status: number; body: string }
  /** The credential is missing or no longer good. */
  | { kind: 'unauthorized' }
  /** RFC 6750 §3.1: more scopes are needed than the credential has. */
  | { kind: 'scopes' }
  | { kind: 'failed'; error: ValetkeyError; retryAfterMs?: number };

/** @param signals how this service says that a token has ended, besides by 401 */
export function meaningOf(
  status: number,
  headers: IncomingHttpHeaders,
  body: Buffer,
  signals: ServiceRules['expirySignals'] = [],
): Meaning {
  if (status === 401 || signals.some((signal) => matches(signal, status, body))) return { kind: 'unauthorized' };
  if (status === 403) {
    const scopes = /\berror="?insufficient_scope\b/i.test(headerText(headers, 'www-authenticate'));
    return scopes ? { kind: 'scopes' } : { kind: 'failed', error: fail('upstream_forbidden') };
  }
  if (status === 429) {
    const seconds = Number(headers['retry-after']);
    // RFC 9110 §10.2.3; at most a day is believed.
    const retryAfterMs = Number.isFinite(seconds) ? Math.min(Math.max(0, seconds), 86_400) * 1000 : undefined;
    return {
      kind: 'failed',
      error: fail('upstream_busy'),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  }
  if (status >= 500 || status === 408)
    return { kind: 'failed', error: fail('upstream_failed', { detail: { status } }) };
  if (status < 400) return { kind: 'failed', error: fail('upstream_redirect', { detail: { status } }) };
  const rpc = rpcErrorIn(body);
  const ours = status === 404 || status === 405 ? status : 400;
  if (rpc !== undefined) return { kind: 'relay', status: ours, body: rpc };
  const message = status === 404 ? 'The service does not know this session or address.' : 'The service refused this.';
  const error = { code: -32600, message, data: { code: 'upstream_refused' } };
  return { kind: 'relay', status: ours, body: JSON.stringify({ jsonrpc: '2.0', id: null, error }) };
}

function matches(signal: ServiceRules['expirySignals'][number], status: number, body: Buffer): boolean {
  if (signal.status !== status) return false;
  try {
    let value: unknown = JSON.parse(body.toString('utf8'));
    for (const name of signal.path.split('.')) value = (value as Record<string, unknown> | null)?.[name];
    return value === signal.equals;
  } catch {
    return false;
  }
}

/** The body when it is a JSON-RPC error response: nothing else of a refusal crosses. */
function rpcErrorIn(body: Buffer): string | undefined {
  try {
    const message = JSON.parse(body.toString('utf8')) as { jsonrpc?: unknown; error?: { code?: unknown } } | null;
    return message?.jsonrpc === '2.0' && Number.isInteger(message.error?.code) ? JSON.stringify(message) : undefined;
  } catch {
    return undefined;
  }
}
