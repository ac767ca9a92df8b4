import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { fail } from '../errors.ts';

/**
 * The sealed format, version 1: `vk1.<key id>.<nonce>.<ciphertext and tag>`, the last two base64url without padding.
 * AES-256-GCM, 96-bit random nonce, 128-bit tag. The associated data is the JSON array
 * `["vk1", key id, tenant, row, field, generation]` in UTF-8: a value opens only where it was sealed.
 * test/vault/vectors.json has test vectors.
 */
const VERSION = 'vk1';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Where a sealed value stands. `row` names table and key, for instance `connection:cnx_…`. */
export type SealContext = {
  tenant: string;
  row: string;
  field: string;
  /** Counts the values that this place has held, so that an older value cannot be put back. */
  generation: number;
};

function associated(keyId: string, context: SealContext): Buffer {
  return Buffer.from(
    JSON.stringify([VERSION, keyId, context.tenant, context.row, context.field, context.generation]),
    'utf8',
  );
}

/** @param nonce for test vectors only; random otherwise, since a repeated nonce breaks AES-GCM */
export function sealEnvelope(
  key: { id: string; bytes: Buffer },
  context: SealContext,
  text: string,
  nonce: Buffer = randomBytes(NONCE_BYTES),
): string {
  const body = encrypt(key.bytes, nonce, associated(key.id, context), Buffer.from(text, 'utf8'));
  return `${VERSION}.${key.id}.${nonce.toString('base64url')}.${body.toString('base64url')}`;
}

/** The id of the key that sealed this; throws `unsealing_failed` for what is not in our format. */
export function envelopeKeyId(sealed: string): string {
  return split(sealed).keyId;
}

export function openEnvelope(key: { id: string; bytes: Buffer }, context: SealContext, sealed: string): string {
  const { keyId, nonce, body } = split(sealed);
  const opened = keyId === key.id ? decrypt(key.bytes, nonce, associated(keyId, context), body) : undefined;
  if (opened === undefined) {
    throw fail('unsealing_failed', {
      detail: { row: context.row, field: context.field, generation: context.generation },
    });
  }
  return opened.toString('utf8');
}

function split(sealed: string): { keyId: string; nonce: Buffer; body: Buffer } {
  const [version, keyId = '', nonceText = '', bodyText = '', ...rest] = sealed.split('.');
  const nonce = decodeExactly(nonceText);
  const body = decodeExactly(bodyText);
  if (
    version !== VERSION ||
    rest.length > 0 ||
    !/^[a-z0-9]{1,32}$/.test(keyId) ||
    nonce?.length !== NONCE_BYTES ||
    body === undefined
  ) {
    throw fail('unsealing_failed', { detail: { reason: 'not in the sealed format' } });
  }
  return { keyId, nonce, body };
}

/** Base64url in its one canonical spelling: otherwise the unused bits of the last character could be changed unseen. */
function decodeExactly(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function encrypt(key: Buffer, nonce: Buffer, aad: Buffer, plain: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined for anything that does not authenticate. */
function decrypt(key: Buffer, nonce: Buffer, aad: Buffer, body: Buffer): Buffer | undefined {
  if (body.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(body.subarray(body.length - TAG_BYTES));
  const head = decipher.update(body.subarray(0, body.length - TAG_BYTES));
  try {
    return Buffer.concat([head, decipher.final()]);
  } catch {
    return undefined;
  }
}

/** `nonce | ciphertext | tag` as one canonical base64url text, for values that need no parts of their own. */
export function sealCompact(key: Buffer, aad: string, plain: Uint8Array): string {
  const nonce = randomBytes(NONCE_BYTES);
  return Buffer.concat([nonce, encrypt(key, nonce, Buffer.from(aad, 'utf8'), plain)]).toString('base64url');
}

export function openCompact(key: Buffer, aad: string, text: string): Buffer | undefined {
  const bytes = decodeExactly(text);
  if (bytes === undefined || bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
  return decrypt(key, bytes.subarray(0, NONCE_BYTES), Buffer.from(aad, 'utf8'), bytes.subarray(NONCE_BYTES));
}

/** HKDF-SHA-256 (RFC 5869): a key of its own for each use of a key. */
export function deriveKey(key: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), `valetkey/v1/${purpose}`, 32));
}
