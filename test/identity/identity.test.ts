import { describe, expect, it } from 'vitest';
import { createAudit } from '../../src/audit/audit.ts';
import type { Database } from '../../src/database/database.ts';
import { createIdentity, type Identity } from '../../src/identity/identity.ts';
import { DEFAULT_TENANT } from '../../src/identity/principal.ts';
import type { TenantId, UserId } from '../../src/ids.ts';
import { Secret } from '../../src/secret.ts';
import { createCookieJar } from '../../src/web/cookies.ts';
import { describeStores } from '../database/stores.ts';
import { standingClock } from './gateway.ts';

const publicUrl = 'http://localhost:8787';
const jar = createCookieJar(publicUrl);
const good = new Secret('four random words here');
const DAY = 86_400_000;
const address = '192.0.2.1';

async function start(database: Database, adminToken?: Secret) {
  const clock = standingClock();
  const audit = createAudit({ database, clock });
  const identity = await createIdentity({ database, clock, audit, publicUrl, adminToken });
  const cookie = (token: string): string => `${jar.name('valetkey_session')}=${token}`;
  return { identity, clock, audit, cookie };
}

const owner = (identity: Identity, email = 'ada@example.com') =>
  identity.users.create({ tenant: DEFAULT_TENANT, email, name: 'Ada', role: 'owner', password: good });
const tokenOf = (path: string | null): string => path?.split('/').at(-1) ?? '';
const attempt = (email: string, password = good, address = '192.0.2.1') => ({ email, password, address });

