import { fail } from '../errors.ts';

export const KEY_BYTES = 32;

/**
 * A master key from its text: 32 bytes in base64, base64url or hex.
 * @param where names the key in the error, never its value
 * @throws ValetkeyError key_weak
 */
export function parseMasterKey(text: string, where: string): Buffer {
  const trimmed = text.trim();
  const bytes = decode(trimmed);
  if (bytes === undefined) {
    throw fail('key_weak', { message: `${where} is not ${KEY_BYTES} bytes in base64, base64url or hex.` });
  }
  const reason = weakness(bytes, trimmed);
  if (reason !== undefined) throw fail('key_weak', { message: `${where} is too weak: ${reason}.` });
  return bytes;
}

function decode(text: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (/^[A-Za-z0-9+/]{43}=?$/.test(text) || /^[A-Za-z0-9_-]{43}=?$/.test(text)) return Buffer.from(text, 'base64');
  return undefined;
}

/**
 * What a random key practically never is, and a typed or copied placeholder is. Each rule refuses fewer than one random
 * key in a billion.
 */
function weakness(bytes: Buffer, text: string): string | undefined {
  if (new Set(bytes).size < 16) return 'it repeats the same few bytes';
  for (let period = 1; period <= bytes.length / 2; period++) {
    if (bytes.every((byte, index) => index < period || byte === bytes[index - period])) return 'it repeats itself';
  }
  const step = ((bytes[1] ?? 0) - (bytes[0] ?? 0)) & 0xff;
  if (bytes.every((byte, index) => index === 0 || ((byte - (bytes[index - 1] ?? 0)) & 0xff) === step)) {
    return 'it counts';
  }
  if (bytes.every((byte) => byte >= 0x20 && byte < 0x7f)) return 'it is text that somebody typed';
  if (text.length === 64 ? /^\d+$/.test(text) : !/[a-z]/.test(text) || !/[A-Z]/.test(text)) {
    return 'it looks like a placeholder';
  }
  return undefined;
}
