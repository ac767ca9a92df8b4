import { createHash, randomBytes } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** A tenant's name as it stands in URLs: `[a-z0-9-]`, the first one is `default`. */
export type TenantId = Branded<string, 'TenantId'>;
export type UserId = Branded<string, 'UserId'>;
export type ConnectorId = Branded<string, 'ConnectorId'>;
export type ConnectionId = Branded<string, 'ConnectionId'>;
export type RegistrationId = Branded<string, 'RegistrationId'>;
export type SessionId = Branded<string, 'SessionId'>;
/** One id from challenge to consent to exchange to call, in errors, logs and the audit. */
export type FlowId = Branded<string, 'FlowId'>;

type Prefix =
  | 'usr'
  | 'con'
  | 'cnx'
  | 'reg'
  | 'ses'
  | 'flw'
  | 'inv'
  | 'key'
  | 'tkt'
  | 'aud'
  | 'call'
  | 'att'
  | 'tok'
  | 'evt';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** 128 random bits in Crockford base 32, lower case, after a prefix that says what it names: `cnx_…`. */
export function newId<T extends string>(prefix: Prefix): T {
  const bytes = randomBytes(16);
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(held >> bits) & 31];
    }
    held &= (1 << bits) - 1;
  }
  if (bits > 0) text += ALPHABET[(held << (5 - bits)) & 31];
  return `${prefix}_${text}` as T;
}

/** A bearer secret of `bytes` random bytes (default 32), base64url. */
export function newToken(bytes = 32): string {
  return randomBytes(bytes).toString('base64url');
}

/** What is stored of a bearer secret of ours: SHA-256, base64url. The secrets are random, so no salt is needed. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}
