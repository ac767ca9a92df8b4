import { z } from 'zod';
import type { Audit } from '../audit/audit.ts';
import { rfc3339 } from '../clock.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { secretFields } from '../connectors/plain-secrets.ts';
import { fail } from '../errors.ts';
import { Secret } from '../secret.ts';
import type { Vault } from '../vault/vault.ts';
import type { Caller } from './caller.ts';
import { page, pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

const secret = z.object({ name: z.string(), version: z.int(), createdAt: z.string(), updatedAt: z.string() });

/** Named secrets: written and used, never read back. */
export function secretRoutes(deps: {
  secrets: Vault['secrets'];
  connectors: Connectors;
  audit: Pick<Audit, 'record'>;
}): Route[] {
  const { secrets, connectors, audit } = deps;

  const record = async ({ principal, actor, address }: Caller, action: `secret.${string}`, name: string) =>
    await audit.record({
      tenant: principal.tenant,
      action,
      actor,
      address,
      object: `secret:${name}`,
      outcome: 'success',
    });

  return [
    route({
      method: 'GET',
      path: '/secrets',
      id: 'listSecrets',
      summary: 'The names of the secrets that documents can refer to.',
      action: 'secret.read',
      query: pageQuery,
      answer: pageOf(secret),
      async run({ caller, query }) {
        const all = (await secrets.list(caller.principal.tenant)).sort((a, b) => (a.name < b.name ? -1 : 1));
        return {
          body: page(
            all,
            ({ name }) => name,
            query,
            ({ name, version, createdAt, updatedAt }) => ({
              name,
              version,
              createdAt: rfc3339(createdAt),
              updatedAt: rfc3339(updatedAt),
            }),
          ),
        };
      },
    }),
    route({
      method: 'PUT',
      path: '/secrets/:secret',
      id: 'putSecret',
      summary: 'Stores a value, which is never shown again.',
      action: 'secret.write',
      body: z.strictObject({ value: z.string().min(1).max(65_536) }),
      answer: z.object({ name: z.string(), version: z.int() }),
      async run({ caller, at, body }) {
        const name = at['secret'] ?? '';
        const version = await secrets.put(caller.principal.tenant, name, new Secret(body.value));
        await record(caller, 'secret.stored', name);
        return { body: { name, version } };
      },
    }),
    route({
      method: 'DELETE',
      path: '/secrets/:secret',
      id: 'removeSecret',
      summary: 'Forgets a secret that no connector refers to.',
      action: 'secret.write',
      async run({ caller, at }) {
        const { tenant } = caller.principal;
        const name = at['secret'] ?? '';
        const users = connectors
          .list(tenant)
          .filter(({ document }) =>
            secretFields(document).some(([, field]) => field !== '***' && field.secret === name),
          );
        if (users.length > 0) {
          const names = users.map((connector) => connector.name).join(', ');
          throw fail('secret_in_use', { message: `The secret ${name} is used by ${names}.` });
        }
        if (!(await secrets.remove(tenant, name))) {
          throw fail('not_found', { message: `There is no secret named ${name}.` });
        }
        await record(caller, 'secret.removed', name);
        return {};
      },
    }),
  ];
}
