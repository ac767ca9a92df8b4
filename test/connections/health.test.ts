import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { movableClock } from '../../src/clock.ts';
import { createEndpointWatch } from '../../src/connections/endpoint-watch.ts';
import {
  connectionHealth,
  connectorHealth,
  DAY_MS,
  warningDays,
  type HealthFacts,
} from '../../src/connections/health.ts';
import { classify, toldOf } from '../../src/connections/refusal.ts';
import type { Connector } from '../../src/connectors/connector.ts';
import { createLog } from '../../src/log.ts';
import { createTestServer, type TestServer } from '../../src/test-server/test-server.ts';
import { openHouse, type House, type Person } from './house.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const facts: HealthFacts = {
  status: 'connected',
  lastError: null,
  issuedAt: NOW - 60_000,
  expiresAt: NOW + 3_600_000,
  grantExpiresAt: null,
  scopesGranted: [],
};
const error = (code: string) => ({ code, message: `${code} happened.`, hint: `Mend ${code}.` });
const health = (given: Partial<HealthFacts>, skewMs: number | null = null) =>
  connectionHealth({ ...facts, ...given }, { now: NOW, skewMs });

describe('the health of a connection', () => {
  const expired = { expiresAt: NOW - 1 };
  const cases: [string, Partial<HealthFacts>, string][] = [
    ['connected', {}, 'healthy'],
    ['connected, its access token run out', expired, 'healthy'],
    ['not renewed just now, its token still good', { lastError: error('refresh_postponed') }, 'unknown'],
    ['not renewed just now, its token run out', { lastError: error('refresh_postponed'), ...expired }, 'unhealthy'],
    ['whose client is refused, though its token is good', { lastError: error('client_refused') }, 'unhealthy'],
    ['short of a permission that nobody asked for', { lastError: error('insufficient_scope') }, 'healthy'],
    ['short of a permission that was not given', { lastError: error('scope_not_given') }, 'unhealthy'],
    ['suspect', { status: 'suspect', lastError: error('grant_dead') }, 'unhealthy'],
    ['to be reconnected', { status: 'needs_reconnect', lastError: error('grant_dead') }, 'unhealthy'],
    ['held back', { status: 'quarantined' }, 'unhealthy'],
    ['not made yet', { status: 'pending' }, 'unknown'],
    ['ended', { status: 'revoked' }, 'unknown'],
  ];
  it.each(cases)('that is %s', (_, given, expected) => {
    const told = health(given);
    expect(told.health).toBe(expected);
    expect(told.reason).toMatch(/\.$/);
    // Who is told that something is wrong is told what to do.
    expect(told.nextStep?.endsWith('.') ?? 'nothing to do').toBe(expected === 'healthy' ? 'nothing to do' : true);
  });

  it('repeats what the last error said, and its next step', () => {
    expect(health({ status: 'needs_reconnect', lastError: error('grant_dead') })).toMatchObject({
      reason: 'grant_dead happened.',
      nextStep: 'Mend grant_dead.',
    });
  });

  it('warns of a grant that ends, a permission that is missing and a clock that is off, and of nothing else', () => {
    expect(health({ grantExpiresAt: NOW + 15 * DAY_MS }).warnings).toEqual([]);
    expect(health({ grantExpiresAt: NOW + 14 * DAY_MS }).warnings).toMatchObject([
      { code: 'grant_ending', message: 'The authorization ends on 2026-03-15, whatever is done until then.' },
    ]);
    expect(health({ grantExpiresAt: NOW + DAY_MS, status: 'needs_reconnect' }).warnings).toEqual([]);
    expect(health({ lastError: error('insufficient_scope') }).warnings).toMatchObject([{ code: 'insufficient_scope' }]);
    expect(health({}, 30_000).warnings).toEqual([]);
    expect(health({}, 31_000).warnings).toMatchObject([
      { code: 'clock_skew', message: 'The clock of the service is 31 s ahead of the clock of the gateway.' },
    ]);
    expect(health({}, -95_400).warnings[0]?.message).toMatch(/ 95 s behind /);
  });

  it.each([
    [14.5, null],
    [14, 14],
    [3.1, 14],
    [3, 3],
    [1, 1],
    [0.1, 1],
    [0, null],
    [-2, null],
  ])('counts %d days before the end as the warning of %s', (days, expected) => {
    expect(warningDays(NOW + days * DAY_MS, NOW)).toBe(expected);
  });
});

