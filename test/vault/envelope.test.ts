import { createDecipheriv, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../src/errors.ts';
import { openCompact, openEnvelope, sealCompact, sealEnvelope, type SealContext } from '../../src/vault/envelope.ts';
import vectors from './vectors.json' with { type: 'json' };

const key = { id: 'k1', bytes: randomBytes(32) };
const unsealing = expect.objectContaining({ code: 'unsealing_failed', message: ERRORS.unsealing_failed.message });

const context: fc.Arbitrary<SealContext> = fc.record({
  tenant: fc.string({ minLength: 1, unit: 'binary' }),
  row: fc.string({ unit: 'binary' }),
  field: fc.string({ unit: 'binary' }),
  generation: fc.nat(),
});
const text = fc.string({ unit: 'binary', maxLength: 200 });

describe('the sealed format', () => {
  it.each(vectors)('seals $title as the published vector says', (vector) => {
    const { tenant, row, field, generation } = vector;
    const vectorKey = { id: vector.keyId, bytes: Buffer.from(vector.key, 'hex') };
    const place = { tenant, row, field, generation };
    expect(sealEnvelope(vectorKey, place, vector.text, Buffer.from(vector.nonce, 'hex'))).toBe(vector.sealed);
    expect(openEnvelope(vectorKey, place, vector.sealed)).toBe(vector.text);
  });

  it.each(vectors)('can be opened by anyone who follows its description: $title', (vector) => {
    const [version, keyId, nonce = '', body = ''] = vector.sealed.split('.');
    const bytes = Buffer.from(body, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', Buffer.from(vector.key, 'hex'), Buffer.from(nonce, 'base64url'));
    decipher.setAAD(Buffer.from(vector.associatedData));
    decipher.setAuthTag(bytes.subarray(-16));
    const opened = decipher.update(bytes.subarray(0, -16), undefined, 'utf8') + decipher.final('utf8');
    expect([version, keyId, opened]).toEqual(['vk1', vector.keyId, vector.text]);
  });

  it('gives back what was sealed, and never the same text twice', () => {
    fc.assert(
      fc.property(context, text, (place, value) => {
        const sealed = sealEnvelope(key, place, value);
        expect(openEnvelope(key, place, sealed)).toBe(Buffer.from(value, 'utf8').toString('utf8'));
        expect(sealEnvelope(key, place, value)).not.toBe(sealed);
      }),
    );
  });

  it('opens at no other place: tenant, row, field and generation are bound', () => {
    fc.assert(
      fc.property(context, context, text, (place, other, value) => {
        const sealed = sealEnvelope(key, place, value);
        for (const name of ['tenant', 'row', 'field', 'generation'] as const) {
          fc.pre(place[name] !== other[name]);
          expect(() => openEnvelope(key, { ...place, [name]: other[name] }, sealed)).toThrow(unsealing);
        }
      }),
    );
  });

  it('does not confuse two places whose names run together to the same text', () => {
    const at = (row: string, field: string): SealContext => ({ tenant: 'default', row, field, generation: 1 });
    for (const [one, other] of [
      [at('a', 'bc'), at('ab', 'c')],
      [at('a","b', 'c'), at('a', 'b","c')],
      [at('a|b', 'c'), at('a', 'b|c')],
    ] as const) {
      expect(() => openEnvelope(key, other, sealEnvelope(key, one, 'x'))).toThrow(unsealing);
    }
  });

  it('opens under no other key, and under no other name of the same key', () => {
    const place = { tenant: 'default', row: 'r', field: 'f', generation: 1 };
    const sealed = sealEnvelope(key, place, 'x');
    expect(() => openEnvelope({ id: 'k1', bytes: randomBytes(32) }, place, sealed)).toThrow(unsealing);
    expect(() => openEnvelope({ id: 'k2', bytes: key.bytes }, place, sealed)).toThrow(unsealing);
    expect(() => openEnvelope({ id: 'k2', bytes: key.bytes }, place, sealed.replace('.k1.', '.k2.'))).toThrow(
      unsealing,
    );
  });

  it('notices any character that is changed, left out, added or swapped', () => {
    const place = { tenant: 'default', row: 'r', field: 'f', generation: 1 };
    const sealed = sealEnvelope(key, place, 'a secret of some length');
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ';
    for (let at = 0; at < sealed.length; at++) {
      const [head, tail] = [sealed.slice(0, at), sealed.slice(at + 1)];
      for (const character of alphabet.replace(sealed[at] ?? '', '')) {
        expect(() => openEnvelope(key, place, head + character + tail)).toThrow(unsealing);
      }
      expect(() => openEnvelope(key, place, head + tail)).toThrow(unsealing);
      expect(() => openEnvelope(key, place, head)).toThrow(unsealing);
      expect(() => openEnvelope(key, place, `${head}A${sealed.slice(at)}`)).toThrow(unsealing);
    }
    for (const extra of [' ', '=', '.', '.AAAA', '\n', '\0']) {
      expect(() => openEnvelope(key, place, sealed + extra)).toThrow(unsealing);
      expect(() => openEnvelope(key, place, extra + sealed)).toThrow(unsealing);
    }
  });

  it('refuses whatever else is given to it', () => {
    const place = { tenant: 'default', row: 'r', field: 'f', generation: 1 };
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (garbage) => {
        expect(() => openEnvelope(key, place, garbage)).toThrow(unsealing);
        expect(() => openEnvelope(key, place, `vk1.k1.${garbage}`)).toThrow(unsealing);
        expect(openCompact(key.bytes, '', garbage)).toBeUndefined();
      }),
    );
  });

  it('tells nothing of the value in the error', () => {
    const sealed = sealEnvelope(key, { tenant: 't', row: 'r', field: 'f', generation: 1 }, 'canary-value');
    const error = thrown(() => openEnvelope(key, { tenant: 't', row: 'r', field: 'f', generation: 2 }, sealed));
    const shown = inspect(error, { depth: 9 });
    expect(shown).toContain('unsealing_failed');
    expect(shown).not.toContain('canary-value');
    expect(shown).not.toContain(sealed.split('.')[3]);
  });
});

describe('the compact form', () => {
  it('opens under the same key and the same binding only, byte for byte', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string(), fc.string(), fc.nat(), (bytes, aad, other, at) => {
        const sealed = sealCompact(key.bytes, aad, bytes);
        expect(openCompact(key.bytes, aad, sealed)).toEqual(Buffer.from(bytes));
        expect(openCompact(randomBytes(32), aad, sealed)).toBeUndefined();
        expect(aad === other || openCompact(key.bytes, other, sealed) === undefined).toBe(true);
        const raw = Buffer.from(sealed, 'base64url');
        raw[at % raw.length] = (raw[at % raw.length] ?? 0) ^ (1 << (at % 8));
        expect(openCompact(key.bytes, aad, raw.toString('base64url'))).toBeUndefined();
        expect(openCompact(key.bytes, aad, sealed.slice(0, at % sealed.length))).toBeUndefined();
      }),
    );
  });
});

function thrown(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}
