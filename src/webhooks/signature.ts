import { createHmac } from 'node:crypto';
import type { Secret } from '../secret.ts';

/** `whsec_` and base64 stand for the bytes, as the Standard Webhooks write secrets; anything else for its own characters. */
export function keyOf(secret: Secret): Buffer {
  const text = secret.unwrap();
  const encoded = /^whsec_([A-Za-z0-9+/]{32,}={0,2})$/.exec(text)?.[1];
  return encoded === undefined ? Buffer.from(text, 'utf8') : Buffer.from(encoded, 'base64');
}

/**
 * The headers of one try, after Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.
 * @param now milliseconds since 1970
 */
export function signedHeaders(key: Buffer, event: { id: string; body: string }, now: number): Record<string, string> {
  const timestamp = String(Math.floor(now / 1_000));
  const signature = createHmac('sha256', key).update(`${event.id}.${timestamp}.${event.body}`).digest('base64');
  return { 'webhook-id': event.id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}
