import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { hashToken, newToken } from '../ids.ts';
import type { Secret } from '../secret.ts';
import { checkPassword, hashPassword } from './password.ts';
import { DEFAULT_TENANT, type User } from './principal.ts';
import type { IdentityStore } from './store.ts';
import { cleanName, newUser, normalEmail, toUser } from './users.ts';

const SET_UP_MS = 24 * 3_600_000;

/** Links that work once: the set-up link, behind which the first owner is made, and invitations. */
export type Links = {
  /** A new set-up path, which replaces the former one; null once there is an owner. Good for 24 hours. */
  setUpPath(): Promise<string | null>;
  needsSetUp(): Promise<boolean>;
  /** Whether this set-up token would work now. */
  isSetUp(token: string): Promise<boolean>;
  /** Makes the owner. @throws ValetkeyError link_invalid, email_invalid, email_taken, password_unfit */
  setUp(
    token: string,
    person: { email: string; name: string; password: Secret; address: string | null },
  ): Promise<User>;
  /** Whom an invitation is for. */
  invited(token: string): Promise<User | undefined>;
  /** @throws ValetkeyError link_invalid, password_unfit */
  accept(token: string, person: { name: string; password: Secret; address: string | null }): Promise<User>;
};

export function createLinks(options: { store: IdentityStore; clock: Clock; audit: Audit }): Links {
  const { store, clock, audit } = options;
  const needsSetUp = async (): Promise<boolean> => (await store.activeOwners(DEFAULT_TENANT)).length === 0;
  const isSetUp = async (token: string): Promise<boolean> =>
    (await store.link('setup', hashToken(token), clock.now())) !== undefined && (await needsSetUp());

  async function invited(token: string): Promise<User | undefined> {
    const link = await store.link('invitation', hashToken(token), clock.now());
    const row = link?.user_id == null ? undefined : await store.user(link.tenant, link.user_id);
    return row === undefined || row.disabled_at !== null ? undefined : toUser(row);
  }

  async function joined(user: User, by: string, address: string | null): Promise<void> {
    const subject = `user:${user.id}`;
    await audit.record({
      tenant: user.tenant,
      action: 'user.joined',
      actor: subject,
      address,
      object: subject,
      outcome: 'success',
      detail: { by, role: user.role },
    });
  }

  return {
    needsSetUp,
    isSetUp,
    invited,
    async setUpPath() {
      if (!(await needsSetUp())) return null;
      const token = newToken();
      const now = clock.now();
      await store.transaction(async (within) => {
        await within.lockTenant(DEFAULT_TENANT);
        await within.replaceLink({
          tenant: DEFAULT_TENANT,
          hash: hashToken(token),
          kind: 'setup',
          user_id: null,
          created_at: now,
          expires_at: now + SET_UP_MS,
          used_at: null,
        });
      });
      return `/setup/${token}`;
    },
    async setUp(token, person) {
      // Before the password is hashed: strangers shall not make this work hard.
      if (!(await isSetUp(token))) throw fail('link_invalid');
      const email = normalEmail(person.email);
      checkPassword(person.password, email);
      const passwordHash = await hashPassword(person.password);
      const now = clock.now();
      const owner = await store.transaction(async (within) => {
        await within.lockTenant(DEFAULT_TENANT);
        // Of several submits one gets the link, and none does when an owner has come by another way in the meantime.
        const mine = await within.useLink(hashToken(token), now);
        if (!mine || (await within.activeOwners(DEFAULT_TENANT)).length > 0) throw fail('link_invalid');
        const row = newUser({ tenant: DEFAULT_TENANT, email, name: person.name, role: 'owner' }, passwordHash, now);
        if (!(await within.addUser(row))) throw fail('email_taken');
        return toUser(row);
      });
      await joined(owner, 'set-up link', person.address);
      return owner;
    },
    async accept(token, person) {
      const user = await invited(token);
      if (user === undefined) throw fail('link_invalid');
      checkPassword(person.password, user.email);
      const passwordHash = await hashPassword(person.password);
      const name = cleanName(person.name) || user.name;
      await store.transaction(async (within) => {
        if (!(await within.useLink(hashToken(token), clock.now()))) throw fail('link_invalid');
        await within.changeUser(user.tenant, user.id, { password_hash: passwordHash, name });
      });
      await joined(user, 'invitation', person.address);
      return { ...user, name, pending: false };
    },
  };
}
