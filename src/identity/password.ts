import { argon2, randomBytes, timingSafeEqual, type Argon2Parameters } from 'node:crypto';
import { fail } from '../errors.ts';
import type { Secret } from '../secret.ts';

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { memory: 19_456, passes: 2, parallelism: 1 } as const;
const HASH_BYTES = 32;

export const PASSWORD_MIN = 8;
const PASSWORD_MAX = 256;

/** Those that head every published list and reach the least length. */
const COMMON = new Set(
  (
    'password password1 password12 password123 passw0rd p@ssw0rd 12345678 123456789 1234567890 0123456789 87654321 ' +
    '987654321 qwertyui qwertyuiop qwerty123 1q2w3e4r 1qaz2wsx q1w2e3r4 asdfghjk asdfghjkl zxcvbnm1 abcd1234 abc12345 ' +
    'iloveyou sunshine princess football baseball superman trustno1 letmein1 welcome1 welcome123 changeme changeme1 ' +
    'admin123 admin1234 administrator starwars computer internet whatever michelle jennifer valetkey'
  ).split(' '),
);

/** @throws ValetkeyError password_unfit; the message says why */
export function checkPassword(password: Secret, email: string): void {
  const text = password.unwrap().normalize('NFC');
  const length = Array.from(text).length;
  const reason =
    length < PASSWORD_MIN
      ? `It needs at least ${PASSWORD_MIN} characters.`
      : text.length > PASSWORD_MAX
        ? `It may have at most ${PASSWORD_MAX} characters.`
        : COMMON.has(text.toLowerCase()) || new Set(text).size < 4
          ? 'It is among the first that anyone would try.'
          : [email, email.split('@')[0]].includes(text.toLowerCase())
            ? 'It must differ from the e-mail address.'
            : undefined;
  if (reason !== undefined) throw fail('password_unfit', { message: reason });
}

/** A PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. */
export async function hashPassword(password: Secret): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(password, salt, COST, HASH_BYTES);
  return `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${phc(salt)}$${phc(hash)}`;
}

const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,64})\$([A-Za-z0-9+/]{22,86})$/;

/** With `stored` null the same work is done and the answer is false: the time tells nothing about who has an account. */
export async function verifyPassword(password: Secret, stored: string | null): Promise<boolean> {
  const [, memory, passes, parallelism, salt, hash] = PHC.exec(stored ?? UNKNOWN) ?? [];
  if (salt === undefined || hash === undefined) {
    throw fail('internal', { detail: { reason: 'a password hash is not an argon2id PHC string' } });
  }
  const expected = Buffer.from(hash, 'base64');
  const cost = { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) };
  const actual = await derive(password, Buffer.from(salt, 'base64'), cost, expected.length);
  return timingSafeEqual(actual, expected) && stored !== null;
}

const phc = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');
const UNKNOWN = `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${phc(Buffer.alloc(16))}$${phc(Buffer.alloc(HASH_BYTES))}`;

async function derive(
  password: Secret,
  nonce: Buffer,
  cost: { memory: number; passes: number; parallelism: number },
  tagLength: number,
): Promise<Buffer> {
  // NFC, so that the same keys on another keyboard or system give the same password.
  const message = Buffer.from(password.unwrap().normalize('NFC'), 'utf8');
  const parameters: Argon2Parameters = { message, nonce, tagLength, ...cost };
  return await new Promise((resolve, reject) => {
    argon2('argon2id', parameters, (error, hash) => (error === null ? resolve(hash) : reject(error)));
  });
}
