import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import { signAssertion } from '../../src/connections/assertion.ts';
import type { Assertion } from '../../src/connectors/connector.ts';
import { Secret } from '../../src/secret.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const KEYS: Record<Assertion['algorithm'], { privateKey: KeyObject; publicKey: KeyObject }> = {
  RS256: rsa,
  RS384: rsa,
  RS512: rsa,
  PS256: rsa,
  PS384: rsa,
  PS512: rsa,
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  EdDSA: generateKeyPairSync('ed25519'),
};
const claims = { issuer: 'robot', subject: 'alice', audience: 'https://as.example/token', now: Date.now() };
const settings = (algorithm: Assertion['algorithm'], more: Partial<Assertion> = {}): Assertion => ({
  algorithm,
  audience: 'token_endpoint',
  lifetime: 60,
  claims: {},
  ...more,
});

describe('an assertion', () => {
  it.each(Object.keys(KEYS) as Assertion['algorithm'][])('signed with %s is one to a library', async (algorithm) => {
    const { privateKey, publicKey } = KEYS[algorithm];
    const pem = new Secret(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
    const jwk = new Secret(JSON.stringify(privateKey.export({ format: 'jwk' })));
    for (const key of [pem, jwk]) {
      const signed = signAssertion(settings(algorithm, { keyId: 'k1', claims: { scope: 'a b' } }), key, claims);
      const expected = { issuer: 'robot', subject: 'alice', audience: claims.audience, algorithms: [algorithm] };
      const { payload, protectedHeader } = await jwtVerify(signed, publicKey, expected);
      expect(protectedHeader).toMatchObject({ alg: algorithm, kid: 'k1', typ: 'JWT' });
      expect(payload).toMatchObject({ scope: 'a b' });
      expect(payload.exp! - payload.iat!).toBe(60);
    }
  });

  it('is another one each time, so that a service may refuse one seen before', () => {
    const key = new Secret(rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
    expect(signAssertion(settings('RS256'), key, claims)).not.toBe(signAssertion(settings('RS256'), key, claims));
  });

  it('takes a PEM whose line ends were written as two characters', () => {
    const pem = (rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string).replaceAll('\n', '\\n');
    expect(signAssertion(settings('RS256'), new Secret(pem), claims).split('.')).toHaveLength(3);
  });

  it('is not signed with a key of another kind or curve', () => {
    for (const [algorithm, key] of [
      ['ES256', KEYS.ES384],
      ['RS256', KEYS.ES256],
      ['EdDSA', rsa],
    ] as const) {
      const pem = new Secret(key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
      expect(() => signAssertion(settings(algorithm), pem, claims)).toThrow(`not a key for ${algorithm}`);
    }
  });

  it('that cannot be signed says so without a word of the key', () => {
    const garbled = `-----BEGIN PRIVATE KEY-----\n${randomBytes(48).toString('base64')}\n-----END PRIVATE KEY-----`;
    for (const text of [garbled, '{"kty":"RSA","d":"hush-hush"}', 'hush-hush']) {
      const attempt = () => signAssertion(settings('RS256'), new Secret(text), claims);
      expect(attempt).toThrow(/^auth\.privateKey is neither a PEM nor a JWK private key$/);
    }
  });
});
