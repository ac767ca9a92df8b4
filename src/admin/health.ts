import { z } from 'zod';
import { rfc3339 } from '../clock.ts';
import type { Connections } from '../connections/connections.ts';
import { connectorHealth, type Health } from '../connections/health.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { Principal } from '../identity/principal.ts';

const finding = z.object({ code: z.string(), message: z.string(), hint: z.string() });

/** Members of a connector's answer. */
export const healthAnswer = {
  health: z.enum(['healthy', 'unhealthy', 'unknown']),
  healthDetail: z.object({
    reason: z.string(),
    nextStep: z.string().nullable(),
    /** What POST …/test found last, for the document as it is now. */
    test: z.object({ at: z.string(), reachable: z.boolean(), auth: z.string(), error: finding.nullable() }).nullable(),
    /** Those that the caller may see; null where the connector does not sign in by OAuth. */
    connections: z
      .object({
        healthy: z.int(),
        unhealthy: z.int(),
        unknown: z.int(),
        lastRefreshAt: z.string().nullable(),
        nextRefreshAt: z.string().nullable(),
        lastError: finding.nullable(),
        warnings: z.array(finding),
      })
      .nullable(),
  }),
};

export type ShownHealth = { health: Health; healthDetail: z.input<(typeof healthAnswer)['healthDetail']> };

/** The health of connectors for one caller, by connector id. */
export function createShowHealth(deps: {
  connectors: Pick<Connectors, 'checks'>;
  connections: Pick<Connections, 'health'>;
}): (connectors: readonly Connector[], viewer: Principal) => Promise<Map<string, ShownHealth>> {
  return async (connectors, viewer) => {
    const [checks, connections] = await Promise.all([
      deps.connectors.checks.of(viewer.tenant, connectors),
      deps.connections.health(connectors, viewer),
    ]);
    return new Map(connectors.map((connector) => [connector.id, show(connector)]));

    function show(connector: Connector): ShownHealth {
      const kept = checks.get(connector.id) ?? null;
      // What failed may name addresses, which members do not see.
      const check = kept === null || viewer.role === 'owner' ? kept : { ...kept, error: null };
      const seen = connections.get(connector.id);
      const oauth = connector.connection !== null;
      const { active } = connector.document;
      const { health, reason, nextStep } = connectorHealth({ active, oauth, check, connections: seen?.all ?? [] });
      // One line for each kind of warning: a thousand people may have the same one.
      const warnings = new Map(seen?.all.flatMap((one) => one.warnings.map((warning) => [warning.code, warning])));
      return {
        health,
        healthDetail: {
          reason,
          nextStep,
          test: check === null ? null : { ...check, at: rfc3339(check.at) },
          connections: oauth
            ? {
                ...(seen?.count ?? { healthy: 0, unhealthy: 0, unknown: 0 }),
                lastRefreshAt: seen?.lastRefreshAt ?? null,
                nextRefreshAt: seen?.nextRefreshAt ?? null,
                lastError: seen?.lastError ?? null,
                warnings: [...warnings.values()],
              }
            : null,
        },
      };
    }
  };
}
