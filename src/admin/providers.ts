import { z } from 'zod';
import type { Connectors } from '../connectors/connectors.ts';
import type { Provider } from '../connectors/provider.ts';
import { page, pageOf, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

const provider = z.object({
  name: z.string(),
  title: z.string(),
  kind: z.enum(['api', 'mcp']),
  /** Why no connector can use it; null when one can. */
  unsupported: z.string().nullable(),
  /** What `auth.parameters` takes; `default` is null where a value has to be given. */
  parameters: z.array(
    z.object({
      name: z.string(),
      label: z.string(),
      pattern: z.string(),
      example: z.string(),
      default: z.string().nullable(),
    }),
  ),
  /** The address of its MCP server, with `{name}` for parameters. */
  mcpUrl: z.string().nullable(),
  /** How that takes clients; with `cimd` and `dcr` there is nothing to set up, and the guide is for the API. */
  mcpRegistration: z.enum(['cimd', 'dcr', 'allow_listed', 'static', 'unknown']).nullable(),
  /** `{callbackUrl}` stands for the connector's own. */
  guide: z.object({ steps: z.array(z.string()), note: z.string().nullable() }),
  verifiedOn: z.string(),
  catalogueVersion: z.int(),
});

export function providerRoutes(deps: { connectors: Pick<Connectors, 'providers'> }): Route[] {
  return [
    route({
      method: 'GET',
      path: '/providers',
      id: 'listProviders',
      summary: 'The services that auth.provider can name, and what each of them needs.',
      action: 'connector.read',
      query: pageQuery,
      answer: pageOf(provider),
      async run({ query }) {
        const all = [...deps.connectors.providers.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
        return { body: page(all, ({ name }) => name, query, shown) };
      },
    }),
  ];
}

function shown(row: Provider): z.output<typeof provider> {
  return {
    name: row.name,
    title: row.title,
    kind: row.kind,
    unsupported: row.unsupported ?? null,
    parameters: Object.entries(row.parameters).flatMap(([name, { source, label, pattern, example, default: preset }]) =>
      source === 'operator' || source === 'user' ? [{ name, label, pattern, example, default: preset ?? null }] : [],
    ),
    mcpUrl: row.mcp?.url ?? null,
    mcpRegistration: row.mcp?.registration ?? null,
    guide: { steps: row.guide.steps, note: row.guide.note ?? null },
    verifiedOn: row.verifiedOn,
    catalogueVersion: row.catalogueVersion,
  };
}