describe('the health of a connector', () => {
  const base = { active: true, oauth: true, check: null, connections: [] };
  const check = { reachable: true, auth: 'accepted' as const, error: null };
  const good = { health: 'healthy' as const, reason: 'Connected.', nextStep: null };
  const bad = { health: 'unhealthy' as const, reason: 'Gone.', nextStep: 'Connect again.' };
  const unsure = { health: 'unknown' as const, reason: 'Wait.', nextStep: 'Wait.' };

  it('is that of the worst connection', () => {
    expect(connectorHealth({ ...base, connections: [good, bad, unsure] })).toEqual(bad);
    expect(connectorHealth({ ...base, connections: [good, unsure, good] })).toEqual(unsure);
    expect(connectorHealth({ ...base, connections: [good] }).health).toBe('healthy');
    expect(connectorHealth(base)).toMatchObject({ health: 'unknown', nextStep: 'Connect an account.' });
  });
  it('is unhealthy when the service is not reached, however good its connections are', () => {
    const unreached = { reachable: false, auth: 'unknown' as const, error: error('egress_failed') };
    expect(connectorHealth({ ...base, check: unreached, connections: [good] })).toEqual({
      health: 'unhealthy',
      reason: 'egress_failed happened.',
      nextStep: 'Mend egress_failed.',
    });
  });
  it('is unknown without OAuth until it is tested, and then what the test found', () => {
    const plain = { ...base, oauth: false };
    expect(connectorHealth(plain)).toMatchObject({ health: 'unknown', nextStep: 'Test the connection.' });
    expect(connectorHealth({ ...plain, check }).health).toBe('healthy');
    expect(connectorHealth({ ...plain, check: { ...check, auth: 'refused' } }).health).toBe('unhealthy');
    expect(connectorHealth({ ...plain, check: { ...check, auth: 'required' } }).health).toBe('unhealthy');
  });
  it('is unknown while it is switched off', () => {
    expect(connectorHealth({ ...base, active: false, connections: [bad] }).health).toBe('unknown');
  });
});

describe('what is seen of token endpoints', () => {
  const clock = movableClock();
  let lines = '';
  const log = createLog({ level: 'warn', destination: { write: (line: string) => void (lines += line) } });
  const watch = createEndpointWatch({ clock, log });

  it('is kept without anything that it is good for', () => {
    const raw = {
      status: 200,
      contentType: 'application/json; charset=utf-8',
      body: '{"access_token":"at_canary","refresh_token":"rt_canary","odd name":1,"scope":"a"}',
      retryAfterMs: null,
      sentAt: clock.now(),
    };
    watch.saw({ endpoint: 'https://idp.example/token', clientId: 'app', raw, date: null });
    const seen = watch.last('https://idp.example/token', 'app');
    expect(seen).toMatchObject({
      status: 200,
      contentType: 'application/json',
      kind: 'tokens',
      error: null,
      members: ['access_token', 'refresh_token', 'scope'],
    });
    expect(JSON.stringify(seen)).not.toContain('canary');
    expect(watch.last('https://idp.example/token', 'another')).toBeUndefined();
  });

  it('tells how far their clocks are off, from the middle of the exchange', () => {
    const sentAt = clock.now();
    clock.move(4_000);
    const date = (ahead: number) => new Date(sentAt + 2_000 + ahead).toUTCString();
    expect(watch.measure('https://a.example/token', date(1_000), sentAt)).toBe(0);
    expect(watch.measure('https://b.example/token', date(120_000), sentAt)! / 1_000).toBeCloseTo(120, -0.5);
    expect(watch.skewMs('https://b.example/other')! / 1_000).toBeCloseTo(120, -0.5);
    expect(watch.skewMs('https://c.example/')).toBeNull();
    expect(watch.measure('https://d.example/', 'yesterday', sentAt)).toBeNull();
    expect(lines.match(/a clock is off/g)).toHaveLength(1);
  });
});

