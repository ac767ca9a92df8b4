import type { Credential } from '../connectors/credential.ts';

/** Shorter values occur by chance. */
const MIN_LENGTH = 12;
const STAR = 0x2a;

const known = new WeakMap<Credential, Buffer[]>();

function secretsOf(credential: Credential): Buffer[] {
  let secrets = known.get(credential);
  if (secrets === undefined) {
    const values = new Set(Object.values(credential.fields).map((secret) => secret.unwrap()));
    secrets = [...values].filter((value) => value.length >= MIN_LENGTH).map((value) => Buffer.from(value));
    known.set(credential, secrets);
  }
  return secrets;
}

/**
 * Strikes out, in place and without a change of length, a credential that a service sends back, as debug pages and
 * some error messages do. It guards against accidents: a service that wants to give a token away can spell it
 * differently, or cut it in two.
 */
export function scrub(bytes: Buffer, credential: Credential | null): Buffer {
  if (credential === null) return bytes;
  for (const secret of secretsOf(credential)) {
    for (let at = bytes.indexOf(secret); at !== -1; at = bytes.indexOf(secret, at + secret.length)) {
      bytes.fill(STAR, at, at + secret.length);
    }
  }
  return bytes;
}
