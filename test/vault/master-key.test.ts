import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { parseMasterKey } from '../../src/vault/master-key.ts';

const weak = expect.objectContaining({ code: 'key_weak' });
const parse = (text: string) => parseMasterKey(text, 'VALETKEY_MASTER_KEY');

describe('a master key', () => {
  it('is 32 bytes in base64, base64url or hex, with or without padding and line end', () => {
    const bytes = randomBytes(32);
    for (const text of [
      bytes.toString('base64'),
      bytes.toString('base64').replace('=', ''),
      bytes.toString('base64url'),
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      ` ${bytes.toString('base64')}\n`,
    ]) {
      expect(parse(text)).toEqual(bytes);
    }
  });

  it('is refused when it has another length or is not encoded', () => {
    for (const text of [
      '',
      'secret',
      randomBytes(16).toString('hex'),
      randomBytes(31).toString('base64'),
      randomBytes(33).toString('base64'),
      randomBytes(64).toString('base64'),
      randomBytes(32).toString('binary'),
      `${randomBytes(32).toString('base64')} # my key`,
    ]) {
      expect(() => parse(text)).toThrow(weak);
    }
  });

  it.each([
    ['all zero', Buffer.alloc(32)],
    ['one byte over and over', Buffer.alloc(32, 0xa7)],
    ['a repeated pattern', Buffer.from('deadbeef'.repeat(8), 'hex')],
    [
      'sixteen random bytes twice',
      Buffer.concat([
        Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
        Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
      ]),
    ],
    ['counting up', Buffer.from(Array.from({ length: 32 }, (_, index) => index))],
    ['counting down by seven', Buffer.from(Array.from({ length: 32 }, (_, index) => (250 - 7 * index) & 0xff))],
    ['a typed passphrase', Buffer.from('this-is-my-very-secret-key-2026!')],
    ['a short word, padded', Buffer.concat([Buffer.from('hunter2'), Buffer.alloc(25)])],
  ])('is refused when it is %s, however it is encoded', (_, bytes) => {
    expect(() => parse(bytes.toString('base64'))).toThrow(weak);
    expect(() => parse(bytes.toString('hex'))).toThrow(weak);
  });

  it.each([
    'changemechangemechangemechangemechangemecha=',
    'thisisaplaceholderpleasereplaceitwithyourow=',
    'REPLACEMEREPLACETHISKEYBEFOREYOUGOLIVEPLEAS=',
    '1234567890123456789012345678901234567890123456789012345678901234',
    '3141592653589793238462643383279502884197169399375105820974944592',
  ])('is refused when its text is a placeholder: %s', (text) => {
    expect(() => parse(text)).toThrow(weak);
  });

  it('is never refused when it is random', () => {
    for (let round = 0; round < 5_000; round++) {
      const bytes = randomBytes(32);
      expect(parse(bytes.toString(round % 2 === 0 ? 'base64' : 'hex'))).toEqual(bytes);
    }
  });

  it('does not appear in the error that refuses it', () => {
    expect(() => parse('canary-key-value')).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('canary') }),
    );
  });
});
