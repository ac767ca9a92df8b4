import { z } from 'zod';
import type { Audit } from '../audit/audit.ts';
import { rfc3339 } from '../clock.ts';
import { fail } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import type { User } from '../identity/principal.ts';
import type { UserId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { page, pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

const role = z.enum(['owner', 'member']);

const user = z.object({
  id: z.string(),
  email: z.string(),
  name: z.string(),
  role,
  /** Invited, the invitation not used yet. */
  pending: z.boolean(),
  createdAt: z.string(),
  disabledAt: z.string().nullable(),
});

const show = (one: User): z.output<typeof user> => ({
  id: one.id,
  email: one.email,
  name: one.name,
  role: one.role,
  pending: one.pending,
  createdAt: rfc3339(one.createdAt),
  disabledAt: rfc3339(one.disabledAt),
});

export function userRoutes(deps: {
  users: Identity['users'];
  audit: Pick<Audit, 'record'>;
  publicUrl: string;
}): Route[] {
  const { users, audit, publicUrl } = deps;

  const find = async (caller: Caller, id: string): Promise<User> => {
    const found = await users.find(caller.principal.tenant, id as UserId);
    if (found === undefined) throw fail('not_found', { message: 'There is no such user.' });
    return found;
  };

  const record = async (
    { principal, actor, address }: Caller,
    action: `user.${string}`,
    id: string,
    detail?: Record<string, unknown>,
  ): Promise<void> => {
    const { tenant } = principal;
    await audit.record({ tenant, action, actor, address, object: `user:${id}`, outcome: 'success', detail });
  };

  return [
    route({
      method: 'GET',
      path: '/users',
      id: 'listUsers',
      summary: 'The people of the tenant.',
      action: 'user.read',
      query: pageQuery,
      answer: pageOf(user),
      async run({ caller, query }) {
        const all = (await users.list(caller.principal.tenant)).sort((a, b) => (a.email < b.email ? -1 : 1));
        return { body: page(all, ({ email }) => email, query, show) };
      },
    }),
    route({
      method: 'POST',
      path: '/users',
      id: 'inviteUser',
      summary: 'Invites a person, who sets a password behind the link; again for a person who has not, a new link.',
      action: 'user.write',
      status: 201,
      body: z.strictObject({ email: z.string(), name: z.string().default(''), role: role.default('member') }),
      answer: z.object({ id: z.string(), email: z.string(), role, invitationUrl: z.url() }),
      async run({ caller, body }) {
        const invited = await users.invite({ tenant: caller.principal.tenant, ...body });
        await record(caller, 'user.invited', invited.user.id, { role: invited.user.role });
        const { id, email } = invited.user;
        const invitationUrl = `${publicUrl}${invited.invitationPath}`;
        return { body: { id, email, role: invited.user.role, invitationUrl }, location: `/users/${id}` };
      },
    }),
    route({
      method: 'GET',
      path: '/users/:user',
      id: 'getUser',
      summary: 'One person.',
      action: 'user.read',
      answer: user,
      run: async ({ caller, at }) => ({ body: show(await find(caller, at['user'] ?? '')) }),
    }),
    route({
      method: 'PATCH',
      path: '/users/:user',
      id: 'changeUser',
      summary: 'Disables a person, which signs them out everywhere, or lets them back in; changes the role.',
      action: 'user.write',
      body: z.strictObject({ disabled: z.boolean().optional(), role: role.optional() }),
      answer: user,
      async run({ caller, at, body }) {
        const { tenant } = caller.principal;
        const found = await find(caller, at['user'] ?? '');
        if (body.role !== undefined && body.role !== found.role) {
          await users.setRole(tenant, found.id, body.role);
          await record(caller, 'user.role_changed', found.id, { role: body.role });
        }
        if (body.disabled !== undefined && body.disabled !== (found.disabledAt !== null)) {
          await (body.disabled ? users.disable(tenant, found.id) : users.enable(tenant, found.id));
          await record(caller, body.disabled ? 'user.disabled' : 'user.enabled', found.id);
        }
        return { body: show(await find(caller, found.id)) };
      },
    }),
    route({
      method: 'DELETE',
      path: '/users/:user',
      id: 'removeUser',
      summary: 'Removes a person with everything that was theirs.',
      action: 'user.write',
      async run({ caller, at }) {
        const { id } = await find(caller, at['user'] ?? '');
        await users.remove(caller.principal.tenant, id);
        await record(caller, 'user.removed', id);
        return {};
      },
    }),
  ];
}
