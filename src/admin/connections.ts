import { z } from 'zod';
import { rfc3339 } from '../clock.ts';
import type { Connections, ConnectionView } from '../connections/connections.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { fail } from '../errors.ts';
import { newId, type FlowId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { visibleConnector } from './connectors.ts';
import { pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

const connection = z.object({
  id: z.string(),
  connector: z.string(),
  owner: z.object({ type: z.enum(['user', 'tenant']), id: z.string(), email: z.string().nullable() }),
  account: z.object({ subject: z.string().nullable(), label: z.string().nullable() }),
  status: z.enum(['pending', 'connected', 'suspect', 'needs_reconnect', 'revoked', 'quarantined']),
  health: z.enum(['healthy', 'unhealthy', 'unknown']),
  healthReason: z.string(),
  nextStep: z.string().nullable(),
  /** What works today and will not for ever. */
  warnings: z.array(z.object({ code: z.string(), message: z.string(), hint: z.string() })),
  scopes: z.object({ requested: z.array(z.string()), granted: z.array(z.string()) }),
  /** These five are RFC 3339 in UTC. */
  expiresAt: z.string().nullable(),
  grantExpiresAt: z.string().nullable(),
  lastRefreshAt: z.string().nullable(),
  nextRefreshAt: z.string().nullable(),
  lastUsedAt: z.string().nullable(),
  generation: z.int(),
  lastError: z.object({ code: z.string(), message: z.string(), hint: z.string() }).nullable(),
});

/** What this room needs of connections. */
export type ConnectionDoor = Pick<
  Connections,
  'connectUrl' | 'list' | 'get' | 'disconnect' | 'health' | 'doctor' | 'handedTokens'
>;

export function connectionRoutes(deps: { connectors: Connectors; connections: ConnectionDoor }): Route[] {
  const { connectors, connections } = deps;

  const own = ({ principal }: Caller) => ({ type: 'user' as const, id: principal.user ?? '' });

  /** One's own, or the tenant's shared ones and everybody's for an owner. */
  const mayTouch = ({ principal }: Caller, one: ConnectionView): boolean =>
    principal.role === 'owner' || (one.owner.type === 'user' && one.owner.id === principal.user);

  async function reachable(caller: Caller, id: string): Promise<ConnectionView> {
    const found = await connections.get(caller.principal.tenant, id);
    if (found === undefined || !mayTouch(caller, found)) {
      throw fail('not_found', { message: 'There is no such connection.' });
    }
    return found;
  }

  return [
    route({
      method: 'POST',
      path: '/connectors/:connector/connect',
      id: 'connect',
      summary: 'A link where the caller, signed in as the same person, connects the account at the service.',
      action: 'connection.make',
      body: z.strictObject({
        scopes: z.array(z.string()).max(100).optional(),
        returnTo: z
          .string()
          .regex(/^\/(?![/\\])/, 'must be a path')
          .optional(),
      }),
      answer: z.object({ url: z.url(), expiresAt: z.string() }),
      async run({ caller, at, body }) {
        const { principal } = caller;
        const connector = visibleConnector(connectors, principal, at['connector'] ?? '');
        if (connector.connection === null) {
          throw fail('invalid_request', {
            message: `${connector.name} needs no connection: there is nothing to connect.`,
            hint: 'Its credential belongs in the connector document.',
          });
        }
        if (principal.user === null) throw fail('person_required');
        if (connector.connection.owner === 'tenant' && principal.role !== 'owner') {
          throw fail('forbidden', { message: `The connection of ${connector.name} is shared by the tenant.` });
        }
        const link = await connections.connectUrl(connector, principal, { flow: newId<FlowId>('flw'), ...body });
        return { body: { url: link.url, expiresAt: rfc3339(link.expiresAt) } };
      },
    }),
    route({
      method: 'GET',
      path: '/connectors/:connector/connections',
      id: 'listConnectorConnections',
      summary: "A connector's connections: all for an owner, one's own for a member.",
      action: 'connection.read',
      query: pageQuery,
      answer: pageOf(connection),
      async run({ caller, at, query }) {
        const { principal } = caller;
        const connector = visibleConnector(connectors, principal, at['connector'] ?? '');
        const owner = principal.role === 'owner' ? undefined : own(caller);
        return { body: await connections.list({ tenant: principal.tenant, connector: connector.id, owner, ...query }) };
      },
    }),
    route({
      method: 'GET',
      path: '/connections',
      id: 'listConnections',
      summary: "One's own connections; with `all`, an owner sees everybody's.",
      action: 'connection.read',
      query: pageQuery.extend({
        all: z
          .stringbool()
          .or(z.literal('').transform(() => true))
          .default(false),
      }),
      answer: pageOf(connection),
      async run({ caller, query }) {
        const { tenant, user, role } = caller.principal;
        const { all, ...part } = query;
        if (all && role !== 'owner') throw fail('forbidden');
        const owner = all || user === null ? undefined : own(caller);
        return { body: await connections.list({ tenant, owner, ...part }) };
      },
    }),
    route({
      method: 'GET',
      path: '/connections/:connection',
      id: 'getConnection',
      summary: 'One connection.',
      action: 'connection.read',
      answer: connection,
      run: async ({ caller, at }) => ({ body: await reachable(caller, at['connection'] ?? '') }),
    }),
    route({
      method: 'DELETE',
      path: '/connections/:connection',
      id: 'revokeConnection',
      summary: 'Revokes a connection at the service and forgets its tokens.',
      action: 'connection.revoke',
      answer: z.object({
        upstream: z.enum(['revoked', 'pending', 'unsupported', 'shared', 'nothing_to_revoke']),
        /** With unsupported, where it is known: the page of the service on which the person ends it. */
        link: z.string().optional(),
      }),
      async run({ caller, at }) {
        const found = await reachable(caller, at['connection'] ?? '');
        return { body: await connections.disconnect(caller.principal.tenant, found.id, caller.actor) };
      },
    }),
  ];
}
