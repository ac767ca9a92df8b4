import { z } from 'zod';
import type { Audit } from '../audit/audit.ts';
import { rfc3339, type Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import type { UserId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { page, pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

const apiToken = z.object({
  id: z.string(),
  label: z.string(),
  createdAt: z.string(),
  expiresAt: z.string().nullable(),
  lastUsedAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
});

/** Who the caller is, and the caller's own API tokens. */
export function accountRoutes(deps: {
  apiTokens: Identity['apiTokens'];
  audit: Pick<Audit, 'record'>;
  clock: Clock;
}): Route[] {
  const { apiTokens, audit, clock } = deps;

  const person = ({ principal }: Caller): UserId => {
    if (principal.user === null) throw fail('person_required');
    return principal.user;
  };

  const record = async ({ principal, actor, address }: Caller, action: `api_token.${string}`, id: string) =>
    await audit.record({
      tenant: principal.tenant,
      action,
      actor,
      address,
      object: `api_token:${id}`,
      outcome: 'success',
    });

  return [
    route({
      method: 'GET',
      path: '/whoami',
      id: 'whoami',
      summary: 'Who the caller is.',
      action: 'whoami.read',
      answer: z.object({
        tenant: z.string(),
        user: z.object({ id: z.string(), email: z.string().nullable() }).nullable(),
        role: z.enum(['owner', 'member']),
        via: z.enum(['api_token', 'admin_token', 'session', 'client']),
        expiresAt: z.string().nullable(),
      }),
      async run({ caller }) {
        const { tenant, user, email, role, expiresAt } = caller.principal;
        const who = user === null ? null : { id: user, email };
        return { body: { tenant, user: who, role, via: caller.via, expiresAt: rfc3339(expiresAt) } };
      },
    }),
    route({
      method: 'GET',
      path: '/api-tokens',
      id: 'listApiTokens',
      summary: "One's own API tokens, without the tokens themselves.",
      action: 'api_token.read',
      query: pageQuery,
      answer: pageOf(apiToken),
      async run({ caller, query }) {
        const own = await apiTokens.list(caller.principal.tenant, person(caller));
        return {
          body: page(
            own.sort((a, b) => (a.id < b.id ? -1 : 1)),
            ({ id }) => id,
            query,
            (one) => ({
              id: one.id,
              label: one.label,
              createdAt: rfc3339(one.createdAt),
              expiresAt: rfc3339(one.expiresAt),
              lastUsedAt: rfc3339(one.lastUsedAt),
              revokedAt: rfc3339(one.revokedAt),
            }),
          ),
        };
      },
    }),
    route({
      method: 'POST',
      path: '/api-tokens',
      id: 'createApiToken',
      summary: 'Makes an API token; it is shown here and never again.',
      action: 'api_token.write',
      status: 201,
      body: z.strictObject({
        label: z.string().max(100).default(''),
        expiresInDays: z.int().min(1).max(3_650).optional(),
      }),
      answer: z.object({ id: z.string(), label: z.string(), token: z.string(), expiresAt: z.string().nullable() }),
      async run({ caller, body }) {
        const expiresAt = body.expiresInDays === undefined ? null : clock.now() + body.expiresInDays * 86_400_000;
        const { tenant } = caller.principal;
        const made = await apiTokens.create({ tenant, user: person(caller), label: body.label, expiresAt });
        await record(caller, 'api_token.created', made.apiToken.id);
        const { id, label } = made.apiToken;
        return { body: { id, label, token: made.token.unwrap(), expiresAt: rfc3339(expiresAt) } };
      },
    }),
    route({
      method: 'DELETE',
      path: '/api-tokens/:token',
      id: 'revokeApiToken',
      summary: "Revokes one of one's own API tokens.",
      action: 'api_token.write',
      async run({ caller, at }) {
        const id = at['token'] ?? '';
        if (!(await apiTokens.revoke(caller.principal.tenant, id, person(caller)))) {
          throw fail('not_found', { message: 'There is no such token.' });
        }
        await record(caller, 'api_token.revoked', id);
        return {};
      },
    }),
  ];
}
