import { z } from 'zod';
import { rfc3339, type Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Probe } from '../connectors/kinds/mcp/probe.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { compileTools, type ToolEntry, type UpstreamTool } from '../connectors/tools.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { visibleConnector } from './connectors.ts';
import { page, pageQuery } from './paging.ts';
import { route, type Route } from './routes.ts';

/** Asks the service behind a connector, with the caller's credential where there is one. */
export type Upstream = {
  /** @throws ValetkeyError connection_required and its relatives, or what kept the service from answering */
  listTools(connector: Connector, principal: Principal): Promise<readonly UpstreamTool[]>;
  /** Never throws: what failed is the answer. */
  probe(connector: Connector, principal: Principal): Promise<Probe>;
};

const problemPart = z.object({ code: z.string(), message: z.string(), hint: z.string() });

const toolAnswer = z.object({
  name: z.string(),
  publicName: z.string(),
  on: z.boolean(),
  reason: z.enum(['on', 'disabled', 'not_enabled_yet', 'name_taken']),
  title: z.string().nullable(),
  description: z.string().nullable(),
});

const toolsAnswer = z.object({
  items: z.array(toolAnswer),
  next: z.string().nullable(),
  /** `none`: the service could not be asked and was never asked with success before; `missing` says why. */
  source: z.enum(['upstream', 'catalogue', 'none']),
  fetchedAt: z.string().nullable(),
  missing: problemPart.nullable(),
});

const toolChange = z.strictObject({
  new: z.enum(['ask', 'enable']).optional(),
  enabled: z.array(z.string()).optional(),
  disabled: z.array(z.string()).optional(),
  rename: z.record(z.string(), z.string()).optional(),
});

export function toolRoutes(deps: { connectors: Connectors; upstream: Upstream; clock: Clock }): Route[] {
  const { connectors, upstream, clock } = deps;

  /** What the service lists now, else what it listed last, else why nothing is known. */
  async function known(connector: Connector, principal: Principal) {
    try {
      const tools = await upstream.listTools(connector, principal);
      return { tools, source: 'upstream' as const, fetchedAt: clock.now(), missing: null };
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      if (error.code === 'internal') throw error;
      const missing = described(error);
      const kept = await connectors.catalogue.tools(connector, principal.user ?? 'anonymous');
      if (kept === undefined) return { tools: [], source: 'none' as const, fetchedAt: null, missing };
      return { tools: kept.tools, source: 'catalogue' as const, fetchedAt: kept.fetchedAt, missing };
    }
  }

  return [
    route({
      method: 'GET',
      path: '/connectors/:connector/tools',
      id: 'listTools',
      summary: 'The tools of a connector: on or off, and under which name.',
      action: 'tools.read',
      query: pageQuery,
      answer: toolsAnswer,
      async run({ caller, at, query }) {
        const connector = visibleConnector(connectors, caller.principal, at['connector'] ?? '');
        const { tools, ...about } = await known(connector, caller.principal);
        const entries = connector.tools
          .view(tools)
          .filter((entry) => entry.on || caller.principal.role === 'owner')
          .sort((a, b) => (a.name < b.name ? -1 : 1));
        const shown = page(entries, (entry) => entry.name, query, show);
        return { body: { ...shown, ...about, fetchedAt: rfc3339(about.fetchedAt) } };
      },
    }),
    route({
      method: 'PUT',
      path: '/connectors/:connector/tools',
      id: 'putTools',
      summary: 'Switches tools on and off, renames them; what is left out stays as it is.',
      action: 'tools.write',
      body: toolChange,
      answer: z.looseObject({ new: z.enum(['ask', 'enable']) }),
      async run({ caller, at, body, ifRevision }) {
        const connector = visibleConnector(connectors, caller.principal, at['connector'] ?? '');
        const { tools } = connector.document;
        const next = {
          new: body.new ?? tools.new,
          enabled: body.enabled ?? tools.enabled,
          disabled: body.disabled ?? tools.disabled,
          rename: body.rename ?? tools.rename,
        };
        const kept = await connectors.catalogue.tools(connector, caller.principal.user ?? 'anonymous');
        const taken = compileTools(next)
          .view(kept?.tools ?? [])
          .find(({ reason }) => reason === 'name_taken');
        if (taken !== undefined) {
          throw fail('connector_invalid', {
            message: `tools.rename: the service has a tool named ${taken.publicName} already.`,
            hint: `Choose another name, or rename ${taken.publicName} as well.`,
          });
        }
        // `rename` replaces the former map: a merge could not take a name back.
        const input = { ...connector.document, tools: next };
        const { tenant } = caller.principal;
        const revision = ifRevision ?? connector.revision;
        const { connector: changed } = await connectors.put(tenant, connector.name, input, caller.actor, revision);
        return { body: changed.document.tools, revision: changed.revision };
      },
    }),
    route({
      method: 'POST',
      path: '/connectors/:connector/test',
      id: 'testConnector',
      summary: 'Reaches the service and tells what it speaks and whether it takes the credential.',
      action: 'connector.test',
      answer: z.object({
        reachable: z.boolean(),
        transport: z.enum(['streamable-http', 'sse']).nullable(),
        eras: z.array(z.enum(['modern', 'legacy'])),
        auth: z.enum(['open', 'required', 'accepted', 'refused', 'unknown']),
        server: z.object({ name: z.string(), version: z.string() }).nullable(),
        error: problemPart.nullable(),
        missing: z.array(z.object({ field: z.string(), message: z.string(), hint: z.string() })),
      }),
      async run({ caller, at }) {
        const connector = visibleConnector(connectors, caller.principal, at['connector'] ?? '');
        const { error, ...found } = await upstream.probe(connector, caller.principal);
        const { reachable, auth } = found;
        await connectors.checks.record(connector, { reachable, auth, error: error === null ? null : described(error) });
        const missing = await connectors.missing(connector);
        return { body: { ...found, error: error === null ? null : described(error), missing } };
      },
    }),
  ];
}

const described = ({ code, message, hint }: ValetkeyError) => ({ code, message, hint });

function show({ name, publicName, on, reason, tool }: ToolEntry): z.output<typeof toolAnswer> {
  const annotated = tool['annotations'] as { title?: unknown } | undefined;
  const title = tool['title'] ?? annotated?.title;
  const { description } = tool as { description?: unknown };
  return {
    name,
    publicName,
    on,
    reason,
    title: typeof title === 'string' ? title : null,
    description: typeof description === 'string' ? description : null,
  };
}
