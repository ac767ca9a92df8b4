import { inspect } from 'node:util';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { movableClock, rfc3339, systemClock } from '../src/clock.ts';
import { asValetkeyError, ERRORS, fail, problem } from '../src/errors.ts';
import { hashToken, newId, newToken } from '../src/ids.ts';
import { createLog } from '../src/log.ts';
import { Secret } from '../src/secret.ts';

const CANARY = 'canary-5f2b8d';

function captured(level: 'debug' | 'info' = 'debug') {
  let text = '';
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  return { log: createLog({ level, destination }), text: () => text };
}

describe('a secret', () => {
  it('prints, inspects, interpolates and serialises as [secret]', () => {
    const secret = new Secret(CANARY);
    const shown = [
      String(secret),
      `${secret}`,
      inspect(secret),
      inspect({ a: [secret] }),
      JSON.stringify({ secret }),
      secret + '',
    ];
    for (const text of shown) {
      expect(text).toContain('[secret]');
      expect(text).not.toContain(CANARY);
    }
    expect(Object.keys(secret)).toEqual([]);
    expect(secret.unwrap()).toBe(CANARY);
  });

  it('compares by value', () => {
    expect(new Secret('a').equals(new Secret('a'))).toBe(true);
    expect(new Secret('a').equals(new Secret('b'))).toBe(false);
    expect(new Secret('a').equals(new Secret('ab'))).toBe(false);
  });
});

describe('the log', () => {
  it.each([
    ['a Secret value', { anything: new Secret(CANARY) }],
    ['a deep field by its name', { a: { b: { c: { refresh_token: CANARY } } } }],
    ['a header by its name', { headers: { Authorization: `Bearer ${CANARY}`, 'Set-Cookie': CANARY } }],
    [
      'camelCase and kebab-case names',
      { clientSecret: CANARY, 'client-secret': CANARY, 'x-api-key': CANARY, code_verifier: CANARY },
    ],
    ['the detail of an error', { err: fail('internal', { detail: { password: CANARY } }) }],
    ['the detail of a cause', { err: fail('internal', { cause: fail('internal', { detail: { token: CANARY } }) }) }],
    ['bytes', { body: Buffer.from(CANARY) }],
    ['a list', { list: [{ secret: CANARY }] }],
  ])('never shows %s', (_, fields) => {
    const { log, text } = captured();
    log.error(fields, 'something');
    expect(text()).toContain('something');
    expect(text()).not.toContain(CANARY);
  });

  it('keeps code, flow and cause of an error', () => {
    const { log, text } = captured();
    const error = fail('egress_failed', { cause: new Error('socket hang up') });
    error.flow = 'flw_1';
    log.error({ err: error }, 'failed');
    const line = JSON.parse(text()) as { err: { code: string; flow: string; cause: { message: string } } };
    expect(line.err).toMatchObject({ code: 'egress_failed', flow: 'flw_1', cause: { message: 'socket hang up' } });
  });

  it('survives cycles and cuts long text', () => {
    const { log, text } = captured();
    const cycle: Record<string, unknown> = { long: 'x'.repeat(10_000) };
    cycle['self'] = cycle;
    log.info(cycle, 'cycle');
    expect(text().length).toBeLessThan(40_000);
  });
});

describe('an id', () => {
  it('carries its prefix and 128 random bits', () => {
    const ids = new Set(Array.from({ length: 1_000 }, () => newId<string>('cnx')));
    expect(ids.size).toBe(1_000);
    for (const id of ids) expect(id).toMatch(/^cnx_[0-9a-hjkmnp-tv-z]{26}$/);
  });

  it('of a token is stored as a hash', () => {
    const token = newToken();
    expect(Buffer.from(token, 'base64url')).toHaveLength(32);
    expect(hashToken(token)).not.toContain(token);
    expect(hashToken(token)).toBe(hashToken(token));
  });
});

describe('an error', () => {
  it('turns into a problem document without its detail', () => {
    const error = fail('setting_invalid', { message: 'VALETKEY_PORT is odd.', detail: { inner: CANARY } });
    expect(problem(error)).toMatchObject({ status: 400, code: 'setting_invalid', detail: 'VALETKEY_PORT is odd.' });
    expect(JSON.stringify(problem(error))).not.toContain(CANARY);
  });

  it('of unknown origin becomes internal and keeps its message to the log', () => {
    const error = asValetkeyError(new TypeError(CANARY));
    expect(error.code).toBe('internal');
    expect(JSON.stringify(problem(error))).not.toContain(CANARY);
  });

  it.each(Object.entries(ERRORS))('%s says what to do next', (_, { status, message, hint }) => {
    expect(status).toBeGreaterThanOrEqual(200);
    expect(message).toMatch(/[.!?]$/);
    expect(hint).toMatch(/[.?…)\w]$/);
  });
});

describe('a clock', () => {
  it('can be moved, for drills', () => {
    const clock = movableClock();
    const before = clock.now();
    clock.move(3_600_000);
    expect(clock.now() - before).toBeGreaterThanOrEqual(3_600_000);
    expect(systemClock.now() - before).toBeLessThan(60_000);
  });

  it('writes times in RFC 3339, UTC', () => {
    expect(rfc3339(0)).toBe('1970-01-01T00:00:00.000Z');
    expect(rfc3339(null)).toBeNull();
  });
});