describeStores('identity', (open, store) => {
  it('gives a set-up link until there is an owner, and each new one invalidates the former', async () => {
    const database = await open();
    const { identity } = await start(database);
    const first = tokenOf(await identity.setUpLink());
    const second = tokenOf(await identity.setUpLink());
    expect(await identity.links.isSetUp(first)).toBe(false);
    expect(await identity.links.isSetUp(second)).toBe(true);
    const person = { email: ' Ada@Example.com ', name: 'Ada', password: good, address };
    await expect(identity.links.setUp(first, person)).rejects.toMatchObject({ code: 'link_invalid' });
    expect(await identity.links.setUp(second, person)).toMatchObject({ email: 'ada@example.com', role: 'owner' });
    expect(await identity.setUpLink()).toBeNull();
    await expect(identity.links.setUp(second, person)).rejects.toMatchObject({ code: 'link_invalid' });
    // A link that was used stays used, even when the owner it made is gone.
    await database.query.deleteFrom('users').execute();
    await expect(identity.links.setUp(second, person)).rejects.toMatchObject({ code: 'link_invalid' });
    expect(await identity.setUpLink()).not.toBeNull();
  });

  it('lets the set-up link expire', async () => {
    const { identity, clock } = await start(await open());
    const token = tokenOf(await identity.setUpLink());
    clock.move(DAY + 1);
    expect(await identity.links.isSetUp(token)).toBe(false);
  });

  it('makes one owner of many submits of the set-up page at once', async () => {
    const { identity } = await start(await open());
    const token = tokenOf(await identity.setUpLink());
    const outcomes = await Promise.allSettled(
      Array.from({ length: 6 }, (_, index) =>
        identity.links.setUp(token, { email: `person${index}@example.com`, name: 'P', password: good, address }),
      ),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await identity.users.list(DEFAULT_TENANT)).toHaveLength(1);
  });

  it('makes no second owner when one has come by another way while the set-up page was being submitted', async () => {
    const database = await open();
    const { identity } = await start(database);
    const setUp = tokenOf(await identity.setUpLink());
    const eve = await owner(identity, 'eve@example.com');
    const row = await database.query.selectFrom('users').selectAll().executeTakeFirstOrThrow();
    await database.query.deleteFrom('users').execute();
    let arrival: Promise<unknown> | undefined;
    // The password is read once the link was found good, and hashing it takes longer than Eve needs to come back.
    class Watched extends Secret {
      override unwrap(): string {
        arrival ??= database.query.insertInto('users').values(row).execute();
        return super.unwrap();
      }
    }
    const password = new Watched(good.unwrap());
    await expect(
      identity.links.setUp(setUp, { email: 'ada@example.com', name: 'Ada', password, address }),
    ).rejects.toMatchObject({ code: 'link_invalid' });
    await arrival;
    expect((await identity.users.list(DEFAULT_TENANT)).map((user) => user.id)).toEqual([eve.id]);
  });

  it('keeps no bearer value of a link, session or API token in the database', async () => {
    const database = await open();
    const { identity } = await start(database);
    const user = await owner(identity);
    const { invitationPath } = await identity.users.invite({
      tenant: DEFAULT_TENANT,
      email: 'bob@example.com',
      name: 'Bob',
      role: 'member',
    });
    const session = await identity.sessions.start(DEFAULT_TENANT, user.id, 'test');
    const { token } = await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: user.id, label: 'ci' });
    const dump = JSON.stringify([
      await database.query.selectFrom('users').selectAll().execute(),
      await database.query.selectFrom('invitations').selectAll().execute(),
      await database.query.selectFrom('sessions').selectAll().execute(),
      await database.query.selectFrom('api_tokens').selectAll().execute(),
    ]);
    expect(dump).toContain('bob@example.com');
    expect(dump).toContain('$argon2id$v=19$m=19456,t=2,p=1$');
    for (const secret of [tokenOf(invitationPath), session, token.unwrap(), good.unwrap()]) {
      expect(dump).not.toContain(secret);
    }
  });

  it('takes an invitation once, within 7 days, and a second invitation replaces the first', async () => {
    const { identity, clock } = await start(await open());
    const person = { tenant: DEFAULT_TENANT, email: 'bob@example.com', name: 'Bob', role: 'member' as const };
    const first = await identity.users.invite(person);
    const second = await identity.users.invite({ ...person, name: 'Bobby' });
    expect(second.user).toMatchObject({ id: first.user.id, pending: true, name: 'Bobby' });
    expect(await identity.links.invited(tokenOf(first.invitationPath))).toBeUndefined();
    await expect(identity.signIn(attempt('bob@example.com'))).rejects.toMatchObject({ code: 'sign_in_failed' });
    clock.move(6 * DAY);
    const accept = () =>
      identity.links.accept(tokenOf(second.invitationPath), { name: 'Bob B', password: good, address });
    const outcomes = await Promise.allSettled([accept(), accept()]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    await expect(accept()).rejects.toMatchObject({ code: 'link_invalid' });
    expect(await identity.signIn(attempt('bob@example.com'))).toMatchObject({ name: 'Bob B', pending: false });
    await expect(identity.users.invite(person)).rejects.toMatchObject({ code: 'email_taken' });
    const late = await identity.users.invite({ ...person, email: 'late@example.com' });
    clock.move(7 * DAY + 1);
    await expect(
      identity.links.accept(tokenOf(late.invitationPath), { name: '', password: good, address }),
    ).rejects.toMatchObject({ code: 'link_invalid' });
  });

  it('does not open a set-up page with an invitation, nor the other way round', async () => {
    const { identity } = await start(await open());
    const setUp = tokenOf(await identity.setUpLink());
    const { invitationPath } = await identity.users.invite({
      tenant: DEFAULT_TENANT,
      email: 'bob@example.com',
      name: 'Bob',
      role: 'member',
    });
    expect(await identity.links.isSetUp(tokenOf(invitationPath))).toBe(false);
    expect(await identity.links.invited(setUp)).toBeUndefined();
    await expect(
      identity.links.setUp(tokenOf(invitationPath), { email: 'eve@example.com', name: 'Eve', password: good, address }),
    ).rejects.toMatchObject({ code: 'link_invalid' });
  });

  it('knows a session by its cookie until it was idle for 14 days or is 30 days old', async () => {
    const { identity, clock, cookie } = await start(await open());
    const user = await owner(identity);
    const token = await identity.sessions.start(DEFAULT_TENANT, user.id, 'browser');
    const signedIn = await identity.session(`other=1; ${cookie(token)}`);
    expect(signedIn?.user.id).toBe(user.id);
    expect(signedIn?.csrfSecret).not.toContain(token);
    expect(await identity.session(cookie(`${token}x`))).toBeUndefined();
    expect(await identity.session(undefined)).toBeUndefined();
    clock.move(13 * DAY);
    expect(await identity.session(cookie(token))).toBeDefined();
    clock.move(13 * DAY);
    expect(await identity.session(cookie(token))).toBeDefined();
    clock.move(5 * DAY);
    expect(await identity.session(cookie(token))).toBeUndefined();
    const idle = await identity.sessions.start(DEFAULT_TENANT, user.id, 'browser');
    clock.move(14 * DAY + 1);
    expect(await identity.session(cookie(idle))).toBeUndefined();
  });

  it('writes that a session was seen at most once a minute', async () => {
    const { identity, clock, cookie } = await start(await open());
    const user = await owner(identity);
    const token = await identity.sessions.start(DEFAULT_TENANT, user.id, 'browser');
    const seen = async () => (await identity.sessions.list(DEFAULT_TENANT, user.id))[0]?.lastSeenAt;
    const before = await seen();
    clock.move(30_000);
    await identity.session(cookie(token));
    expect(await seen()).toBe(before);
    clock.move(30_001);
    await identity.session(cookie(token));
    expect(await seen()).toBeGreaterThan(before ?? Number.NaN);
  });

  it('changes a password only for who knows the present one, and ends every other session and API token', async () => {
    const { identity, cookie } = await start(await open());
    const user = await owner(identity);
    const mine = await identity.sessions.start(DEFAULT_TENANT, user.id, 'mine');
    const other = await identity.sessions.start(DEFAULT_TENANT, user.id, 'other');
    const signedIn = await identity.session(cookie(mine));
    if (signedIn === undefined) throw new Error('not signed in');
    const { token } = await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: user.id, label: 'leaked' });
    const asked = async () => await identity.apiPrincipal(`Bearer ${token.unwrap()}`);
    expect(await asked()).toBeDefined();
    const changes: unknown[] = [];
    identity.onUserChanged((tenant, id) => changes.push([tenant, id]));
    const next = new Secret('another long password');
    await expect(identity.changePassword(signedIn, { current: next, next, address })).rejects.toMatchObject({
      code: 'sign_in_failed',
    });
    await expect(
      identity.changePassword(signedIn, { current: good, next: new Secret('short'), address }),
    ).rejects.toMatchObject({ code: 'password_unfit' });
    expect(changes).toEqual([]);
    await identity.changePassword(signedIn, { current: good, next, address });
    expect(changes).toEqual([[DEFAULT_TENANT, user.id]]);
    expect(await identity.session(cookie(mine))).toBeDefined();
    expect(await identity.session(cookie(other))).toBeUndefined();
    expect(await asked()).toBeUndefined();
    await expect(identity.signIn(attempt(user.email))).rejects.toMatchObject({ code: 'sign_in_failed' });
    expect(await identity.signIn(attempt(user.email, next))).toMatchObject({ id: user.id });
  });

  it('shuts a disabled user out of sessions, API tokens and sign-in, and says so to those who listen', async () => {
    const { identity, cookie } = await start(await open());
    await owner(identity);
    const bob = await identity.users.create({
      tenant: DEFAULT_TENANT,
      email: 'bob@example.com',
      name: 'Bob',
      role: 'member',
      password: good,
    });
    const session = await identity.sessions.start(DEFAULT_TENANT, bob.id, 'browser');
    const { token } = await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: bob.id, label: 'ci' });
    expect(await identity.apiPrincipal(`Bearer ${token.unwrap()}`)).toMatchObject({ user: bob.id, role: 'member' });
    const changes: unknown[] = [];
    identity.onUserChanged((tenant, id) => changes.push([tenant, id]));
    await identity.users.disable(DEFAULT_TENANT, bob.id);
    expect(changes).toEqual([[DEFAULT_TENANT, bob.id]]);
    expect(await identity.session(cookie(session))).toBeUndefined();
    expect(await identity.apiPrincipal(`Bearer ${token.unwrap()}`)).toBeUndefined();
    await expect(identity.signIn(attempt(bob.email))).rejects.toMatchObject({ code: 'sign_in_failed' });
    await identity.users.enable(DEFAULT_TENANT, bob.id);
    expect(await identity.session(cookie(session))).toBeUndefined();
    expect(await identity.signIn(attempt(bob.email))).toMatchObject({ id: bob.id });
  });

  it('never disables or removes the last owner who can sign in, however many try at once', async () => {
    const { identity } = await start(await open());
    const ada = await owner(identity);
    const eve = await owner(identity, 'eve@example.com');
    await identity.users.invite({ tenant: DEFAULT_TENANT, email: 'new@example.com', name: 'N', role: 'owner' });
    const outcomes = await Promise.allSettled([
      identity.users.disable(DEFAULT_TENANT, ada.id),
      identity.users.remove(DEFAULT_TENANT, eve.id),
    ]);
    expect(outcomes.map(({ status }) => status).toSorted((a, b) => a.localeCompare(b))).toEqual([
      'fulfilled',
      'rejected',
    ]);
  });

  it('changes a role, tells the listeners, and keeps an owner', async () => {
    const { identity } = await start(await open());
    const ada = await owner(identity);
    const eve = await owner(identity, 'eve@example.com');
    const changes: unknown[] = [];
    identity.onUserChanged((tenant, id) => changes.push([tenant, id]));
    await identity.users.setRole(DEFAULT_TENANT, eve.id, 'member');
    expect(await identity.users.find(DEFAULT_TENANT, eve.id)).toMatchObject({ role: 'member' });
    expect(changes).toEqual([[DEFAULT_TENANT, eve.id]]);
    const last = identity.users.setRole(DEFAULT_TENANT, ada.id, 'member');
    await expect(last).rejects.toMatchObject({ code: 'last_owner' });
    const nobody = identity.users.setRole(DEFAULT_TENANT, 'usr_none' as UserId, 'owner');
    await expect(nobody).rejects.toMatchObject({ code: 'not_found' });
  });

  it('removes a person with their sessions and tokens', async () => {
    const database = await open();
    const { identity } = await start(database);
    await owner(identity);
    const eve = await owner(identity, 'eve@example.com');
    await identity.sessions.start(DEFAULT_TENANT, eve.id, 'browser');
    await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: eve.id, label: 'ci' });
    await identity.users.remove(DEFAULT_TENANT, eve.id);
    expect(await identity.users.find(DEFAULT_TENANT, eve.id)).toBeUndefined();
    expect(await database.query.selectFrom('sessions').selectAll().execute()).toEqual([]);
    expect(await database.query.selectFrom('api_tokens').selectAll().execute()).toEqual([]);
    await expect(identity.users.remove(DEFAULT_TENANT, eve.id)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('shows a user, a session and a token of one tenant to no other tenant', async () => {
    const { identity } = await start(await open());
    const other = 'other' as TenantId;
    await identity.ensureTenant(other);
    await identity.ensureTenant(other);
    const ada = await owner(identity);
    await identity.sessions.start(DEFAULT_TENANT, ada.id, 'browser');
    const { apiToken } = await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: ada.id, label: 'ci' });
    expect(await identity.users.find(other, ada.id)).toBeUndefined();
    expect(await identity.users.findByEmail(other, ada.email)).toBeUndefined();
    expect(await identity.users.list(other)).toEqual([]);
    expect(await identity.sessions.list(other, ada.id)).toEqual([]);
    expect(await identity.sessions.endOthers(other, ada.id, null)).toBe(0);
    expect(await identity.apiTokens.list(other)).toEqual([]);
    expect(await identity.apiTokens.revoke(other, apiToken.id)).toBe(false);
    expect(await identity.apiTokens.revoke(DEFAULT_TENANT, apiToken.id, 'usr_other' as UserId)).toBe(false);
  });

  it('takes an API token until it is revoked or over, and the admin token for the operator', async () => {
    const admin = new Secret('an-admin-token-of-enough-length');
    const { identity, clock } = await start(await open(), admin);
    const ada = await owner(identity);
    const create = (expiresAt: number | null) =>
      identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: ada.id, label: 'ci', expiresAt });
    const lasting = await create(null);
    const brief = await create(clock.now() + 1_000);
    const principal = (token: Secret) => identity.apiPrincipal(`Bearer ${token.unwrap()}`);
    expect(await principal(lasting.token)).toMatchObject({ user: ada.id, role: 'owner', email: 'ada@example.com' });
    expect(await principal(brief.token)).toBeDefined();
    clock.move(1_001);
    expect(await principal(brief.token)).toBeUndefined();
    expect((await identity.apiTokens.list(DEFAULT_TENANT, ada.id))[0]?.lastUsedAt).not.toBeNull();
    expect(await identity.apiTokens.revoke(DEFAULT_TENANT, lasting.apiToken.id, ada.id)).toBe(true);
    expect(await principal(lasting.token)).toBeUndefined();
    expect(await principal(admin)).toMatchObject({ tenant: 'default', user: null, role: 'owner' });
    for (const header of [undefined, '', 'Bearer', `Basic ${admin.unwrap()}`, `Bearer ${admin.unwrap()}x`]) {
      expect(await identity.apiPrincipal(header)).toBeUndefined();
    }
  });

  it('refuses everybody of a suspended tenant', async () => {
    const database = await open();
    const { identity, cookie } = await start(database);
    const ada = await owner(identity);
    const session = await identity.sessions.start(DEFAULT_TENANT, ada.id, 'browser');
    const { token } = await identity.apiTokens.create({ tenant: DEFAULT_TENANT, user: ada.id, label: 'ci' });
    await database.query.updateTable('tenants').set({ suspended_at: 1 }).where('id', '=', DEFAULT_TENANT).execute();
    expect(await identity.session(cookie(session))).toBeUndefined();
    expect(await identity.apiPrincipal(`Bearer ${token.unwrap()}`)).toBeUndefined();
  });

  it('slows guessing at an account down, in parallel too, and lets its owner in after a short wait', async () => {
    const { identity, clock } = await start(await open());
    const ada = await owner(identity);
    const wrong = new Secret('not the password');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) => identity.signIn(attempt(ada.email, wrong, `192.0.2.${index}`))),
    );
    const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'in'));
    expect(codes.filter((code) => code === 'sign_in_failed')).toHaveLength(5);
    expect(codes.filter((code) => code === 'sign_in_throttled')).toHaveLength(7);
    await expect(identity.signIn(attempt(ada.email))).rejects.toMatchObject({ code: 'sign_in_throttled' });
    clock.move(60_001);
    expect(await identity.signIn(attempt(ada.email))).toMatchObject({ id: ada.id });
    await expect(identity.signIn(attempt(ada.email, wrong))).rejects.toMatchObject({ code: 'sign_in_failed' });
    expect(await identity.signIn(attempt(ada.email))).toMatchObject({ id: ada.id });
  });

  it('slows an address down that tries many accounts, whether they exist or not', async () => {
    const { identity } = await start(await open());
    const ada = await owner(identity);
    const wrong = new Secret('not the password');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, index) => identity.signIn(attempt(`p${index}@example.com`, wrong))),
    );
    const throttled = outcomes.filter(
      ({ status, ...rest }) => 'reason' in rest && rest.reason.code === 'sign_in_throttled' && status === 'rejected',
    );
    expect(throttled).toHaveLength(10);
    await expect(identity.signIn(attempt(ada.email))).rejects.toMatchObject({ code: 'sign_in_throttled' });
    expect(await identity.signIn(attempt(ada.email, good, '192.0.2.99'))).toMatchObject({ id: ada.id });
  });

  it('records failed sign-ins without what was typed', async () => {
    const database = await open();
    const { identity, audit } = await start(database);
    await owner(identity);
    await expect(identity.signIn(attempt('my-secret-password'))).rejects.toMatchObject({ code: 'sign_in_failed' });
    const rows = await database.query.selectFrom('audit_events').selectAll().execute();
    expect(rows).toMatchObject([{ action: 'user.sign_in_failed', outcome: 'denied', object: null }]);
    expect(JSON.stringify(rows)).not.toContain('my-secret-password');
    expect(await audit.verify(DEFAULT_TENANT)).toMatchObject({ intact: true, events: 1 });
  });

  if (store.kind === 'postgres') {
    it('tells the other processes that a user has changed', async () => {
      const here = await start(await open());
      const there = await start(await store.replica());
      await owner(here.identity);
      const bob = await owner(here.identity, 'bob@example.com');
      const heard = new Promise((resolve) => there.identity.onUserChanged((_, user) => resolve(user)));
      await here.identity.users.disable(DEFAULT_TENANT, bob.id);
      expect(await heard).toBe(bob.id);
    });
  }
});

