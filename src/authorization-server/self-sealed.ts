import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/**
 * Text sealed by a bearer value of 128 random bits or more: the store holds only the hash of that value, so whoever
 * reads the store can open nothing, and whoever presents the value can.
 */
function key(bearer: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', bearer, '', `valetkey self-sealed ${purpose}`, 32));
}

export function sealBy(bearer: string, purpose: string, text: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key(bearer, purpose), nonce);
  const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url');
}

/** Undefined when the text was changed, or sealed by another value or for another purpose. */
export function openBy(bearer: string, purpose: string, sealed: string): string | undefined {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < 28) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key(bearer, purpose), bytes.subarray(0, 12));
  decipher.setAuthTag(bytes.subarray(-16));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
}
