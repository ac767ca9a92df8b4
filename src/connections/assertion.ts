import { createPrivateKey, randomUUID, sign, type KeyObject, type JsonWebKey } from 'node:crypto';
import type { Assertion } from '../connectors/connector.ts';
import type { Secret } from '../secret.ts';

export type Claims = { issuer: string; subject: string; audience: string; now: number };

type Signing = { hash: string | null; type: 'rsa' | 'ec' | 'ed25519'; curve?: string; padding?: 'pss' };

/** RFC 7518 §3.1 and RFC 8037 §3.1. */
const SIGNING: Record<Assertion['algorithm'], Signing> = {
  RS256: { hash: 'sha256', type: 'rsa' },
  RS384: { hash: 'sha384', type: 'rsa' },
  RS512: { hash: 'sha512', type: 'rsa' },
  PS256: { hash: 'sha256', type: 'rsa', padding: 'pss' },
  PS384: { hash: 'sha384', type: 'rsa', padding: 'pss' },
  PS512: { hash: 'sha512', type: 'rsa', padding: 'pss' },
  ES256: { hash: 'sha256', type: 'ec', curve: 'prime256v1' },
  ES384: { hash: 'sha384', type: 'ec', curve: 'secp384r1' },
  ES512: { hash: 'sha512', type: 'ec', curve: 'secp521r1' },
  EdDSA: { hash: null, type: 'ed25519' },
};

/** RFC 8017 §9.1: as long as the hash, which RFC 7518 §3.5 prescribes. */
const SALT_IS_DIGEST = -1;
const PSS_PADDING = 6;

/**
 * A signed assertion (RFC 7523 §3).
 * @param key PEM or JWK
 * @throws Error that names no part of the key, when it is none, or one for another algorithm
 */
export function signAssertion(settings: Assertion, key: Secret, claims: Claims): string {
  const signing = SIGNING[settings.algorithm];
  const privateKey = keyFrom(key.unwrap());
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = privateKey;
  const fits = type === signing.type && (signing.curve === undefined || details?.namedCurve === signing.curve);
  if (!fits) throw new Error(`auth.privateKey is not a key for ${settings.algorithm}`);
  const seconds = Math.floor(claims.now / 1_000);
  const header = {
    alg: settings.algorithm,
    typ: 'JWT',
    ...(settings.keyId === undefined ? {} : { kid: settings.keyId }),
  };
  const payload = {
    ...settings.claims,
    iss: claims.issuer,
    sub: claims.subject,
    aud: claims.audience,
    iat: seconds,
    exp: seconds + settings.lifetime,
    // Services that refuse an assertion seen before (RFC 7523 §3) need each to be another one.
    jti: randomUUID(),
  };
  const input = `${part(header)}.${part(payload)}`;
  const signature = sign(signing.hash, Buffer.from(input), {
    key: privateKey,
    dsaEncoding: 'ieee-p1363',
    ...(signing.padding === undefined ? {} : { padding: PSS_PADDING, saltLength: SALT_IS_DIGEST }),
  });
  return `${input}.${signature.toString('base64url')}`;
}

function keyFrom(text: string): KeyObject {
  try {
    const trimmed = text.trim();
    if (trimmed.startsWith('{')) return createPrivateKey({ key: JSON.parse(trimmed) as JsonWebKey, format: 'jwk' });
    // Environment variables and JSON files of services hold a PEM on one line.
    return createPrivateKey(trimmed.replaceAll('\\n', '\n'));
  } catch {
    // What the parser says may quote the key.
    throw new Error('auth.privateKey is neither a PEM nor a JWK private key');
  }
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
