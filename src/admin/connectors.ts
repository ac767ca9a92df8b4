import { z } from 'zod';
import { rfc3339 } from '../clock.ts';
import { mayUse, type Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { documentSchema } from '../connectors/document.ts';
import { fail } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import type { Connections } from '../connections/connections.ts';
import type { Caller } from './caller.ts';
import { createShowHealth, healthAnswer, type ShownHealth } from './health.ts';
import { page, pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

/** Members of an answer that are not part of the document; sent back with it, they are passed over. */
const READ_ONLY = [
  'id',
  'revision',
  'source',
  'mcpUrl',
  'callbackUrl',
  'missing',
  'health',
  'healthDetail',
  'createdAt',
  'updatedAt',
] as const;

const connectorAnswer = z.looseObject({
  id: z.string(),
  name: z.string(),
  revision: z.int(),
  source: z.enum(['api', 'file']),
  mcpUrl: z.url(),
  /** To be allowed at the provider; null until the connector signs in by OAuth. */
  callbackUrl: z.string().nullable(),
  missing: z.array(z.object({ field: z.string(), message: z.string(), hint: z.string() })),
  ...healthAnswer,
});

/** The connector that this caller may see. @throws ValetkeyError not_found, also where it only may not be seen */
export function visibleConnector(connectors: Connectors, principal: Principal, name: string): Connector {
  const connector = connectors.find(principal.tenant, name);
  if (connector === undefined || !mayUse(connector, principal)) {
    throw fail('not_found', { message: `There is no connector named ${name}.` });
  }
  return connector;
}

export const mcpUrlOf = (publicUrl: string, connector: { tenant: TenantId; name: string }): string =>
  `${publicUrl}/mcp/${connector.tenant}/${connector.name}`;

export function connectorRoutes(deps: {
  connectors: Connectors;
  connections: Pick<Connections, 'health'>;
  publicUrl: string;
  /** The redirect URI that a provider has to allow, where it is known before a registration. */
  callbackUrl: (connector: Connector) => Promise<string | null>;
}): Route[] {
  const { connectors, publicUrl, callbackUrl } = deps;
  const healthOf = createShowHealth(deps);

  async function show(connector: Connector, caller: Caller): Promise<Record<string, unknown>> {
    const shown = await healthOf([connector], caller.principal);
    return await withHealth(connector, caller, shown.get(connector.id));
  }

  async function withHealth(
    connector: Connector,
    caller: Caller,
    health: ShownHealth | undefined,
  ): Promise<Record<string, unknown>> {
    const { document } = connector;
    const base = { mcpUrl: mcpUrlOf(publicUrl, connector), revision: connector.revision, source: connector.source };
    if (caller.principal.role !== 'owner') {
      const { name, title, description, instructions, category, icon, active, kind, auth, access } = document;
      const plain = { name, title, description, instructions, category, icon, active, kind };
      return {
        id: connector.id,
        ...plain,
        access: { mode: access.mode },
        auth: { type: auth.type },
        ...base,
        ...health,
      };
    }
    return {
      id: connector.id,
      ...document,
      ...base,
      callbackUrl: connector.connection?.how !== 'consent' ? null : await callbackUrl(connector),
      missing: await connectors.missing(connector),
      ...health,
      createdAt: rfc3339(connector.createdAt),
      updatedAt: rfc3339(connector.updatedAt),
    };
  }

  return [
    route({
      method: 'GET',
      path: '/connectors',
      id: 'listConnectors',
      summary: 'The connectors that the caller may use, by name.',
      action: 'connector.read',
      query: pageQuery,
      answer: pageOf(connectorAnswer),
      async run({ caller, query }) {
        const usable = connectors.list(caller.principal.tenant).filter((one) => mayUse(one, caller.principal));
        const { items, next } = page(
          usable,
          (one) => one.name,
          query,
          (one) => one,
        );
        const health = await healthOf(items, caller.principal);
        const shown = items.map((one) => withHealth(one, caller, health.get(one.id)));
        return { body: { items: await Promise.all(shown), next } };
      },
    }),
    route({
      method: 'POST',
      path: '/connectors',
      id: 'createConnector',
      summary: 'Makes a connector of a document.',
      action: 'connector.write',
      status: 201,
      body: described(documentSchema),
      answer: connectorAnswer,
      async run({ caller, body }) {
        const made = await connectors.create(caller.principal.tenant, documentOf(body), caller.actor);
        return {
          body: await show(made, caller),
          revision: made.revision,
          location: `/tenants/${made.tenant}/connectors/${made.name}`,
        };
      },
    }),
    route({
      method: 'GET',
      path: '/connectors/:connector',
      id: 'getConnector',
      summary: 'One connector; secrets come back as ***.',
      action: 'connector.read',
      answer: connectorAnswer,
      async run({ caller, at }) {
        const connector = visibleConnector(connectors, caller.principal, at['connector'] ?? '');
        return { body: await show(connector, caller), revision: connector.revision };
      },
    }),
    route({
      method: 'PUT',
      path: '/connectors/:connector',
      id: 'putConnector',
      summary:
        'Replaces the document, or makes the connector. *** keeps a stored secret. If-Match is optional. With dryRun, only validates.',
      action: 'connector.write',
      query: z.strictObject({ dryRun: z.stringbool().default(false) }),
      body: described(documentSchema),
      answer: connectorAnswer,
      async run({ caller, at, body, ifRevision, query }) {
        const { tenant } = caller.principal;
        if (query.dryRun) {
          return { body: await connectors.check(tenant, at['connector'] ?? '', documentOf(body), ifRevision) };
        }
        const put = await connectors.put(tenant, at['connector'] ?? '', documentOf(body), caller.actor, ifRevision);
        const { connector, created } = put;
        return { status: created ? 201 : 200, body: await show(connector, caller), revision: connector.revision };
      },
    }),
    route({
      method: 'PATCH',
      path: '/connectors/:connector',
      id: 'patchConnector',
      summary: 'Changes the named fields (RFC 7396).',
      action: 'connector.write',
      body: z.record(z.string(), z.unknown()),
      answer: connectorAnswer,
      async run({ caller, at, body, ifRevision }) {
        const { tenant } = caller.principal;
        const name = at['connector'] ?? '';
        const connector = await connectors.patch(tenant, name, documentOf(body), caller.actor, ifRevision);
        return { body: await show(connector, caller), revision: connector.revision };
      },
    }),
    route({
      method: 'DELETE',
      path: '/connectors/:connector',
      id: 'removeConnector',
      summary: 'Removes a connector with everything that belongs to it.',
      action: 'connector.write',
      async run({ caller, at, ifRevision }) {
        await connectors.remove(caller.principal.tenant, at['connector'] ?? '', caller.actor, ifRevision);
        return {};
      },
    }),
  ];
}

/** The schema stands in the description; the room behind parses, because only it can explain a refusal. */
function described(schema: z.ZodType): z.ZodType {
  return z.unknown().meta(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>);
}

function documentOf(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const rest: Record<string, unknown> = { ...body };
  for (const name of READ_ONLY) delete rest[name];
  return rest;
}
