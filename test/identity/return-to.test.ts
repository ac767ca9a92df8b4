import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ownPath } from '../../src/identity/return-to.ts';

describe('where to go after sign-in', () => {
  it('is a path of ours', () => {
    for (const path of ['/', '/connections', '/oauth/authorize?a=b&c=%2F%2Fx#y', '/a//b', "/it's(fine)"]) {
      expect(ownPath(path)).toBe(path);
    }
  });

  it('is never what a browser would read as another host', () => {
    const others = [
      '//evil.example ///evil.example /\\evil.example \\/evil.example https://evil.example javascript:alert(1) evil'.split(
        ' ',
      ),
      '/..//evil.example /.//evil.example /a/..//evil.example /%2e%2e//evil.example /ü'.split(' '),
      ['', '/\t/evil.example', '/\n/evil.example', ' //evil.example', '/a b', '/\0'],
    ].flat();
    for (const text of others) {
      expect(ownPath(text)).toBeUndefined();
    }
    for (const value of [undefined, null, 1, {}, ['/a'], `/${'a'.repeat(9_000)}`])
      expect(ownPath(value)).toBeUndefined();
  });

  it('resolves to our own origin whatever it is made of', () => {
    const piece = fc.constantFrom(
      '/',
      '\\',
      '.',
      '..',
      '//',
      'evil.example',
      '@',
      ':',
      '?',
      '#',
      '%2f',
      '%5c',
      '\t',
      '\n',
      'a',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const path = ownPath(pieces.join(''));
        if (path === undefined) return;
        const url = new URL(path, 'https://gateway.example');
        expect(url.origin).toBe('https://gateway.example');
        expect(new URL(url.pathname, 'https://gateway.example').origin).toBe('https://gateway.example');
      }),
      { numRuns: 2_000 },
    );
  });
});
