import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { hashToken, newId, newToken, type TenantId, type UserId } from '../ids.ts';
import type { Secret } from '../secret.ts';
import { checkPassword, hashPassword } from './password.ts';
import type { Role, User } from './principal.ts';
import type { IdentityStore, UserRow } from './store.ts';

const INVITATION_MS = 7 * 86_400_000;

export type Users = {
  /**
   * Adds a person who sets their password behind the link; for somebody who has not done so yet, a new link in place of
   * the former. The link is good for 7 days and once.
   * @throws ValetkeyError email_invalid, email_taken
   */
  invite(person: {
    tenant: TenantId;
    email: string;
    name: string;
    role: Role;
  }): Promise<{ user: User; invitationPath: string }>;
  /** Adds a person with a password. @throws ValetkeyError email_invalid, email_taken, password_unfit */
  create(person: { tenant: TenantId; email: string; name: string; role: Role; password: Secret }): Promise<User>;
  list(tenant: TenantId): Promise<User[]>;
  find(tenant: TenantId, id: UserId): Promise<User | undefined>;
  findByEmail(tenant: TenantId, email: string): Promise<User | undefined>;
  /** Signs them out everywhere and refuses their tokens. @throws ValetkeyError not_found, last_owner */
  disable(tenant: TenantId, id: UserId): Promise<void>;
  /** Lets a disabled person back in. @throws ValetkeyError not_found */
  enable(tenant: TenantId, id: UserId): Promise<void>;
  /** @throws ValetkeyError not_found, last_owner */
  setRole(tenant: TenantId, id: UserId, role: Role): Promise<void>;
  /** @throws ValetkeyError not_found, last_owner */
  remove(tenant: TenantId, id: UserId): Promise<void>;
};

export function createUsers(options: {
  store: IdentityStore;
  clock: Clock;
  changed: (tenant: TenantId, user: UserId) => Promise<void>;
}): Users {
  const { store, clock, changed } = options;

  async function keepAnOwner(
    within: Pick<IdentityStore, 'activeOwners' | 'user'>,
    tenant: TenantId,
    id: UserId,
  ): Promise<void> {
    if ((await within.user(tenant, id)) === undefined) throw fail('not_found', { message: 'There is no such user.' });
    const owners = await within.activeOwners(tenant);
    if (owners.length === 1 && owners[0] === id) throw fail('last_owner');
  }

  return {
    async invite(person) {
      const email = normalEmail(person.email);
      const token = newToken();
      const now = clock.now();
      const user = await store.transaction(async (within) => {
        let row = await within.userByEmail(person.tenant, email);
        if (row === undefined) {
          row = newUser({ ...person, email }, null, now);
          if (!(await within.addUser(row))) throw fail('email_taken');
        } else if (row.password_hash !== null || row.disabled_at !== null) {
          throw fail('email_taken');
        } else {
          const set = { name: cleanName(person.name), role: person.role };
          await within.changeUser(person.tenant, row.id, set);
          row = { ...row, ...set };
        }
        await within.replaceLink({
          tenant: person.tenant,
          hash: hashToken(token),
          kind: 'invitation',
          user_id: row.id,
          created_at: now,
          expires_at: now + INVITATION_MS,
          used_at: null,
        });
        return toUser(row);
      });
      return { user, invitationPath: `/invitation/${token}` };
    },
    async create(person) {
      const email = normalEmail(person.email);
      checkPassword(person.password, email);
      const row = newUser({ ...person, email }, await hashPassword(person.password), clock.now());
      if (!(await store.addUser(row))) throw fail('email_taken');
      return toUser(row);
    },
    list: async (tenant) => (await store.users(tenant)).map(toUser),
    async find(tenant, id) {
      const row = await store.user(tenant, id);
      return row === undefined ? undefined : toUser(row);
    },
    async findByEmail(tenant, email) {
      const row = await store.userByEmail(tenant, email.trim().toLowerCase());
      return row === undefined ? undefined : toUser(row);
    },
    async disable(tenant, id) {
      await store.transaction(async (within) => {
        await within.lockTenant(tenant);
        await keepAnOwner(within, tenant, id);
        await within.changeUser(tenant, id, { disabled_at: clock.now() });
        await within.endSessions(tenant, id, {});
      });
      await changed(tenant, id);
    },
    async enable(tenant, id) {
      if ((await store.user(tenant, id)) === undefined) throw fail('not_found', { message: 'There is no such user.' });
      await store.changeUser(tenant, id, { disabled_at: null });
      await changed(tenant, id);
    },
    async setRole(tenant, id, role) {
      await store.transaction(async (within) => {
        await within.lockTenant(tenant);
        if (role === 'owner') {
          if ((await within.user(tenant, id)) === undefined)
            throw fail('not_found', { message: 'There is no such user.' });
        } else {
          await keepAnOwner(within, tenant, id);
        }
        await within.changeUser(tenant, id, { role });
      });
      await changed(tenant, id);
    },
    async remove(tenant, id) {
      await store.transaction(async (within) => {
        await within.lockTenant(tenant);
        await keepAnOwner(within, tenant, id);
        await within.removeUser(tenant, id);
      });
      await changed(tenant, id);
    },
  };
}

export function newUser(
  person: { tenant: TenantId; email: string; name: string; role: Role },
  passwordHash: string | null,
  now: number,
): UserRow {
  return {
    tenant: person.tenant,
    id: newId<UserId>('usr'),
    email: person.email,
    name: cleanName(person.name),
    role: person.role,
    password_hash: passwordHash,
    created_at: now,
    disabled_at: null,
  };
}

export function toUser(row: UserRow): User {
  return {
    tenant: row.tenant as TenantId,
    id: row.id as UserId,
    email: row.email,
    name: row.name,
    role: row.role === 'owner' ? 'owner' : 'member',
    createdAt: row.created_at,
    disabledAt: row.disabled_at,
    pending: row.password_hash === null,
  };
}

/** Lower case, trimmed. Anything that has one @ and a plausible host; whether it receives mail is not known here. */
export function normalEmail(text: string): string {
  const email = text.trim().toLowerCase();
  if (email.length > 254 || !/^[^\s@"<>()[\]\\,;:\p{C}]+@[^\s@"<>()[\]\\,;:\p{C}]+$/u.test(email))
    throw fail('email_invalid');
  return email;
}

/** Without control, bidirectional and zero-width characters, which could make one name look like another. */
export function cleanName(text: string): string {
  return text
    .normalize('NFC')
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, 100);
}
