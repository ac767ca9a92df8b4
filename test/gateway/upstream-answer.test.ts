import { describe, expect, it } from 'vitest';
import { meaningOf } from '../../src/gateway/upstream-answer.ts';

const signals = [{ status: 403, path: 'error.code', equals: 'TOKEN_EXPIRED' }];
const kind = (status: number, body: unknown, given?: typeof signals): string =>
  meaningOf(status, {}, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), given).kind;

describe('an answer that the row of a provider calls the end of a token', () => {
  it('is taken like a 401', () => {
    expect(kind(403, { error: { code: 'TOKEN_EXPIRED' } }, signals)).toBe('unauthorized');
    expect(kind(403, { error: { code: 'TOKEN_EXPIRED' } })).toBe('failed');
  });
  it.each([
    [403, { error: { code: 'OTHER' } }],
    [403, { error: 'TOKEN_EXPIRED' }],
    [403, [null]],
    [403, 'null'],
    [403, '{"error":'],
    [409, { error: { code: 'TOKEN_EXPIRED' } }],
  ])('is not mistaken for %s %j', (status, body) => expect(kind(status, body, signals)).not.toBe('unauthorized'));
});

it.each([
  ['20', 20_000],
  ['-5', 0],
  ['1e300', 86_400_000],
  ['soon', undefined],
])('a service that is busy and says Retry-After: %s is asked again after %s ms', (field, ms) => {
  const meaning = meaningOf(429, { 'retry-after': field }, Buffer.alloc(0));
  expect('retryAfterMs' in meaning ? meaning.retryAfterMs : undefined).toBe(ms);
});