it('tells a refusal that an administrator has to lift from one that the person can', () => {
  expect(toldOf({ class: 'interaction', code: 'consent_required' })).toBe('admin_consent_required');
  expect(toldOf({ class: 'interaction', code: 'login_required' })).toBe('sign_in_again');
  expect(toldOf({ class: 'grant_dead', code: 'invalid_grant' })).toBe('grant_dead');
  const raw = { status: 400, contentType: 'application/json', body: '{}', retryAfterMs: null, sentAt: 0 };
  const description = 'AADSTS65001: The user or administrator has not consented to use the application';
  const rules = [{ class: 'interaction', words: 'aadsts65001:', admin: true } as const];
  const ruled = classify(raw, { kind: 'refusal', code: 'invalid_grant', description }, rules);
  expect(toldOf(ruled)).toBe('admin_consent_required');
});

describe('a look at health', () => {
  let house: House;
  let service: TestServer;
  let alice: Person;
  let connector: Connector;
  beforeAll(async () => {
    service = await createTestServer({ mode: 'oauth-dcr', port: 0, accessTokenTtl: 300 });
    house = await openHouse();
    alice = await house.person('alice');
    connector = await house.put({ name: 'practice', url: service.mcpUrl, auth: { type: 'oauth2' } });
    await house.connect(connector, alice);
  });
  afterAll(async () => {
    await house?.close();
    await service?.close();
  });

  it('renews nothing and asks no service, and members see their own and the shared connections only', async () => {
    const before = service.ledger.events.length;
    house.clock.move(400_000);
    const of = async (person: Person) =>
      (await house.connections.health([connector], person.principal)).get(connector.id);
    expect(await of(alice)).toMatchObject({ count: { healthy: 1, unhealthy: 0, unknown: 0 }, lastError: null });
    const view = await house.connections.of(connector, alice.principal);
    expect(view).toMatchObject({ health: 'healthy', healthReason: expect.stringContaining('the next call renews it') });
    expect(await of(await house.person('bob'))).toBeUndefined();
    expect(await of(await house.person('olga', { role: 'owner' }))).toMatchObject({ count: { healthy: 1 } });
    expect(service.ledger.events.length).toBe(before);
  });

  it('tells of a permission that the service misses, until the person has given it', async () => {
    const credential = await house.credential(connector, alice);
    const challenge = 'Bearer error="insufficient_scope", scope="admin:all"';
    const refused = { status: 403, wwwAuthenticate: challenge };
    await house.connections.rejected(connector, alice.principal, credential, refused);
    const view = async () => (await house.connections.of(connector, alice.principal))!;
    expect(await view()).toMatchObject({
      health: 'healthy',
      warnings: expect.arrayContaining([expect.objectContaining({ code: 'insufficient_scope' })]),
    });
    // Our clock has moved, the one behind the service's Date header has not.
    expect((await view()).warnings.map(({ code }) => code)).toContain('clock_skew');
    expect((await view()).lastError?.message).toMatch(/: admin:all\.$/);
    const again = 'Bearer error="insufficient_scope", scope="items:write"';
    await house.connections.rejected(connector, alice.principal, credential, { ...refused, wwwAuthenticate: again });
    expect(await view()).toMatchObject({ health: 'unhealthy', lastError: { code: 'scope_not_given' } });
    await house.connect(connector, alice);
    expect(await view()).toMatchObject({ health: 'healthy', lastError: null });
  });
});