describe('a password', () => {
  it('is refused when it is short, common, monotonous or the address itself', async () => {
    const { checkPassword } = await import('../../src/identity/password.ts');
    for (const text of [
      '',
      '1234567',
      'Password1',
      'aaaaaaaaaaaa',
      'ada@example.com',
      'adalovelace',
      'x'.repeat(257),
    ]) {
      const email = text === 'adalovelace' ? 'adalovelace@example.com' : 'ada@example.com';
      expect(() => checkPassword(new Secret(text), email)).toThrow(expect.objectContaining({ code: 'password_unfit' }));
    }
    expect(() => checkPassword(good, 'ada@example.com')).not.toThrow();
  });

  it('takes as long for an account that does not exist as for one that does', async () => {
    const { hashPassword, verifyPassword } = await import('../../src/identity/password.ts');
    const stored = await hashPassword(good);
    expect(await verifyPassword(good, stored)).toBe(true);
    const time = async (hash: string | null): Promise<number> => {
      const times: number[] = [];
      for (let round = 0; round < 7; round++) {
        const before = performance.now();
        expect(await verifyPassword(new Secret('wrong password'), hash)).toBe(false);
        times.push(performance.now() - before);
      }
      return Math.min(...times);
    };
    const known = await time(stored);
    const unknown = await time(null);
    // Without the work, the answer for an unknown account takes microseconds.
    expect(unknown).toBeGreaterThan(known / 3);
  });

  it('is the same however its accents were typed', async () => {
    const { hashPassword, verifyPassword } = await import('../../src/identity/password.ts');
    expect(
      await verifyPassword(new Secret('cafe\u0301 au lait'), await hashPassword(new Secret('caf\u00e9 au lait'))),
    ).toBe(true);
  });
});
