import type { Catalogue } from '../connectors/catalogue.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Principal } from '../identity/principal.ts';
import { LEGACY_VERSIONS, MODERN_VERSION, type Envelope } from './envelope.ts';
import { visibleTools } from './lists.ts';
import { rpcResult } from './rpc.ts';

/**
 * What a client is told about a connector whose upstream says nothing without a credential. It is enough for the
 * client to stay, list tools and reach a call, and a call is where the connect link can be shown.
 */

/** The only tool while nobody knows what the upstream offers; calling it brings the connect link. */
export const CONNECT_TOOL = 'connect';

/** Methods that are answered here while there is no credential. */
export function isAnswerable(envelope: Envelope): boolean {
  const { method, batch } = envelope;
  return (
    batch === undefined &&
    (method === 'initialize' || method === 'server/discover' || method === 'tools/list' || method === 'ping')
  );
}

export async function answerUnconnected(
  connector: Connector,
  principal: Principal,
  envelope: Envelope,
  catalogue: Pick<Catalogue, 'tools'>,
): Promise<string> {
  switch (envelope.method) {
    case 'initialize':
      return rpcResult(envelope.id, {
        protocolVersion: negotiate(envelope.params?.['protocolVersion']),
        ...introduction(connector),
        serverInfo: serverInfo(connector),
      });
    case 'server/discover':
      return modernResult(envelope, connector, {
        supportedVersions: [MODERN_VERSION],
        ...introduction(connector),
      });
    case 'ping':
      return rpcResult(envelope.id, {});
    default: {
      const tools = await toolsOf(connector, principal, catalogue);
      return envelope.era === 'modern'
        ? modernResult(envelope, connector, { tools })
        : rpcResult(envelope.id, { tools });
    }
  }
}

export function negotiate(requested: unknown): string {
  const known = LEGACY_VERSIONS.find((version) => version === requested);
  return known ?? (LEGACY_VERSIONS[0] as string);
}

function introduction(connector: Connector): Record<string, unknown> {
  const { instructions } = connector.document;
  return { capabilities: { tools: { listChanged: true } }, ...(instructions === '' ? {} : { instructions }) };
}

function serverInfo(connector: Connector): Record<string, unknown> {
  const { title } = connector.document;
  return { name: connector.name, ...(title === '' ? {} : { title }), version: String(connector.revision) };
}

/** MCP 2026-07-28: `ttlMs` 0, since the next answer may come from the upstream. */
function modernResult(envelope: Envelope, connector: Connector, result: Record<string, unknown>): string {
  return rpcResult(envelope.id, {
    resultType: 'complete',
    ...result,
    ttlMs: 0,
    cacheScope: 'private',
    _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo(connector) },
  });
}

async function toolsOf(
  connector: Connector,
  principal: Principal,
  catalogue: Pick<Catalogue, 'tools'>,
): Promise<unknown[]> {
  const known = await catalogue.tools(connector, principal.user ?? 'anonymous');
  const tools = known === undefined ? [] : visibleTools(connector, known.tools);
  if (tools.length > 0) return tools;
  const title = connector.document.title === '' ? connector.name : connector.document.title;
  return [
    {
      name: CONNECT_TOOL,
      title: `Connect ${title}`,
      description: `Your ${title} account is not connected yet. Call this tool to get the link that connects it; the other tools appear afterwards.`,
      inputSchema: { type: 'object', properties: {}, additionalProperties: false },
    },
  ];
}

/**
 * What a 2026 client hears on `subscriptions/listen` while there is nothing to listen to: that its wish is known, and,
 * once there is a connection, that the tools are others. `wanted`: whether it wishes to know.
 */
export function listening(envelope: Envelope): { wanted: boolean; known: string; changed: string; over: string } {
  const filter = envelope.params?.['notifications'] as { toolsListChanged?: unknown } | null | undefined;
  const wanted = filter?.toolsListChanged === true;
  const _meta = { 'io.modelcontextprotocol/subscriptionId': envelope.id };
  const notification = (method: string, params: Record<string, unknown>): string =>
    JSON.stringify({ jsonrpc: '2.0', method, params: { ...params, _meta } });
  return {
    wanted,
    known: notification('notifications/subscriptions/acknowledged', {
      notifications: wanted ? { toolsListChanged: true } : {},
    }),
    changed: notification('notifications/tools/list_changed', {}),
    over: rpcResult(envelope.id, { resultType: 'complete', _meta }),
  };
}
