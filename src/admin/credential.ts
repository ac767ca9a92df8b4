import { z } from 'zod';
import type { Connections } from '../connections/connections.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { fail } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { Secret } from '../secret.ts';
import { visibleConnector } from './connectors.ts';
import { route, type Route } from './routes.ts';

const answer = z.object({
  connector: z.string(),
  clientId: z.string().nullable(),
  /** Never the value. */
  clientSecret: z.enum(['set', 'none']),
  clientAuth: z.string().nullable(),
  registration: z.string(),
  callbackUrl: z.string(),
  /** Of a rotation: what the service said to the new secret. */
  proof: z.enum(['accepted', 'refused', 'unknown']).optional(),
});

/** The client of a connector at its service: `valetkey auth`. */
export function credentialRoutes(deps: {
  connectors: Connectors;
  connections: Pick<Connections, 'doctor'>;
  callbackUrl: (connector: Connector) => Promise<string | null>;
}): Route[] {
  const { connectors, connections } = deps;

  function oauthConnector(principal: Principal, name: string): Connector {
    const connector = visibleConnector(connectors, principal, name);
    if (connector.document.auth.type !== 'oauth2') {
      throw fail('invalid_request', {
        message: `${name} does not sign in by OAuth: it has no client.`,
        hint: 'Its credential belongs in the connector document.',
      });
    }
    return connector;
  }

  async function show(connector: Connector, proof?: z.output<typeof answer>['proof']) {
    const { oauth } = connector;
    return {
      connector: connector.name,
      clientId: oauth?.clientId ?? null,
      clientSecret: oauth?.hasClientSecret === true ? 'set' : 'none',
      clientAuth: oauth?.clientAuth ?? null,
      registration: oauth?.registration ?? 'auto',
      callbackUrl: (await deps.callbackUrl(connector)) ?? '',
      ...(proof === undefined ? {} : { proof }),
    };
  }

  return [
    route({
      method: 'GET',
      path: '/connectors/:connector/credential',
      id: 'getCredential',
      summary: 'The client of a connector at its service, without its secret.',
      action: 'connector.write',
      answer,
      run: async ({ caller, at }) => ({
        body: await show(oauthConnector(caller.principal, at['connector'] ?? '')),
      }),
    }),
    route({
      method: 'PUT',
      path: '/connectors/:connector/credential',
      id: 'putCredential',
      summary: 'Sets client id and secret. A secret that is left out stays, unless the client id changes.',
      action: 'connector.write',
      body: z.strictObject({
        clientId: z.string().min(1).max(2_048),
        clientSecret: z.union([z.string().min(1).max(4_096), z.strictObject({ secret: z.string() })]).optional(),
        clientAuth: z.enum(['client_secret_basic', 'client_secret_post', 'none']).optional(),
      }),
      answer,
      async run({ caller, at, body, ifRevision }) {
        const { principal, actor } = caller;
        const connector = oauthConnector(principal, at['connector'] ?? '');
        const { clientId, clientSecret, clientAuth } = body;
        const auth = {
          clientId,
          // The secret of another client would be sent to the service with every refresh.
          ...(clientSecret === undefined && connector.oauth?.clientId !== clientId ? { clientSecret: null } : {}),
          ...(clientSecret === undefined ? {} : { clientSecret }),
          ...(clientAuth === undefined ? {} : { clientAuth }),
          ...(connector.oauth?.registration === 'dynamic' ? { registration: 'auto' } : {}),
        };
        const changed = await connectors.patch(principal.tenant, connector.name, { auth }, actor, ifRevision);
        return { body: await show(changed), revision: changed.revision };
      },
    }),
    route({
      method: 'POST',
      path: '/connectors/:connector/credential/rotate',
      id: 'rotateCredential',
      summary: 'Replaces the client secret once the service has taken the new one; the old one stays until then.',
      action: 'connector.write',
      body: z.strictObject({
        clientSecret: z.string().min(1).max(4_096),
        /** Also where the service cannot be asked. */
        unproved: z.boolean().default(false),
      }),
      answer,
      async run({ caller, at, body, ifRevision }) {
        const { principal, actor } = caller;
        const connector = oauthConnector(principal, at['connector'] ?? '');
        if (connector.oauth?.clientId == null) {
          throw fail('invalid_request', {
            message: `${connector.name} has no client id of its own to rotate a secret of.`,
          });
        }
        const proof = await connections.doctor.proveClient(connector, new Secret(body.clientSecret));
        if (proof === 'refused' || (proof === 'unknown' && !body.unproved)) {
          throw fail(proof === 'refused' ? 'client_refused' : 'secret_unproved');
        }
        const auth = { clientSecret: body.clientSecret };
        const changed = await connectors.patch(principal.tenant, connector.name, { auth }, actor, ifRevision);
        return { body: await show(changed, proof), revision: changed.revision };
      },
    }),
    route({
      method: 'DELETE',
      path: '/connectors/:connector/credential',
      id: 'removeCredential',
      summary: 'Forgets client id and secret.',
      action: 'connector.write',
      async run({ caller, at, ifRevision }) {
        const { principal, actor } = caller;
        const connector = oauthConnector(principal, at['connector'] ?? '');
        const auth = { clientId: null, clientSecret: null };
        await connectors.patch(principal.tenant, connector.name, { auth }, actor, ifRevision);
        return {};
      },
    }),
  ];
}
