import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { fail } from '../errors.ts';
import type { TenantId, UserId } from '../ids.ts';
import type { Secret } from '../secret.ts';
import { createCookieJar } from '../web/cookies.ts';
import { createApiTokens, type ApiTokens } from './api-tokens.ts';
import { createLinks, type Links } from './links.ts';
import { checkPassword, hashPassword, verifyPassword } from './password.ts';
import { DEFAULT_TENANT, type Principal, type User } from './principal.ts';
import { createSessions, type Sessions, type SignedIn } from './sessions.ts';
import { createIdentityStore } from './store.ts';
import { createThrottle } from './throttle.ts';
import { createUsers, toUser, type Users } from './users.ts';

export type { SignedIn } from './sessions.ts';

export const SESSION_COOKIE = 'valetkey_session';

/** Tenants, people, and how they prove who they are. */
export type Identity = {
  ensureTenant(tenant: TenantId): Promise<void>;
  /** Path of a new set-up link while there is no owner, else null. A new one replaces the former. */
  setUpLink(): Promise<string | null>;
  readonly users: Users;
  readonly links: Links;
  readonly sessions: Sessions;
  readonly apiTokens: Omit<ApiTokens, 'principal'>;
  /** Whoever is signed in in the browser that sent this `Cookie` header. */
  session(cookieHeader: string | undefined | null): Promise<SignedIn | undefined>;
  /** The principal of an API token or of `VALETKEY_ADMIN_TOKEN` (owner of the first tenant, user null). */
  apiPrincipal(authorizationHeader: string | undefined | null): Promise<Principal | undefined>;
  /** @throws ValetkeyError sign_in_failed, sign_in_throttled */
  signIn(attempt: { email: string; password: Secret; address: string }): Promise<User>;
  /**
   * Needs the current password; ends every other session and every API token of the user.
   * @throws ValetkeyError sign_in_failed, sign_in_throttled, password_unfit
   */
  changePassword(signedIn: SignedIn, change: { current: Secret; next: Secret; address: string }): Promise<void>;
  /**
   * Called in every process after a user was disabled, enabled, removed or changed the password: grants and caches of
   * that user die. The process that made the change always hears it; another one misses it while it has lost its
   * database connection, so what it caches about a user has to run out soon.
   */
  onUserChanged(listener: (tenant: TenantId, user: UserId) => void): () => void;
};

export async function createIdentity(options: {
  database: Database;
  clock: Clock;
  audit: Audit;
  publicUrl: string;
  adminToken?: Secret | undefined;
}): Promise<Identity> {
  const { database, clock, audit } = options;
  const store = createIdentityStore(database);
  const cookies = createCookieJar(options.publicUrl);
  const changed = async (tenant: TenantId, user: UserId): Promise<void> =>
    await database.publish('identity.user', `${tenant}/${user}`);
  const users = createUsers({ store, clock, changed });
  const sessions = createSessions({ store, clock });
  const links = createLinks({ store, clock, audit });
  const apiTokens = createApiTokens({ store, clock, adminToken: options.adminToken });
  const throttle = createThrottle({ store, clock });
  await store.addTenant(DEFAULT_TENANT, clock.now());

  async function prove(tenant: TenantId, email: string, password: Secret, address: string): Promise<User> {
    await throttle.attempt(tenant, email, address);
    const row = await store.userByEmail(tenant, email);
    const matches = await verifyPassword(password, row?.password_hash ?? null);
    if (row === undefined || !matches || row.disabled_at !== null) {
      await audit.record({
        tenant,
        action: 'user.sign_in_failed',
        actor: 'anonymous',
        address,
        // What was typed for an unknown account may be a password: it is not written down.
        object: row === undefined ? null : `user:${row.id}`,
        outcome: 'denied',
        detail: { reason: row === undefined ? 'unknown' : matches ? 'disabled' : 'password' },
      });
      throw fail('sign_in_failed');
    }
    await throttle.succeeded(tenant, email, address);
    return toUser(row);
  }

  return {
    ensureTenant: (tenant) => store.addTenant(tenant, clock.now()),
    setUpLink: () => links.setUpPath(),
    users,
    links,
    sessions,
    apiTokens,
    session: (cookieHeader) => sessions.resolve(cookies.read(cookieHeader, SESSION_COOKIE)),
    apiPrincipal: (authorization) => apiTokens.principal(authorization),
    async signIn({ email, password, address }) {
      const user = await prove(DEFAULT_TENANT, email.trim().toLowerCase().slice(0, 300), password, address);
      await audit.record({
        tenant: user.tenant,
        action: 'user.sign_in',
        actor: `user:${user.id}`,
        address,
        object: `user:${user.id}`,
        outcome: 'success',
      });
      return user;
    },
    async changePassword({ user, session }, { current, next, address }) {
      await prove(user.tenant, user.email, current, address);
      checkPassword(next, user.email);
      const passwordHash = await hashPassword(next);
      await store.transaction(async (within) => {
        await within.changeUser(user.tenant, user.id, { password_hash: passwordHash });
        await within.endSessions(user.tenant, user.id, { except: session.id });
        await within.revokeApiTokens(user.tenant, user.id, clock.now());
      });
      await changed(user.tenant, user.id);
      await audit.record({
        tenant: user.tenant,
        action: 'user.password_changed',
        actor: `user:${user.id}`,
        address,
        object: `user:${user.id}`,
        outcome: 'success',
      });
    },
    onUserChanged: (listener) =>
      database.subscribe('identity.user', (key) => {
        if (key === null) return;
        const slash = key.indexOf('/');
        listener(key.slice(0, slash) as TenantId, key.slice(slash + 1) as UserId);
      }),
  };
}
