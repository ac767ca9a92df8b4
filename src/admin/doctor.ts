import { z } from 'zod';
import type { Connections } from '../connections/connections.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { resolveOAuth } from '../connectors/provider.ts';
import { fail } from '../errors.ts';
import { newId, newToken, type ConnectorId, type TenantId } from '../ids.ts';
import { visibleConnector } from './connectors.ts';
import { route, type Route } from './routes.ts';

const report = z.object({
  /** False when something failed. */
  ok: z.boolean(),
  checks: z.array(
    z.object({
      check: z.enum(['discovery', 'redirect', 'registration', 'clock', 'proxy', 'token_endpoint']),
      state: z.enum(['ok', 'warning', 'failed', 'skipped']),
      message: z.string(),
      hint: z.string().nullable(),
      tried: z.array(z.object({ url: z.string(), result: z.string() })).optional(),
      last: z.looseObject({ status: z.int() }).optional(),
    }),
  ),
});

/** `valetkey doctor`. */
export function doctorRoutes(deps: { connectors: Connectors; connections: Pick<Connections, 'doctor'> }): Route[] {
  const { connectors, connections } = deps;

  /** A connector that is looked at and never stored. */
  async function imagined(tenant: TenantId, url: string): Promise<Connector> {
    const name = `doctor-${newToken(9)
      .toLowerCase()
      .replaceAll(/[^a-z0-9]/g, '0')}`;
    const document = await connectors.check(tenant, name, { name, url, auth: { type: 'oauth2' } });
    if (document.auth.type !== 'oauth2') throw fail('internal');
    const oauth = resolveOAuth(document.auth, new Map(), () => undefined, document.url);
    return { tenant, id: newId<ConnectorId>('con'), name, revision: 0, source: 'api', document, oauth } as Connector;
  }

  return [
    route({
      method: 'POST',
      path: '/doctor',
      id: 'doctor',
      summary: 'Looks for what keeps a connect from working: of a connector, of an address, or of the gateway alone.',
      action: 'connector.test',
      body: z.strictObject({ connector: z.string().optional(), url: z.url({ protocol: /^https?$/ }).optional() }),
      answer: report,
      async run({ caller, body }) {
        const { principal } = caller;
        const connector =
          body.connector !== undefined
            ? visibleConnector(connectors, principal, body.connector)
            : body.url !== undefined
              ? await imagined(principal.tenant, body.url)
              : undefined;
        const own = await connections.doctor.selfCheck();
        const found =
          connector?.oauth == null
            ? []
            : await connections.doctor.examine(connector, { stored: body.connector !== undefined });
        const checks = [own, ...found];
        return { body: { ok: checks.every(({ state }) => state !== 'failed'), checks } };
      },
    }),
  ];
}
